//! The lines of one report: from the headline to where another begins, without what others printed in between.

use super::format::{BYSTANDERS, FOLLOW_UPS, FOLLOW_UPS_OF};
use super::frame::calls;
use super::headline::Headlines;
use super::line::{lines_from, Context, Line};
use super::subject::is_trace;
use super::words::Words;

/// Lines of a report, at most: a stack of every task of a large machine fits.
const LINES_MAX: usize = 20_000;

/// Lines in a row that say nothing about a crash, after which a report has ended.
const QUIET_LINES_MAX: usize = 64;

/// The same for lines of other callers, which may print a lot meanwhile.
const FOREIGN_LINES_MAX: usize = 4_000;

/// From this line on, a panic or a circular lock of its own printing is about the report and not part of it.
const FULL_LINES: usize = 22;

/// The same for KMSAN, which prints less.
const FULL_LINES_KMSAN: usize = 16;

/// The lines of a report.
#[derive(Debug)]
pub(super) struct Region<'a> {
    /// From the headline on, with what stands in front of messages taken off.
    pub(super) lines: Vec<Line<'a>>,
    /// The same with the frames that the kernel itself does not trust.
    pub(super) whole: Vec<&'a str>,
    /// Where lines begin that are headlines by their words and tell more of this report's fault.
    pub(super) followed_by: Vec<usize>,
    /// Lines that were looked at, those of others too.
    pub(super) looked_at: usize,
    /// Their bytes.
    pub(super) bytes_looked_at: usize,
    /// Another report's headline ended it, and nothing tells the two apart.
    pub(super) is_cut: bool,
    /// The byte behind the last line.
    pub(super) end: usize,
}

impl<'a> Region<'a> {
    /// The report whose headline is the line that starts there.
    pub(super) fn at(text: &'a str, start: usize, headlines: &Headlines) -> Self {
        let mut region = Self {
            lines: Vec::new(),
            whole: Vec::new(),
            followed_by: Vec::new(),
            looked_at: 0,
            bytes_looked_at: 0,
            is_cut: false,
            end: start,
        };
        let mut lines = lines_from(text, start);
        let Some(first) = lines.next() else { return region };
        region.end = first.end;
        region.push(first, false);
        let full_lines = if first.text.contains("KMSAN") { FULL_LINES_KMSAN } else { FULL_LINES };
        let (mut shows_all_processors, mut has_stack) = (false, false);
        let (mut quiet_lines, mut foreign_lines) = (0_usize, 0_usize);
        for line in lines.take(LINES_MAX) {
            region.looked_at = region.looked_at.saturating_add(1);
            region.bytes_looked_at = region.bytes_looked_at.saturating_add(line.text.len());
            let is_own = line.context == first.context || shows_all_processors && line.context.is_processor();
            foreign_lines = if is_own { 0 } else { foreign_lines.saturating_add(1) };
            // What another caller prints is passed over, whatever it is.
            if !is_own && first.context.is_caller() && foreign_lines <= FOREIGN_LINES_MAX {
                continue;
            }
            let is_headline = headlines.is_headline(&line);
            let begins = is_headline && !follows(first.text, line.text);
            // Nearly all lines have none of the words that are asked for below.
            let turns = TURNS.are_in(line.text);
            let intrudes = turns && BYSTANDERS.iter().any(|words| line.text.contains(words));
            // Callers are told apart, and what the same one prints before there was a stack is about this report: a crash while it was
            // printed. Otherwise nothing tells the two apart from here on.
            if (begins || intrudes) && (is_own && has_stack || !first.context.is_caller()) {
                region.is_cut = true;
                break;
            }
            let is_said = is_own && is_of_a_report(line.text);
            quiet_lines = if is_said { 0 } else { quiet_lines.saturating_add(usize::from(is_own)) };
            if quiet_lines > QUIET_LINES_MAX || foreign_lines > FOREIGN_LINES_MAX {
                break;
            }
            if !is_own || turns && line.text.contains(NO_MORE_LOCKS) {
                continue;
            }
            shows_all_processors |= turns && line.text.contains(ALL_PROCESSORS);
            has_stack |= is_trace(line.text);
            let is_about = turns && (line.text.contains(PANIC) || line.text.contains(CIRCULAR));
            if is_said {
                region.end = line.end;
            }
            if is_about && region.lines.len() >= full_lines {
                break;
            }
            if is_headline && !begins {
                region.followed_by.push(line.start);
            }
            region.push(line, is_leftover(&line));
        }
        region
    }

