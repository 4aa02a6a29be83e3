//! Kills a listener that gives no sign of life, so that no exec waits for it longer than [`SILENCE_MAX`].
//!
//! A thread that only sleeps, reads shared memory and sends one signal: it opens nothing and starts nothing, so no mark can
//! stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
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
            while !over.load(Ordering::Acquire) {
                thread::sleep(LOOK_EVERY);
                let silence_ns = page.progress().silence_ns(now_ns());
                if u128::from(silence_ns) > SILENCE_MAX.as_nanos() {
                    killed.store(silence_ns, Ordering::Release);
                    let _ = pidfd_send_signal(&process, Signal::KILL); // fails only if it has ended already
                    return;
                }
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

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it does not panic; were it to, there is nothing left to watch
        }
    }
}
