//! Windows kernel dumps: what stopped the machine, told as an analyst reads it, without symbols and without network.
//!
//! 1. `header` and `dump` open the file: `small` reads a small dump's table, `physical` finds the pages of the others, `paging`
//!    and `memory` make virtual memory of either, `modules` and `kernel` read the kernel's own lists.
//! 2. `fault` finds what faulted: `bugcheck` says what a stop code's parameters mean, `context` reads registers.
//! 3. `code`, `stack` (by `unwind`, else by scanning) and `describe` make the report.
//!
//! Entry: `read`.

mod bugcheck;
mod bytes;
mod code;
mod context;
mod describe;
mod dump;
mod fault;
mod header;
mod image;
mod kernel;
mod memory;
mod modules;
mod paging;
mod physical;
mod small;
mod stack;
mod symbols;
mod unwind;

use std::path::PathBuf;

use crate::report::Report;
use crate::source::Source;
use crate::Error;

/// Reads a 64-bit kernel dump. Functions get names from PDB files in the folders of `symbols`.
///
/// # Errors
/// When the file can't be read, or is of a machine that is not known.
pub fn read(source: &dyn Source, symbols: &[PathBuf]) -> Result<Report, Error> {
    let mut dump = dump::Dump::open(source)?;
    let fault = fault::Fault::find(&mut dump);
    Ok(describe::report(dump, fault, symbols))
}
