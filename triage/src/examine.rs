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

/// How much of a text is read.
#[derive(Clone, Copy, Debug)]
struct TextBounds {
    /// Bytes that are in memory at a time, and that are always read of the end.
    part_bytes: u64,
    /// Bytes that two parts share, so that a report is whole in one of them: the longest report of 20,000 lines seldom has more.
    overlap_bytes: u64,
    /// Bytes that are read: some seconds of work.
    total_bytes: u64,
}

const TEXT_BOUNDS: TextBounds = TextBounds { part_bytes: 256 << 20, overlap_bytes: 4 << 20, total_bytes: 768 << 20 };

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
    let mut named = |mut one: Report| {
        one.set_file(path);
        report(one);
    };
    match FileSource::open(path) {
        Ok(source) => examine_source("", &source, &|| system_hive(path), options, &mut named),
        Err(error) => {
            named(Report::none(String::new(), Some(error.to_string())));
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
        Ok(_) if found > 0 => Examined::Found(found),
        Ok(warnings) => {
            let none = Report::none(file.to_owned(), None);
            report(Report { warnings, ..none });
            Examined::Nothing
        }
        Err(error) => {
            report(Report::none(file.to_owned(), Some(error.to_string())));
            Examined::Failed
        }
    }
}

/// Calls the reader of the file's format. Returns what it has to say of the file as a whole.
fn read(
    source: &dyn Source,
    hive: &dyn Fn() -> Option<FileSource>,
    options: &Options,
    report: &mut dyn FnMut(Report),
) -> Result<Vec<String>, Error> {
    let symbols = options.symbols.as_ref();
    match Format::of(&source.bytes(0, HEAD_BYTES)?) {
        Format::Text => return read_text(source, TEXT_BOUNDS, report),
        Format::WindowsKernel64 => {
            let hive = hive();
            report(crate::windows::read(source, symbols, hive.as_ref().map(|hive| hive as &dyn Source))?);
        }
        Format::Minidump => report(crate::process::minidump(source, &options.symbols)?),
        Format::Kdump => report(crate::vmcore::read(source)?),
        Format::ElfCore if crate::vmcore::is_kernel(source)? => report(crate::vmcore::read(source)?),
        Format::ElfCore => report(crate::process::elf_core(source, &options.symbols)?),
        format => return Err(Error::NoReader { format }),
    }
    Ok(Vec::new())
}

/// The registry's SYSTEM hive, if whoever collected the dump put it beside it.
#[must_use]
pub fn system_hive(dump: &Path) -> Option<FileSource> {
    let folder = dump.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ["SYSTEM", "system", "System"].iter().find_map(|name| FileSource::open(&folder.join(name)).ok())
}

/// Reads a text and looks for what a Linux kernel printed. A long one is read part by part; of one beyond all bounds the middle is left
/// out, because a machine's last words stand at the end. Returns what has to be said of the text as a whole.
fn read_text(source: &dyn Source, bounds: TextBounds, report: &mut dyn FnMut(Report)) -> Result<Vec<String>, Error> {
    let size = source.size_bytes();
    let wide = linux::wide(&source.bytes(0, HEAD_BYTES)?);
    let tail = size.saturating_sub(bounds.part_bytes) & !1; // a letter may have two bytes
    let left_out = (size > bounds.total_bytes).then(|| bounds.total_bytes.saturating_sub(bounds.part_bytes)..tail);
    let warning = left_out.as_ref().map(|left_out| {
        format!(
            "of {size} bytes those from {} to {} were not read: cut the log into parts",
            left_out.start, left_out.end
        )
    });
    let mut reader = linux::Reader::default();
    // The last one waits: what is known of the text when it has been read is told with it.
    let mut last: Option<Report> = None;
    let mut offset = 0_u64;
    while offset < size {
        let wanted = usize::try_from(bounds.part_bytes).unwrap_or(usize::MAX);
        let text = text(source.bytes(offset, wanted)?, wide);
        let read = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let ends_here = offset.saturating_add(read) >= size || read == 0;
        // What begins near the part's end is left to the next part, which has all of it.
        let overlap = usize::try_from(bounds.overlap_bytes).unwrap_or(usize::MAX);
        let limit = if ends_here { text.len() } else { line_start(&text, text.len().saturating_sub(overlap)) };
        let end = reader.read(&text, 0..limit, &mut |mut one| {
            if let Some(span) = &mut one.span {
                span.start = span.start.saturating_add(offset);
                span.end = span.end.saturating_add(offset);
            }
            one.warnings.extend(warning.clone());
            last.replace(one).into_iter().for_each(&mut *report);
        });
        let Some(end) = end.filter(|_| !ends_here) else { break };
        offset = offset.saturating_add(u64::try_from(end.max(limit).max(1)).unwrap_or(u64::MAX));
        if left_out.as_ref().is_some_and(|left_out| left_out.contains(&offset)) {
            offset = tail;
        }
    }
    let spent = reader.warning();
    if let Some(mut one) = last {
        one.warnings.extend(spent.clone());
        report(one);
    }
    Ok(warning.into_iter().chain(spent).collect())
}

