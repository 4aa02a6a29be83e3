//! A kernel that was written byte by byte.

#[path = "../../tests/vmcore/kernel.rs"]
pub mod kernel;
#[path = "../../tests/vmcore/writer.rs"]
pub mod writer;
