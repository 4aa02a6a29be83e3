//! `watertight content replay`: a pack in the real engine over recorded events: alerts and cost of each rule, and how both differ
//! from the pack before.
//!
//! Cost is counted, so that two runs on two machines say the same: how often a rule's condition was evaluated, the questions that it was
//! the first to ask, and the bytes that those looked at. Time is that of this machine: measured for all rules together, which share
//! questions, and divided among them by their work.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use watertight_content::sigma::detect::Hit;
use watertight_content_pack::Pack;
use watertight_host::printable::printable;

use super::left_out::{self, LeftOut};
use super::verify::{hex, read_pack};
use super::{answer, Form, OK};
use crate::command::detect::LINE_BYTES_MAX;
use crate::command::recorded::Recorded;

/// Rules of the text form: those that alerted, and of the others the dearest.
const ROWS_MAX: usize = 20;

/// Run a pack's rules over recorded events.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// The pack.
    pack: PathBuf,
    /// Recorded events: what `watertight run -o json` wrote; `-` for standard input.
    #[arg(long, value_name = "FILE", required = true)]
    events: PathBuf,
    /// The pack before: what is different is told.
    #[arg(long, value_name = "OLD")]
    against: Option<PathBuf>,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// What became of a pack's rules on recorded events.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Replayed {
    name: String,
    version: u64,
    id: String,
    pub(super) events: u64,
    pub(super) alerts: u64,
    /// Events of which rules saw less than all, because values were too long.
    cut_events: u64,
    /// Questions and bytes looked at, of all rules.
    pub(super) work: u64,
    /// Processor time; it is told beside the counts and never compared.
    ns_per_event: u64,
    /// Every rule, the dearest first.
    pub(super) rules: Vec<Row>,
}

/// What became of one rule.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) rule: String,
    /// Which stage of a sequence it is; none for a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    pub(super) title: String,
    level: Option<&'static str>,
    pub(super) alerts: u64,
    evaluations: u64,
    questions: u64,
    pub(super) work: u64,
    undecided: u64,
    /// Of the work of all rules, in percent.
    share_percent: f64,
    /// The same of the time that an event took, in tenths of a nanosecond.
    ns_per_event: f64,
    /// Hits that exceptions left out.
    left_out: u64,
    /// By exception; several may leave out one hit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exceptions: Vec<left_out::Row>,
}

/// A rule that alerts otherwise than before.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    rule: String,
    title: String,
    alerts_before: u64,
    alerts: u64,
    work_before: u64,
    work: u64,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    kind: &'static str,
    #[serde(flatten)]
    replayed: &'a Replayed,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a Replayed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Change>>,
}

/// Replays the pack, and the one before if there is one.
pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<u8> {
    let new = read_pack(&args.pack)?;
    let old = args.against.as_deref().map(read_pack).transpose()?;
    let opened = |bytes, path: &Path| Pack::open(bytes).with_context(|| path.display().to_string());
    let mut packs = vec![opened(&new, &args.pack)?];
    if let (Some(bytes), Some(path)) = (&old, &args.against) {
        packs.push(opened(bytes, path)?);
    }
    let replayed = replay(&packs, &args.events)?;
    let (first, before) = (replayed.first().context("there is one pack at least")?, replayed.get(1));
    let changes = before.map(|before| changes(before, first));
    let mut text = in_words(first);
    if let (Some(before), Some(changes)) = (before, &changes) {
        text.push_str(&difference_in_words(before, first, changes));
    }
    answer(args.output, &Answer { kind: "content_replay", replayed: first, against: before, changes }, &text)?;
    Ok(OK)
}

