//! How the end of a run is asked for: by a signal, by `--for`, by a `q` at the terminal; and how impatiently.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::outlet::Outlet;
use crate::patience::{is_waiting, now_ms, Asked, READER_MS_MAX};
use crate::signals;
use crate::worker::tally::Tally;

/// Signals so soon after the end was asked for are the same wish: `timeout` and systemd send theirs twice, a terminal that
/// hangs up and its shell too.
const SAME_WISH_MS_MAX: u64 = 300;
/// Whatever a worker does then, it is ended so long after the end was asked for a second time.
const HURRIED_MAX_MS: u64 = 3_000;
/// How often the wish for the end is looked at while standard output takes nothing.
const LOOK: Duration = Duration::from_millis(50);

/// The first signal or `q`, a later signal, the end of `--for`, and when the reader was last seen to take something.
static FIRST_MS: AtomicU64 = AtomicU64::new(0);
static AGAIN_MS: AtomicU64 = AtomicU64::new(0);
static DUE_MS: AtomicU64 = AtomicU64::new(u64::MAX);
static MOVED_MS: AtomicU64 = AtomicU64::new(0);
/// Bytes that standard output holds and nobody has read, when last looked at.
static UNREAD: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_signal: libc::c_int) {
    ask();
    let now_ms = now_ms();
    if now_ms >= FIRST_MS.load(Relaxed).saturating_add(SAME_WISH_MS_MAX) {
        let _ = AGAIN_MS.compare_exchange(0, now_ms, Relaxed, Relaxed); // a third one changes nothing
    }
}

