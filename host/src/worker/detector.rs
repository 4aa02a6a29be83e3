//! The worker that reads events and evaluates rules: no capabilities, no network, no paths but standard output. What it can
//! harm when it dies is itself; the rings hold the events meanwhile.

use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use serde_json::Value as Json;
use watertight_event::{Event, Field, Kind};
use watertight_sensor_abi::{Ring, HOOKS};
use watertight_sensor_reader::Reader;

use super::protocol::{Format, Message, Setup};
use super::rules::{self, Rules};
use crate::account::{HookCounts, SourceCounts};
use crate::live::{Facts, Live};
use crate::output::{Output, Summary};
use crate::tree::Tree;
use crate::users::Names;

/// How long events may lie in a ring before they are looked for: the kernel side wakes only at a ring's fill limit.
const LOOK_EVERY_NS: i64 = 20_000_000;
/// Bytes taken from a pipe at once.
const PIPE_BYTES: usize = 256 << 10;
/// Longest line that the pipe of the sources may bring: an event's largest strings, escaped.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Runs until the supervisor says stop or is gone. Returns the exit code: 0, or 3 when the accounts do not balance.
///
/// # Errors
/// The set-up is damaged, a rule folder can't be read, or standard output is gone.
pub fn run() -> Result<u8> {
    super::privileges::die_with_parent().context("tying this worker to the supervisor")?;
    let mut control = Lines::new(io::stdin().lock());
    let setup = control.wait_line()?.context("the supervisor ended before it said anything")?;
    let setup: Setup = serde_json::from_slice(&setup).context("reading the set-up")?;
    // Rule folders may be the administrator's own: they are read before the privileges go.
    let (rules, refused) = rules::load(&setup.rules)?;
    give_back_memory();
    // The terminal belongs to who logged in: it is opened before, too. Plain lines do where it can't be.
    let is_live = setup.is_terminal && setup.format == Format::Live;
    let live = if is_live { Live::open(setup.has_colour).ok() } else { None };
    super::privileges::drop_all().context("giving up privileges: the detector does not run with them")?;
    for refusal in &refused {
        eprintln!("watertight: {refusal}");
    }
    let mut detector = Detector::new(setup, rules, refused.len(), live)?;
    detector.run(&mut control)
}