/// Every pack over the same events, in one pass.
pub(super) fn replay(packs: &[Pack<'_>], events: &Path) -> anyhow::Result<Vec<Replayed>> {
    let name = events.display().to_string();
    let mut runs: Vec<(Recorded<'_>, BTreeMap<String, u64>, LeftOut<'_>)> =
        packs.iter().map(|pack| (Recorded::new(pack.rules()).counting(), BTreeMap::new(), LeftOut::of(pack))).collect();
    let (mut input, size): (Box<dyn BufRead>, _) = match events.as_os_str() == "-" {
        true => (Box::new(io::stdin().lock()), None),
        false => {
            let file = File::open(events).with_context(|| format!("opening events in {name}"))?;
            let size = file.metadata().ok().map(|found| found.len());
            (Box::new(BufReader::new(file)), size)
        }
    };
    let bar = bar(size);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = io::Read::take(&mut input, LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let read = read.with_context(|| format!("{name}:{number}: reading"))? as u64;
        if read == 0 {
            break;
        }
        if read >= LINE_BYTES_MAX {
            bail!("{name}:{number}: the line is longer than {LINE_BYTES_MAX} bytes: write one event a line");
        }
        for (recorded, alerts, left_out) in &mut runs {
            for hit in recorded.line(number, &line, false).with_context(|| format!("{name}:{number}"))? {
                count(alerts, hit);
            }
            left_out.line(&line).with_context(|| format!("{name}:{number}"))?;
        }
        bar.inc(read);
    }
    bar.finish_and_clear();
    // Correlations wait for late events until time is over, and it is over with the last line.
    for (recorded, alerts, _) in &mut runs {
        recorded.last_hits().into_iter().for_each(|hit| count(alerts, hit));
    }
    if let Some((recorded, ..)) = runs.first_mut() {
        for words in recorded.end(&name)?.into_iter().chain(recorded.limits_in_words()) {
            watertight_host::say!("watertight: {}", printable(&words));
        }
    }
    let replayed =
        |(pack, (recorded, alerts, left_out)): (&Pack<'_>, &(_, _, _))| Replayed::of(pack, recorded, alerts, left_out);
    Ok(packs.iter().zip(&runs).map(replayed).collect())
}

fn count(alerts: &mut BTreeMap<String, u64>, hit: Hit) {
    let count = alerts.entry(hit.rule).or_insert(0);
    *count = count.saturating_add(1);
}

/// Hidden where nobody looks: standard error is no terminal, or the end is not known.
fn bar(size: Option<u64>) -> ProgressBar {
    let Some(size) = size else { return ProgressBar::hidden() };
    let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent} %, {eta} left") {
        bar.set_style(style);
    }
    bar
}

impl Replayed {
    fn of(pack: &Pack<'_>, recorded: &Recorded<'_>, alerts: &BTreeMap<String, u64>, left_out: &LeftOut<'_>) -> Self {
        let (manifest, counted, costs) = (pack.manifest(), recorded.counted(), recorded.costs());
        let work: u64 = costs.iter().map(|cost| cost.work).fold(0, u64::saturating_add);
        let took_ns = u64::try_from(counted.took.as_nanos()).unwrap_or(u64::MAX);
        let ns_per_event = took_ns.checked_div(counted.events).unwrap_or(0);
        let mut alerts = alerts.clone();
        let mut rules: Vec<Row> = pack
            .rules()
            .rules()
            .zip(&costs)
            .zip(0..)
            .map(|((rule, cost), position)| Row {
                rule: rule.id().to_owned(),
                stage: rule.id().split_once('#').filter(|_| rule.is_stage()).map(|(_, stage)| stage.to_owned()),
                title: rule.title().to_owned(),
                level: rule.level().map(|level| level.name()),
                alerts: alerts.remove(rule.id()).unwrap_or(0),
                evaluations: cost.evaluations,
                questions: cost.questions,
                work: cost.work,
                undecided: cost.undecided,
                share_percent: percent(cost.work, work),
                ns_per_event: tenths_of_share(ns_per_event, cost.work, work),
                left_out: left_out.hits(position),
                exceptions: left_out.rows(position),
            })
            .collect();
        // What is no rule of the image and alerts all the same: correlations.
        rules.extend(alerts.into_iter().map(|(rule, alerts)| Row {
            title: rule.clone(),
            rule,
            stage: None,
            level: None,
            alerts,
            evaluations: 0,
            questions: 0,
            work: 0,
            undecided: 0,
            share_percent: 0.0,
            ns_per_event: 0.0,
            left_out: 0,
            exceptions: Vec::new(),
        }));
        rules.sort_by(|left, right| (right.work, &left.rule).cmp(&(left.work, &right.rule)));
        Self {
            name: manifest.name.to_owned(),
            version: manifest.version,
            id: hex(&pack.id()),
            events: counted.events,
            cut_events: recorded.cut_events(),
            alerts: rules.iter().map(|row| row.alerts).fold(0, u64::saturating_add),
            work,
            ns_per_event,
            rules,
        }
    }
}

