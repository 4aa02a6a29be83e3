//! Lines from a descriptor of the supervisor's or the sources', for one who must never wait for a line that is not whole yet.

use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::BorrowedFd;

use rustix::event::{poll, PollFd, PollFlags, Timespec};

/// Bytes taken from a pipe at once.
const PIPE_BYTES: usize = 256 << 10;
/// Longest line that the pipe of the sources may bring: an event's largest strings, escaped.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Lines from a descriptor, without ever blocking where `ready_line` is called.
pub struct Lines<R> {
    reader: BufReader<R>,
    pending: Vec<u8>,
    is_ended: bool,
}

impl<R: Read + std::os::fd::AsFd> Lines<R> {
    /// Reads from this descriptor.
    pub fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(PIPE_BYTES, reader), pending: Vec::new(), is_ended: false }
    }

    /// To be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.reader.get_ref().as_fd()
    }

    /// Whether nothing more comes.
    pub fn is_ended(&self) -> bool {
        self.is_ended && self.pending.is_empty()
    }

    /// The next whole line that is there already.
    pub fn ready_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.buffered_line()? {
                return Ok(Some(line));
            }
            let mut fds = [PollFd::from_borrowed_fd(self.reader.get_ref().as_fd(), PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if self.is_ended || poll(&mut fds, Some(&now))? == 0 {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    /// The next line, waiting for it; `None` at the end.
    pub fn wait_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.buffered_line()? {
                return Ok(Some(line));
            }
            if self.is_ended {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.reader.fill_buf()?.is_empty() {
            self.is_ended = true;
            self.pending.clear(); // half a line of a writer that died
        }
        Ok(())
    }

    fn buffered_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let buffer = self.reader.buffer();
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut self.pending);
            line.extend(buffer.iter().take(end));
            self.reader.consume(end.saturating_add(1));
            return Ok(Some(line));
        }
        let whole = buffer.len();
        self.pending.extend_from_slice(buffer);
        self.reader.consume(whole);
        if self.pending.len() > LINE_BYTES_MAX {
            return Err(io::Error::other("a line without end on a pipe of ours"));
        }
        Ok(None)
    }
}
