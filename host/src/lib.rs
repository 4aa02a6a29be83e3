//! The agent on a host.
//!
//! [`supervisor::run`] is the main flow: lock, load, choose a source for each class, start the workers, wait, stop, account.
//! The workers are processes of their own: `worker::sources` opens what needs privileges, `worker::detector` has none.

#![deny(clippy::print_stderr, clippy::print_stdout)] // they panic where the words go nowhere: see `say`

pub mod account;
pub mod actions;
mod alert;
mod by_number;
pub mod deny;
mod descriptors;
pub mod examiner;
pub mod filter;
pub mod guard;
pub mod in_force;
pub mod live;
pub mod loader;
pub mod loading;
pub mod lock;
mod loss;

pub mod matrix;
mod outlet;
pub mod output;
mod patience;
pub mod pressure;
pub mod previous;
pub mod printable;
pub mod pstore;
pub mod publisher;
mod resident;
pub mod resume;
pub mod say;
pub mod signals;
pub mod slots;
pub mod status;
pub mod supervisor;
pub mod there;
mod told;
pub mod translate;
pub mod tree;
mod triaged;
pub mod updating;
pub mod users;
pub mod whole_lines;
pub mod worker;
