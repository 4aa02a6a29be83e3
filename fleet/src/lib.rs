//! Gradual rollout: who gets content next, and whether anybody else may get it after that.
//!
//! ```text
//! plan/   fleet, policy, evidence -> an immutable plan: stages of hosts, each larger than the one before. No clock, no I/O
//! gate/   what hosts report, each with its time -> decisions: advance, hold, replace, halt, with evidence and a sentence why
//! rollout/ a plan and a gate under way, moved by a journal of inputs
//! sim/    a fleet of a million hosts in front of the two, to measure what a bad content costs and how often a good one is halted
//! ```
//! Planner and gate are pure: whoever calls them stores what they were given, and can have every decision again from it.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::string_slice)
)]

pub mod gate;
pub mod plan;
pub mod rollout;
pub mod sim;

/// Milliseconds, on the server's clock: of a moment since any fixed one, or of a length of time.
pub type Ms = u64;

/// A host, by its number in a fleet's roster: dense, from 0, so that a million of them are an array.
pub type HostIndex = u32;
