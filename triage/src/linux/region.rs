//! The lines of one report: from the headline to where another begins, without what others printed in between.

use super::format::{BYSTANDERS, FOLLOW_UPS};
use super::headline::Headlines;
use super::line::{lines_from, Context, Line};

/// Lines of a report, at most: a stack of every task of a large machine fits.
const LINES_MAX: usize = 20_000;

/// From this line on, a panic or a circular lock of its own printing is about the report and not part of it.
const FULL_LINES: usize = 22;

/// The same for KMSAN, which prints less.
const FULL_LINES_KMSAN: usize = 16;

/// The lines of a report.
#[derive(Debug)]
pub(super) struct Region<'a> {
    /// From the headline on, with what stands in front of messages taken off.
    pub(super) lines: Vec<Line<'a>>,
    /// The byte behind the last line.
    pub(super) end: usize,
}

impl<'a> Region<'a> {
    /// The report whose headline is the line that starts there.
    pub(super) fn at(text: &'a str, start: usize, headlines: &Headlines) -> Self {
        let mut region = Self { lines: Vec::new(), end: start };
        let mut lines = lines_from(text, start);
        let Some(first) = lines.next() else { return region };
        region.end = first.end;
        region.lines.push(first);
        let full_lines = if first.text.contains("KMSAN") { FULL_LINES_KMSAN } else { FULL_LINES };
        let mut shows_all_processors = false;
        for line in lines.take(LINES_MAX) {
            let is_own = line.context == first.context || shows_all_processors && line.context.is_processor();
            let begins = headlines.is_headline(&line) && !FOLLOW_UPS.iter().any(|words| line.text.contains(words));
            let intrudes = BYSTANDERS.iter().any(|words| line.text.contains(words));
            // Callers are told apart: what another one prints is passed over. Otherwise nothing tells the two apart from here on.
            if (begins || intrudes) && (is_own || !first.context.is_caller()) {
                break;
            }
            if !is_own || is_leftover(&line) || line.text.contains("Disabling lock debugging due to kernel taint") {
                continue;
            }
            shows_all_processors |= line.text.contains("Sending NMI from CPU");
            let is_about = line.text.contains("Kernel panic - not syncing")
                || line.text.contains("WARNING: possible circular locking dependency detected");
            region.end = line.end;
            if is_about && region.lines.len() >= full_lines {
                break;
            }
            region.lines.push(line);
        }
        region
    }

    /// The messages.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.lines.iter().map(|line| line.text)
    }
}

/// Whether it is a frame that the kernel itself does not trust. Only the kernel's own lines are asked: a program may print ` ? ` too.
fn is_leftover(line: &Line<'_>) -> bool {
    if line.context == Context::Bare || line.text.contains("<EOI>") {
        return false;
    }
    line.text.ends_with(" (unreliable)") || line.text.contains(" ? ")
}
