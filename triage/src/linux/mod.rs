//! Crash text of a Linux kernel: any log, from a dmesg to a serial console, a journal, pstore.
//!
//! 1. `headline.rs` finds where reports begin, `region.rs` which lines are theirs, `line.rs`, `prefix.rs` and `phones.rs`
//!    take off what stands in front; `packed.rs` takes lines out of the JSON that some keep them in, `console.rs` what terminals put between.
//! 2. `format/` are the kernel's messages as tables. `naming.rs` fills one in; `subject.rs` finds the function that it is about, past
//!    those that do what others ask (`skip.rs`) or hand over to others (`dispatch.rs`).
//!    `mixed.rs` tells whether another report runs through.
//! 3. `facts.rs`, `stack.rs` and `who.rs` read the rest: registers, modules, frames, process, release.

mod class;
mod code;
mod console;
mod dispatch;
mod evidence;
mod facts;
mod format;
mod frame;
mod headline;
mod line;
mod mixed;
mod naming;
mod packed;
mod phones;
mod prefix;
mod region;
mod skip;
mod stack;
mod subject;
mod title;
mod who;
mod words;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::report::{Blamed, Kind, Report, Span};

pub(crate) use console::{clean, narrow, wide, ByteOrder};
pub(crate) use packed::unpack;

use evidence::Evidence;
use headline::{headlines, Found};
use region::Region;

/// Reports of one text, at most; a kernel that warns in a loop prints thousands of the same.
const REPORTS_MAX: usize = 1_000;

/// Lines of all reports of one text that are looked at, and their bytes: some seconds of work, whatever the text.
const LINES_TOTAL_MAX: usize = 2_000_000;
const BYTES_TOTAL_MAX: usize = 128 << 20;

/// Finds every crash in a text, in its order.
pub fn read(text: &str, report: &mut dyn FnMut(Report)) {
    Reader::default().read(text, 0..text.len(), report);
}

/// Reads a text that comes in parts: counts go on from part to part.
#[derive(Debug, Default)]
pub struct Reader {
    /// Whether something was found of which a machine may have died.
    has_cause: bool,
    looked_at: usize,
    bytes_looked_at: usize,
    reports: usize,
    evidence: Evidence,
}

impl Reader {
    /// Finds the crashes that begin in that range of a part; they may go on behind it. Returns where the last one has ended, or `None`
    /// when no more are told.
    pub fn read(&mut self, text: &str, range: Range<usize>, report: &mut dyn FnMut(Report)) -> Option<usize> {
        let headlines = headlines();
        self.evidence.begin_part();
        let (mut from, mut end) = (range.start, range.start);
        // Of callers that are mixed: headlines that are parts of reports already told.
        let mut told = BTreeSet::new();
        while let Some(found) = headlines.next(text, from, &mut self.evidence).filter(|found| found.start < range.end) {
            if told.remove(&found.start) {
                from = next_line(text, found.start);
                continue;
            }
            let region = Region::at(text, found.start, headlines);
            let mut one = examined(&found, &region);
            let title = one.title.as_deref().unwrap_or_default();
            one.suppressed = title == ASKED || self.has_cause && follows(title);
            self.has_cause |= !follows(title);
            end = end.max(next_line(text, region.end));
            // Reports of callers that are mixed line by line overlap. The next one is looked for behind this one's headline then, and
            // otherwise behind this one.
            let first_end = region.lines.first().map_or(found.start, |line| line.end);
            let is_called = region.lines.first().is_some_and(|line| line.context.is_caller());
            from = if is_called { next_line(text, first_end) } else { next_line(text, region.end) };
            told.extend(region.followed_by.into_iter().filter(|start| *start >= from));
            self.reports = self.reports.saturating_add(1);
            self.looked_at = self.looked_at.saturating_add(region.looked_at);
            self.bytes_looked_at = self.bytes_looked_at.saturating_add(region.bytes_looked_at);
            let is_last = self.reports >= REPORTS_MAX
                || self.looked_at >= LINES_TOTAL_MAX
                || self.bytes_looked_at >= BYTES_TOTAL_MAX;
            if is_last {
                one.warnings.push(format!("the file has more than {} reports: the rest is left out", self.reports));
            }
            report(one);
            if is_last {
                return None;
            }
        }
        Some(end)
    }

    /// What was left out of the text as a whole, when it has been read.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.evidence.is_spent().then(|| {
            "too many lines look like a crash's first: behind them only messages of known form were looked for"
                .to_owned()
        })
    }
}

/// The start of the line behind that byte.
fn next_line(text: &str, from: usize) -> usize {
    text.get(from..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| from.saturating_add(at).saturating_add(1))
}

/// One crash as a report.
fn examined(found: &Found, region: &Region<'_>) -> Report {
    let mut report = Report::of(Kind::LinuxOops);
    let byte = |at: usize| u64::try_from(at).unwrap_or(u64::MAX);
    report.span = Some(Span { start: byte(found.start), end: byte(region.end) });
    facts::fill(&mut report, region);
    if let Some(name) = naming::name(headlines(), found, region) {
        report.cause = Some(class::cause(name.class, name.subject.as_deref(), &name.title));
        report.title = Some(name.title);
        report.alt_titles = name.others;
        report.type_ = Some(name.class.to_owned());
        report.corrupted = name.corrupted.is_some();
        report.warnings.extend(name.corrupted.map(str::to_owned));
        if let Some(subject) = name.subject {
            let on_stack = report.frames.iter().find(|frame| frame.function.as_ref() == Some(&subject));
            let module = match on_stack {
                Some(frame) => frame.module.clone(),
                None => frame::module_of(&subject, &region.whole),
            };
            report.guilty = Some(subject.clone());
            report.blamed = Some(Blamed {
                module: Some(module.unwrap_or_else(|| "kernel".to_owned())),
                function: Some(subject),
                why: name.why,
            });
        }
        if let (Some("write"), Some(access)) = (name.access, &mut report.access) {
            access.operation = crate::report::Operation::Write;
        }
    }
    report
}

/// Words of panics that only say that something before them was fatal.
const FOLLOWS: [&str; 8] = [
    "Fatal exception",
    "hung_task: blocked tasks",
    "panic_on_warn set",
    "panic_on_kmsan set",
    "kasan.fault=panic set",
    "softlockup: hung tasks",
    "Hard LOCKUP",
    "RCU Stall",
];

/// The panic that an operator asked for.
const ASKED: &str = "kernel panic: sysrq triggered crash";

/// Whether a title only says that something before it was fatal.
fn follows(title: &str) -> bool {
    title.strip_prefix("kernel panic: ").is_some_and(|words| FOLLOWS.iter().any(|follow| words.contains(follow)))
}

/// Of the titles of one boot's reports in their order, the place of that which the machine died of: the last one that does not only
/// say that another was fatal.
#[must_use]
pub fn fatal<'a>(titles: impl Iterator<Item = &'a str>) -> Option<usize> {
    let mut fatal = None;
    for (place, title) in titles.enumerate() {
        if fatal.is_none() || !follows(title) {
            fatal = Some(place);
        }
    }
    fatal
}

/// Whether a function only does what others ask, so that no report is about it.
pub(crate) fn is_plumbing(name: &str) -> bool {
    skip::group(name).is_some()
}

/// Whether the text has a crash at all, without naming it.
#[must_use]
pub fn has_crash(text: &str) -> bool {
    headlines().next(text, 0, &mut Evidence::default()).is_some()
}