/// From here on the signals that end a run ask for its end.
///
/// # Errors
/// The kernel refused.
pub fn catch_signals() -> Result<()> {
    for signal in signals::ENDING {
        let handler = on_signal as extern "C" fn(libc::c_int);
        // SAFETY: the handler only reads a clock and stores to atomics, which is allowed in a signal handler.
        let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        if before == libc::SIG_ERR {
            return Err(io::Error::last_os_error()).context("catching signals");
        }
        if signal == libc::SIGHUP && before == libc::SIG_IGN {
            // `nohup` asked for a run that outlives its terminal.
            // SAFETY: ignoring a signal runs no code.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
    Ok(())
}

/// The run is to take so long from now on.
pub fn end_after(duration: Option<Duration>) {
    let due_ms =
        duration.map_or(u64::MAX, |most| now_ms().saturating_add(u64::try_from(most.as_millis()).unwrap_or(u64::MAX)));
    DUE_MS.store(due_ms, Relaxed);
}

/// The end is asked for now, if it was not before.
pub fn ask() {
    let _ = FIRST_MS.compare_exchange(0, now_ms(), Relaxed, Relaxed); // asked before: nothing changes
}

/// Whether the end was asked for.
#[must_use]
pub fn is_asked() -> bool {
    asked().first_ms != 0
}

fn asked() -> Asked {
    let [signal_ms, again_ms, due_ms, moved_ms] = [&FIRST_MS, &AGAIN_MS, &DUE_MS, &MOVED_MS].map(|ms| ms.load(Relaxed));
    merged(signal_ms, again_ms, if now_ms() >= due_ms { due_ms } else { 0 }, moved_ms)
}

/// The first signal after the end of `--for` asks for the end again, as the second one without it does.
fn merged(signal_ms: u64, again_ms: u64, due_ms: u64, moved_ms: u64) -> Asked {
    let is_after_due = due_ms != 0 && signal_ms >= due_ms.saturating_add(SAME_WISH_MS_MAX);
    let again_ms = if is_after_due { signal_ms } else { again_ms };
    let first_ms = if signal_ms == 0 || due_ms == 0 { signal_ms.max(due_ms) } else { signal_ms.min(due_ms) };
    Asked { first_ms, again_ms, moved_ms }
}

/// Looks whether the reader moves and tells the detector how the end stands. Cheap: to be called while waiting.
pub fn look(tally: &Tally) {
    look_at_reader();
    asked().tell(tally);
}

/// A reader may take so little at a time that there is no room to write, and still read.
fn look_at_reader() {
    let (mut in_pipe, mut in_queue): (libc::c_int, libc::c_int) = (0, 0);
    let stdout = io::stdout().as_raw_fd();
    // SAFETY: both commands write one int into the variable, which lives through the call, or fail without harm.
    unsafe {
        libc::ioctl(stdout, libc::FIONREAD, &raw mut in_pipe);
        libc::ioctl(stdout, libc::TIOCOUTQ, &raw mut in_queue);
    }
    let unread = (u64::from(in_pipe.unsigned_abs()) << 32) | u64::from(in_queue.unsigned_abs());
    if UNREAD.swap(unread, Relaxed) != unread {
        MOVED_MS.store(now_ms(), Relaxed);
    }
}

/// Writes a line of the supervisor itself to standard output.
///
/// # Errors
/// It takes nothing any more, or nobody reads it and the end was asked for.
pub fn put(line: &str) -> io::Result<()> {
    put_to(&Outlet::new(io::stdout()), line)
}

/// The same to the pipe for what is to be reported, which is at standard input.
///
/// # Errors
/// As [`put`].
pub fn put_record(line: &str) -> io::Result<()> {
    put_to(&Outlet::new(io::stdin()), line)
}

fn put_to(out: &Outlet<impl AsFd>, line: &str) -> io::Result<()> {
    let (mut rest, mut since_ms) = (line.as_bytes(), now_ms());
    while !rest.is_empty() {
        if let Some(length) = out.write_within(rest, LOOK)? {
            (rest, since_ms) = (rest.get(length..).unwrap_or_default(), now_ms());
            continue;
        }
        look_at_reader();
        if asked().is_over(since_ms, now_ms()) {
            return Err(io::Error::other(format!(
                "nobody has read it, for {} s or until the run was told again to end",
                READER_MS_MAX / 1_000
            )));
        }
    }
    Ok(())
}

/// Time that a worker is given for its end, less what it waits for whoever reads the output.
pub struct Allowance {
    left: Duration,
    looked: Instant,
}

impl Allowance {
    /// So long.
    #[must_use]
    pub fn of(most: Duration) -> Self {
        Self { left: most, looked: Instant::now() }
    }

    /// Whether it is used up; tells the detector how the end stands.
    pub fn is_used_up(&mut self, tally: &Tally) -> bool {
        look(tally);
        let now = Instant::now();
        if !is_waiting(tally) {
            self.left = self.left.saturating_sub(now.saturating_duration_since(self.looked));
        }
        self.looked = now;
        let again_ms = asked().again_ms;
        self.left.is_zero() || (again_ms != 0 && now_ms() >= again_ms.saturating_add(HURRIED_MAX_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_wish_is_one_that_comes_after_the_first_whoever_said_that() {
        assert_eq!(merged(0, 0, 0, 7), Asked { moved_ms: 7, ..Asked::default() });
        assert_eq!(merged(0, 0, 900, 0), Asked { first_ms: 900, ..Asked::default() });
        assert_eq!(merged(1_000, 0, 900, 0), Asked { first_ms: 900, ..Asked::default() }, "at the same time");
        assert_eq!(merged(1_500, 0, 900, 0), Asked { first_ms: 900, again_ms: 1_500, moved_ms: 0 });
        assert_eq!(merged(500, 850, 0, 0), Asked { first_ms: 500, again_ms: 850, moved_ms: 0 });
    }

    #[test]
    fn what_a_worker_waits_for_its_reader_is_not_taken_from_its_time() {
        let tally = Tally::create().expect("memory");
        let mut allowance = Allowance::of(Duration::from_millis(1));
        let _ = crate::patience::wait(&tally, now_ms());
        std::thread::sleep(Duration::from_millis(2));
        assert!(!allowance.is_used_up(&tally));
        crate::patience::wait_no_more(&tally);
        std::thread::sleep(Duration::from_millis(2));
        assert!(allowance.is_used_up(&tally));
    }
}
