//! The main flow of `watertight run`: lock, load, start anew, choose sources, start the workers, wait, stop, account.
//!
//! The supervisor is root and parses nothing but its own configuration and the loader's one line.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::pipe::{pipe_with, PipeFlags};
use serde_json::Value as Json;
use watertight_event::Kind;
use watertight_sensor_abi::Ring;
use watertight_sensor_fallback::snapshot;
use watertight_sensor_reader::{open_pinned, read_counters, ring_size};

use crate::account::HookCounts;
use crate::deny::keeper::Keeper;
use crate::filter::Filter;
use crate::live::Saved;
use crate::loader::{Loader, Report};
use crate::lock::RunLock;
use crate::matrix::{Fallbacks, Found, Matrix, Mend};
use crate::output::sensor_event;
use crate::pressure::Pressure;
use crate::resume;
use crate::translate::process_there;
use crate::worker::protocol::{Format, InheritedRing, Message, Setup};

/// How often the supervisor looks after its workers and writes that it lives.
const BEAT: Duration = Duration::from_millis(100);
/// A program that began before its link was cut ends within one RCU grace period; this is far beyond one.
const GRACE: Duration = Duration::from_millis(100);
/// How long the detector may take to drain the rings and write its summary.
const FINISH_MAX: Duration = Duration::from_secs(20);

/// Bytes that a pipe with any room takes at once (PIPE_BUF).
const PIPE_PIECE_BYTES: usize = 4_096;

/// What `watertight run` was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long to run; until a signal if `None`.
    pub duration: Option<Duration>,
    /// How to write.
    pub format: Format,
    /// Colours are wanted.
    pub has_colour: bool,
    /// Standard output is a terminal that can show a live view.
    pub is_terminal: bool,
    /// Rule folders beside the shipped rules.
    pub rules: Vec<PathBuf>,
    /// The loader, if not beside our own executable.
    pub loader: Option<PathBuf>,
    /// Where things are pinned.
    pub pins: PathBuf,
    /// Folder for the lock and the heartbeat.
    pub state: PathBuf,
    /// File and network events that are not wanted.
    pub filters: Vec<Filter>,
    /// Set after this process has started anew: where it left what it knew.
    pub resumed: Option<RawFd>,
}

/// Set by SIGINT and SIGTERM.
static IS_STOPPING: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_signal: libc::c_int) {
    IS_STOPPING.store(true, Ordering::Relaxed);
}

/// Protects and watches this machine until it is told to stop. Returns the exit code: 0 protected as asked, 3 with a class or
/// the enforcement missing.
///
/// # Errors
/// Nothing could be watched, another run is at work, or a worker died.
pub fn run(options: &Options) -> Result<u8> {
    let loader = Loader::find(options.loader.as_deref(), &options.pins)?;
    let (_lock, found) = match options.resumed {
        Some(fd) => {
            let (lock, report) = resume::resume(fd)?;
            (lock, Found { kernel: Some(report), ..Found::default() })
        }
        None => load(options, &loader)?,
    };
    catch_signals()?;
    resume::accept_signals().context("accepting signals")?;
    let found = Found { filters: options.filters.clone(), ..found };
    let ended = watch(options, &loader, found);
    // Telemetry ends with the run, whatever ended it; policy has pins of its own.
    if let Err(error) = loader.unload() {
        eprintln!("watertight: {error:#}");
    }
    ended
}

/// Locks and loads. Where programs were attached this does not return: the process starts anew, to be known by them.
fn load(options: &Options, loader: &Loader) -> Result<(RunLock, Found)> {
    for filter in &options.filters {
        filter.check()?;
    }
    let lock = RunLock::take(&options.state)?;
    resume::hold_signals().context("holding signals back")?;
    let report = match loader.load(&options.filters) {
        Ok(report) => report,
        Err(error) => return Ok((lock, Found { kernel_refused: format!("{error:#}"), ..Found::default() })),
    };
    let (lock, error) = resume::start_anew(lock, &report);
    eprintln!("watertight: our own file and network events are shown, because starting anew failed: {error:#}");
    Ok((lock, Found { kernel: Some(report), ..Found::default() }))
}

