//! The watertight command.

pub mod command;
