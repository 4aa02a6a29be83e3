//! Virtual agents in one process, which put a fleet server under load over real TLS and the real protocol.
//!
//! ```text
//! target.rs    the server: where, whom to trust, its process      connection.rs  TLS, one HTTP/1.1 request at a time
//! identity.rs  keys and certificates of hosts, kept in a file     agent.rs       check-in, doorbell, as an agent does them
//! operator.rs  the server's counters, and the API under load      process.rs     processor time, memory, descriptors
//! scene/       what is measured, a file each                      spread.rs      percentiles
//! ```
//! Written by hand below the protocol's types, because a load that costs as much as what it measures measures itself. It waits as agents
//! wait: the back-off is the agent's own.
#![forbid(unsafe_code)]
#![deny(clippy::print_stderr, clippy::print_stdout)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::string_slice)
)]

pub mod agent;
pub mod connection;
pub mod identity;
pub mod operator;
pub mod process;
pub mod scene;
pub mod spread;
pub mod target;

pub use target::Target;