fn watch(options: &Options, loader: &Loader, mut found: Found) -> Result<u8> {
    let mut pins = Pins::open(found.kernel.as_ref())?;
    let before = match (&pins, &found.kernel) {
        (Some(pins), Some(report)) if report.adopted => pins.counters()?,
        _ => Vec::new(),
    };
    let mut sources = start_sources(&mut found)?;
    let mut keeper = Keeper::start(&options.state, loader.executable(), found.has_lsm());
    found.deny_by_fanotify = keeper.outcome();
    let matrix = found.matrix(&Mend::of_this_machine());
    show_matrix(&matrix, options.format)?;
    for class in matrix.absent() {
        eprintln!("watertight: missing: {class}");
    }
    // Put back when this function is left, whatever became of the detector.
    let terminal = is_live(options).then(|| Saved::take().ok());
    let mut detector = start_detector(options, pins.as_ref(), sources.as_mut(), &found)?;
    let started = Instant::now();
    let died = wait(options, &mut detector, pins.as_mut(), &mut keeper, started)?;
    keeper.stop();
    if died.is_some() {
        drop(terminal); // before anything is said about it
    }
    if pins.is_some() {
        loader.detach()?;
        std::thread::sleep(GRACE);
    }
    if let Some(sources) = &mut sources {
        sources.stop();
    }
    if let Some(status) = died {
        bail!("the detector died ({status}); what it had not read is counted as lost");
    }
    let kernel = match &mut pins {
        Some(pins) => {
            for event in pins.pressure.finish()? {
                detector.queue(&Message::Event(event.to_json()))?;
            }
            since(&pins.counters()?, &before)
        }
        None => Vec::new(),
    };
    detector.queue(&Message::Stop { kernel, seconds: started.elapsed().as_secs_f64() })?;
    detector.tell_within(FINISH_MAX)?;
    let code = detector.finish()?;
    Ok(if code == 0 && !matrix.is_whole() { 3 } else { code })
}

fn catch_signals() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler = on_signal as extern "C" fn(libc::c_int);
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        if before == libc::SIG_ERR {
            return Err(io::Error::last_os_error()).context("catching signals");
        }
    }
    Ok(())
}

fn since(after: &[HookCounts], before: &[HookCounts]) -> Vec<HookCounts> {
    let zero = HookCounts::default();
    after.iter().enumerate().map(|(at, counts)| counts.since(before.get(at).unwrap_or(&zero))).collect()
}

/// Until a signal, a `q` at the terminal, the end of the time, or the detector's death, which is returned.
fn wait(
    options: &Options,
    detector: &mut DetectorProcess,
    mut pins: Option<&mut Pins>,
    keeper: &mut Keeper,
    started: Instant,
) -> Result<Option<String>> {
    loop {
        if IS_STOPPING.load(Ordering::Relaxed) || options.duration.is_some_and(|most| started.elapsed() >= most) {
            return Ok(None);
        }
        if let Ok(Some(status)) = detector.child.try_wait() {
            return Ok(Some(status.to_string()));
        }
        note_alive(&options.state);
        // A detector that does not read gets no more: what was counted waits in the kernel.
        if let Some(pins) = pins.as_deref_mut().filter(|_| detector.has_heard_all()) {
            for event in pins.pressure.look()? {
                detector.queue(&Message::Event(event.to_json()))?;
            }
        }
        for event in keeper.beat() {
            detector.queue(&Message::Event(event.to_json()))?;
        }
        detector.tell_within(Duration::ZERO)?;
        if detector.is_quit_within(BEAT) {
            return Ok(None);
        }
    }
}

/// The time of the last beat tells a later run how long nobody read.
fn note_alive(state: &Path) {
    // Without the file the next run can't tell the gap's length; it still tells that there was one.
    let _ = std::fs::write(state.join("alive"), crate::output::boot_ns_now().to_string());
}

fn show_matrix(matrix: &Matrix, format: Format) -> Result<()> {
    let mut out = io::stdout().lock();
    if format == Format::Live {
        write!(out, "{}", matrix.to_text())?;
    } else {
        writeln!(out, "{}", serde_json::to_string(matrix)?)?;
    }
    out.flush().context("writing the matrix")
}

/// The pinned maps that the supervisor opens.
struct Pins {
    rings: Vec<(OwnedFd, u32)>,
    counters: OwnedFd,
    pressure: Pressure,
}