/// Reading the rules takes several times the memory that they need afterwards; the C library would keep it for ever.
fn give_back_memory() {
    // SAFETY: the call takes no pointer, and the allocator is the C library's own.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

struct Detector {
    reader: Reader,
    tree: Tree,
    rules: Rules,
    output: Output,
    sources: Option<Lines<std::fs::File>>,
    source_counts: Vec<SourceCounts>,
    /// Lines from the sources that are no events.
    malformed: u64,
    /// Operations by hook that `sensor.aggregated` events told.
    aggregated: Vec<u64>,
    is_adopted: bool,
    /// Takes one byte when the user asks to quit; `None` once it has.
    quit: Option<OwnedFd>,
}

impl Detector {
    fn new(setup: Setup, rules: Rules, refused: usize, live: Option<Live>) -> Result<Self> {
        let mut rings = Vec::new();
        for inherited in &setup.rings {
            let ring = Ring::ALL.get(inherited.ring).copied().context("the set-up names a ring that does not exist")?;
            // SAFETY: the supervisor passes these descriptors to this process alone, each once.
            let fd = unsafe { OwnedFd::from_raw_fd(inherited.fd) };
            rings.push((ring, fd, inherited.bytes));
        }
        // SAFETY: as above.
        let sources = setup.events_fd.map(|fd| Lines::new(unsafe { std::fs::File::from_raw_fd(fd) }));
        // SAFETY: as above.
        let quit = setup.quit_fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self {
            reader: Reader::new(rings, &setup.boot_id)?,
            tree: Tree::new(Names::of_this_machine()),
            output: Output::new(setup.format, setup.has_colour, live, rules.len(), refused),
            rules,
            sources,
            source_counts: Vec::new(),
            malformed: 0,
            aggregated: vec![0; HOOKS.len()],
            is_adopted: setup.is_adopted,
            quit,
        })
    }

    fn run(&mut self, control: &mut Lines<io::StdinLock<'_>>) -> Result<u8> {
        // Processes that were there before come first: the first event may already name one. The rings hold it meanwhile.
        while let Some(line) = control.wait_line()? {
            match read(&line)? {
                Message::Process(event) => self.tree.enrich(&mut Event::from_json(&event.to_string())?),
                Message::Event(event) => self.show(Event::from_json(&event.to_string())?)?,
                Message::Go => break,
                Message::Stop { kernel, seconds } => return self.finish(&kernel, seconds),
            }
        }
        loop {
            let taken = self.take()?;
            while let Some(line) = control.ready_line()? {
                match read(&line)? {
                    Message::Stop { kernel, seconds } => return self.finish(&kernel, seconds),
                    Message::Event(event) => self.show(Event::from_json(&event.to_string())?)?,
                    Message::Process(_) | Message::Go => {} // only at the beginning
                }
            }
            if control.is_ended() {
                return Ok(1); // the supervisor died: what is in the rings stays for the next run
            }
            self.beat()?;
            if taken == 0 {
                self.output.flush()?;
                self.wait(control);
            }
        }
    }

    /// The live view's turn; the supervisor hears of a `q` and stops us in good order.
    fn beat(&mut self) -> Result<()> {
        let lost = self.reader.account().missing.saturating_add(self.output.overflows());
        if self.output.beat(Facts { lost, processes: self.tree.len() })? {
            if let Some(quit) = self.quit.take() {
                rustix::io::write(&quit, b"q").context("asking the supervisor to stop")?;
            }
        }
        Ok(())
    }

    /// Everything that is there now: rings, critical first, then the other sources.
    fn take(&mut self) -> Result<usize> {
        let Self { reader, tree, rules, output, sources, source_counts, malformed, .. } = self;
        output.look_at_clocks();
        let mut written = Ok(());
        let mut taken = reader
            .drain(&mut |mut event| {
                if written.is_ok() {
                    tree.enrich(&mut event);
                    written = output.event(&mut event, rules, tree);
                }
            })
            .records;
        written?;
        let Some(lines) = sources else { return Ok(taken) };
        while let Some(line) = lines.ready_line()? {
            taken = taken.saturating_add(1);
            let text = String::from_utf8_lossy(&line);
            match Event::from_json(&text) {
                Ok(mut event) => {
                    tree.enrich(&mut event);
                    output.event(&mut event, rules, tree)?;
                }
                Err(_) => match source_line(&text) {
                    Some(counts) => source_counts.push(counts),
                    None => *malformed = malformed.saturating_add(1),
                },
            }
        }
        if lines.is_ended() {
            self.sources = None;
        }
        Ok(taken)
    }

    fn show(&mut self, mut event: Event) -> Result<()> {
        if event.kind == Kind::SensorAggregated {
            let hook = HOOKS.iter().position(|hook| event.text(Field::Of).as_deref() == Some(hook.program()));
            if let Some(told) = hook.and_then(|at| self.aggregated.get_mut(at)) {
                *told = told.saturating_add(event.number(Field::Count).unwrap_or(0));
            }
        }
        let Self { tree, rules, output, .. } = self;
        tree.enrich(&mut event);
        output.event(&mut event, rules, tree)?;
        Ok(())
    }

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
        let _ = poll(&mut fds, Some(&look));
    }

    /// The programs are detached: what is in the rings and the pipe is all there will be.
    fn finish(&mut self, kernel: &[HookCounts], seconds: f64) -> Result<u8> {
        while self.take()? > 0 || self.sources.is_some() {}
        let account = self.reader.account();
        let summary = Summary {
            kernel,
            received: &account.received,
            aggregated: &self.aggregated,
            malformed: account.malformed.saturating_add(self.malformed),
            missing_sequences: account.missing,
            is_exact: !self.is_adopted,
            sources: &self.source_counts,
            seconds,
            processes: self.tree.len(),
        };
        let is_balanced = self.output.summary(&summary)?;
        self.output.flush()?;
        Ok(if is_balanced { 0 } else { 3 })
    }
}

fn read(line: &[u8]) -> Result<Message> {
    serde_json::from_slice(line).context("reading what the supervisor said")
}

fn source_line(text: &str) -> Option<SourceCounts> {
    let json: Json = serde_json::from_str(text).ok()?;
    serde_json::from_value(json.get("counts")?.clone()).ok()
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
