//! What the detector writes: events, alerts and the summary, as JSON Lines or as lines for people.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Stdout, Write as _};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use serde_json::{json, Value as Json};
use watertight_engine::{Explanation, Rule};
use watertight_event::{Event, Field, JsonLines, Kind, Outcome, Source, Value, View};
use watertight_sensor_abi::Ring;

use crate::account::ring::RingCounts;
use crate::account::{guard_rows, hook_rows, HookCounts, Receipts, SourceCounts};
use crate::alert::{level_name, response_words, Alert};
use crate::live::{Facts, Line, Live, Part};
use crate::loss;
use crate::patience;
use crate::printable::printable_start;
use crate::slots::Slot;
use crate::told::Told;
use crate::tree::Tree;
use crate::whole_lines::{NotedWriter, Untaken, NOT_READ};
use crate::worker::budget::OverBudget;
use crate::worker::correlations::CorrelationAlert;
use crate::worker::fault;
use crate::worker::protocol::{Format, Given};
use crate::worker::rules::{rules_in_words, Alert as RuleAlert, Rules};
use crate::worker::tally::{Phase, Tally};

/// Bytes of events that may be held back while more come.
const HELD_BYTES_MAX: usize = 64 << 10;
/// Longest value in a line for people, in characters.
const SHOWN_CHARS_MAX: usize = 160;
/// Deepest indentation in a line for people.
const INDENT_MAX: u64 = 12;

