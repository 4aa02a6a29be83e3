//! The worker that reads events and evaluates rules: no capabilities, no network, no paths but standard output. What it can
//! harm when it dies is itself; the rings hold the events meanwhile.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use serde::Deserialize;
use serde_json::Value as Json;
use watertight_event::{Event, Field, Kind};
use watertight_sensor_abi::{Hook, Ring, HOOKS};
use watertight_sensor_reader::{read_snapshot, Reader};

use super::active::Active;
use super::mapping::Mapping;
use super::preparer::Preparer;
use super::protocol::{Format, Given, InheritedRing, Message, Setup};
use super::report::{Report, Reporter};
use super::sandbox::{self, Profile};
use super::tally::{Phase, Tally};
use crate::account::ring::ring_counts;
use crate::account::{HookCounts, SourceCounts};
use crate::live::{Facts, Live};
use crate::loss::{self, Losses};
use crate::output::{boot_ns_now, Output, Summary};
use crate::printable::printable;
use crate::tree::Tree;
use crate::users::Names;
use crate::whole_lines::Untaken;

/// How long events may lie in a ring before they are looked for: the kernel side wakes only at a ring's fill limit.
const LOOK_EVERY_NS: i64 = 20_000_000;
/// How long an event may be on its way here after it happened, and still be judged in its order by what needs several.
const SETTLE_NS: u64 = 100_000_000;
/// Bytes taken from a pipe at once.
const PIPE_BYTES: usize = 256 << 10;
/// Lines of the sources that are taken before the rings are looked at again.
const LINES_MAX: usize = 1_024;
/// Longest line that the pipe of the sources may bring: an event's largest strings, escaped.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Exit code when nobody takes the output: starting again would not help.
pub const EXIT_OUTPUT: u8 = 74;

/// What is written can't be written: the reader is gone, the disk is full.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OutputGone(#[from] io::Error);

/// Runs until the supervisor says stop or is gone; what holds it is said on `report` before the first event. Returns the exit
/// code: 0, 3 when the accounts do not balance, [`EXIT_OUTPUT`] when nobody takes what it writes.
///
/// # Errors
/// The set-up is damaged or a rule folder can't be read.
pub fn run(report: RawFd) -> Result<u8> {
    let mut reporter = Reporter::inherit(report).context("taking the report pipe")?;
    sandbox::die_with_parent().context("tying this worker to the supervisor")?;
    crate::say::prepare();
    let mut control = Lines::new(io::stdin().lock());
    let setup = control.wait_line()?.context("the supervisor ended before it said anything")?;
    let mut setup: Setup = serde_json::from_slice(&setup).context("reading the set-up")?;
    watertight_event::name_device(&rustix::system::uname().nodename().to_string_lossy());
    // SAFETY: the supervisor passes these descriptors to this process alone, each once.
    let (tally, mailbox) = unsafe { (OwnedFd::from_raw_fd(setup.tally_fd), File::from_raw_fd(setup.mailbox_fd)) };
    let tally = Arc::new(Tally::map(tally).context("mapping the shared counts")?);
    let active = open(setup.content.take(), &tally)?;
    // The terminal belongs to who logged in: it is opened before, too. Plain lines do where it can't be.
    let is_live = setup.is_terminal && setup.format == Format::Live;
    let live = if is_live { Live::open(setup.has_colour, &setup.own_pids).ok() } else { None };
    let mut detector = Detector::new(setup, active, Arc::clone(&tally), live)?;
    let (sandbox, preparer) =
        sandbox::enter_with(Profile::Detector, reporter.as_fd(), || Preparer::start(mailbox, tally))
            .context("giving up privileges: the detector does not run with them")?;
    detector.preparer = Some(preparer);
    reporter.say(&Report::Ready { sandbox }).context("speaking to the supervisor")?;
    match detector.run(&mut control) {
        Err(error) => match error.downcast_ref::<OutputGone>() {
            Some(gone) => {
                reporter.say(&Report::Output { why: gone.to_string() }).context("speaking to the supervisor")?;
                Ok(EXIT_OUTPUT)
            }
            None => Err(error),
        },
        ended => ended,
    }
}