    fn push(&mut self, line: Line<'a>, is_leftover: bool) {
        self.whole.push(line.text);
        if !is_leftover {
            self.lines.push(line);
        }
    }

    /// The messages.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.lines.iter().map(|line| line.text)
    }
}

/// Whether a headline in the middle of a report is about the same fault.
fn follows(first: &str, text: &str) -> bool {
    FOLLOW_UPS.iter().any(|words| text.contains(words))
        || FOLLOW_UPS_OF.iter().any(|(words, second)| first.contains(words) && text.contains(second))
}

const NO_MORE_LOCKS: &str = "Disabling lock debugging due to kernel taint";
const ALL_PROCESSORS: &str = "Sending NMI from CPU";
const PANIC: &str = "Kernel panic - not syncing";
const CIRCULAR: &str = "WARNING: possible circular locking dependency detected";

/// Words of lines at which a report takes a turn: those above, and the bystanders.
static TURNS: Words = Words::of(&[
    NO_MORE_LOCKS,
    ALL_PROCESSORS,
    PANIC,
    CIRCULAR,
    "vmalloc: allocation failure:",
    "FAULT_INJECTION: forcing a failure",
    "FAULT_FLAG_ALLOW_RETRY missing",
]);

/// Words that lines of reports hold, and lines of ordinary work seldom.
static SAID: Words = Words::of(&[
    "+0x",
    "Call Trace",
    "Call trace",
    "Backtrace:",
    "backtrace:",
    "Modules linked in",
    "Hardware name",
    "CPU: ",
    "Code: ",
    "RIP",
    "RSP",
    "EFLAGS",
    "EIP",
    "CR2",
    "CR3",
    "DR0",
    "DR3",
    "R13",
    "R10",
    "RAX",
    "RDX",
    "RBP",
    "FS: ",
    "CS: ",
    "pc :",
    "lr :",
    "sp :",
    "x29",
    "x27",
    "---[",
    "====",
    "----",
    "<TASK>",
    "</TASK>",
    "<IRQ>",
    "</IRQ>",
    "<NMI>",
    "<EOI>",
    "Tainted",
    "tainted",
    " lock",
    "suspicious rcu_",
    "Allocated",
    "Freed by",
    " at addr ",
    " of size ",
    "buggy address",
    "Memory state",
    ">ff",
    "page:",
    "raw:",
    "flags:",
    "Kernel panic",
    "Kernel Offset",
    "Oops",
    "#0:",
    "stack",
    "Stack",
    "Workqueue:",
    "Comm: ",
    "created at:",
    "stored to memory at",
    "task:",
]);

/// Whether a line belongs to a report by its words.
pub(super) fn is_of_a_report(text: &str) -> bool {
    SAID.are_in(text)
}

/// Whether it is a frame that the kernel itself does not trust. A program may print ` ? ` too, so of a line without a timestamp the whole
/// must be a frame.
fn is_leftover(line: &Line<'_>) -> bool {
    if line.text.contains("<EOI>") {
        return false;
    }
    if line.context == Context::Bare {
        return calls(line.text).next().is_some_and(|call| call.is_leftover);
    }
    line.text.ends_with(" (unreliable)") || line.text.contains(" ? ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bystander_is_a_turn() {
        assert!(BYSTANDERS.iter().all(|words| TURNS.are_in(words)));
    }
}
