//! What the detector writes: events, alerts and the summary, as JSON Lines or as lines for people.

mod alerts;
mod lines;
mod records;
mod summary;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Stdout, Write as _};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use serde_json::{json, Value as Json};
use watertight_event::{Event, Field, JsonLines, Kind, Outcome, Source, View};

pub use self::lines::clean;
use self::lines::line;
pub use self::records::{is_reported, Records};
pub use self::summary::Summary;
use crate::live::{Facts, Live};
use crate::slots::Slot;
use crate::told::Told;
use crate::tree::Tree;
use crate::whole_lines::{NotedWriter, Untaken};
use crate::worker::asks::Asks;
use crate::worker::budget::OverBudget;
use crate::worker::correlations::CorrelationAlert;
use crate::worker::fault;
use crate::worker::protocol::{Format, Given};
use crate::worker::rules::{Alert as RuleAlert, Rules};
use crate::worker::tally::{Phase, Tally};

/// Bytes of events that may be held back while more come.
const HELD_BYTES_MAX: usize = 64 << 10;

/// Writes to standard output.
pub struct Output {
    out: BufWriter<NotedWriter<Stdout>>,
    /// Room for one line, used again for each.
    line: Vec<u8>,
    lines: JsonLines,
    format: Format,
    has_colour: bool,
    live: Option<Live>,
    records: Option<Records>,
    events: BTreeMap<Kind, u64>,
    alerts: u64,
    told: Told,
    over_budget: OverBudget,
    rules: RuleCounts,
    asks: Asks,
    /// When the machine began to run, nanoseconds since 1970.
    boot_unix_ns: u64,
    tally: Arc<Tally>,
    /// The summary, for where standard output does not take it.
    account: Option<Json>,
}

/// What became of the rules that were read for a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleCounts {
    /// Those that are evaluated.
    pub in_force: usize,
    /// Refused ones.
    pub refused: usize,
    /// Shipped ones whose place one of the user's has taken.
    pub replaced: usize,
}

/// CLOCK_BOOTTIME in nanoseconds.
#[must_use]
pub fn boot_ns_now() -> u64 {
    nanoseconds(rustix::time::ClockId::Boottime)
}

