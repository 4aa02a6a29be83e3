//! Kills a listener that gives no sign of life, so that no exec waits for it longer than [`SILENCE_MAX`].
//!
//! A thread that only sleeps, reads shared memory and sends one signal: it opens nothing and starts nothing, so no mark can
//! stop it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};

use super::page::{now_ns, Page};

/// Longest silence. Long enough for a listener that waits for a processor on a busy machine, short enough that a person at
/// a terminal hardly notices.
pub const SILENCE_MAX: Duration = Duration::from_millis(200);
/// How often the watchdog looks: the silence is found at most this much late.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Watchdog {
    is_over: Arc<AtomicBool>,
    /// The silence after which it killed, ns; 0 if it did not.
    killed_after_ns: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches the process behind the page from now on.
    pub(super) fn start(page: Arc<Page>, pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
        // Not the number: the signal can then never meet another process.
        let process = pidfd_open(pid, PidfdFlags::empty()).context("opening the listener's process")?;
        let is_over = Arc::new(AtomicBool::new(false));
        let killed_after_ns = Arc::new(AtomicU64::new(0));
        let (over, killed) = (Arc::clone(&is_over), Arc::clone(&killed_after_ns));
        let watch = move || {
            let mut was_silent = false;
            while !over.load(Ordering::Acquire) {
                thread::sleep(LOOK_EVERY);
                let silence_ns = page.progress().silence_ns(now_ns());
                let is_silent = u128::from(silence_ns) > SILENCE_MAX.as_nanos();
                // Twice in a row: when the whole machine stood still, the listener gets its turn before it is judged.
                if is_silent && was_silent {
                    if !has_ended(&process) {
                        killed.store(silence_ns, Ordering::Release);
                        let _ = pidfd_send_signal(&process, Signal::KILL); // fails only if it has ended meanwhile
                    }
                    return;
                }
                was_silent = is_silent;
            }
        };
        let thread =
            thread::Builder::new().name("deny-watchdog".into()).spawn(watch).context("starting the watchdog")?;
        Ok(Self { is_over, killed_after_ns, thread: Some(thread) })
    }

    /// The silence after which it killed the listener.
    pub(super) fn killed_after(&self) -> Option<Duration> {
        match self.killed_after_ns.load(Ordering::Acquire) {
            0 => None,
            ns => Some(Duration::from_nanos(ns)),
        }
    }
}

/// A process that has ended is silent, too; it was not the watchdog then.
fn has_ended(process: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)), Ok(1..))
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it does not panic; were it to, there is nothing left to watch
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};

    use rustix::process::{waitid, WaitId, WaitIdOptions};

    use super::super::page::ARMED;
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("sleep runs")
    }

    #[test]
    fn a_listener_without_a_sign_of_life_is_killed() {
        let page = Arc::new(Page::create().expect("memory"));
        let mut listener = sleeper();
        let watchdog = Watchdog::start(Arc::clone(&page), listener.id()).expect("a watchdog");
        page.progress().beat();
        page.progress().phase.store(ARMED, Ordering::Release);
        let status = listener.wait().expect("our own child");
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        assert!(watchdog.killed_after().is_some_and(|silence| silence > SILENCE_MAX));
    }

    #[test]
    fn a_listener_that_ended_by_itself_was_not_killed() {
        let page = Arc::new(Page::create().expect("memory"));
        let mut listener = sleeper();
        listener.kill().expect("our own child");
        let pid = Pid::from_child(&listener);
        let without_reaping = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), without_reaping).expect("it ends");
        let watchdog = Watchdog::start(Arc::clone(&page), listener.id()).expect("not waited for yet");
        page.progress().phase.store(ARMED, Ordering::Release); // silent since the machine was started
        while !watchdog.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            thread::sleep(LOOK_EVERY);
        }
        assert_eq!(watchdog.killed_after(), None);
        listener.wait().expect("our own child");
    }
}
