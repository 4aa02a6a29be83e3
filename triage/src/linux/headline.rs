//! Finds headlines in a log: by their words first, which is fast, and then by where they stand.
//!
//! A headline begins a message. The same words in the middle of one are a program's, a file system's or a mount option's.

use std::cell::OnceCell;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::Regex;

use super::evidence::Evidence;
use super::format::{self, Format, FOLLOW_UPS, HARMLESS, WITHOUT_WORDS};
use super::line::{cut, lines_from, Context, Line};
use super::region::is_of_a_report;
use super::subject::is_trace;
use super::words::Words;

/// Lines below a headline of a format that is not known in which its stack must begin.
const EVIDENCE_LINES: usize = 30;

/// Lines of any caller that are looked at for it, so that a log of headlines alone costs no more than its length.
const LOOKED_AT_MAX: usize = 500;

/// Of a line that many bytes are looked at for a headline: the kernel's own records hold no more.
const HEADLINE_BYTES_MAX: usize = 1024;

/// Words of headlines in one line that are looked at: `watchdog: BUG: soft lockup` has two, a line of nothing else is none of the kernel's.
const CANDIDATES_MAX: usize = 3;

static HARMLESS_WORDS: Words = Words::of(HARMLESS);

/// Lines in a row below it that say nothing about a crash; what tells of other things meanwhile has no stack of this message.
const QUIET_LINES_MAX: usize = 12;

/// Words before a stack that somebody asked for, or that another message asked all processors for.
const OF_OTHERS: &[&str] = &["sysrq: ", "SysRq : ", "NMI backtrace for cpu "];

/// What may stand between the start of a message and a headline.
const FRONTS: &[&str] =
    &["[", "rcu:", "watchdog:", "NMI watchdog:", "Oops:", "traps:", "NMI backtrace", "login:", "segment-related"];

/// A headline that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The line's first byte.
    pub(super) start: usize,
    /// Where in the message its words begin.
    pub(super) at: usize,
    /// Its anchor, by number.
    anchor: usize,
}

/// Formats by anchor.
#[derive(Debug)]
pub(super) struct Headlines {
    search: AhoCorasick,
    /// By anchor: its words, and the formats in the order in which they are tried.
    anchors: Vec<(&'static str, Vec<Expression>)>,
}

/// A format's expression. It is compiled when its anchor is first met: all of them take longer than to read a log.
#[derive(Debug)]
struct Expression {
    format: &'static Format,
    /// Words that such a headline begins with: nearly all others are told by them.
    words: &'static str,
    compiled: OnceLock<Regex>,
}

impl Expression {
    fn of(format: &'static Format) -> Self {
        Self { format, words: words_at_start(format.headline), compiled: OnceLock::new() }
    }

    fn fits(&self, text: &str) -> bool {
        text.starts_with(self.words) && self.regex().is_match(text)
    }

