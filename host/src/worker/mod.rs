//! The workers: processes of their own that may die at any time without harm to the machine.

mod active;
pub(crate) mod asks;
pub mod budget;
pub mod content;
pub mod correlation_loss;
pub mod correlations;
pub mod crash;
pub mod detector;
pub mod dumper;
pub mod fault;
pub mod frames;
pub mod mapping;
mod preparer;
pub mod protocol;
mod recording;
pub mod report;
pub mod rules;
pub mod sandbox;
pub mod sources;
pub mod tally;
pub mod triage;
pub mod updater;
