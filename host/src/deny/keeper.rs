//! The supervisor's side: starts the listener, looks after it at each beat, and says what is in force.
//!
//! A listener that died is not started again until a policy is applied: what made it silent may still be there, and each
//! try would hold up execs once more. It is told as an event and by `status`.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::{fcntl_setfd, FdFlags};
use watertight_event::{Event, Field, Kind, Outcome, Source, Text, Value};
use watertight_policy::{Mode, Policy};

use super::denials::Denial;
use super::listener::{Marked, Ready};
use super::page::Page;
use super::store::{self, MarkStatus, Stamp, Status};
use super::watchdog::Watchdog;
use super::BYPASSES;
use crate::output::sensor_event;
use crate::signals::spawn_sheltered;

/// How long the listener may take to look up files and set marks.
const START_MAX: Duration = Duration::from_secs(30);
/// How long it may take to end when it is told to.
const END_MAX: Duration = Duration::from_secs(1);
/// How often the counts are written for `status`.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Denials told at one look: more than the page holds.
const TOLD_AT_ONCE: usize = 4_096;
/// Longest line that the listener may say: all marks with the longest paths.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Keeps denial by fanotify in force while the run lasts.
pub struct Keeper {
    executable: PathBuf,
    state: PathBuf,
    loader: Option<PathBuf>,
    /// BPF LSM denies: there is nothing to keep.
    is_needless: bool,
    stored: Option<Stamp>,
    listener: Option<Listener>,
    status: Option<Status>,
    written: Instant,
    /// The counts have changed since.
    has_news: bool,
}

impl Keeper {
    /// Starts the listener if a kept policy asks for it and the kernel refuses BPF LSM (`has_lsm` is false).
    #[must_use]
    pub fn start(state: &Path, loader: Option<&Path>, has_lsm: bool) -> Self {
        Self::start_program(Path::new("/proc/self/exe"), state, loader, has_lsm)
    }

    /// The same with this `watertight`.
    #[must_use]
    pub fn start_program(executable: &Path, state: &Path, loader: Option<&Path>, has_lsm: bool) -> Self {
        let mut keeper = Self {
            executable: executable.to_owned(),
            state: state.to_owned(),
            loader: loader.map(Path::to_owned),
            is_needless: has_lsm,
            stored: None,
            listener: None,
            status: None,
            written: Instant::now(),
            has_news: false,
        };
        Status::remove(state); // a run before this one may have left its own
        keeper.take_up();
        keeper
    }