    fn regex(&self) -> &Regex {
        self.compiled.get_or_init(|| {
            let source = self
                .format
                .headline
                .replace("{F}", "(?P<f>[a-zA-Z0-9_]+)[.+]")
                .replace("{SRC}", "[a-zA-Z0-9_/.-]+\\.[a-z]+:[0-9]+");
            #[allow(clippy::expect_used)] // a test compiles them all
            Regex::new(&format!("\\A(?:{source})")).expect("every headline of the tables is a regular expression")
        })
    }
}

/// What an expression begins with before anything that may be different.
fn words_at_start(expression: &'static str) -> &'static str {
    if expression.contains('|') && !expression.contains('(') {
        return "";
    }
    let plain = |letter: char| {
        letter.is_ascii_alphanumeric() || matches!(letter, ' ' | ':' | '-' | '_' | '/' | ',' | '#' | '\'' | '!')
    };
    let end = expression.find(|letter| !plain(letter)).unwrap_or(expression.len());
    // The letter before such a mark may be there or not.
    let may_miss = expression.get(end..).is_some_and(|rest| rest.starts_with(['?', '*', '{']));
    expression.get(..end.saturating_sub(usize::from(may_miss))).unwrap_or_default()
}

static HEADLINES: LazyLock<Headlines> = LazyLock::new(Headlines::new);

/// The tables, compiled when they are first used.
pub(super) fn headlines() -> &'static Headlines {
    &HEADLINES
}

impl Headlines {
    fn new() -> Self {
        let mut anchors: Vec<(&'static str, Vec<Expression>)> = Vec::new();
        for format in format::all() {
            let expression = Expression::of(format);
            match anchors.iter_mut().find(|(anchor, _)| *anchor == format.anchor) {
                Some((_, formats)) => formats.push(expression),
                None => anchors.push((format.anchor, vec![expression])),
            }
        }
        #[allow(clippy::expect_used)] // fixed words, far below the limits
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .kind(Some(AhoCorasickKind::DFA))
            .build(anchors.iter().map(|(anchor, _)| anchor))
            .expect("the anchors of the tables are few");
        Self { search, anchors }
    }

    /// The next headline from a line's start on.
    pub(super) fn next(&self, text: &str, from: usize, evidence: &mut Evidence) -> Option<Found> {
        let mut from = from;
        loop {
            let found = self.search.find(text.get(from..)?.as_bytes())?;
            let place = from.saturating_add(found.start());
            // `DEBUG:` is no `BUG:`: headlines begin words. Most of what a program's log has is passed over here.
            if place.checked_sub(1).and_then(|before| text.as_bytes().get(before)).is_some_and(u8::is_ascii_alphabetic)
            {
                from = from.saturating_add(found.end());
                continue;
            }
            let start = memchr::memrchr(b'\n', text.get(..place)?.as_bytes()).map_or(0, |end| end.saturating_add(1));
            let line = lines_from(text, start).next()?;
            if let Some(headline) = self.read(&line) {
                let is_headline = match self.formats(&headline, &line).next() {
                    Some((format, _)) => !(format.is_remnant && self.is_a_program_s(&headline, &line, text)),
                    None => self.has_stack_below(text, &line, evidence),
                };
                if is_headline {
                    return Some(headline);
                }
            }
            from = memchr::memchr(b'\n', text.get(place..)?.as_bytes())
                .and_then(|length| place.checked_add(length)?.checked_add(1))
                .unwrap_or(text.len());
        }
    }

    /// Whether the line is a headline, as far as the line tells.
    pub(super) fn is_headline(&self, line: &Line<'_>) -> bool {
        self.candidates(line).next().is_some()
    }

    /// The line's headline: the first words of an anchor that stand where a headline does. Of several those that fit a format:
    /// `Oops: divide error: 0000` has two anchors, and the second says what it is.
    fn read(&self, line: &Line<'_>) -> Option<Found> {
        let mut candidates = self.candidates(line);
        let first = candidates.next()?;
        let fits = |found: &Found| self.formats(found, line).next().is_some();
        // Nearly all lines have one, which is then not looked at twice.
        match candidates.next() {
            Some(second) if !fits(&first) => std::iter::once(second).chain(candidates).find(fits).or(Some(first)),
            _ => Some(first),
        }
    }

    /// Words of anchors that stand where a headline does.
    fn candidates<'l>(&'l self, line: &'l Line<'l>) -> impl Iterator<Item = Found> + use<'l> {
        let is_harmless = OnceCell::new();
        let text = cut(line.text, HEADLINE_BYTES_MAX);
        let found = self.search.find_iter(text.as_bytes()).take(CANDIDATES_MAX).filter_map(move |found| {
            let is_there = line.text.get(..found.start()).is_some_and(is_front)
                && !is_harmless.get_or_init(|| HARMLESS_WORDS.are_in(line.text));
            is_there.then(|| Found { start: line.start, at: found.start(), anchor: found.pattern().as_usize() })
        });
        found.filter(|found| !WITHOUT_WORDS.contains(&self.anchor(found)) || self.formats(found, line).next().is_some())
    }

    /// Whether a stack begins soon below, printed by the same caller and before another headline. Only then are words of an unknown
    /// format taken for a report; those of a line that was cut off are not.
    fn has_stack_below(&self, text: &str, line: &Line<'_>, evidence: &mut Evidence) -> bool {
        if !evidence.is_near(text, line.start) {
            return false;
        }
        let below = lines_from(text, line.start)
            .skip(1)
            .take(LOOKED_AT_MAX)
            .take_while(|_| evidence.may_look_on())
            .filter(|below| below.context == line.context)
            .take(EVIDENCE_LINES);
        let mut quiet_lines = 0_usize;
        below
            .take_while(|below| !self.is_headline(below) || FOLLOW_UPS.iter().any(|words| below.text.contains(words)))
            .take_while(|below| !OF_OTHERS.iter().any(|words| below.text.starts_with(words)))
            .take_while(|below| {
                quiet_lines = if is_of_a_report(below.text) { 0 } else { quiet_lines.saturating_add(1) };
                quiet_lines <= QUIET_LINES_MAX
            })
            .any(|below| is_trace(below.text))
    }

    /// Whether it is the words of an anchor alone in a line that no kernel has stamped, with other lines behind it. A log may end in the middle of a
    /// headline; programs put `WARNING:` above what they have to say.
    fn is_a_program_s(&self, found: &Found, line: &Line<'_>, text: &str) -> bool {
        line.context == Context::Bare
            && line.text.get(found.at..).is_some_and(|words| words.trim() == self.anchor(found))
            && text.get(line.end..).is_some_and(|rest| rest.bytes().any(|byte| !byte.is_ascii_whitespace()))
    }

