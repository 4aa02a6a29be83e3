//! The worker that reads events and evaluates rules: no capabilities, no network, no paths but standard output. What it can
//! harm when it dies is itself; the rings hold the events meanwhile.

mod begin;
mod ending;
mod lines;
mod unwritten;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use serde::Deserialize;
use serde_json::Value as Json;
use watertight_event::Event;
use watertight_sensor_abi::Hook;
use watertight_sensor_reader::{read_snapshot, Reader};

pub use self::begin::run;
use self::ending::Ending;
use self::lines::Lines;
use self::unwritten::Unwritten;
use super::active::Active;
use super::correlation_loss::{self, LIMITS};
use super::preparer::Preparer;
use super::protocol::{Given, Message};
use super::tally::Tally;
use crate::account::SourceCounts;
use crate::live::Facts;
use crate::loss::Losses;
use crate::output::{boot_ns_now, Output};
use crate::printable::printable;
use crate::resident;
use crate::tree::Tree;

/// How long events may lie in a ring before they are looked for: the kernel side wakes only at a ring's fill limit.
const LOOK_EVERY_NS: i64 = 20_000_000;
/// How long an event may be on its way here after it happened, and still be judged in its order by what needs several.
const SETTLE_NS: u64 = 100_000_000;
/// Lines of the sources that are taken before the rings are looked at again.
const LINES_MAX: usize = 1_024;
/// Exit code when nobody takes the output: starting again would not help.
pub const EXIT_OUTPUT: u8 = 74;

/// What is written can't be written: the reader is gone, the disk is full.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OutputGone(#[from] io::Error);

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
    /// Of the content in force, as far as it is in the shared page.
    limits: [u64; LIMITS.len()],
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
                Message::Slot(slot) => self.active.move_to(slot),
                Message::Stop { kernel, sequences, guard, is_guard_new, seconds } => {
                    return self.finish(&Ending { kernel, sequences, guard, is_guard_new, seconds });
                }
            }
        }
        self.finish_previous()?;
        resident::give_back_code();
        loop {
            let started_ns = boot_ns_now();
            self.tally.beat();
            let taken = self.take()?;
            self.change_over()?;
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
                    Message::Slot(slot) => self.active.move_to(slot),
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
    fn change_over(&mut self) -> Result<()> {
        let begun = Instant::now();
        let Some(preparer) = &self.preparer else { return Ok(()) };
        let active = match preparer.ready() {
            None => return Ok(()),
            Some((word, Err(error))) => {
                self.changes.is_awaited = false;
                self.tally.refused().store(word, Ordering::SeqCst);
                crate::say!("watertight: the detector keeps its content: {}", printable(&format!("{error:#}")));
                return Ok(());
            }
            Some((_, Ok(mut active))) => {
                active.rules().leave_trail(self.trail.rule());
                active
            }
        };
        self.changes.is_awaited = false;
        let mut before = std::mem::replace(&mut self.active, active);
        self.output.go_over_to(self.active.counts(), self.active.word());
        self.tally.evaluated().store(0, Ordering::SeqCst);
        self.tally.content().store(self.active.word(), Ordering::SeqCst);
        self.changes.note(begun.elapsed());
        let (dropped, limits) = (correlation_loss::dropped(before.rules().correlated()), before.rules().limits());
        preparer.forget(before);
        self.note_limits(correlation_loss::counts(&limits));
        self.limits = [0; LIMITS.len()];
        let Self { output, active, tree, .. } = self;
        if let Some(mut event) = dropped {
            output.event(&mut event, active.rules(), tree).map_err(OutputGone)?;
        }
        Ok(())
    }

    /// Leaves in the shared page what correlations could not do, these being the counts of the content that was in force.
    fn note_limits(&mut self, now: [u64; LIMITS.len()]) {
        let mut more = now;
        more.iter_mut().zip(self.limits).for_each(|(more, before)| *more = more.saturating_sub(before));
        self.tally.note_correlation_limits(more);
        self.limits = now;
    }

    /// Hands everything on, and notes what would no longer be lost with this process.
    fn flush(&mut self) -> Result<(), OutputGone> {
        // First: whoever reads what is handed on may end this process before the next line here.
        let rules = self.active.rules();
        let (correlated, limits) = (rules.correlated(), correlation_loss::counts(&rules.limits()));
        self.tally.correlated().store(correlated, Ordering::Relaxed);
        self.note_limits(limits);
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