impl Pins {
    fn open(report: Option<&Report>) -> Result<Option<Self>> {
        let Some(report) = report else { return Ok(None) };
        let mut rings = Vec::new();
        for ring in Ring::ALL {
            let fd = open_pinned(&report.directory.join(ring.map_name()))?;
            let bytes = ring_size(fd.as_fd()).context("asking for the size of a ring")?;
            rings.push((fd, bytes));
        }
        let counters = open_pinned(&report.directory.join("counters"))?;
        Ok(Some(Self { rings, counters, pressure: Pressure::open(&report.directory, &boot_id())? }))
    }

    fn counters(&self) -> Result<Vec<HookCounts>> {
        Ok(read_counters(self.counters.as_fd())?.into_iter().map(HookCounts::from).collect())
    }
}

/// The worker with the fallback sources.
struct Sources {
    child: Child,
    /// Its output, from which the trial has been read.
    events: Option<OwnedFd>,
}

impl Sources {
    /// Its input ends: it drains once more and ends.
    fn stop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait(); // its exit says nothing that its lines did not
    }
}

/// Starts what the kernel sensor does not cover, and writes into `found` what opened.
fn start_sources(found: &mut Found) -> Result<Option<Sources>> {
    use watertight_sensor_abi::Hook;
    let mut arguments = Vec::new();
    if !found.has(Hook::FileOpen) {
        arguments.push("--fanotify");
    }
    if !found.has(Hook::TaskExec) {
        arguments.push("--proc-connector");
    }
    if !found.has(Hook::SockState) && !found.has(Hook::SockConnect) {
        arguments.push("--sock-diag");
    }
    if arguments.is_empty() {
        return Ok(None);
    }
    let ignored = std::process::id().to_string();
    let mut child = worker("sources")
        .args(&arguments)
        .args(["--ignore-pid", &ignored])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the sources worker")?;
    let stdout = child.stdout.take().context("the sources worker has no output")?;
    // One byte at a time: what follows the trial belongs to the detector.
    let mut lines = BufReader::with_capacity(1, stdout);
    let mut fallbacks = Fallbacks::default();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            bail!("the sources worker ended before it had opened anything");
        }
        let json: Json = serde_json::from_str(&line).context("reading what the sources worker says")?;
        if json.get("kind").and_then(Json::as_str) == Some("opened") {
            break;
        }
        let opened = match json.get("refused").and_then(Json::as_str) {
            Some(why) => Some(Err(why.to_owned())),
            None => Some(Ok(())),
        };
        match json.get("source").and_then(Json::as_str) {
            Some("fanotify") => fallbacks.fanotify = opened,
            Some("proc connector") => fallbacks.proc_connector = opened,
            _ => fallbacks.sock_diag = opened,
        }
    }
    found.fallbacks = fallbacks;
    Ok(Some(Sources { child, events: Some(OwnedFd::from(lines.into_inner())) }))
}

/// The worker that reads and detects.
struct DetectorProcess {
    child: Child,
    input: ChildStdin,
    /// What it has not read yet.
    unheard: VecDeque<u8>,
    /// Brings one byte when the user asks to quit.
    quit: Option<OwnedFd>,
}