/// The content to begin with. A death while it is opened is its fault.
fn open(content: Option<Given>, tally: &Tally) -> Result<Active> {
    let Some(given) = content else { return Ok(Active::none()) };
    tally.content().store(given.word, Ordering::SeqCst);
    tally.enter(Phase::Opening);
    // SAFETY: the supervisor passes this descriptor to this process alone, once.
    let image = unsafe { OwnedFd::from_raw_fd(given.fd) };
    let mapping = Mapping::of(image.as_fd()).context("mapping the content")?;
    let active = Active::mapped(given, mapping)?;
    tally.enter(Phase::Elsewhere);
    Ok(active)
}

struct Detector {
    reader: Reader,
    /// A reader for the rings of each build that was replaced; gone once they are empty.
    previous: Vec<Reader>,
    /// Records of the processes that were there already, until they have been read.
    there: Option<File>,
    boot_id: String,
    tree: Tree,
    active: Active,
    /// `None` until the system calls are restricted.
    preparer: Option<Preparer>,
    changes: Changes,
    output: Output,
    tally: Arc<Tally>,
    /// The same page, for the word in which the engine leaves its trail: that lives as long as this process.
    trail: &'static Tally,
    sources: Option<Lines<File>>,
    /// The first line of the sources may be the end of one that an earlier detector had begun to read.
    is_line_broken: bool,
    source_counts: Vec<SourceCounts>,
    /// Lines from the sources that are no events.
    malformed: u64,
    /// What was shown and is not written yet.
    unwritten: Unwritten,
    is_adopted: bool,
    losses: Losses,
    /// Detectors of this run that died before this one.
    deaths: u64,
    /// Takes one byte when the user asks to quit; `None` once it has.
    quit: Option<OwnedFd>,
}

impl Detector {
    fn new(setup: Setup, active: Active, tally: Arc<Tally>, live: Option<Live>) -> Result<Self> {
        let mut previous = Vec::new();
        for build in setup.previous.chunks(Ring::ALL.len()) {
            previous.push(Reader::new(take_rings(build)?, &setup.boot_id)?);
        }
        // SAFETY: the supervisor passes these descriptors to this process alone, each once.
        let sources = setup.events_fd.map(|fd| Lines::new(unsafe { File::from_raw_fd(fd) }));
        // SAFETY: as above.
        let quit = setup.quit_fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: as above.
        let there = setup.processes_fd.map(|fd| unsafe { File::from_raw_fd(fd) });
        let trail: &'static Tally = Box::leak(Box::new(Arc::clone(&tally)));
        let mut active = active;
        active.rules().leave_trail(trail.rule());
        let mut output = Output::new(setup.format, setup.has_colour, live, active.counts(), Arc::clone(&tally));
        output.resume(&tally);
        let mut reader = Reader::new(take_rings(&setup.rings)?, &setup.boot_id)?;
        if let Some(verdicts) = &setup.verdicts {
            // SAFETY: as above.
            reader.add_verdicts(unsafe { OwnedFd::from_raw_fd(verdicts.fd) }, verdicts.bytes)?;
        }
        Ok(Self {
            reader,
            previous,
            there,
            boot_id: setup.boot_id,
            tree: Tree::new(Names::of_this_machine()),
            output,
            tally,
            trail,
            active,
            preparer: None,
            changes: Changes::default(),
            sources,
            is_line_broken: setup.is_restart,
            source_counts: Vec::new(),
            malformed: 0,
            unwritten: Unwritten::default(),
            is_adopted: setup.is_adopted,
            losses: Losses::default(),
            deaths: setup.deaths,
            quit,
        })
    }