    /// How many files and folders are marked, or why none is; `None` when no policy asks for it.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<usize, String>> {
        let status = self.status.as_ref()?;
        Some(if self.listener.is_some() { Ok(status.marks.len()) } else { Err(status.why.clone()) })
    }

    /// The listener's process, while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.listener.as_ref().map(|listener| listener.child.id())
    }

    /// One look: takes up a policy that changed, and gives the events that tell what happened since the last look. Where they
    /// are not `heard`, denials stay in the page, and are counted there once it is full.
    pub fn beat(&mut self, heard: bool) -> Vec<Event> {
        let mut events = Vec::new();
        if store::stamp(&self.state) != self.stored {
            events.extend(self.finish());
            self.take_up();
            events.push(self.mode_event());
        }
        self.count();
        if heard {
            self.tell(&mut events);
        }
        if self.has_news && self.written.elapsed() >= WRITE_EVERY {
            self.write();
        }
        if let Some(why) = self.listener.as_mut().and_then(Listener::end) {
            self.tell(&mut events); // what it did last
            self.listener = None;
            self.status = Some(Status::none(why));
            self.write();
            events.push(self.mode_event());
        }
        events
    }

    /// Ends the listener: everything is allowed from here on. Gives what it did last.
    pub fn finish(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(listener) = &mut self.listener {
            listener.stop();
            self.tell(&mut events);
        }
        self.listener = None;
        self.status = None;
        Status::remove(&self.state);
        events
    }

    fn take_up(&mut self) {
        self.stored = store::stamp(&self.state);
        if self.is_needless || self.stored.is_none() {
            return;
        }
        let started = store::load(&self.state).and_then(|policy| {
            let policy = policy.filter(|policy| policy.fallback_deny);
            policy.map(|policy| Listener::start(&self.executable, &policy, self.loader.as_deref())).transpose()
        });
        match started {
            Ok(None) => return,
            Ok(Some((listener, ready))) => {
                self.status = Some(Status {
                    deny: "while running".into(),
                    pid: Some(listener.child.id()),
                    marks: ready.marks.into_iter().map(|mark| MarkStatus { mark, hits: 0 }).collect(),
                    left_out: ready.left_out,
                    passes: BYPASSES.iter().map(|bypass| (*bypass).to_owned()).collect(),
                    ..Status::default()
                });
                self.listener = Some(listener);
            }
            Err(error) => self.status = Some(Status::none(format!("{error:#}"))),
        }
        self.write();
    }

    /// Reads the counters, for `status`.
    fn count(&mut self) {
        let (Some(listener), Some(status)) = (&self.listener, &mut self.status) else { return };
        for (mark, hits) in status.marks.iter_mut().zip(&listener.page.progress().hits) {
            let hits = hits.load(Ordering::Relaxed);
            self.has_news |= hits != mark.hits;
            mark.hits = hits;
        }
    }

    /// Tells what the listener noted: each denial, then how many it could only count.
    fn tell(&self, events: &mut Vec<Event>) {
        let (Some(listener), Some(status)) = (&self.listener, &self.status) else { return };
        let denials = &listener.page.progress().denials;
        // The listener may write as fast as this reads.
        for denial in std::iter::from_fn(|| denials.take()).take(TOLD_AT_ONCE) {
            if let Some(mark) = status.marks.get(usize::from(denial.mark)) {
                events.push(met(&mark.mark, denial));
            }
        }
        for (mark, untold) in status.marks.iter().zip(denials.take_untold()).filter(|(_, untold)| *untold > 0) {
            events.push(counted(&mark.mark, untold));
        }
    }

    fn write(&mut self) {
        (self.written, self.has_news) = (Instant::now(), false);
        if let Some(status) = &self.status {
            // Without the file `status` says that the run has not taken the policy up: less than is true, never more.
            let _ = status.write(&self.state);
        }
    }

    fn mode_event(&self) -> Event {
        let message = match &self.status {
            None => "deny: none: no policy asks for denial by fanotify any more".to_owned(),
            Some(status) if status.why.is_empty() => {
                format!("deny: {}: {} files and folders are marked", status.deny, status.marks.len())
            }
            Some(status) => format!("deny: {}: {}", status.deny, status.why),
        };
        sensor_event(Kind::SensorMode, "deny", &message)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.finish(); // nobody is there to be told
    }
}

/// An exec that met a mark. Who asked is known by the process id alone; the detector adds what it knows of that process.
fn met(mark: &Marked, denial: Denial<Vec<u8>>) -> Event {
    let (kind, outcome, mode) = match mark.mode {
        Mode::Enforce => (Kind::PolicyDenied, Outcome::Denied, "enforce"),
        Mode::Audit => (Kind::PolicyAudited, Outcome::Attempted, "audit"),
    };
    let mut event = Event::new(kind, outcome, Source::Fanotify, denial.boot_ns)
        .with(Field::Operations, Value::List(vec!["exec".into()]))
        .with(Field::PolicyRule, mark.rule.as_str())
        .with(Field::PolicyMode, mode)
        .with(Field::PolicyMatched, if mark.is_folder { "under" } else { "file" })
        .with(Field::FileType, "file");
    if denial.pid != 0 {
        event.set(Field::Pid, denial.pid);
    }
    let (device, inode) = denial.identity;
    if inode != 0 {
        event.set(Field::Dev, device);
        event.set(Field::Inode, inode);
    }
    if !denial.path.is_empty() {
        event.set(Field::Path, Text { bytes: denial.path.into(), is_truncated: denial.is_cut });
    }
    event
}

