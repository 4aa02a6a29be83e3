//! A content pack: what one release of content is, in one flat file that a host takes whole or not at all.
//!
//! ```text
//! header      magic, version, sections, size of the file
//! directory   for each section: kind, offset, size, SHA-256
//! manifest    name and number of the release, engines that it is for, each document's id and the digest of its source
//! image       the compiled rules, as `watertight_engine::Image` takes them
//! canaries    events, and which rules must and must not fire on them
//! policy      deny rules, typed; empty where there are none
//! ```
//!
//! Nothing in it is compressed and nothing is text to be parsed: each section is a header, tables of records of one size, and the
//! texts that they refer to. So it can't grow when it is opened, every size is known before anything is read, and the process that
//! opens it needs no parser. `layout` has every record and every limit.
//!
//! [`Pack::open`] is the only door: whoever builds a pack, verifies it or activates it passes through it. It checks limits first, then
//! digests, then every reference. Sections lie in one order without gaps, so that a file has exactly one way to say what it says.
//! [`Pack::self_test`] runs the canaries in the engine that will run the rules.
//!
//! Total functions, as in the engine: no input makes it panic, and what it allocates is bounded by the limits.
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

mod canary;
mod error;
pub mod layout;
mod manifest;
mod open;
mod policy;
mod section;
mod self_test;
mod supply;
mod write;

pub use canary::{Canary, Event, Value};
pub use error::{Named, PackError};
pub use manifest::{is_name, Document, Engines, Kind, Manifest, NAME_RULE};
pub use open::Pack;
pub use self_test::SelfTest;
pub use write::{write, Parts};