    fn run(&mut self, control: &mut Lines<io::StdinLock<'_>>) -> Result<u8> {
        // Processes that were there before come first: the first event may already name one. The rings hold it meanwhile.
        if let Some(records) = self.there.take() {
            let tree = &mut self.tree;
            let tally = &self.tally;
            read_snapshot(BufReader::new(records), &self.boot_id, &mut |event| {
                tally.beat();
                tree.learn_there(event);
            })?;
        }
        loop {
            // Without a word to begin the supervisor is dead: what the rings hold belongs to the next run.
            let Some(line) = control.wait_line()? else { return Ok(1) };
            self.tally.beat();
            match read(&line)? {
                Message::Process(event) => self.tree.learn_there(Event::from_json(&event.to_string())?),
                Message::Event(event) => self.show(Event::from_json(&event.to_string())?)?,
                Message::Go => break,
                Message::Content(given) => self.prepare(given),
                Message::Stop { kernel, sequences, guard, is_guard_new, seconds } => {
                    return self.finish(&Ending { kernel, sequences, guard, is_guard_new, seconds });
                }
            }
        }
        self.finish_previous()?;
        loop {
            let started_ns = boot_ns_now();
            self.tally.beat();
            let taken = self.take()?;
            self.change_over();
            while let Some(line) = control.ready_line()? {
                match read(&line)? {
                    Message::Stop { kernel, sequences, guard, is_guard_new, seconds } => {
                        return self.finish(&Ending { kernel, sequences, guard, is_guard_new, seconds });
                    }
                    Message::Event(event) => {
                        self.take()?; // its process may have begun since
                        self.show(Event::from_json(&event.to_string())?)?;
                    }
                    Message::Content(given) => self.prepare(given),
                    Message::Process(_) | Message::Go => {} // said before `go`
                }
            }
            self.correlate(started_ns)?;
            if control.is_ended() {
                return Ok(1); // the supervisor died: what is in the rings stays for the next run
            }
            self.beat()?;
            if taken == 0 || self.output.is_due() {
                self.flush()?;
            }
            if taken == 0 {
                self.tell_losses(&self.reader.account().missing_by_ring.clone())?;
                self.wait(control);
            }
        }
    }

    /// What correlations make of everything until this time: all of it has been read, unless a program was held up on its way
    /// into a ring, or another source is behind.
    fn correlate(&mut self, read_until_ns: u64) -> Result<()> {
        let Self { output, active, tree, .. } = self;
        Ok(output.advance(active.rules(), tree, read_until_ns.saturating_sub(SETTLE_NS)).map_err(OutputGone)?)
    }

    fn prepare(&mut self, given: Given) {
        self.changes.is_awaited = true;
        if let Some(preparer) = &self.preparer {
            preparer.prepare(given);
        }
    }

    /// Goes over to other content if it has become ready: between two events, none of which waits for more than this.
    fn change_over(&mut self) {
        let begun = Instant::now();
        let Some(preparer) = &self.preparer else { return };
        let active = match preparer.ready() {
            None => return,
            Some((word, Err(error))) => {
                self.changes.is_awaited = false;
                self.tally.refused().store(word, Ordering::SeqCst);
                crate::say!("watertight: the detector keeps its content: {}", printable(&format!("{error:#}")));
                return;
            }
            Some((_, Ok(mut active))) => {
                active.rules().leave_trail(self.trail.rule());
                active
            }
        };
        self.changes.is_awaited = false;
        let before = std::mem::replace(&mut self.active, active);
        self.output.go_over_to(self.active.counts());
        self.tally.evaluated().store(0, Ordering::SeqCst);
        self.tally.content().store(self.active.word(), Ordering::SeqCst);
        self.changes.note(begun.elapsed());
        preparer.forget(before);
    }

    /// Hands everything on, and notes what would no longer be lost with this process.
    fn flush(&mut self) -> Result<(), OutputGone> {
        self.output.flush()?;
        self.output.note(&self.tally);
        self.tally.settle();
        std::mem::take(&mut self.unwritten).note(&self.tally);
        Ok(())
    }

    /// The live view's turn; the supervisor hears of a `q` and stops us in good order.
    fn beat(&mut self) -> Result<()> {
        let lost = self.reader.account().missing.saturating_add(self.output.overflows());
        if self.output.beat(Facts { lost, processes: self.tree.len() }).map_err(OutputGone)? {
            if let Some(quit) = self.quit.take() {
                rustix::io::write(&quit, b"q").context("asking the supervisor to stop")?;
            }
        }
        Ok(())
    }

