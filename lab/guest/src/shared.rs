//! One run of the product that tests share, because a start and a stop take ten seconds in emulation:
//!
//! ```ignore
//! let watch = shared::watch()?;                         // starts the run unless it is going on
//! let act = file::create("/tmp/wt-marked")?;
//! let events = watch.events()?;                         // everything of what was done since, and nothing else
//! ```
//!
//! For tests that start no run of their own, kill nothing and filter nothing. What is told only at a run's end is the same for
//! all of them, and [`whole`] has it.

use crate::action::{file, network};
use crate::product::{Events, Watertight};
use anyhow::{ensure, Context, Result};
use std::fs;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the last event of each ring may take: a storm before it has to be read first.
const SAID_MAX: Duration = Duration::from_secs(120);
/// Written to by whoever wants the process from before to go on.
pub const BEGIN: &str = "/tmp/wt-begin";
/// What that process makes then.
pub const FROM_BEFORE: &str = "/tmp/wt-from-before";

static SHARED: Mutex<Shared> = Mutex::new(Shared { going_on: None, ended: None });

struct Shared {
    going_on: Option<Arc<Run>>,
    /// What the last one said, once it has ended.
    ended: Option<Arc<Events>>,
}

/// The run, and a process that was there before it.
pub struct Run {
    watertight: Watertight,
    /// A shell in `/run` that waits for [`BEGIN`], runs a program, and makes [`FROM_BEFORE`].
    pub before: Mutex<Child>,
}

/// A test's part of the shared run.
pub struct Watch {
    run: Arc<Run>,
    from: usize,
}

/// From here on: starts the run unless it is going on.
pub fn watch() -> Result<Watch> {
    let mut shared = lock();
    let run = match &shared.going_on {
        Some(run) => Arc::clone(run),
        None => {
            let run = Arc::new(Run::start().context("starting the run that tests share")?);
            shared.going_on = Some(Arc::clone(&run));
            run
        }
    };
    let from = run.lines();
    Ok(Watch { run, from })
}

/// Everything that the shared run said, ended now if it is still going on. Its account balances and it has lost nothing.
pub fn whole() -> Result<Arc<Events>> {
    if lock().ended.is_none() {
        watch()?; // nobody has used it: by filter, a test that asks for the whole may be alone
    }
    end()?;
    lock().ended.clone().context("the shared run ended without a word")
}

/// Ends the run if it is going on, so that others can start.
pub fn end() -> Result<()> {
    let mut shared = lock();
    let Some(run) = shared.going_on.take() else { return Ok(()) };
    let run = Arc::into_inner(run).context("a test that has not ended still watches the shared run")?;
    let _ = run.before.lock().unwrap_or_else(PoisonError::into_inner).kill(); // most have ended long ago
    let events = run.watertight.stop().context("ending the run that tests shared")?;
    let summary = events.summary()?;
    ensure!(summary["balanced"] == true, "the account of the shared run does not balance: {summary}");
    for hook in summary["hooks"].as_array().context("hooks")? {
        ensure!(hook["lost_ring_full"] == 0 && hook["lost_no_scratch"] == 0, "the shared run has lost events: {hook}");
    }
    shared.ended = Some(Arc::new(events));
    Ok(())
}

fn lock() -> MutexGuard<'static, Shared> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    fn start() -> Result<Self> {
        let _ = fs::remove_file(BEGIN);
        file::make_fifo(BEGIN)?.done()?;
        let script = format!("cd /run; read -r word < {BEGIN}; /bin/true; : > {FROM_BEFORE}");
        let before = Command::new("/bin/sh").args(["-c", &script, "wt-mark"]).stdin(Stdio::null()).spawn()?;
        // Processes that come and go while those that are there are read.
        let passing = Command::new("/bin/sh").args(["-c", "for i in 1 2 3 4 5 6 7 8; do /bin/true; done"]).spawn();
        let watertight = Watertight::start();
        ensure!(passing?.wait()?.success(), "the passing processes failed");
        Ok(Self { watertight: watertight?, before: Mutex::new(before) })
    }
}

impl Deref for Run {
    type Target = Watertight;

    fn deref(&self) -> &Watertight {
        &self.watertight
    }
}

impl Deref for Watch {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

impl Watch {
    /// What was said of everything that was done since the watch began, and the run's first line. Each ring is first in, first
    /// out: once the last operation in each of them is told, everything before it is.
    pub fn events(self) -> Result<Events> {
        let last_file = file::create("/tmp/wt-last")?;
        file::unlink("/tmp/wt-last")?.done()?;
        let last_net = network::udp_send("127.0.0.1:9")?;
        for act in [&last_file, &last_net] {
            act.done()?;
        }
        let last = [("file.create", &last_file), ("network.send", &last_net), ("process.exit", &last_net)];
        for (kind, act) in last {
            self.wait_for_act(self.from, kind, act, SAID_MAX)?;
        }
        Ok(self.events_since(self.from))
    }
}
