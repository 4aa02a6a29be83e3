//! The fleet server: hosts get an identity, say what they run, and hear what they should run.
//!
//! ```text
//! request:  serve.rs (connection) -> handshake.rs (TLS) -> api/ (path, role, limits) -> hosts.rs (memory) or store/ (disk)
//! beside:   server.rs writes rows, notices what was published, makes the next certificate; rollout/ carries rollouts out
//! start:    run.rs -> state_folder.rs (database, authority, first token) -> serve.rs
//! ```
//! It brings no content into being: what may run is signed offline, and hosts verify it (`watertight-content-repo`).
#![forbid(unsafe_code)]
#![deny(clippy::print_stderr, clippy::print_stdout)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::string_slice)
)]

pub mod access;
pub mod admission;
pub mod api;
pub mod authority;
pub mod backup;
pub mod clock;
pub mod content;
mod handshake;
pub mod hosts;
mod names;
pub mod roles;
pub mod rollout;
pub mod run;
pub mod serve;
pub mod server;
pub mod state_folder;
pub mod store;
pub mod tls;
pub mod tokens;
