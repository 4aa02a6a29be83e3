//! One file in, its reports out.

use std::path::{Path, PathBuf};

use crate::bucket;
use crate::format::{Format, HEAD_BYTES};
use crate::linux;
use crate::report::Report;
use crate::source::{FileSource, Source};
use crate::Error;

/// Longest text that is read: 256 MiB. A log is read whole, because a report may begin anywhere in it.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// How to examine.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Leave out of the reports what may be secret: stack words that point at no code, and arguments of processes.
    pub redacts: bool,
    /// Folders with PDB files, from which functions of Windows dumps get their names.
    pub symbols: Vec<PathBuf>,
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
    let file = path.to_string_lossy().into_owned();
    let mut found = 0_u64;
    let outcome = read(path, options, &mut |mut one: Report| {
        found = found.saturating_add(1);
        one.file.clone_from(&file);
        bucket::assign(&mut one);
        if options.redacts {
            one.redact();
        }
        report(one);
    });
    match outcome {
        Ok(()) if found > 0 => Examined::Found(found),
        Ok(()) => {
            report(Report::none(file, None));
            Examined::Nothing
        }
        Err(error) => {
            report(Report::none(file, Some(error.to_string())));
            Examined::Failed
        }
    }
}

/// Calls the reader of the file's format.
fn read(path: &Path, options: &Options, report: &mut dyn FnMut(Report)) -> Result<(), Error> {
    let source = FileSource::open(path)?;
    match Format::of(&source.bytes(0, HEAD_BYTES)?) {
        Format::Text => read_text(&source, report),
        Format::WindowsKernel64 => {
            report(crate::windows::read(&source, &options.symbols)?);
            Ok(())
        }
        format => Err(Error::NoReader { format }),
    }
}

/// Reads a text and looks for what a Linux kernel printed.
fn read_text(source: &FileSource, report: &mut dyn FnMut(Report)) -> Result<(), Error> {
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

/// Bytes as text, each at its place: what is no letter becomes `?`.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        bytes.into_iter().map(|byte| if byte.is_ascii() { char::from(byte) } else { '?' }).collect()
    })
}
