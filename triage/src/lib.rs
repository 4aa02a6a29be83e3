//! From a crash dump or a crash text to reports: what happened, where, in whose code, and a signature to count it by.
//!
//! Whoever made a machine crash may have written its dump too. So nothing here is unsafe, nothing asks the network, every
//! count read from a file is capped and every walk bounded; what can't be read costs a warning and not the rest.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects,
        clippy::string_slice
    )
)]

pub mod bucket;
mod call;
mod error;
mod examine;
mod format;
pub mod linux;
mod machine;
pub mod process;
pub mod report;
pub mod source;
#[cfg(feature = "store")]
pub mod store;
pub mod symbols;
pub mod vmcore;
pub mod windows;

pub use error::Error;
pub use examine::{examine, examine_source, system_hive, Examined, Options};
pub use format::Format;
pub use report::Report;
pub use watertight_event::printable;
