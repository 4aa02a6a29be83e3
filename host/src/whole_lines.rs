//! Each line of standard output begins on a line of its own, though processes write it one after another and any of them may
//! be killed in the middle of one: whoever reads a recording then misses the half line, and not the next process's first one
//! with it.
//!
//! Of a file the last byte tells. A pipe can't be looked at, so the detector notes in the shared page when it is within a
//! write: killed there, it may have left a part. A newline then ends it, or is an empty line, which JSON takes for space.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{fcntl_getfl, fstat, seek, FileType, OFlags, SeekFrom};

use crate::worker::tally::Tally;

/// The word of the shared page: whatever was written ends with a newline.
const WHOLE: u64 = 0;
/// A write was begun and has not returned, or it ended within a line.
const BEGUN: u64 = 1;

/// Writes to a descriptor and notes whether the last line is whole. It holds nothing back.
pub struct NotedWriter<W> {
    to: W,
    tally: Rc<Tally>,
}

impl<W: AsFd> NotedWriter<W> {
    /// A writer that notes in this page.
    pub fn new(to: W, tally: Rc<Tally>) -> Self {
        Self { to, tally }
    }
}

impl<W: AsFd> Write for NotedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let word = self.tally.line();
        let before = word.swap(BEGUN, Ordering::Relaxed);
        let written = rustix::io::write(&self.to, bytes);
        let last = written.as_ref().ok().and_then(|length| bytes.get(length.checked_sub(1)?));
        word.store(last.map_or(before, |byte| if *byte == b'\n' { WHOLE } else { BEGUN }), Ordering::Relaxed);
        Ok(written?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends a half line that an earlier process may have left on `out`; `noted` is the word where it noted what it did.
///
/// # Errors
/// `out` takes no more.
pub fn begin_line(out: impl AsFd, noted: &AtomicU64) -> io::Result<()> {
    let may_be_within = noted.swap(WHOLE, Ordering::Relaxed) != WHOLE;
    if last_byte(out.as_fd()).map_or(may_be_within, |last| last != b'\n') {
        rustix::io::write(out, b"\n")?;
    }
    Ok(())
}

/// The byte before the place where the next one goes; a newline where there is none. `None` where it can't be told: `out` is no
/// file, or may not be read.
fn last_byte(out: impl AsFd) -> Option<u8> {
    let found = fstat(&out).ok()?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return None;
    }
    let end = match fcntl_getfl(&out).ok()?.contains(OFlags::APPEND) {
        true => u64::try_from(found.st_size).ok()?,
        false => seek(&out, SeekFrom::Current(0)).ok()?,
    };
    let Some(last) = end.checked_sub(1) else { return Some(b'\n') };
    // Opened anew: a shell's `>` gives a descriptor that can't be read.
    let file = std::fs::File::open(format!("/proc/self/fd/{}", out.as_fd().as_raw_fd())).ok()?;
    let mut byte = [0_u8];
    file.read_exact_at(&mut byte, last).ok()?;
    let [byte] = byte;
    Some(byte)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Read as _;

    use super::*;

    /// What a file holds after a process left `left` and another begins a line.
    fn file_after(left: &str, options: &OpenOptions) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        std::fs::write(&path, "an older line that is cut").expect("a file");
        let mut out = options.open(&path).expect("a file");
        out.write_all(left.as_bytes()).expect("room");
        begin_line(&out, &AtomicU64::new(WHOLE)).expect("room");
        out.write_all(b"next\n").expect("room");
        std::fs::read_to_string(&path).expect("a file")
    }

    #[test]
    fn in_a_file_a_half_line_is_ended_and_a_whole_one_is_left_alone() {
        let mut anew = OpenOptions::new();
        anew.write(true).truncate(true);
        assert_eq!(file_after("half", &anew), "half\nnext\n");
        assert_eq!(file_after("whole\n", &anew), "whole\nnext\n");
        assert_eq!(file_after("", &anew), "next\n");
        let mut appended = OpenOptions::new();
        appended.append(true);
        assert_eq!(file_after("", &appended), "an older line that is cut\nnext\n");
        assert_eq!(file_after(" here\n", &appended), "an older line that is cut here\nnext\n");
    }

    /// What a pipe brings after these writes and the begin of a line.
    fn pipe_after(writes: &[&str]) -> String {
        let tally = Rc::new(Tally::create().expect("memory"));
        let (mut from, to) = io::pipe().expect("a pipe");
        let mut writer = NotedWriter::new(&to, Rc::clone(&tally));
        for bytes in writes {
            writer.write_all(bytes.as_bytes()).expect("room");
        }
        begin_line(&to, tally.line()).expect("room");
        begin_line(&to, tally.line()).expect("room");
        drop(to);
        let mut brought = String::new();
        from.read_to_string(&mut brought).expect("text");
        brought
    }

    #[test]
    fn in_a_pipe_a_newline_comes_once_after_a_write_that_ended_within_a_line_and_else_none() {
        assert_eq!(pipe_after(&["{}\n", "{}\n{\"ha"]), "{}\n{}\n{\"ha\n");
        assert_eq!(pipe_after(&["{}\n{", "}\n"]), "{}\n{}\n");
        assert_eq!(pipe_after(&[]), "");
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_noted() {
        let tally = Rc::new(Tally::create().expect("memory"));
        let full = File::options().write(true).open("/dev/full").expect("every Linux has it");
        assert!(NotedWriter::new(full, Rc::clone(&tally)).write(b"{").is_err());
        assert_eq!(tally.line().load(Ordering::Relaxed), WHOLE);
    }
}
