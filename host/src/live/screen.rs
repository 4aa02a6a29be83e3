//! The terminal: keys without echo, writes that never wait, and the way back to how it was.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{
    isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, InputModes, LocalModes, OptionalActions, Termios,
};
use watertight_event::Class;

use super::view::{Line, Part};
use super::width::cut;
use crate::outlet::Outlet;
use crate::patience::now_ms;

/// Bytes that may wait for the terminal before no further lines are drawn.
const PENDING_BYTES_MAX: usize = 16 << 10;
/// How often is asked whether a terminal that takes nothing is to be given up: it must not hold up the account.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long the terminal may take for its own tidying.
const TIDY_MAX: Duration = Duration::from_millis(200);
/// Columns of a terminal that does not tell.
const COLUMNS: u16 = 80;
/// Letters of the kind of an event at the beginning of its line.
const KIND_CHARS: usize = 18;

const RESET: &str = "\x1b[0m";
/// To the beginning of the row, and nothing from there on.
const CLEAR: &str = "\r\x1b[J";

/// How a terminal was, to be put back when this is dropped. The supervisor holds it, so that it outlives a worker that is
/// killed.
pub struct Saved {
    modes: Termios,
}

impl Saved {
    /// The modes of the terminal at standard output.
    ///
    /// # Errors
    /// There is none.
    pub fn take() -> io::Result<Self> {
        Ok(Self { modes: tcgetattr(io::stdout())? })
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        // From the background the kernel would stop us; the shell has its own modes in place then.
        if is_foreground(io::stdout().as_fd()) {
            // A terminal that is gone needs nothing. A worker that was killed left its status line.
            let _ = tcsetattr(io::stdout(), OptionalActions::Now, &self.modes);
            let _ = Outlet::new(io::stdout()).write_within(CLEAR.as_bytes(), TIDY_MAX);
        }
    }
}

fn is_foreground(terminal: BorrowedFd<'_>) -> bool {
    // Not rustix's: a group of an outer pid namespace is 0 here, which its type can't hold.
    // SAFETY: it takes nothing and can't fail.
    let ours = unsafe { libc::getpgrp() };
    tcgetpgrp(terminal).is_ok_and(|group| group.as_raw_pid() == ours)
}

/// A terminal with one status line.
pub struct Screen {
    terminal: OwnedFd,
    has_colour: bool,
    has_keys: bool,
    is_ended: bool,
    pending: Vec<u8>,
}

impl Screen {
    /// Opens the terminal at standard output once more: this descriptor may be non-blocking, the shared one must not.
    ///
    /// # Errors
    /// It is no terminal, or can't be opened.
    pub fn open(has_colour: bool) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let terminal = rustix::fs::open("/proc/self/fd/1", flags, Mode::empty())?;
        if !isatty(&terminal) {
            return Err(io::Error::other("standard output is no terminal"));
        }
        for signal in [libc::SIGTTIN, libc::SIGTTOU] {
            // In the background a key or a mode must fail, not stop the sensor.
            // SAFETY: ignoring a signal runs no code.
            if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        let mut screen = Self { terminal, has_colour, has_keys: false, is_ended: false, pending: Vec::new() };
        screen.keep_keys();
        Ok(screen)
    }

    /// Has the terminal send keys at once and unseen, whenever we are in its foreground; signals and their keys stay. Said
    /// again and again, because a shell that stopped and continued us has set its own modes.
    pub fn keep_keys(&mut self) {
        self.has_keys = !self.is_ended && is_foreground(self.terminal.as_fd()) && self.set_modes().is_ok();
    }

    fn set_modes(&self) -> io::Result<()> {
        let mut modes = tcgetattr(&self.terminal)?;
        let lines = LocalModes::ICANON | LocalModes::ECHO;
        // Without flow control: a Ctrl-S would hold back what we write.
        if modes.local_modes.intersects(lines) || modes.input_modes.contains(InputModes::IXON) {
            modes.local_modes.remove(lines);
            modes.input_modes.remove(InputModes::IXON);
            tcsetattr(&self.terminal, OptionalActions::Now, &modes)?;
        }
        Ok(())
    }