/// To two digits behind the point.
#[allow(clippy::cast_precision_loss)] // for people
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 * 10_000.0 / whole as f64).round() / 100.0
}

/// A part of a whole time, to one digit behind the point.
#[allow(clippy::cast_precision_loss)] // for people
fn tenths_of_share(time_ns: u64, part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (time_ns as f64 * 10.0 * part as f64 / whole as f64).round() / 10.0
}

/// The rules whose alerts or work are not what they were.
pub(super) fn changes(before: &Replayed, after: &Replayed) -> Vec<Change> {
    let mut pairs: BTreeMap<&str, (Option<&Row>, Option<&Row>)> = BTreeMap::new();
    for row in &before.rules {
        pairs.entry(&row.rule).or_default().0 = Some(row);
    }
    for row in &after.rules {
        pairs.entry(&row.rule).or_default().1 = Some(row);
    }
    let mut changes: Vec<Change> = pairs
        .into_iter()
        .filter_map(|(rule, (old, new))| {
            let told = |row: Option<&Row>| row.map_or((0, 0), |row| (row.alerts, row.work));
            let ((alerts_before, work_before), (alerts, work)) = (told(old), told(new));
            let title = new.or(old)?.title.clone();
            let is_changed = (alerts_before, work_before) != (alerts, work);
            is_changed.then(|| Change { rule: rule.to_owned(), title, alerts_before, alerts, work_before, work })
        })
        .collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.alerts.abs_diff(change.alerts_before)));
    changes
}

fn in_words(replayed: &Replayed) -> String {
    let mut text = String::new();
    // Writing to memory can't fail.
    let _ = writeln!(
        text,
        "{} {}: {} events, {} alerts, {} ns of a processor an event in the rules",
        printable(&replayed.name),
        replayed.version,
        replayed.events,
        replayed.alerts,
        replayed.ns_per_event
    );
    let (fired, quiet): (Vec<&Row>, Vec<&Row>) =
        replayed.rules.iter().partition(|row| row.alerts > 0 || row.left_out > 0);
    let shown: Vec<&Row> =
        fired.into_iter().chain(quiet.into_iter().filter(|row| row.work > 0)).take(ROWS_MAX).collect();
    if !shown.is_empty() {
        let _ = writeln!(text, "  alerts  left out   share  ns/event  evaluated       work  rule");
    }
    for row in &shown {
        let _ = writeln!(
            text,
            "  {:>6} {:>9} {:>6.2}% {:>9.1} {:>10} {:>10}  {} {}",
            row.alerts,
            row.left_out,
            row.share_percent,
            row.ns_per_event,
            row.evaluations,
            row.work,
            row.rule,
            printable(&row.title)
        );
        for left_out::Row { exception, left_out } in &row.exceptions {
            let _ = writeln!(text, "         {left_out:>8}  left out by {}", printable(exception));
        }
    }
    let rules = |rows: &mut dyn Iterator<Item = &Row>| rows.filter(|row| row.stage.is_none()).count();
    let rest = rules(&mut replayed.rules.iter()).saturating_sub(rules(&mut shown.iter().copied()));
    if rest > 0 {
        let _ = writeln!(
            text,
            "  {rest} more rules cost less and alerted on nothing, or are not shown: -o json has them all"
        );
    }
    text
}

/// Alerts and cost beside those of the pack before.
pub(super) fn difference_in_words(before: &Replayed, after: &Replayed, changes: &[Change]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "against {} {}: alerts {} -> {}, work {} -> {}",
        printable(&before.name),
        before.version,
        before.alerts,
        after.alerts,
        before.work,
        after.work
    );
    for change in changes.iter().take(ROWS_MAX) {
        let Change { rule, title, alerts_before, alerts, work_before, work } = change;
        let title = printable(title);
        let _ = writeln!(text, "  alerts {alerts_before} -> {alerts}, work {work_before} -> {work}: {rule} {title}");
    }
    if let Some(more @ 1..) = changes.len().checked_sub(ROWS_MAX) {
        let _ = writeln!(text, "  {more} more rules have changed: -o json has them all");
    }
    text
}