/// Writes to standard output.
pub struct Output {
    out: BufWriter<NotedWriter<Stdout>>,
    /// Room for one line, used again for each.
    line: Vec<u8>,
    lines: JsonLines,
    format: Format,
    has_colour: bool,
    live: Option<Live>,
    events: BTreeMap<Kind, u64>,
    alerts: u64,
    told: Told,
    over_budget: OverBudget,
    rules: RuleCounts,
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

/// The end of a run.
pub struct Summary<'s> {
    /// Kernel's counters by hook.
    pub kernel: &'s [HookCounts],
    /// The guard's counters by hook.
    pub guard: &'s [HookCounts],
    /// Verdicts received by hook.
    pub verdicts: &'s [u64],
    /// Both halves of the guard's account are of this run.
    pub is_guard_exact: bool,
    /// Records taken from the rings by hook.
    pub received: &'s [u64],
    /// Of these, lost with a detector that died before it had written them.
    pub lost_with_detector: &'s [u64],
    /// Detectors that died during the run.
    pub deaths: u64,
    /// Operations by hook that were told as counted by process.
    pub aggregated: &'s [u64],
    /// The account of each ring.
    pub rings: Vec<RingCounts>,
    /// Records and lines that could not be read.
    pub malformed: u64,
    /// Sequence numbers that did not come.
    pub missing_sequences: u64,
    /// Both halves of the account are of this run.
    pub is_exact: bool,
    /// Accounts of the other sources.
    pub sources: &'s [SourceCounts],
    /// Length of the run.
    pub seconds: f64,
    /// Processes that are known at the end.
    pub processes: usize,
    /// The content in force at the end.
    pub content: Option<&'s Given>,
    /// Times that it was changed while the last detector ran.
    pub changes: u64,
    /// Longest time for which that kept events waiting.
    pub pause_ns_max: u64,
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
            events: BTreeMap::new(),
            alerts: 0,
            told: Told::default(),
            over_budget: OverBudget::default(),
            rules,
            boot_unix_ns: nanoseconds(rustix::time::ClockId::Realtime).saturating_sub(boot_ns_now()),
            tally,
            account: None,
        }
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
        match (self.view(), &mut self.live) {
            (Some(View::Native), _) => {
                self.line.clear();
                self.lines.write(event, &mut self.line);
                self.line.push(b'\n');
                self.out.write_all(&self.line)?;
            }
            (Some(view), _) => writeln!(self.out, "{}", view.render(event))?,
            (None, Some(live)) => live.event(event.kind.class(), || line(event)),
            (None, None) => writeln!(self.out, "{}", line(event))?,
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
        let limits = rules.evaluate_next(event, &mut alert, &mut complete);
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
        written
    }

    /// An alert of a correlation is told with its last event, and lists all that led to it.
    fn correlation(&mut self, alert: &CorrelationAlert<'_>, tree: &Tree) -> io::Result<()> {
        self.alerts = self.alerts.saturating_add(1);
        let last = alert.stages.iter().rev().find_map(|stage| stage.event).cloned();
        let last = last.unwrap_or_else(|| {
            sensor_event(Kind::SensorGap, "correlation", "the events that led to this alert are no longer at hand")
        });
        let ancestry = last.number(Field::Pid).map(|pid| tree.ancestry(pid)).unwrap_or_default();
        let told = Alert { event: &last, rule: alert.rule, matches: &[], ancestry: &ancestry };
        if let Some(view) = self.view() {
            return writeln!(self.out, "{}", told.render_with(view, &stages_json(alert)));
        }
        let mut lines = alert_lines(&last, alert.rule, level_name(alert.rule.level()), &[], &ancestry);
        let at = lines.len().min(2);
        for stage in alert.stages.iter().rev() {
            let what =
                stage.event.map_or_else(|| "no longer at hand".to_owned(), |event| line(event).trim().to_owned());
            let text = format!("    stage     {}: {what}", clean(stage.stage));
            lines.insert(at, Line { part: Part::Why, text });
        }
        self.alert_lines(lines)
    }

    /// Other rules are in force from here on.
    pub fn go_over_to(&mut self, rules: RuleCounts) {
        self.rules = rules;
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

    fn alert(&mut self, event: &Event, rule: Rule<'_>, why: Option<&Explanation>, tree: &Tree) -> io::Result<()> {
        let ancestry = event.number(Field::Pid).map(|pid| tree.ancestry(pid)).unwrap_or_default();
        let matches: Vec<(&str, &str, &str)> = why
            .iter()
            .flat_map(|why| &why.selections)
            .flat_map(|selection| &selection.matches)
            .map(|found| (found.field.as_str(), found.value.as_deref().unwrap_or_default(), found.pattern.as_str()))
            .collect();
        if let Some(view) = self.view() {
            let alert = Alert { event, rule, matches: &matches, ancestry: &ancestry };
            return writeln!(self.out, "{}", alert.render(view));
        }
        self.alert_lines(alert_lines(event, rule, level_name(rule.level()), &matches, &ancestry))
    }

    fn alert_lines(&mut self, lines: Vec<Line>) -> io::Result<()> {
        if let Some(live) = &mut self.live {
            live.alert(lines);
            return Ok(());
        }
        for Line { part, text } in lines {
            match part {
                Part::Alert if self.has_colour => writeln!(self.out, "\x1b[1;31m{text}\x1b[0m")?,
                _ => writeln!(self.out, "{text}")?,
            }
        }
        Ok(())
    }

    /// Writes the account of the run. Returns whether it balances.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn summary(&mut self, summary: &Summary<'_>) -> io::Result<bool> {
        let receipts = Receipts {
            taken: summary.received,
            lost: summary.lost_with_detector,
            aggregated: summary.aggregated,
            deaths: summary.deaths,
        };
        let (hooks, is_balanced) = hook_rows(summary.kernel, &receipts, summary.is_exact);
        // What a detector that died had taken is, for the next one, taken before.
        let is_first = summary.is_exact && summary.deaths == 0;
        let rings: Vec<Json> = summary.rings.iter().map(|ring| ring.to_json(is_first)).collect();
        let are_rings_balanced = summary.rings.iter().all(|ring| ring.is_balanced(is_first));
        let (guard, is_guard_balanced) = guard_rows(summary.guard, summary.verdicts, summary.is_guard_exact);
        let is_balanced = is_balanced && are_rings_balanced && is_guard_balanced && summary.malformed == 0;
        let events: BTreeMap<&str, u64> = self.events.iter().map(|(kind, count)| (kind.native(), *count)).collect();
        let sources: Vec<Json> = summary
            .sources
            .iter()
            .map(|counts| {
                json!({
                    "source": counts.source, "hits": "unknown", "received": counts.received,
                    "filtered": counts.filtered, "malformed": counts.malformed, "overflows": counts.overflows,
                })
            })
            .collect();
        let by_ring = loss::by_ring(summary.kernel);
        let lost: BTreeMap<&str, u64> = Ring::ALL.iter().map(|ring| loss::name(*ring)).zip(by_ring).collect();
        let line = json!({
            "kind": "summary",
            "seconds": summary.seconds,
            "events": events,
            "alerts": self.alerts,
            "rules": self.rules.in_force,
            "rules_rejected": self.rules.refused,
            "rules_replaced": self.rules.replaced,
            "hooks": hooks,
            "rings": rings,
            "guard": guard,
            "sources": sources,
            "lost": lost,
            "malformed": summary.malformed,
            "missing_sequences": summary.missing_sequences,
            "detector_deaths": summary.deaths,
            "account": account(summary),
            "balanced": is_balanced,
            "processes_known": summary.processes,
            "content": summary.content.map_or_else(no_content, content),
            "content_changes": summary.changes,
            "content_pause_ns_max": summary.pause_ns_max,
        });
        if let Some(live) = &mut self.live {
            if !live.close(&|since_ms| patience::wait(&self.tally, since_ms))? {
                self.out.get_mut().give_up(NOT_READ);
            }
            patience::wait_no_more(&self.tally);
        }
        if self.format == Format::Live {
            self.summary_for_people(&line)?;
        } else {
            writeln!(self.out, "{line}")?;
        }
        self.account = Some(line);
        Ok(is_balanced)
    }

    /// Tells the account on standard error where standard output did not take everything, and gives what it did not take.
    pub fn tell_untaken(&self) -> Option<Untaken> {
        let untaken = self.out.get_ref().untaken()?;
        if let Some(account) = &self.account {
            crate::say!("{account}");
        }
        Some(untaken.clone())
    }

    fn summary_for_people(&mut self, line: &Json) -> io::Result<()> {
        let total: u64 = self.events.values().sum();
        let rules = rules_in_words(self.rules.in_force, self.rules.replaced);
        writeln!(self.out, "\n{total} events, {} alerts, {rules}", self.alerts)?;
        writeln!(
            self.out,
            "  {:<18}{:>10}{:>10}{:>10}{:>10}{:>8}{:>10}",
            "hook", "hits", "filtered", "submitted", "received", "lost", "balanced"
        )?;
        for hook in line.get("hooks").and_then(Json::as_array).into_iter().flatten() {
            let number = |name: &str| hook.get(name).and_then(Json::as_u64).unwrap_or(0);
            let lost = ["lost_ring_full", "lost_no_scratch", "lost_with_detector"].into_iter().map(number).sum::<u64>();
            writeln!(
                self.out,
                "  {:<18}{:>10}{:>10}{:>10}{:>10}{:>8}{:>10}",
                hook.get("hook").and_then(Json::as_str).unwrap_or_default(),
                number("hits"),
                number("filtered"),
                number("submitted"),
                number("received"),
                lost,
                if hook.get("balanced") == Some(&Json::Bool(true)) { "yes" } else { "NO" }
            )?;
        }
        for ring in line.get("rings").and_then(Json::as_array).into_iter().flatten() {
            let number = |name: &str| ring.get(name).and_then(Json::as_u64).unwrap_or(0);
            if number("received_before") > 0 {
                writeln!(
                    self.out,
                    "  {}: {} submitted since the load = {} received by earlier runs and detectors + {} by this one",
                    ring.get("ring").and_then(Json::as_str).unwrap_or_default(),
                    number("submitted"),
                    number("received_before"),
                    number("received"),
                )?;
            }
        }
        for source in line.get("sources").and_then(Json::as_array).into_iter().flatten() {
            let number = |name: &str| source.get(name).and_then(Json::as_u64).unwrap_or(0);
            writeln!(
                self.out,
                "  {:<18}{:>10}{:>10}{:>10}{:>10}{:>8}",
                source.get("source").and_then(Json::as_str).unwrap_or_default(),
                "unknown",
                number("filtered"),
                "-",
                number("received"),
                format!("{}x", number("overflows"))
            )?;
        }
        Ok(())
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
    }

    /// Leaves the counts to a detector that may have to go on.
    pub fn note(&self, tally: &Tally) {
        for (kind, count) in &self.events {
            tally.events(*kind).store(*count, Ordering::Relaxed);
        }
        tally.alerts().store(self.alerts, Ordering::Relaxed);
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

/// How far the account can be trusted.
fn account(summary: &Summary<'_>) -> &'static str {
    match (summary.is_exact, summary.deaths) {
        (true, 0) => "exact",
        (true, _) => "a detector died: what it had not written counts as lost, up to one record a ring was read twice",
        (false, _) => "adopted: since the load; rings say what earlier runs received",
    }
}

/// An event of the sensor itself.
#[must_use]
pub fn sensor_event(kind: Kind, of: &str, message: &str) -> Event {
    Event::new(kind, Outcome::Done, Source::Sensor, boot_ns_now()).with(Field::Of, of).with(Field::Message, message)
}

/// What led to a correlation, for machines.
fn stages_json(alert: &CorrelationAlert<'_>) -> Json {
    let stages: Vec<Json> = alert
        .stages
        .iter()
        .map(|stage| {
            let event = stage.event.map(|event| {
                json!({
                    "kind": event.kind.native(),
                    "boot_ns": event.boot_ns,
                    "pid": event.number(Field::Pid),
                    "process_id": event.text(Field::ProcessId),
                    "executable": event.text(Field::Executable),
                    "command_line": event.text(Field::CommandLine),
                    "path": event.text(Field::Path),
                })
            });
            json!({ "stage": stage.stage, "boot_ns": stage.moment.time_ns, "event": event })
        })
        .collect();
    json!({ "count": alert.correlated.count, "by_clock": alert.correlated.is_by_clock, "stages": stages })
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

/// An alert for people: what, by which event, why, and where the process comes from, the eldest ancestor first.
fn alert_lines(
    event: &Event,
    rule: Rule<'_>,
    level: &str,
    matches: &[(&str, &str, &str)],
    ancestry: &[String],
) -> Vec<Line> {
    let mut lines = vec![Line { part: Part::Alert, text: format!("ALERT [{level}] {}", clean(rule.title())) }];
    let mut why = |text: String| lines.push(Line { part: Part::Why, text });
    why(format!("    event     {} {} {}", event.kind.native(), who(event), what(event)));
    for (field, value, pattern) in matches {
        why(format!("    because   {} = {}   matches {}", clean(field), clean(value), clean(pattern)));
    }
    if let Some(words) = response_words(rule) {
        why(format!("    response  {words}"));
    }
    for (depth, name) in ancestry.iter().rev().enumerate() {
        let begin = if depth == 0 { "    ancestry  " } else { "              " };
        let branch = if depth == 0 { "" } else { "└ " };
        let indent = depth.saturating_sub(1).min(usize::try_from(INDENT_MAX).unwrap_or(0)).saturating_mul(2);
        why(format!("{begin}{:indent$}{branch}{}", "", clean(name)));
    }
    lines
}

/// One readable line: kind, process indented by its depth, what it acts on.
fn line(event: &Event) -> String {
    let depth = event.number(Field::Depth).unwrap_or(0).min(INDENT_MAX);
    let indent = usize::try_from(depth).unwrap_or(0);
    let outcome = match event.outcome {
        Outcome::Denied => " DENIED",
        _ => "",
    };
    format!("{:<18} {:indent$}{} {}{outcome}", event.kind.native(), "", who(event), what(event))
}

fn who(event: &Event) -> String {
    match (event.text(Field::Executable), event.text(Field::Comm), event.number(Field::Pid)) {
        (Some(path), _, Some(pid)) => format!("{}[{pid}]", clean(path.rsplit('/').next().unwrap_or_default())),
        (None, Some(name), Some(pid)) => format!("{}[{pid}]", clean(&name)),
        (_, _, Some(pid)) => format!("[{pid}]"),
        _ => "-".to_owned(),
    }
}

fn what(event: &Event) -> String {
    match event.kind {
        Kind::ProcessExec => event.text(Field::CommandLine).map_or_else(String::new, |line| clean(&line)),
        Kind::ProcessFork => event.number(Field::ChildPid).map_or_else(String::new, |pid| format!("-> [{pid}]")),
        Kind::ProcessExit => match event.number(Field::ExitSignal) {
            Some(signal) if signal != 0 => format!("signal {signal}"),
            _ => format!("code {}", event.number(Field::ExitCode).unwrap_or(0)),
        },
        _ => object(event),
    }
}

fn object(event: &Event) -> String {
    let mut parts = Vec::new();
    if let Some(Value::List(operations)) = event.get(Field::Operations) {
        if operations.len() > 1 {
            parts.push(operations.iter().map(|name| name.lossy().into_owned()).collect::<Vec<_>>().join("+"));
        }
    }
    if let Some(old) = event.text(Field::OldPath) {
        parts.push(format!("{} ->", clean(&old)));
    }
    for field in [Field::Path, Field::LinkTarget, Field::TargetExecutable, Field::ModuleName, Field::Message] {
        if let Some(text) = event.text(field) {
            parts.push(clean(&text));
        }
    }
    if let (Some(Value::Address(local)), Some(port)) = (event.get(Field::LocalAddress), event.number(Field::LocalPort))
    {
        parts.push(format!("{local}:{port}"));
    }
    if let (Some(Value::Address(remote)), Some(port)) =
        (event.get(Field::RemoteAddress), event.number(Field::RemotePort))
    {
        parts.push(format!("-> {remote}:{port}"));
    }
    parts.join(" ")
}

/// A value of others for a line for people: cut where it is too long.
#[must_use]
pub fn clean(text: &str) -> String {
    printable_start(text, SHOWN_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_escapes_never_reaches_the_terminal_raw() {
        let event = Event::new(Kind::FileUnlink, Outcome::Done, Source::Fanotify, 1)
            .with(Field::Path, "/tmp/\u{1b}[31mred\nline\u{202e}");
        let line = line(&event);
        assert!(line.chars().all(|letter| !letter.is_control()), "{line:?}");
        assert!(line.contains("\\u{1b}[31mred\\nline\\u{202e}"), "{line}");
    }
}
