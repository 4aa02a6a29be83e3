//! The product in the guest, so that a test reads as sentences:
//!
//! ```ignore
//! let run = Watertight::start()?;
//! let act = file::create("/tmp/marked")?;
//! let events = run.stop()?;
//! events.expect("file.create", |event| by(event, &act))?;
//! ```
//!
//! `watertight run -o json` prints JSON Lines, each with a `kind`: first `matrix` once everything is attached, then events,
//! last `summary`.

use crate::action::Act;
use crate::test::skip;
use crate::world;
use anyhow::{bail, Context, Result};
use rustix::process::{kill_process, kill_process_group, Pid, Signal};
use serde::Deserialize;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Where the lab puts the product.
pub const PROGRAM: &str = "/usr/bin/watertight";
/// And its loader.
pub const LOADER: &str = "/usr/bin/watertight-loader";
/// Emulation is slow: loading the sensor takes seconds there.
const START_MAX: Duration = Duration::from_secs(180);
/// A ring that was full has to be read first, and the kernel lets go of the hooks one by one.
const STOP_MAX: Duration = Duration::from_secs(150);
/// How long the pipe may stay open after the product's end: a child that it left behind may hold it.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How often a waiting test looks at what has come: to be told of each line of a storm would cost more than the line.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What the pipe from the product holds.
const PIPE_BYTES: usize = 1 << 20;
/// How an event's line begins, before its kind.
const EVENT_BEGINS: &str = "{\"kind\":\"";
/// How many events of a kind an error shows.
const EVENTS_SHOWN: usize = 3;

/// A running `watertight run`. Dropping it kills it.
pub struct Watertight {
    child: Child,
    heard: Arc<Heard>,
}

/// What it has printed so far.
#[derive(Default)]
struct Heard {
    said: Mutex<Said>,
    news: Condvar,
}

#[derive(Default)]
struct Said {
    lines: Vec<Line>,
    has_ended: bool,
}

/// A line as it came; what it says is worked out when somebody asks, because a storm brings 100,000 lines of which a test
/// looks at few.
struct Line {
    text: Box<str>,
    value: OnceLock<Value>,
}

impl Line {
    /// The line if it is of this kind.
    fn of_kind(&self, kind: &str) -> Option<&Value> {
        if !self.may_be(kind) {
            return None; // most lines, without reading them
        }
        let value = self.value();
        is(value, kind).then_some(value)
    }

    /// Whether it is an event of this kind by the process that acted.
    fn is_by(&self, kind: &str, act: &Act) -> bool {
        self.may_be(kind) && self.text.contains(&format!("\"pid\":{}", act.pid)) && by(self.value(), act)
    }

    /// An event begins with its kind; in other lines it may stand anywhere.
    fn may_be(&self, kind: &str) -> bool {
        match self.text.strip_prefix(EVENT_BEGINS) {
            Some(rest) => rest.strip_prefix(kind).is_some_and(|rest| rest.starts_with('"')),
            None => self.text.contains(&format!("\"kind\":\"{kind}\"")),
        }
    }

    fn value(&self) -> &Value {
        self.value.get_or_init(|| {
            serde_json::from_str(&self.text).unwrap_or_else(|error| {
                eprintln!("product, not JSON: {error}: {}", self.text);
                Value::Null
            })
        })
    }
}