/// The start of the line that holds that byte.
fn line_start(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    // A line without end is cut where it is.
    memchr::memrchr(b'\n', before).map_or(at, |end| end.saturating_add(1))
}

/// Bytes as text, each at its place: what is no letter becomes `?`, lines that are JSON become their text, and a terminal's
/// colours are taken out. In place: a second copy of a large log is memory for nothing.
fn text(mut bytes: Vec<u8>, wide: Option<linux::ByteOrder>) -> String {
    if let Some(order) = wide {
        linux::narrow(&mut bytes, order);
    }
    linux::unpack(&mut bytes);
    linux::clean(&mut bytes);
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut bytes = error.into_bytes();
        bytes.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
        // All of it is ASCII now.
        String::from_utf8(bytes).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: TextBounds = TextBounds { part_bytes: 1_000, overlap_bytes: 200, total_bytes: 3_000 };
    const CRASH: &str = "[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000010
[    1.000000] Oops: 0000 [#1] SMP
[    1.000000] RIP: 0010:frob_open+0x10/0x20 [frob]
";

    /// Spans and warnings of the reports of a log that has the crash behind so many bytes of other lines, and so many behind it.
    fn spans(before: usize, behind: usize) -> (Vec<(u64, u64)>, Vec<String>) {
        let line = "[    0.500000] frob0: link up\n";
        let filler = |bytes: usize| line.repeat(bytes.div_ceil(line.len()));
        let text = format!("{}{CRASH}{}", filler(before), filler(behind));
        let mut found = Vec::new();
        let warning = read_text(&text.into_bytes(), BOUNDS, &mut |one| {
            let span = one.span.expect("a place");
            assert_eq!(one.frames.len(), 1, "whole: {one:?}");
            found.push((span.start, span.end));
        });
        (found, warning.expect("memory"))
    }

    #[test]
    fn a_crash_of_a_long_log_is_told_once_wherever_it_begins() {
        for before in (0..2_400).step_by(30) {
            let start = u64::try_from(before).expect("small");
            let length = u64::try_from(CRASH.len() - 1).expect("small");
            assert_eq!(spans(before, 300), (vec![(start, start + length)], vec![]), "behind {before} bytes");
        }
    }

    #[test]
    fn the_end_of_an_endless_log_is_read_and_what_was_not_is_told() {
        let (found, warning) = spans(30_000, 0);
        assert_eq!(found.len(), 1);
        assert!(warning.concat().contains("those from 2000 to "));
        let (found, warning) = spans(10_020, 20_010);
        assert!(found.is_empty() && !warning.is_empty());
    }

    #[test]
    fn a_log_without_line_ends_is_read_to_its_end() {
        let warning = read_text(&vec![b'x'; 2_900], BOUNDS, &mut |one| panic!("{one:?}"));
        assert!(warning.expect("memory").is_empty());
    }
}
