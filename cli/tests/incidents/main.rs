//! The incident museum: outages that content caused elsewhere, made again from bytes or sources and sent at this product.
//!
//! `docs/incidents.md` tells each one. For each there are at least two layers that stop it, and each layer is tried alone: the layers
//! before it are gone around as somebody could who does not use them, by writing a pack's bytes with the pack writer or by hand
//! (`raw.rs`), by putting a file where an installed pack lies, or by doing without the part. None has a switch that turns it off.
//!
//! The folders' loader and the guests have their own parts: `sensor/loader/tests/incidents.rs` and `lab/README.md`.

#![allow(clippy::panic)] // a test's panic is its verdict

mod blank_policy_field;
mod field_21_of_20;
mod hook_that_the_kernel_lacks;
#[path = "../live/mod.rs"]
mod live;
mod over_the_limit;
mod page;
mod part_of_the_agent;
mod place;
mod raw;
mod regex_that_burns_cpu;
mod restart_herd;
mod rule_that_matches_init;
mod rules_newer_than_the_engine;
