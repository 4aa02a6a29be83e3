//! Each line of standard output begins on a line of its own, though processes write it one after another and any of them may
//! be killed in the middle of one: whoever reads a recording then misses the half line, and not the next process's first one
//! with it.
//!
//! Of a file the last byte tells. A pipe can't be looked at, so the detector notes in the shared page when it is within a
//! write: killed there, it may have left a part. A newline then ends it, or is an empty line, which JSON takes for space.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{fcntl_getfl, fstat, seek, FileType, OFlags, SeekFrom};

use crate::outlet::Outlet;
use crate::patience::{self, now_ms, Asked};
use crate::worker::tally::Tally;

/// The word of the shared page: whatever was written ends with a newline.
const WHOLE: u64 = 0;
/// A write was begun and has not returned, or it ended within a line.
const BEGUN: u64 = 1;

/// How often the end of the run is looked for while the reader takes nothing.
const LOOK: Duration = Duration::from_millis(50);

/// Writes to a descriptor and notes whether the last line is whole. It holds nothing back.
///
/// Once the end of the run was asked for, a reader that stands still or is gone is given up: what is written then goes nowhere
/// and is counted, so that the run comes to its end and to its account.
pub struct NotedWriter<W> {
    to: Outlet<W>,
    tally: Arc<Tally>,
    given_up: Option<Untaken>,
}

/// What the reader did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// Why it was given up.
    pub why: String,
    /// Lines whose end it did not get.
    pub lines: u64,
}

impl<W: AsFd> NotedWriter<W> {
    /// A writer that notes in this page. To be made while the privileges to open `to` anew are still there.
    pub fn new(to: W, tally: Arc<Tally>) -> Self {
        Self { to: Outlet::new(to), tally, given_up: None }
    }

    /// From here on nothing more is written.
    pub fn give_up(&mut self, why: &str) {
        self.given_up.get_or_insert_with(|| Untaken { why: why.to_owned(), lines: 0 });
    }

    /// What was not written, if the reader was given up.
    #[must_use]
    pub fn untaken(&self) -> Option<&Untaken> {
        self.given_up.as_ref()
    }

    /// Some of the bytes; none when the reader is given up.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let since_ms = now_ms();
        loop {
            match self.to.write_within(bytes, LOOK) {
                Ok(None) if patience::wait(&self.tally, since_ms) => {
                    self.give_up(NOT_READ);
                    return Ok(0);
                }
                Ok(None) => {}
                Ok(Some(length)) => return Ok(length),
                Err(error) if Asked::told(&self.tally).first_ms != 0 => {
                    self.give_up(&error.to_string());
                    return Ok(0);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Why a reader is given up that is there.
pub const NOT_READ: &str = "the run was to end, and nobody read";

impl<W: AsFd> Write for NotedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let tally = Arc::clone(&self.tally);
        if self.given_up.is_none() {
            let before = tally.line().swap(BEGUN, Ordering::Relaxed);
            let written = self.write_some(bytes);
            patience::wait_no_more(&tally);
            let last = written.as_ref().ok().and_then(|length| bytes.get(length.checked_sub(1)?));
            let after = last.map_or(before, |byte| if *byte == b'\n' { WHOLE } else { BEGUN });
            tally.line().store(after, Ordering::Relaxed);
            if self.given_up.is_none() {
                return written;
            }
        }
        if let Some(untaken) = &mut self.given_up {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            untaken.lines = untaken.lines.saturating_add(u64::try_from(lines).unwrap_or(u64::MAX));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What ends a half line that an earlier process may have left on `out`, to be written before the next line; `noted` is the
/// word where it noted what it did.
#[must_use]
pub fn line_end(out: impl AsFd, noted: &AtomicU64) -> &'static str {
    let may_be_within = noted.swap(WHOLE, Ordering::Relaxed) != WHOLE;
    if last_byte(out.as_fd()).map_or(may_be_within, |last| last != b'\n') {
        "\n"
    } else {
        ""
    }
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
        out.write_all(line_end(&out, &AtomicU64::new(WHOLE)).as_bytes()).expect("room");
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
        let tally = Arc::new(Tally::create().expect("memory"));
        let (mut from, to) = io::pipe().expect("a pipe");
        let mut writer = NotedWriter::new(&to, Arc::clone(&tally));
        for bytes in writes {
            writer.write_all(bytes.as_bytes()).expect("room");
        }
        drop(writer);
        for _ in 0..2 {
            (&to).write_all(line_end(&to, tally.line()).as_bytes()).expect("room");
        }
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
    fn once_the_end_was_asked_for_a_reader_that_stands_still_is_given_up_and_the_lines_are_counted() {
        let tally = Arc::new(Tally::create().expect("memory"));
        let (_from, to) = io::pipe().expect("a pipe");
        let mut writer = NotedWriter::new(&to, Arc::clone(&tally));
        let filled = Outlet::new(&to);
        while filled.write_within(&[b'x'; 4_096], Duration::ZERO).expect("a reader").is_some() {}
        // Both long ago: nobody has to wait here.
        Asked { first_ms: 1, again_ms: 1, moved_ms: 0 }.tell(&tally);
        writer.write_all(b"{}\n{}\n").expect("it goes nowhere");
        writer.write_all(b"{}\n").expect("it goes nowhere");
        assert_eq!(writer.untaken(), Some(&Untaken { why: NOT_READ.into(), lines: 3 }));
        assert!(!patience::is_waiting(&tally), "it goes on");
    }

    #[test]
    fn a_reader_that_goes_away_at_the_end_does_not_take_the_account_with_it() {
        let tally = Arc::new(Tally::create().expect("memory"));
        let (from, to) = io::pipe().expect("a pipe");
        let mut writer = NotedWriter::new(&to, Arc::clone(&tally));
        drop(from);
        assert!(writer.write(b"{}\n").is_err(), "before the end was asked for, it ends the run");
        Asked { first_ms: now_ms(), ..Asked::default() }.tell(&tally);
        writer.write_all(b"{}\n").expect("it goes nowhere");
        assert!(writer.untaken().is_some_and(|untaken| untaken.why.contains("Broken pipe") && untaken.lines == 1));
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_noted() {
        let tally = Arc::new(Tally::create().expect("memory"));
        let full = File::options().write(true).open("/dev/full").expect("every Linux has it");
        assert!(NotedWriter::new(full, Arc::clone(&tally)).write(b"{").is_err());
        assert_eq!(tally.line().load(Ordering::Relaxed), WHOLE);
    }
}
