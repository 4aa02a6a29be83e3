//! A descriptor that is written without ever waiting longer than was said: a pipe that nobody reads and a terminal that takes
//! nothing must not hold up who writes.
//!
//! The descriptor is shared with whoever started us, so it is not made non-blocking, which would be their surprise: a pipe or
//! terminal is opened once more. Where that is refused, and for sockets, it is asked for room first and written in pieces that
//! the kernel takes whole.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{fstat, open, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Bytes that a pipe with any room takes at once (PIPE_BUF).
pub const PIECE_BYTES: usize = 4_096;

/// A descriptor and the way to write it.
#[derive(Debug)]
pub struct Outlet<W> {
    shared: W,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// A file: it takes what it is given, or fails.
    Whole,
    /// Opened once more, for us alone, non-blocking.
    Own(OwnedFd),
    Pieces,
}

impl<W: AsFd> Outlet<W> {
    /// To be called while the privileges to open it are still there.
    pub fn new(shared: W) -> Self {
        let way = way_of(shared.as_fd());
        Self { shared, way }
    }

    /// Writes some of these bytes and returns how many; `None` if it took nothing for so long.
    ///
    /// # Errors
    /// It takes nothing any more: the reader is gone, the disk is full.
    pub fn write_within(&self, bytes: &[u8], most: Duration) -> io::Result<Option<usize>> {
        match &self.way {
            Way::Whole => told(rustix::io::write(&self.shared, bytes)),
            Way::Own(own) => match told(rustix::io::write(own, bytes))? {
                None if is_ready(own.as_fd(), most) => {
                    let written = told(rustix::io::write(own, bytes))?;
                    if written.is_none() {
                        std::thread::sleep(most); // a terminal with room for less than one character of ours
                    }
                    Ok(written)
                }
                written => Ok(written),
            },
            Way::Pieces if !is_ready(self.shared.as_fd(), most) => Ok(None),
            Way::Pieces => told(rustix::io::write(&self.shared, bytes.get(..PIECE_BYTES).unwrap_or(bytes))),
        }
    }
}

fn way_of(fd: BorrowedFd<'_>) -> Way {
    let found = fstat(fd).map(|found| FileType::from_raw_mode(found.st_mode));
    let may_wait = match found {
        Ok(FileType::CharacterDevice) => rustix::termios::isatty(fd),
        Ok(kind) => matches!(kind, FileType::Fifo | FileType::Socket),
        Err(_) => false,
    };
    if !may_wait {
        return Way::Whole;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, Mode::empty()).map_or(Way::Pieces, Way::Own)
}

fn told(written: rustix::io::Result<usize>) -> io::Result<Option<usize>> {
    match written {
        Ok(length) => Ok(Some(length)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_ready(fd: BorrowedFd<'_>, most: Duration) -> bool {
    let most =
        Timespec { tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(most.subsec_nanos()) };
    // An error is an answer, too: the write says which.
    matches!(poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&most)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Writes until nothing more is taken; returns how much was.
    fn fill<W: AsFd>(outlet: &Outlet<W>) -> usize {
        let mut taken = 0;
        while let Some(length) = outlet.write_within(&[b'x'; 10_000], Duration::ZERO).expect("there is a reader") {
            taken += length;
        }
        taken
    }

    #[test]
    fn a_pipe_that_nobody_reads_takes_what_it_holds_and_then_nobody_waits() {
        let (mut from, to) = io::pipe().expect("a pipe");
        let outlet = Outlet::new(&to);
        assert!(matches!(outlet.way, Way::Own(_)), "{outlet:?}");
        let taken = fill(&outlet);
        assert!(taken > 0);
        let flags = rustix::fs::fcntl_getfl(&to).expect("our own");
        assert!(!flags.contains(OFlags::NONBLOCK), "whoever shares it still waits");
        drop(outlet);
        drop(to);
        let mut brought = Vec::new();
        assert_eq!(from.read_to_end(&mut brought).expect("it ends with the last writer"), taken);
    }

    #[test]
    fn without_a_descriptor_of_its_own_it_writes_pieces_that_are_taken_whole() {
        let (_from, to) = io::pipe().expect("a pipe");
        let outlet = Outlet { shared: to, way: Way::Pieces };
        assert_eq!(fill(&outlet) % PIECE_BYTES, 0);
        let (_from, to) = std::os::unix::net::UnixStream::pair().expect("sockets");
        let outlet = Outlet::new(to);
        assert!(matches!(outlet.way, Way::Pieces), "a socket can't be opened by its name: {outlet:?}");
        assert!(fill(&outlet) > 0);
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_and_not_a_wait() {
        let (from, to) = io::pipe().expect("a pipe");
        let before = Outlet::new(&to);
        drop(from);
        for outlet in [before, Outlet::new(&to)] {
            let refused = outlet.write_within(b"x", Duration::from_secs(3_600)).expect_err("nobody reads");
            assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
