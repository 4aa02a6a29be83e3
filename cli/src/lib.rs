//! The watertight command.

#![deny(clippy::print_stderr, clippy::print_stdout)] // they panic where the words go nowhere: see `watertight_host::say`

pub mod command;
