//! A rollout under way: the planner's plan and the gate, moved by a journal of inputs.
//!
//! ```text
//! spec.rs     what is fixed at the start: content, plan, the hosts by number, who was away, crashes that were known
//! running.rs  spec + inputs, in their order -> where it stands, what was decided
//! observe.rs  what the server sees of a host -> inputs
//! ```
//! Pure, as planner and gate are: the same spec and the same inputs give the same rollout. A server that starts again reads the journal
//! and stands where it stood; of two that append at one place the store lets one through, and the other reads again.

mod observe;
mod running;
mod spec;

pub use observe::Look;
pub use running::{Counts, Input, Place, Running, State};
pub use spec::{Kin, Members, Spec, Start};
