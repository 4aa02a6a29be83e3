//! A host's side of the fleet: who it is, what it should be at, and what happened on it.
//!
//! ```text
//! identity.rs  key, certificate, renewal      exchange.rs  one request over TLS, and why it failed
//! service.rs   check-in, doorbell, uplink     report.rs    what a check-in says      pace.rs  when to come again
//! intake.rs    output of the run -> records   spool.rs     records until they are acknowledged
//! measure.rs   when what a host goes through is an event for the gate
//! machine.rs   what is asked of the host      pause.rs     the local override        folder.rs  what must outlive a power cut
//! crew.rs      threads that are started first
//! ```
//! Nothing here protects the machine: all of it may crash, hang or be gone for months. What runs then goes on; nothing new is started,
//! because only a server that answers makes the agent fetch.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::string_slice)
)]

pub mod clock;
pub mod crew;
pub mod exchange;
pub mod folder;
pub mod identity;
pub mod intake;
pub mod machine;
pub mod measure;
pub mod pace;
pub mod pause;
pub mod report;
pub mod service;
pub mod spool;
