//! Windows kernel dumps: what stopped the machine, told as an analyst reads it, without symbols and without network.
//!
//! 1. `header` and `dump` open the file: `small` reads a small dump's table, `physical` finds the pages of the others, `machine` makes
//!    virtual memory of either, `modules` and `kernel` read the kernel's own lists.
//! 2. `fault` finds what faulted: `bugcheck` says what a stop code's parameters mean, `context` reads registers.
//! 3. `stack` (by `unwind`, else by scanning) and `describe` make the report.
//! 4. `mapped` and `services` (by `hive`) add what ties it to content: files that the driver had mapped, how the system starts it.
//!
//! Entry: `read`.

mod bugcheck;
mod context;
mod describe;
mod dump;
mod fault;
mod header;
mod hive;
mod image;
mod kernel;
mod mapped;
mod modules;
mod physical;
mod services;
mod small;
mod stack;
mod symbols;
mod unwind;

use crate::symbols::SymbolFiles;

use crate::report::Report;
use crate::source::Source;
use crate::Error;

/// Reads a 64-bit kernel dump. Functions get names from PDB files among `symbols`; `hive` is the machine's SYSTEM hive, if there is one.
///
/// # Errors
/// When the file can't be read, or is of a machine that is not known.
pub fn read(source: &dyn Source, symbols: &dyn SymbolFiles, hive: Option<&dyn Source>) -> Result<Report, Error> {
    let mut dump = dump::Dump::open(source)?;
    let fault = fault::Fault::find(&mut dump);
    Ok(describe::report(dump, fault, symbols, hive))
}
