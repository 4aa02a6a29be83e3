//! A machine as its dump has it, whatever system ran there: bytes, memory behind page tables, registers, modules, code.
//!
//! Readers of a system's dumps (`windows`, `vmcore`) make one of what they find in the file and add what only that system has.

pub(crate) mod bytes;
pub(crate) mod code;
pub(crate) mod memory;
pub(crate) mod modules;
pub(crate) mod paging;
pub(crate) mod physical;
pub(crate) mod registers;
