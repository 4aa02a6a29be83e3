//! One file in, its reports out.

use std::path::Path;
use std::sync::Arc;

use crate::bucket;
use crate::format::{Format, HEAD_BYTES};
use crate::linux;
use crate::report::Report;
use crate::source::{FileSource, Source};
use crate::symbols::{Folders, SymbolFiles};
use crate::Error;

/// Longest text that is read: 256 MiB. A log is read whole, because a report may begin anywhere in it.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// How to examine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Leave out of the reports what may be secret: stack words that point at no code, and arguments of processes.
    pub redacts: bool,
    /// Symbol files (PDB, Breakpad's), from which functions get their names.
    pub symbols: Arc<dyn SymbolFiles>,
}

impl Default for Options {
    fn default() -> Self {
        Self { redacts: false, symbols: Arc::new(Folders::default()) }
    }
}

/// How an examination went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examined {
    /// Crashes were found: so many.
    Found(u64),
    /// The file was read and tells of no crash.
    Nothing,
    /// The file could not be read.
    Failed,
}

/// Examines one file and hands out each crash in it, in the file's order. A file without a crash gives one report of kind `none`,
/// an unreadable one the same with its error.
pub fn examine(path: &Path, options: &Options, report: &mut dyn FnMut(Report)) -> Examined {
    let file = path.to_string_lossy();
    match FileSource::open(path) {
        Ok(source) => examine_source(&file, &source, &|| system_hive(path), options, report),
        Err(error) => {
            report(Report::none(file.into_owned(), Some(error.to_string())));
            Examined::Failed
        }
    }
}

/// The same of a file that is open already, under that name. `hive` opens the SYSTEM hive beside it, if there is one and it is wanted.
pub fn examine_source(
    file: &str,
    source: &dyn Source,
    hive: &dyn Fn() -> Option<FileSource>,
    options: &Options,
    report: &mut dyn FnMut(Report),
) -> Examined {
    let mut found = 0_u64;
    let outcome = read(source, hive, options, &mut |mut one: Report| {
        found = found.saturating_add(1);
        file.clone_into(&mut one.file);
        bucket::assign(&mut one);
        if options.redacts {
            one.redact();
        }
        report(one);
    });
    match outcome {
        Ok(()) if found > 0 => Examined::Found(found),
        Ok(()) => {
            report(Report::none(file.to_owned(), None));
            Examined::Nothing
        }
        Err(error) => {
            report(Report::none(file.to_owned(), Some(error.to_string())));
            Examined::Failed
        }
    }
}

/// Calls the reader of the file's format.
fn read(
    source: &dyn Source,
    hive: &dyn Fn() -> Option<FileSource>,
    options: &Options,
    report: &mut dyn FnMut(Report),
) -> Result<(), Error> {
    let symbols = options.symbols.as_ref();
    match Format::of(&source.bytes(0, HEAD_BYTES)?) {
        Format::Text => read_text(source, report),
        Format::WindowsKernel64 => {
            let hive = hive();
            report(crate::windows::read(source, symbols, hive.as_ref().map(|hive| hive as &dyn Source))?);
            Ok(())
        }
        Format::Minidump => {
            report(crate::process::minidump(source, &options.symbols)?);
            Ok(())
        }
        Format::Kdump => {
            report(crate::vmcore::read(source)?);
            Ok(())
        }
        Format::ElfCore if crate::vmcore::is_kernel(source)? => {
            report(crate::vmcore::read(source)?);
            Ok(())
        }
        Format::ElfCore => {
            report(crate::process::elf_core(source, &options.symbols)?);
            Ok(())
        }
        format => Err(Error::NoReader { format }),
    }
}

/// The registry's SYSTEM hive, if whoever collected the dump put it beside it.
#[must_use]
pub fn system_hive(dump: &Path) -> Option<FileSource> {
    let folder = dump.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ["SYSTEM", "system", "System"].iter().find_map(|name| FileSource::open(&folder.join(name)).ok())
}

/// Reads a text and looks for what a Linux kernel printed.
fn read_text(source: &dyn Source, report: &mut dyn FnMut(Report)) -> Result<(), Error> {
    let text = text(source.bytes(0, TEXT_BYTES_MAX)?);
    let is_cut = source.size_bytes() > u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX);
    linux::read(&text, &mut |mut one| {
        if is_cut {
            one.warnings.push(format!("only the first {TEXT_BYTES_MAX} bytes were read: cut the log into parts"));
        }
        report(one);
    });
    Ok(())
}

/// Bytes as text, each at its place: what is no letter becomes `?`. In place: a second copy of a large log is memory for nothing.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut bytes = error.into_bytes();
        bytes.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
        // All of it is ASCII now.
        String::from_utf8(bytes).unwrap_or_default()
    })
}