impl DetectorProcess {
    /// Waits this long, or until the user asked to quit at the terminal.
    fn is_quit_within(&mut self, most: Duration) -> bool {
        let Some(quit) = &self.quit else {
            std::thread::sleep(most);
            return false;
        };
        let most = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_nanos()) };
        let mut fds = [PollFd::new(quit, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&most)), Ok(1..)) {
            return false;
        }
        let is_asked = matches!(rustix::io::read(quit, &mut [0_u8; 1]), Ok(1));
        self.quit = None; // asked, or the other end is gone: there is nothing to wait for any more
        is_asked
    }

    /// Says it, however long the detector takes to read.
    fn tell(&mut self, message: &Message) -> Result<()> {
        self.queue(message)?;
        while !self.has_heard_all() {
            self.tell_within(FINISH_MAX)?;
        }
        Ok(())
    }

    fn queue(&mut self, message: &Message) -> Result<()> {
        self.unheard.extend(serde_json::to_string(message)?.bytes());
        self.unheard.push_back(b'\n');
        Ok(())
    }

    fn has_heard_all(&self) -> bool {
        self.unheard.is_empty()
    }

    /// Says what waits, as long as the detector reads: a pause longer than this ends it. Never blocks beyond that, because
    /// a pipe that is ready takes PIPE_BUF bytes at once.
    fn tell_within(&mut self, pause_max: Duration) -> Result<()> {
        let pause_max = Timespec {
            tv_sec: i64::try_from(pause_max.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(pause_max.subsec_nanos()),
        };
        while !self.unheard.is_empty() {
            let mut fds = [PollFd::new(&self.input, PollFlags::OUT)];
            if !matches!(poll(&mut fds, Some(&pause_max)), Ok(1..)) {
                return Ok(());
            }
            let piece: Vec<u8> = self.unheard.iter().take(PIPE_PIECE_BYTES).copied().collect();
            let told = rustix::io::write(&self.input, &piece).context("speaking to the detector")?;
            self.unheard.drain(..told);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<u8> {
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for the detector")? {
                let code = status.code().with_context(|| format!("the detector died while it finished: {status}"))?;
                return Ok(u8::try_from(code).unwrap_or(1));
            }
            if asked.elapsed() > FINISH_MAX {
                let _ = self.child.kill(); // it is ours; a failure means that it ended meanwhile
                bail!("the detector did not finish within {} s: is its output read?", FINISH_MAX.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn start_detector(
    options: &Options,
    pins: Option<&Pins>,
    sources: Option<&mut Sources>,
    found: &Found,
) -> Result<DetectorProcess> {
    let events = sources.and_then(|sources| sources.events.take());
    let (quit, quit_end) = if is_live(options) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
        (Some(reader), Some(writer))
    } else {
        (None, None)
    };
    let is_adopted = found.kernel.as_ref().is_some_and(|report| report.adopted);
    let mut setup = Setup {
        boot_id: boot_id(),
        format: options.format,
        has_colour: options.has_colour,
        is_terminal: is_live(options),
        quit_fd: quit_end.as_ref().map(|fd| fd.as_raw_fd()),
        rules: options.rules.clone(),
        is_adopted,
        events_fd: events.as_ref().map(|fd| fd.as_raw_fd()),
        ..Setup::default()
    };
    let mut inherited: Vec<&OwnedFd> = events.iter().chain(&quit_end).collect();
    for (ring, (fd, bytes)) in pins.iter().flat_map(|pins| &pins.rings).enumerate() {
        setup.rings.push(InheritedRing { ring, fd: fd.as_raw_fd(), bytes: *bytes });
        inherited.push(fd);
    }
    for fd in &inherited {
        // The supervisor starts no other process from here on but the loader, which is done before these are used again.
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).context("handing a descriptor on")?;
    }
    let mut child = worker("detector").stdin(Stdio::piped()).spawn().context("starting the detector")?;
    for fd in &inherited {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC).context("taking a descriptor back")?;
    }
    let input = child.stdin.take().context("the detector has no input")?;
    let mut detector = DetectorProcess { child, input, unheard: VecDeque::new(), quit };
    writeln!(detector.input, "{}", serde_json::to_string(&setup)?).context("speaking to the detector")?;
    for process in snapshot() {
        detector.tell(&Message::Process(process_there(&process).to_json()))?;
    }
    if is_adopted {
        detector.tell(&Message::Event(gap(&options.state).to_json()))?;
    }
    detector.tell(&Message::Go)?;
    Ok(detector)
}

fn is_live(options: &Options) -> bool {
    options.is_terminal && options.format == Format::Live
}

/// An earlier run ended without taking its leave: how long nobody read, as far as it is known.
fn gap(state: &Path) -> watertight_event::Event {
    let last = std::fs::read_to_string(state.join("alive")).ok().and_then(|text| text.parse::<u64>().ok());
    let length = last.map(|last| crate::output::boot_ns_now().saturating_sub(last));
    let message = match length {
        Some(ns) => format!(
            "an earlier run ended {} ms ago without detaching; its programs went on, and what the rings held is read now",
            ns / 1_000_000
        ),
        None => "an earlier run ended without detaching; its programs went on, and what the rings held is read now".into(),
    };
    sensor_event(Kind::SensorGap, "reader", &message)
}

fn worker(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["worker", name]);
    command
}

/// The id of this boot without dashes; empty where /proc does not tell, which only makes process ids shorter.
fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().replace('-', "")
}