    /// Everything that is there now: rings, critical first, then the other sources. Of these only what was there before the
    /// rings were read: an event is not told before the exec of its process.
    fn take(&mut self) -> Result<usize> {
        let Self { reader, tree, active, output, tally, sources, is_line_broken, source_counts, malformed, .. } = self;
        output.look_at_clocks();
        let mut lines = Vec::new();
        if let Some(sources) = sources {
            while lines.len() < LINES_MAX {
                let Some(line) = sources.ready_line()? else { break };
                lines.push(line);
            }
        }
        let mut written = Ok(());
        let mut taken = reader
            .drain(&mut |hook, mut event| {
                if let Some(hook) = hook {
                    tally.note(hook);
                }
                if written.is_ok() {
                    tree.enrich(&mut event);
                    written = output.event(&mut event, active.rules(), tree);
                }
            })
            .records;
        written.map_err(OutputGone)?;
        taken = taken.saturating_add(lines.len());
        for line in lines {
            let text = String::from_utf8_lossy(&line);
            let is_rest = std::mem::take(is_line_broken);
            match Event::from_json(&text) {
                Ok(mut event) => {
                    tree.enrich(&mut event);
                    output.event(&mut event, active.rules(), tree).map_err(OutputGone)?;
                }
                Err(_) => match SourceLine::read(&text) {
                    Some(SourceLine::Source { counts }) => source_counts.push(counts),
                    Some(SourceLine::There { process }) => tree.learn_anew(Event::from_json(&process.to_string())?),
                    Some(SourceLine::Only { pids }) => tree.keep_only(&pids),
                    None if is_rest || text.is_empty() => {} // told with the gap
                    None => *malformed = malformed.saturating_add(1),
                },
            }
        }
        if sources.as_ref().is_some_and(|sources| sources.is_ended()) {
            self.sources = None;
        }
        Ok(taken)
    }

    fn tell_losses(&mut self, missing: &[u64]) -> Result<()> {
        for event in self.losses.news(missing) {
            self.show(event)?;
        }
        Ok(())
    }

    /// What the replaced builds' rings hold came first. No program writes to them any more.
    fn finish_previous(&mut self) -> Result<()> {
        for mut reader in std::mem::take(&mut self.previous) {
            let Self { tree, active, output, .. } = self;
            let mut written = Ok(());
            let mut show = |_: Option<Hook>, mut event: Event| {
                if written.is_ok() {
                    tree.enrich(&mut event);
                    written = output.event(&mut event, active.rules(), tree);
                }
            };
            while reader.drain(&mut show).records > 0 {}
            written?;
            self.malformed = self.malformed.saturating_add(reader.account().malformed);
        }
        Ok(())
    }

    fn show(&mut self, mut event: Event) -> Result<()> {
        let Self { tree, active, output, unwritten, .. } = self;
        tree.enrich(&mut event);
        output.event(&mut event, active.rules(), tree).map_err(OutputGone)?;
        unwritten.add(&event);
        Ok(())
    }

    /// Until there is something to do: a record, a line, a key, or the next picture of the live view.
    fn wait(&self, control: &Lines<io::StdinLock<'_>>) {
        let mut fds: Vec<PollFd<'_>> =
            self.reader.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        fds.push(PollFd::from_borrowed_fd(control.fd(), PollFlags::IN));
        if let Some(sources) = &self.sources {
            fds.push(PollFd::from_borrowed_fd(sources.fd(), PollFlags::IN));
        }
        if let Some(terminal) = self.output.keys_from() {
            fds.push(PollFd::from_borrowed_fd(terminal, PollFlags::IN));
        }
        let look = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY_NS };
        // A poll that a signal cut short only makes the next pass an empty one.
        while poll(&mut fds, Some(&look)) == Ok(0) && self.reader.is_empty() && !self.output.is_live() {
            self.tally.beat();
            if self.changes.is_awaited || self.active.is_waiting() {
                return;
            }
        }
    }

    /// The programs are detached: what is in the rings and the pipe is all there will be.
    fn finish(&mut self, ending: &Ending) -> Result<u8> {
        while self.take()? > 0 || self.sources.is_some() {}
        self.correlate(boot_ns_now().saturating_add(SETTLE_NS))?;
        self.tell_losses(&loss::by_ring(&ending.kernel))?;
        self.flush()?; // what was told counts once it is written
        let account = self.reader.account();
        let (received, lost) = self.tally.by_hook();
        let aggregated = self.tally.aggregated();
        let summary = Summary {
            kernel: &ending.kernel,
            guard: &ending.guard,
            verdicts: &account.verdicts,
            is_guard_exact: ending.is_guard_new && self.deaths == 0,
            received: &received,
            lost_with_detector: &lost,
            deaths: self.deaths,
            aggregated: &aggregated,
            rings: ring_counts(&ending.kernel, &ending.sequences, &account.taken),
            malformed: account.malformed.saturating_add(self.malformed),
            missing_sequences: account.missing,
            is_exact: !self.is_adopted,
            sources: &self.source_counts,
            seconds: ending.seconds,
            processes: self.tree.len(),
            content: self.active.given(),
            changes: self.changes.count,
            pause_ns_max: self.changes.pause_ns_max,
        };
        let is_balanced = self.output.summary(&summary).map_err(OutputGone)?;
        self.flush()?;
        if let Some(Untaken { why, lines }) = self.output.tell_untaken() {
            let lines_in_words = format!("{why}; {lines} lines are not in it, the account is on standard error");
            return Err(OutputGone(io::Error::other(lines_in_words)).into());
        }
        Ok(if is_balanced { 0 } else { 3 })
    }
}

