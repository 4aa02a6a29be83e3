//! Evaluates detection rules over events: total functions, no I/O.
//!
//! `rule` is the form that content is compiled to; `Ruleset` interns its predicates and holds them ready to run; a `Plan` is
//! the share of a ruleset that applies to one log source, with an index over the literals that its rules can't match
//! without. The index only ever picks candidates: a candidate's condition is then evaluated whole, so that a wrong index
//! could lose time but the tests hold it to losing no hit.
//!
//! Nothing here may panic on any rule or any event, so indexing, unwrapping and unchecked arithmetic are denied.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects,
        clippy::string_slice
    )
)]

mod address;
mod event;
mod explain;
mod fold;
mod matcher;
mod pattern;
mod plan;
mod regex;
pub mod rule;
mod ruleset;
mod scratch;
mod timestamp;
mod witness;

pub use address::Network;
pub use event::{Field, Fields, Value};
pub use explain::{Explanation, FieldMatch, SelectionMatch};
pub use fold::fold_text;
pub use pattern::{Part, Pattern};
pub use plan::Plan;
pub use regex::{check_regex, RegexError, RegexFlags};
pub use ruleset::{BuildError, Ruleset};
pub use scratch::Scratch;
