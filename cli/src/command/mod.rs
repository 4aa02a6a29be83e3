//! One file per subcommand. Each has its arguments and a `run` that gives the exit code.

pub mod agent;
mod confined;
pub mod content;
pub mod crash;
pub mod detect;
pub mod doctor;
mod parts;
pub mod policy;
mod recorded;
mod refused;
pub mod rollout;
pub mod rules;
pub mod run;
pub mod server;
pub mod sim;
pub mod status;
pub mod triage;
pub mod worker;