/// The times that the content was changed.
#[derive(Default)]
struct Changes {
    count: u64,
    /// Other content is being made ready.
    is_awaited: bool,
    /// The longest time between the last event by the old content and the first that could be asked of the new.
    pause_ns_max: u64,
}

impl Changes {
    fn note(&mut self, pause: Duration) {
        self.count = self.count.saturating_add(1);
        self.pause_ns_max = self.pause_ns_max.max(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// What the supervisor says at the end.
struct Ending {
    kernel: Vec<HookCounts>,
    sequences: Vec<Vec<u64>>,
    guard: Vec<HookCounts>,
    is_guard_new: bool,
    seconds: f64,
}

/// The descriptors of a build's rings.
fn take_rings(inherited: &[InheritedRing]) -> Result<Vec<(Ring, OwnedFd, u32)>> {
    let mut rings = Vec::with_capacity(inherited.len());
    for one in inherited {
        let ring = Ring::ALL.get(one.ring).copied().context("the set-up names a ring that does not exist")?;
        // SAFETY: the supervisor passes these descriptors to this process alone, each once.
        let fd = unsafe { OwnedFd::from_raw_fd(one.fd) };
        rings.push((ring, fd, one.bytes));
    }
    Ok(rings)
}

/// Events of the supervisor since the last flush: it says those again to the next detector that this one takes with it.
#[derive(Default)]
struct Unwritten {
    events: u64,
    /// Operations that they told as counted by process, by hook.
    aggregated: Vec<(Hook, u64)>,
}

impl Unwritten {
    fn add(&mut self, event: &Event) {
        self.events = self.events.saturating_add(1);
        if event.kind == Kind::SensorAggregated {
            let hook = HOOKS.iter().find(|hook| event.text(Field::Of).as_deref() == Some(hook.program()));
            self.aggregated.extend(hook.map(|hook| (*hook, event.number(Field::Count).unwrap_or(0))));
        }
    }

    fn note(self, tally: &Tally) {
        for (hook, count) in self.aggregated {
            tally.note_aggregated(hook, count);
        }
        tally.shown().fetch_add(self.events, Ordering::Release);
    }
}

fn read(line: &[u8]) -> Result<Message> {
    serde_json::from_slice(line).context("reading what the supervisor said")
}

/// What the sources say beside events.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum SourceLine {
    /// A source's account, at its end.
    Source { counts: SourceCounts },
    /// A process that is there, read anew after a loss.
    There { process: Json },
    /// All that are there.
    Only { pids: HashSet<u64> },
}

impl SourceLine {
    fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Lines from a descriptor, without ever blocking where `ready_line` is called.
struct Lines<R> {
    reader: BufReader<R>,
    pending: Vec<u8>,
    is_ended: bool,
}

impl<R: Read + std::os::fd::AsFd> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(PIPE_BYTES, reader), pending: Vec::new(), is_ended: false }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.reader.get_ref().as_fd()
    }

    fn is_ended(&self) -> bool {
        self.is_ended && self.pending.is_empty()
    }

    /// The next whole line that is there already.
    fn ready_line(&mut self) -> io::Result<Option<Vec<u8>>> {
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
    fn wait_line(&mut self) -> io::Result<Option<Vec<u8>>> {
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
