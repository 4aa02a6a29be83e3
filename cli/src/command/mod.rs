//! One file per subcommand. Each has its arguments and a `run` that gives the exit code.

pub mod detect;
pub mod rules;
pub mod supply;
