//! What the kernel programs and user mode agree on: record layouts, limits, hooks and a decoder.
//!
//! Everything is written once, in `layout.rs`. [`c_header`] prints the same as C, with every size and offset asserted there;
//! the Rust side asserts its own arithmetic at build time. A change on one side alone does not build.
#![forbid(unsafe_code)]

#[macro_use]
mod layout;
mod decode;
mod guard;
mod header;
mod hook;

pub use decode::{Attachment, Body, DecodeError, Record};
pub use guard::*;
pub use header::c_header;
pub use hook::{Hook, HookClass, Ring, HOOKS};
pub use layout::*;