    /// The terminal, while keys come from it.
    #[must_use]
    pub fn keys_from(&self) -> Option<BorrowedFd<'_>> {
        self.has_keys.then(|| self.terminal.as_fd())
    }

    /// Bytes of keys that are there.
    pub fn read(&mut self) -> Vec<u8> {
        let mut bytes = [0_u8; 256];
        if !self.has_keys {
            return Vec::new();
        }
        match rustix::io::read(&self.terminal, &mut bytes) {
            Ok(0) => {
                // Hung up: without this, waiting for keys would never wait again.
                self.is_ended = true;
                self.has_keys = false;
                Vec::new()
            }
            Ok(length) => bytes.get(..length).unwrap_or_default().to_vec(),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Vec::new(),
            Err(_) => {
                self.has_keys = false; // in the background; asked again with the next status line
                Vec::new()
            }
        }
    }

    /// Whether the terminal has taken most of what it was given.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.pending.len() < PENDING_BYTES_MAX
    }

    /// Draws these lines above the status line, and the status line anew.
    pub fn draw(&mut self, lines: &[Line], status: &str) {
        let columns = self.columns();
        self.put(CLEAR);
        for line in lines {
            let text = drawn(line, columns, self.has_colour);
            self.put(&text);
            self.put("\n");
        }
        // One column stays free: a full row would wrap on some terminals.
        let status = cut(status, columns.saturating_sub(1));
        if self.has_colour && !status.is_empty() {
            self.put(&format!("\x1b[7m{status}{RESET}"));
        } else {
            self.put(&status);
        }
    }

    /// Takes the status line away, and leaves a last word.
    pub fn end(&mut self, last: Option<&Line>) {
        self.draw(last.map(std::slice::from_ref).unwrap_or_default(), "");
    }

    /// Writes what the terminal takes now.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn push(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.terminal, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length.min(self.pending.len()))),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes everything, unless the terminal is given up that took nothing since then. Returns whether it took everything.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn push_all(&mut self, gives_up: &dyn Fn(u64) -> bool) -> io::Result<bool> {
        let mut since_ms = now_ms();
        loop {
            let before = self.pending.len();
            self.push()?;
            if self.pending.is_empty() {
                return Ok(true);
            }
            if self.pending.len() < before {
                since_ms = now_ms();
            }
            if gives_up(since_ms) {
                self.pending.clear();
                return Ok(false);
            }
            let mut fds = [PollFd::new(&self.terminal, PollFlags::OUT)];
            if matches!(poll(&mut fds, Some(&LOOK)), Ok(1..)) && self.pending.len() == before {
                std::thread::sleep(Duration::from_millis(10)); // room for less than one character of ours
            }
        }
    }

    fn put(&mut self, text: &str) {
        self.pending.extend_from_slice(text.as_bytes());
    }

    fn columns(&self) -> usize {
        let columns = tcgetwinsize(&self.terminal).map_or(0, |size| size.ws_col);
        usize::from(if columns == 0 { COLUMNS } else { columns })
    }
}

/// A line as it goes to the terminal. Events are cut to one row; an alert's explanation is not: it wraps.
fn drawn(line: &Line, columns: usize, has_colour: bool) -> String {
    let most = if matches!(line.part, Part::Event(_)) { columns } else { usize::MAX };
    let text = cut(&line.text, most);
    if !has_colour {
        return text;
    }
    let (colour, coloured_chars) = match line.part {
        Part::Event(Class::Process) => ("\x1b[32m", KIND_CHARS),
        Part::Event(Class::File) => return text,
        Part::Event(Class::Network) => ("\x1b[36m", KIND_CHARS),
        Part::Event(Class::System) => ("\x1b[33m", KIND_CHARS),
        Part::Event(Class::Sensor) => ("\x1b[35m", KIND_CHARS),
        Part::Alert => ("\x1b[1;31m", usize::MAX),
        Part::Why => ("\x1b[31m", usize::MAX),
        Part::Note => ("\x1b[1m", usize::MAX),
    };
    let end = text.char_indices().nth(coloured_chars).map_or(text.len(), |(at, _)| at);
    let (head, tail) = text.split_at(end);
    format!("{colour}{head}{RESET}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_row_and_an_explanation_is_whole() {
        let long = "x".repeat(200);
        let event = Line { part: Part::Event(Class::File), text: long.clone() };
        assert_eq!(drawn(&event, 80, false).chars().count(), 80);
        let why = Line { part: Part::Why, text: long.clone() };
        assert_eq!(drawn(&why, 80, false), long);
    }

    #[test]
    fn without_colour_no_escape_is_written() {
        for part in [Part::Alert, Part::Why, Part::Note, Part::Event(Class::Process)] {
            let line = Line { part, text: "a\u{1b}[31mb".to_owned() };
            assert!(!drawn(&line, 80, false).contains('\u{1b}'));
            assert!(drawn(&line, 80, true).ends_with(RESET));
        }
    }
}