    /// The words of the headline's anchor.
    pub(super) fn anchor(&self, found: &Found) -> &'static str {
        self.anchors.get(found.anchor).map_or("", |(anchor, _)| anchor)
    }

    /// The formats that the headline fits, the special before the general, with what their groups hold.
    pub(super) fn formats<'t>(
        &self,
        found: &Found,
        line: &Line<'t>,
    ) -> impl Iterator<Item = (&'static Format, regex::Captures<'t>)> + use<'_, 't> {
        let text = cut(line.text.get(found.at..).unwrap_or_default(), HEADLINE_BYTES_MAX);
        let formats = self.anchors.get(found.anchor).map(|(_, formats)| formats.as_slice()).unwrap_or_default();
        // Nearly all do not fit, and to say so costs less than to look for groups.
        formats
            .iter()
            .filter(move |one| one.fits(text))
            .filter_map(move |one| Some((one.format, one.regex().captures(text)?)))
    }
}

/// Whether a headline may follow these words.
fn is_front(front: &str) -> bool {
    let front = front.trim();
    front.is_empty()
        || FRONTS.iter().any(|words| front.ends_with(words))
        || front.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'/' | b':' | b' ' | b'-' | b'.'))
        || ends_with_timestamp(front)
        || ["CPU ", "watchdog: CPU"].iter().any(|words| {
            let number = front.strip_prefix(words).map(|number| number.trim_end_matches(':').trim_start());
            number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        })
}

/// Whether another message was cut off by this one: `allocation failure: 12 bytes[   76.471107]`.
fn ends_with_timestamp(front: &str) -> bool {
    front
        .strip_suffix(']')
        .and_then(|front| front.rsplit_once('['))
        .and_then(|(_, stamp)| stamp.trim_start().split_once('.'))
        .is_some_and(|(seconds, fraction)| {
            [seconds, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> bool {
        headlines().next(text, 0, &mut Evidence::default()).is_some()
    }

    #[test]
    fn every_headline_of_the_tables_compiles() {
        let all = headlines().anchors.iter().flat_map(|(_, formats)| formats);
        assert!(all.map(|one| one.regex().captures_len()).sum::<usize>() > 80);
    }

    #[test]
    fn words_above_a_program_s_lines_are_no_crash_and_a_log_may_end_in_them() {
        for (text, expected) in [
            ("WARNING:\n the disk is nearly full\n", false),
            ("1 BUG:\n2 frob\n", false),
            ("INFO:\n", true),
            ("frob: up\nBUG:\n\n", true),
            ("[    1.000000] INFO:\n[    1.000000] frob: up\n", true),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn the_words_before_anything_that_may_differ_are_told() {
        for (expression, expected) in [
            ("BUG: soft lockup", "BUG: soft lockup"),
            ("BUG: KASAN: ([a-z-]+) in {F}", "BUG: KASAN: "),
            ("BUG: frobs? in", "BUG: frob"),
            ("BUG: fro{F}", "BUG: fr"),
            ("^Hard LOCKUP", ""),
            ("BUG: (?:a|b)", "BUG: "),
            ("BUG: a|INFO: b", ""),
            ("a.b", "a"),
        ] {
            assert_eq!(words_at_start(expression), expected);
        }
        for format in format::all() {
            assert!(!format.headline.replace("(?:", "").contains('|') || format.headline.contains('('), "{format:?}");
        }
    }

    #[test]
    fn a_headline_begins_a_message() {
        for text in [
            "[    1.000000] BUG: KASAN: use-after-free in frob_open+0x10/0x20",
            "[    1.000000][  T12] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "[    1.000000] [ INFO: possible recursive locking detected ]",
            "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1",
            "watchdog: CPU 1 Hard LOCKUP",
            "Oops: divide error: 0000 [#1] PREEMPT SMP",
            "segment-related general protection fault: beec [#1] PREEMPT SMP",
            "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [frob:12]",
            "frob0: vmalloc: allocation failure: 12 bytes[    1.000000] BUG: unable to handle kernel paging request at ff",
            "[    1.000000] BUG frob_cache (Tainted: G    B   W        ): Left Redzone overwritten",
            "host login: Unable to handle kernel paging request at virtual address fc14ef08",
        ] {
            assert!(found(text), "{text}");
        }
        for text in [
            "FROB (loop4): WARNING: Reset something",
            "DEBUG: #15 pc 0000",
            "[    1.000000] BUG frob (for users): objects are Poison",
            "[    1.000000] BUG kmalloc-64 (Not tainted): kasan: bad access detected",
            "CAM_INFO: frob",
            "[    1.000000] INFO: lockdep is turned off.",
            "[    1.000000] WARNING: the frob option is old",
            "[    1.000000] frob: parameter 'BUG: KASAN: x' unknown",
            "traps: frob[12] general protection fault ip:7f00 sp:7f00 error:0 in libfrob.so[7f00+1000]",
        ] {
            assert!(!found(text), "{text}");
        }
    }
}