/// More came at once than the listener had room to note one by one.
fn counted(mark: &Marked, added: u64) -> Event {
    let did = if mark.mode == Mode::Enforce { "denied" } else { "would have denied (audit)" };
    let place = if mark.is_folder { "directly in " } else { "" };
    let path = mark.path.display();
    let message = format!(
        "rule {}: {did} {added} more x exec of a program: {place}{path}: too many at once to tell each",
        mark.rule
    );
    sensor_event(Kind::SensorAggregated, "deny", &message).with(Field::Count, added)
}

/// The listener's process.
struct Listener {
    child: Child,
    /// It ends when this closes.
    input: Option<ChildStdin>,
    page: Arc<Page>,
    watchdog: Watchdog,
}

impl Listener {
    fn start(executable: &Path, policy: &Policy, loader: Option<&Path>) -> Result<(Self, Ready)> {
        let page = Arc::new(Page::create().context("making the progress page")?);
        // Only this child is started before the descriptor is closed to others again.
        fcntl_setfd(page.as_fd(), FdFlags::empty()).context("handing the progress page on")?;
        let mut command = Command::new(executable);
        command.args(["worker", "deny", "--page-fd", &page.raw_fd().to_string()]);
        if let Some(loader) = loader {
            command.arg("--loader").arg(loader);
        }
        let spawned = spawn_sheltered(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        fcntl_setfd(page.as_fd(), FdFlags::CLOEXEC).context("taking the progress page back")?;
        let mut child = spawned.context("starting the deny worker")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the deny worker has no output")?;
        // It watches before the first mark is set.
        let watchdog = match Watchdog::start(Arc::clone(&page), child.id()) {
            Ok(watchdog) => watchdog,
            Err(error) => {
                let _ = child.kill(); // it is ours; a failure means that it ended meanwhile
                let _ = child.wait();
                return Err(error);
            }
        };
        let mut listener = Self { child, input, page, watchdog };
        match listener.hear(policy, output) {
            Ok(ready) => Ok((listener, ready)),
            Err(error) => {
                listener.stop();
                Err(error)
            }
        }
    }

    /// Tells the policy and reads the two lines: what will be marked, and that it is.
    fn hear(&mut self, policy: &Policy, mut output: ChildStdout) -> Result<Ready> {
        let mut line = serde_json::to_vec(policy)?;
        line.push(b'\n');
        let input = self.input.as_mut().context("the deny worker has no input")?;
        input.write_all(&line).context("telling the policy to the deny worker")?;
        let mut said = Vec::new();
        let asked = Instant::now();
        while said.iter().filter(|byte| **byte == b'\n').count() < 2 {
            let left = START_MAX.saturating_sub(asked.elapsed());
            let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos().max(1)) };
            if left.is_zero() || said.len() > LINE_BYTES_MAX {
                bail!("the deny worker did not say within {} s what is in force", START_MAX.as_secs());
            }
            let mut fds = [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)];
            if !matches!(poll(&mut fds, Some(&wait)), Ok(1..)) {
                continue;
            }
            let mut bytes = [0_u8; 4096];
            let length = output.read(&mut bytes).context("hearing the deny worker")?;
            if length == 0 {
                bail!("the deny worker ended before anything was marked: {}", self.last_words());
            }
            said.extend(bytes.iter().take(length));
        }
        let ready = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
        serde_json::from_slice(ready).context("understanding the deny worker")
    }

    fn last_words(&mut self) -> String {
        let status = self.child.wait().map(|status| status.to_string());
        format!("{}; its own words are on standard error", status.unwrap_or_else(|error| error.to_string()))
    }

    /// Why it ended, if it has.
    fn end(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(match self.watchdog.killed_after() {
            Some(silence) => format!(
                "the listener gave no sign of life for {} ms and was killed; every exec is allowed; apply the policy again to restart it",
                silence.as_millis()
            ),
            None => format!("the listener ended ({status}); every exec is allowed; apply the policy again to restart it"),
        })
    }

    /// Tells it to end, and sees to it.
    fn stop(&mut self) {
        drop(self.input.take());
        let told = Instant::now();
        while told.elapsed() < END_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill(); // it is ours; a failure means that it ended meanwhile
        let _ = self.child.wait();
    }
}