fn nanoseconds(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

impl Output {
    /// An output in this format; through the live view where there is one. `tally` is where its writes are noted.
    #[must_use]
    pub fn new(format: Format, has_colour: bool, live: Option<Live>, rules: RuleCounts, tally: Arc<Tally>) -> Self {
        let out = BufWriter::with_capacity(256 << 10, NotedWriter::new(io::stdout(), Arc::clone(&tally)));
        Self {
            out,
            line: Vec::new(),
            lines: JsonLines::default(),
            format,
            has_colour,
            live,
            records: None,
            events: BTreeMap::new(),
            alerts: 0,
            told: Told::default(),
            over_budget: OverBudget::default(),
            rules,
            asks: Asks::default(),
            boot_unix_ns: nanoseconds(rustix::time::ClockId::Realtime).saturating_sub(boot_ns_now()),
            tally,
            account: None,
        }
    }

    /// Asks for the actions that rules demand.
    pub fn ask_by(&mut self, asks: Asks) {
        self.asks = asks;
    }

    /// From here on what is to be reported goes there, too.
    pub fn report_to(&mut self, records: Option<Records>) {
        self.records = records;
    }

    /// Looks at the clocks: once for all events that are read together, because it may be two system calls.
    pub fn look_at_clocks(&mut self) {
        self.boot_unix_ns = nanoseconds(rustix::time::ClockId::Realtime).saturating_sub(boot_ns_now());
    }

    /// Writes an event and what the rules say of it. Its time is by the last look at the clocks.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn event(&mut self, event: &mut Event, rules: &mut Rules<'_>, tree: &Tree) -> io::Result<()> {
        event.unix_ns = event.boot_ns.saturating_add(self.boot_unix_ns);
        debug_assert_eq!(event.foreign_fields().next(), None, "the table does not give it to {}", event.kind.native());
        let count = self.events.entry(event.kind).or_insert(0);
        *count = count.saturating_add(1);
        let mut native = std::mem::take(&mut self.line);
        native.clear();
        match (self.view(), &mut self.live) {
            (Some(View::Native), _) => {
                self.lines.write(event, &mut native);
                native.push(b'\n');
                self.out.write_all(&native)?;
            }
            (Some(view), _) => writeln!(self.out, "{}", view.render(event))?,
            (None, Some(live)) => live.event(event.kind.class(), || line(event)),
            (None, None) => writeln!(self.out, "{}", line(event))?,
        }
        if let Some(records) = self.records.as_mut().filter(|_| is_reported(event.kind)) {
            records.write(format!("{}\n", View::Native.render(event)).as_bytes());
        }
        self.tally.beat();
        self.tally.evaluated().store(self.tally.evaluated().load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.tally.enter(Phase::Evaluating);
        let (mut written, mut together) = (Ok(()), Ok(()));
        let shared = std::cell::RefCell::new(&mut *self);
        let mut alert = |alert: RuleAlert<'_>| {
            fault::meet(alert.rule.title());
            let mut output = shared.borrow_mut();
            if !output.told.is_first(event, alert.rule.id()) {
                return;
            }
            output.alerts = output.alerts.saturating_add(1);
            if written.is_ok() {
                written = output.alert(event, alert.rule, alert.explanation.as_ref(), tree);
            }
        };
        let mut complete = |alert: CorrelationAlert<'_>| {
            if together.is_ok() {
                together = shared.borrow_mut().correlation(&alert, tree);
            }
        };
        let limits = rules.evaluate_next(event, &native, &mut alert, &mut complete);
        self.line = native;
        self.tally.enter(Phase::Elsewhere);
        written.and(together)?;
        let given_up = limits.first_undecided.and_then(|position| rules.id(position));
        for mut over in self.over_budget.note(&limits, given_up, event.boot_ns) {
            // No rule is asked about it, so that it ends here.
            self.event(&mut over, rules, tree)?;
        }
        Ok(())
    }

    /// Writes what correlations say once all events until this time, nanoseconds since boot, have been read.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn advance(&mut self, rules: &mut Rules<'_>, tree: &Tree, now_ns: u64) -> io::Result<()> {
        let mut written = Ok(());
        self.tally.enter(Phase::Evaluating);
        rules.advance(now_ns, &mut |alert| {
            if written.is_ok() {
                written = self.correlation(&alert, tree);
            }
        });
        self.tally.enter(Phase::Elsewhere);
        written?;
        for mut over in self.over_budget.note_state(rules.over_state(), boot_ns_now()) {
            self.event(&mut over, rules, tree)?;
        }
        Ok(())
    }

    /// Other rules are in force from here on.
    pub fn go_over_to(&mut self, rules: RuleCounts, word: u64) {
        self.rules = rules;
        self.over_budget.forget_state();
        self.asks.go_over_to(word);
    }

    fn view(&self) -> Option<View> {
        match self.format {
            Format::Live => None,
            Format::Native => Some(View::Native),
            Format::Sigma => Some(View::Sigma),
            Format::Ecs => Some(View::Ecs),
            Format::Ocsf => Some(View::Ocsf),
        }
    }

    /// Tells the account on standard error where standard output did not take everything, and gives what it did not take.
    pub fn tell_untaken(&self) -> Option<Untaken> {
        let untaken = self.out.get_ref().untaken()?;
        if let Some(account) = &self.account {
            crate::say!("{account}");
        }
        Some(untaken.clone())
    }

    /// Gives the live view its turn: keys, lines, status. Returns whether the user asked to quit.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn beat(&mut self, facts: Facts) -> io::Result<bool> {
        self.live.as_mut().map_or(Ok(false), |live| live.beat(facts))
    }

    /// Reports of sources that they lost events; how many, they do not know.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.events.get(&Kind::SensorOverflow).copied().unwrap_or(0)
    }

    /// Whether there is a live view, which wants its turn however little happens.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// The terminal, if keys can come from it.
    #[must_use]
    pub fn keys_from(&self) -> Option<BorrowedFd<'_>> {
        self.live.as_ref()?.keys_from()
    }

    /// Goes on with the counts of detectors that died.
    pub fn resume(&mut self, tally: &Tally) {
        for kind in Kind::ALL {
            let count = tally.events(*kind).load(Ordering::Relaxed);
            if count > 0 {
                self.events.insert(*kind, count);
            }
        }
        self.alerts = tally.alerts().load(Ordering::Relaxed);
        self.over_budget.resume(tally.over_budget());
    }

    /// Leaves the counts to a detector that may have to go on.
    pub fn note(&self, tally: &Tally) {
        for (kind, count) in &self.events {
            tally.events(*kind).store(*count, Ordering::Relaxed);
        }
        tally.alerts().store(self.alerts, Ordering::Relaxed);
        tally.note_over_budget(self.over_budget.events());
    }

    /// Whether so much is held back that it should be handed on: it would be lost with this process.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.out.buffer().len() >= HELD_BYTES_MAX
    }

    /// Hands everything to the terminal or pipe.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// An event of the sensor itself.
#[must_use]
pub fn sensor_event(kind: Kind, of: &str, message: &str) -> Event {
    Event::new(kind, Outcome::Done, Source::Sensor, boot_ns_now()).with(Field::Of, of).with(Field::Message, message)
}

/// What is in force, as every line that speaks of it tells it.
#[must_use]
pub fn content(given: &Given) -> Json {
    let Given { slot, id, name, version, .. } = given;
    json!({ "slot": slot, "id": id, "name": name, "version": version })
}

/// The same where events are only collected.
#[must_use]
pub fn no_content() -> Json {
    json!({ "slot": Slot::CollectOnly.name(), "id": null, "name": null, "version": null })
}