impl Watertight {
    /// Starts it and waits until it says what is in force.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with more arguments after `run -o json`. Without a guard: most tests are about what is seen, and loading it takes
    /// seconds in emulation.
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        require()?;
        Self::start_program(PROGRAM, &[&["--observe"], arguments].concat())
    }

    /// As a user starts it: with the guard.
    pub fn start_guarded() -> Result<Self> {
        Self::start_guarded_with(&[])
    }

    /// The same with more arguments.
    pub fn start_guarded_with(arguments: &[&str]) -> Result<Self> {
        require()?;
        Self::start_program(PROGRAM, arguments)
    }

    /// The same with another program in the product's place.
    pub fn start_program(program: &str, arguments: &[&str]) -> Result<Self> {
        world::mount_bpf()?;
        let mut child = Command::new(program)
            .args(["run", "-o", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let stdout = child.stdout.take().context("the product has no stdout")?;
        // A storm is 100 MB of lines: the fewer times that two processes wait for each other, the better.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
        let heard = Arc::new(Heard::default());
        let listener = Arc::clone(&heard);
        thread::spawn(move || listener.listen(BufReader::with_capacity(PIPE_BYTES, stdout)));
        let run = Self { child, heard };
        run.wait_for("matrix", |_| true, START_MAX).context("waiting for the product to start")?;
        Ok(run)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The same for calls that want the type.
    pub fn raw_pid(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id().cast_signed()).context("a child has pid 0")
    }

    /// The worker of this name among its children, once it is there: it is started after the matrix is said.
    pub fn worker(&self, name: &str) -> Result<Pid> {
        let started = Instant::now();
        while started.elapsed() < START_MAX {
            if let Some(worker) = self.worker_now(name)? {
                return Ok(worker);
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("the product has no worker {name}")
    }

    /// The worker of this name, if there is one alive.
    pub fn worker_now(&self, name: &str) -> Result<Option<Pid>> {
        for entry in std::fs::read_dir("/proc").context("listing processes")?.filter_map(Result::ok) {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let text = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            let is_child = text("status").lines().any(|line| line == format!("PPid:\t{}", self.pid()));
            let words = text("cmdline");
            if is_child && words.split('\0').skip(1).take(2).eq(["worker", name]) {
                return Ok(Pid::from_raw(pid));
            }
        }
        Ok(None)
    }

    /// Waits until an event of the kind that fits has been printed, and returns it.
    pub fn wait_for(&self, kind: &str, fits: impl Fn(&Value) -> bool, time_max: Duration) -> Result<Value> {
        self.wait_for_line(0, kind, |line| line.of_kind(kind).filter(|value| fits(value)).cloned(), time_max)
    }

    /// How many lines it has printed.
    pub fn lines(&self) -> usize {
        self.heard.said().lines.len()
    }

    /// The first line, and those from this one on, while it goes on.
    pub fn events_since(&self, from: usize) -> Events {
        let said = self.heard.said();
        let lines = said.lines.iter().take(1).chain(said.lines.iter().skip(from.max(1)));
        Events { lines: lines.map(|line| Line { text: line.text.clone(), value: OnceLock::new() }).collect() }
    }

    /// Waits for an event by the process that acted, which is not among so many first lines.
    pub fn wait_for_act(&self, from: usize, kind: &str, act: &Act, time_max: Duration) -> Result<()> {
        self.wait_for_line(from, kind, |line| line.is_by(kind, act).then_some(()), time_max)
    }

    fn wait_for_line<T>(
        &self,
        from: usize,
        kind: &str,
        fits: impl Fn(&Line) -> Option<T>,
        time_max: Duration,
    ) -> Result<T> {
        let started = Instant::now();
        let mut said = self.heard.said();
        let mut looked_at = from;
        loop {
            if let Some(found) = said.lines.iter().skip(looked_at).find_map(&fits) {
                return Ok(found);
            }
            looked_at = said.lines.len().max(from);
            if said.has_ended {
                bail!(
                    "the product ended after {} lines without {kind}; its stderr is on the console",
                    said.lines.len()
                );
            }
            let left = time_max.saturating_sub(started.elapsed());
            if left.is_zero() {
                bail!("no {kind} within {} s among {} lines", time_max.as_secs(), said.lines.len());
            }
            said = self.heard.news.wait_timeout(said, left.min(LOOK_EVERY)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Interrupts it as Ctrl-C would and returns everything it printed. It must end with success, or with 3 where
    /// a class is missing, and a summary.
    pub fn stop(self) -> Result<Events> {
        self.signal(Signal::INT)?;
        self.ended()
    }

    /// The same by a signal to all of its processes, as systemd and `timeout` end it.
    pub fn stop_group(self) -> Result<Events> {
        kill_process_group(self.raw_pid()?, Signal::TERM).context("signalling the product's processes")?;
        self.ended()
    }

    fn ended(mut self) -> Result<Events> {
        let summary = self.wait_for("summary", |_| true, STOP_MAX);
        let status = self.wait_end(STOP_MAX)?;
        summary.with_context(|| format!("stopping the product, which ended with {status}"))?;
        // 3: a class or the enforcement is missing, which the matrix says.
        if !status.success() && !matches!(status.code(), Some(3 | 130)) {
            bail!("the product ended with {status}");
        }
        Ok(self.events())
    }

    /// Kills it outright: what the kernel holds must go on without it. Returns what it had printed.
    pub fn kill(mut self) -> Result<Events> {
        self.signal(Signal::KILL)?;
        self.wait_end(STOP_MAX)?;
        Ok(self.events())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.raw_pid()?, signal).context("signalling the product")
    }

    /// Waits until it has ended by itself.
    pub fn wait_end(&mut self, time_max: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < time_max {
            if let Some(status) = self.child.try_wait().context("waiting for the product")? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("the product had not ended {} s after it was asked to", time_max.as_secs())
    }

    /// What was said up to the end of its output. The process is gone, but its last lines may still be in the pipe.
    fn events(&self) -> Events {
        let said = self.heard.said();
        let waited = self.heard.news.wait_timeout_while(said, DRAIN_MAX, |said| !said.has_ended);
        let (mut said, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Events { lines: std::mem::take(&mut said.lines) }
    }
}

impl Drop for Watertight {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Heard {
    fn listen(&self, output: impl BufRead) {
        for line in output.split(b'\n').map_while(Result::ok) {
            let text =
                String::from_utf8(line).unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned());
            let text = text.into_boxed_str();
            self.said().lines.push(Line { text, value: OnceLock::new() });
        }
        self.said().has_ended = true;
        self.news.notify_all();
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything one run printed, in its order.
pub struct Events {
    lines: Vec<Line>,
}

impl Events {
    /// All events of the kinds whose names begin so, such as `file.`.
    pub fn of_kinds<'a, 'k>(&'a self, begin: &'k str) -> impl Iterator<Item = &'a Value> + use<'a, 'k> {
        let may_begin = move |line: &&Line| match line.text.strip_prefix(EVENT_BEGINS) {
            Some(rest) => rest.starts_with(begin),
            None => line.text.contains("\"kind\":"),
        };
        let lines = self.lines.iter().filter(may_begin).map(Line::value);
        lines.filter(move |value| value["kind"].as_str().is_some_and(|kind| kind.starts_with(begin)))
    }

    /// All events of a kind.
    pub fn of_kind<'a, 'k>(&'a self, kind: &'k str) -> impl Iterator<Item = &'a Value> + use<'a, 'k> {
        self.lines.iter().filter_map(move |line| line.of_kind(kind))
    }

    /// How many lines of a kind hold a piece of text, counted without reading them: for storms.
    pub fn lines_with(&self, kind: &str, text: &str) -> u64 {
        let holds = |line: &&Line| line.may_be(kind) && line.text.contains(text);
        self.lines.iter().filter(holds).count() as u64
    }

    /// The first event of the kind that fits; without one, an error that shows some of the kind that did not.
    pub fn expect(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Result<&Value> {
        let Some(found) = self.of_kind(kind).find(|event| fits(event)) else {
            let shown: Vec<String> = self.of_kind(kind).take(EVENTS_SHOWN).map(Value::to_string).collect();
            let count = self.of_kind(kind).count();
            bail!("none of {count} {kind} events among {} lines fits {}", self.lines.len(), shown.join("  "));
        };
        Ok(found)
    }

    /// No event of the kind may fit.
    pub fn expect_none(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Result<()> {
        match self.of_kind(kind).find(|event| fits(event)) {
            Some(event) => bail!("there should be no such {kind} event: {event}"),
            None => Ok(()),
        }
    }

    /// How many events of the kind fit.
    pub fn count(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> usize {
        self.of_kind(kind).filter(|event| fits(event)).count()
    }

    /// How many events of the kind the process that acted has caused. For storms: most of an event is never looked at.
    pub fn count_by(&self, kind: &str, act: &Act) -> u64 {
        #[derive(Deserialize)]
        struct Caused {
            process: Process,
        }
        #[derive(Deserialize)]
        struct Process {
            pid: u32,
        }
        self.read::<Caused>(kind).filter(|event| event.process.pid == act.pid).count() as u64
    }

    /// All events of a kind, of each only what the type has. An event that lacks it is not among them.
    pub fn read<'a, 'k, T: Deserialize<'a>>(&'a self, kind: &'k str) -> impl Iterator<Item = T> + use<'a, 'k, T> {
        let of_kind = self.lines.iter().filter(move |line| line.may_be(kind));
        of_kind.filter_map(|line| serde_json::from_str(&line.text).ok())
    }

    /// The first line: what was in force.
    pub fn matrix(&self) -> Result<&Value> {
        self.expect("matrix", |_| true)
    }

    /// The last line: what was counted and lost.
    pub fn summary(&self) -> Result<&Value> {
        let last = self.lines.iter().rev().find_map(|line| line.of_kind("summary"));
        last.with_context(|| format!("no summary among {} lines", self.lines.len()))
    }
}

/// Whether the event's process is the one that acted.
pub fn by(event: &Value, act: &Act) -> bool {
    event.pointer("/process/pid").and_then(Value::as_u64) == Some(u64::from(act.pid))
}

/// Runs another subcommand to its end, such as `["status", "-o", "json"]`.
pub fn watertight(arguments: &[&str]) -> Result<Output> {
    require()?;
    world::mount_bpf()?;
    Command::new(PROGRAM).args(arguments).output().with_context(|| format!("running {PROGRAM} {arguments:?}"))
}

/// A guest without the product skips its tests.
fn require() -> Result<()> {
    if Path::new(PROGRAM).exists() {
        return Ok(());
    }
    skip("the guest was made without the product")
}

fn is(line: &Value, kind: &str) -> bool {
    line.get("kind").and_then(Value::as_str) == Some(kind)
}
