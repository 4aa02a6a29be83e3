//! Names of functions from PDB files that lie in a folder: looked up by the identity that the image carries, never fetched.
//!
//! A PDB of another build gives wrong names that look right, so one whose identity differs is refused. Where the image's own page
//! is not in the dump the identity can't be compared, and the report says so.

use std::path::{Path, PathBuf};

use pdb_addr2line::pdb::PDB;
use pdb_addr2line::{ContextPdbData, TypeFormatterFlags};

use super::{Opened, SymbolFiles};
use crate::report::{Frame, Hex};

/// What ties an image to its PDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The PDB's number, in the order of its bytes in memory.
    pub guid: [u8; 16],
    pub age: u32,
    /// The PDB's file name.
    pub pdb: String,
}

impl Identity {
    /// The folder's name in a symbol store.
    pub(crate) fn key(&self) -> String {
        let number = |range: std::ops::Range<usize>| {
            let bytes = self.guid.get(range).unwrap_or_default();
            bytes.iter().rev().map(|byte| format!("{byte:02X}")).collect::<String>()
        };
        let rest = self.guid.get(8..).unwrap_or_default();
        let rest: String = rest.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{}{}{}{rest}{:X}", number(0..4), number(4..6), number(6..8), self.age)
    }
}

/// The PDB of a module.
pub(crate) struct Sought<'m> {
    /// Name of the module's file.
    pub file: &'m str,
    /// The module's name.
    pub name: &'m str,
    /// What ties it to its PDB.
    pub identity: Option<&'m Identity>,
}

impl Sought<'_> {
    /// Names frames that lie in the module, if there is a PDB of it. `Some` is what the reader of the report must know.
    pub(crate) fn name(&self, files: &dyn SymbolFiles, frames: Vec<&mut Frame>) -> Option<String> {
        let (path, opened) = self.candidate(files)?;
        match name(&path, opened, self, frames) {
            Ok(warning) => warning,
            Err(why) => Some(format!("{}: {why}", path.display())),
        }
    }

    /// Where a PDB of the module may lie, the first that is there: by its own name, in a symbol store's folder, by the module's name.
    fn candidate(&self, files: &dyn SymbolFiles) -> Option<(PathBuf, Opened)> {
        let stem = self.file.rsplit_once('.').map_or(self.file, |(stem, _)| stem);
        let by_module = format!("{stem}.pdb");
        let own = self.identity.map_or(by_module.as_str(), |identity| identity.pdb.as_str());
        let stored = self.identity.map(|identity| Path::new(own).join(identity.key()).join(own));
        let places = [Some(PathBuf::from(own)), stored, Some(PathBuf::from(&by_module))];
        places.into_iter().flatten().find_map(|path| files.open(&path).map(|opened| (path, opened)))
    }
}

/// Names frames from one PDB. `Some` is what the reader of the report must know.
fn name(path: &Path, opened: Opened, module: &Sought<'_>, frames: Vec<&mut Frame>) -> Result<Option<String>, String> {
    let identity = module.identity;
    let damaged = |error: &dyn std::fmt::Display| format!("not used: {error}");
    let mut pdb = PDB::open(opened.file).map_err(|error| damaged(&error))?;
    let own = pdb.pdb_information().map_err(|error| damaged(&error))?;
    if identity.is_some_and(|identity| identity.guid != own.guid.to_bytes_le()) {
        return Err(format!("of another build of {}: not used", module.name));
    }
    let symbols = ContextPdbData::try_from_pdb(pdb).map_err(|error| damaged(&error))?;
    let flags = TypeFormatterFlags::default() | TypeFormatterFlags::NO_ARGUMENTS;
    let context = symbols.make_context_with_formatter_flags(flags).map_err(|error| damaged(&error))?;
    for frame in frames {
        let Some(offset) = frame.offset.and_then(|offset| u32::try_from(offset.0).ok()) else {
            continue;
        };
        // A return address may be the next function's first byte; the call is before it. At a fault it is the instruction itself.
        let is_instruction = frame.trust == crate::report::Trust::Context;
        let sought = if is_instruction { offset } else { offset.saturating_sub(1) };
        let Ok(Some(found)) = context.find_frames(sought) else {
            continue;
        };
        // The last is the function that has code of its own; those before it were inlined.
        let Some(function) = found.frames.last() else {
            continue;
        };
        frame.function.clone_from(&function.function);
        frame.function_offset = offset.checked_sub(found.start_rva).map(|within| Hex(u64::from(within)));
        frame.file = function.file.as_ref().map(|file| file.to_string());
        frame.line = function.line;
    }
    let is_unsure = identity.is_none();
    Ok(is_unsure.then(|| {
        format!(
            "{}: may be of another build; the page of {} that tells is not in the dump",
            path.display(),
            module.name
        )
    }))
}
