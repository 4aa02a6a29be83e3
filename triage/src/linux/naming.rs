//! Names a report: its title, other titles, type, and whether parts of it are missing.

use regex::Captures;

use super::class;
use super::format::{Detail, Format, Pick};
use super::headline::{Found, Headlines};
use super::line::Line;
use super::mixed::mixed;
use super::region::Region;
use super::subject::{bracketed_symbol, held_at, starts_stack, subjects, Subject, Subjects, UNKNOWN};
use super::title::{filled, steady};
use super::who::HUNG;

/// Lines behind the start of a stack in which its first frame must stand.
const FRAME_WITHIN_LINES: usize = 15;

/// A report's name.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) title: String,
    pub(super) others: Vec<String>,
    pub(super) class: &'static str,
    /// The function that the report is about.
    pub(super) subject: Option<String>,
    /// What is wrong with the report itself.
    pub(super) corrupted: Option<&'static str>,
    /// How the subject was told.
    pub(super) why: String,
    /// `read` or `write`, where the message says which.
    pub(super) access: Option<&'static str>,
}

/// What a format's detail gave.
#[derive(Debug, Default)]
struct Details {
    access: Option<&'static str>,
    subject: Option<String>,
    line: Option<String>,
}

/// Names the report.
pub(super) fn name(headlines: &Headlines, found: &Found, region: &Region<'_>) -> Option<Name> {
    let headline = region.lines.first()?;
    let lines: Vec<&str> = region.texts().collect();
    let first = headline.text.get(found.at..)?;
    let mut fits_in_part = false;
    for (format, groups) in headlines.formats(found, headline) {
        match details(format.detail, &lines) {
            Some(details) => return Some(named(format, &groups, details, first, &lines, region)),
            None => fits_in_part = true,
        }
    }
    // A process may have an end of line in its name: `INFO: task NAME:12 blocked for more than 143 seconds` goes on in the next line.
    if let (true, Some(next)) = (first.starts_with(HUNG), lines.get(1)) {
        let joined = format!("{} {next}", headline.text);
        let whole = Line { text: &joined, ..*headline };
        let fits = headlines.formats(found, &whole).next();
        if let Some((format, groups)) = fits {
            return Some(named(format, &groups, Details::default(), first, &lines, region));
        }
    }
    let title = steady(first.trim_end_matches(']').trim());
    let corrupted = if fits_in_part { Some("the message is incomplete") } else { mixed_title(first) };
    Some(Name {
        class: class::of_unknown(headlines.anchor(found)),
        title,
        others: Vec::new(),
        subject: None,
        corrupted,
        why: String::new(),
        access: None,
    })
}

/// The name by a format that fits.
fn named(
    format: &Format,
    groups: &Captures<'_>,
    details: Details,
    first: &str,
    lines: &[&str],
    region: &Region<'_>,
) -> Name {
    let mut subjects = subjects(format, first, lines);
    if let Some(subject) = &details.subject {
        if format.steps.is_empty() {
            subjects.found = vec![Some(Subject { name: subject.clone(), exact: subject.clone() })];
        }
    }
    let corrupted = if !format.steps.is_empty() && !subjects.is_complete() {
        Some("the stack is missing or mixed with another")
    } else if format.is_remnant {
        Some("the report that belongs to this line is missing")
    } else {
        let is_called = region.lines.first().is_some_and(|line| line.context.is_caller());
        mixed_title(first).or_else(|| if format.has_stack { stack_fault(lines) } else { None }).or_else(|| {
            if is_called {
                None
            } else {
                mixed(lines, format, region.is_cut)
            }
        })
    };
    let fill = |words: &str, exact: bool| {
        steady(&filled(words, |name| match name {
            "s" => Some(shown(&subjects, 0, exact)),
            "o" => Some(shown(&subjects, 1, exact)),
            "access" => details.access.map(str::to_owned),
            "line" => details.line.clone(),
            "f" => groups.name("f").map(|name| name.as_str().to_owned()),
            number => number.parse().ok().and_then(|number| groups.get(number)).map(|group| group.as_str().to_owned()),
        }))
    };
    let title = fill(format.title, false);
    let mut others: Vec<String> = format.others.iter().map(|words| fill(words, false)).collect();
    others.push(fill(format.title, true));
    others.extend(format.others.iter().map(|words| fill(words, true)));
    let mut kept = Vec::new();
    for other in others {
        if other != title && !kept.contains(&other) {
            kept.push(other);
        }
    }
    let group = |number: usize| groups.get(number).map_or("", |group| group.as_str());
    let class = class::of(format.class, group(1), group(2), details.access);
    let access = match (details.access, group(2)) {
        (Some("Write"), _) | (None, "write") => Some("write"),
        (Some("Read"), _) | (None, "read") => Some("read"),
        _ => None,
    };
    let subject = subjects.found.first().cloned().flatten().map(|subject| subject.name);
    let why = why(format.pick, &subjects);
    Name { title, others: kept, class, subject, corrupted, why, access }
}

/// How the subject was told.
fn why(pick: Pick, subjects: &Subjects) -> String {
    let why = match pick {
        _ if subjects.said == Some(super::format::FREED) => {
            "the one that gave the memory back: the stack is of whoever looked"
        }
        _ if subjects.said == Some(super::format::ALLOCATED) => {
            "the one that asked for the memory: the stack is of whoever looked"
        }
        Pick::First => "the innermost function that is not plumbing",
        Pick::Stall => "what the innermost dispatcher called: a loop is interrupted anywhere in it",
        Pick::Hang => "the innermost function that is not about waiting",
    };
    match &subjects.passed {
        Some((name, reason)) => format!("{why}; passed over from {name} on: {reason}"),
        None => why.to_owned(),
    }
}

/// The name of a subject in a title.
fn shown(subjects: &Subjects, number: usize, exact: bool) -> String {
    match subjects.found.get(number) {
        Some(Some(subject)) if exact => subject.exact.clone(),
        Some(Some(subject)) => subject.name.clone(),
        _ => UNKNOWN.to_owned(),
    }
}

/// What the message must hold besides its headline; `None` if it does not.
fn details(detail: Detail, lines: &[&str]) -> Option<Details> {
    let below = lines.get(1..).unwrap_or_default();
    let mut found = Details::default();
    match detail {
        Detail::Nothing => {}
        Detail::Access => found.access = Some(below.iter().find_map(|line| access(line))?),
        Detail::Lines(words) => {
            after(words, below)?;
        }
        Detail::HeldAt(words) => {
            found.subject = Some(after(words, below)?.iter().find_map(|line| held_at(line))?.to_owned())
        }
        Detail::Symbol(words) => {
            found.subject = Some(after(words, below)?.iter().find_map(|line| bracketed_symbol(line))?.to_owned());
        }
        Detail::Word(words) => {
            let rest = below.iter().find_map(|line| line.split_once(words))?.1;
            found.subject =
                Some(rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next()?.to_owned());
        }
        Detail::Source => {
            below.iter().find(|line| has_source(line))?;
        }
        Detail::NextLine => found.line = Some((*below.first()?).to_owned()),
    }
    Some(found)
}

/// The lines from the one on that has the last of the words, each of which stands below the one before.
fn after<'l, 'a>(words: &[&str], lines: &'l [&'a str]) -> Option<&'l [&'a str]> {
    let mut rest = lines;
    for (number, words) in words.iter().enumerate() {
        let skip = usize::from(number > 0);
        rest = rest.get(skip..)?;
        let at = rest.iter().position(|line| line.contains(words))?;
        rest = rest.get(at..)?;
    }
    Some(rest)
}

/// `Read of size 8 at addr ...` or `Write at addr ...`.
fn access(line: &str) -> Option<&'static str> {
    ["Read", "Write"].into_iter().find(|kind| {
        [" of size ", " at addr "].iter().any(|words| {
            line.match_indices(kind).any(|(at, _)| {
                line.get(at.saturating_add(kind.len())..)
                    .and_then(|rest| rest.strip_prefix(words))
                    .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_hexdigit()))
            })
        })
    })
}

/// `file.c:123`, anywhere in the line.
fn has_source(line: &str) -> bool {
    line.split_whitespace().any(|word| {
        word.split_once(':').is_some_and(|(file, rest)| {
            file.rsplit_once('.')
                .is_some_and(|(_, kind)| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase()))
                && rest.starts_with(|letter: char| letter.is_ascii_digit())
        })
    })
}

/// A timestamp in the middle of a headline: another message runs through it.
fn mixed_title(title: &str) -> Option<&'static str> {
    let is_stamp = |stamp: &str| {
        stamp.split_once(']').and_then(|(stamp, _)| stamp.trim_start().split_once('.')).is_some_and(
            |(seconds, fraction)| {
                [seconds, fraction]
                    .iter()
                    .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
            },
        )
    };
    title.split('[').skip(1).any(is_stamp).then_some("another message runs through the headline")
}

/// `Use-after-free read at 0x0000000012345678 (in kfence-#24):`, below which frames stand without more words.
fn starts_stack_of_kfence(line: &str) -> bool {
    line.ends_with(':') && line.contains(" at 0x") && (line.contains("kfence-#") || line.starts_with("Invalid "))
}

/// What is wrong with the stacks of a report that must have one.
fn stack_fault(lines: &[&str]) -> Option<&'static str> {
    let is_frame =
        |line: &&&str| line.contains("(stack is not available)") || super::frame::calls(line).next().is_some();
    let starts: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| starts_stack(line) || starts_stack_of_kfence(line))
        .map(|(at, _)| at)
        .collect();
    if starts.is_empty() {
        // ARM's kernels from 5.18 to 6.7 say nothing before a stack, and two functions a line.
        let is_arm = lines.iter().any(|line| super::frame::calls(line).nth(1).is_some());
        return (!is_arm).then_some("the stack is missing");
    }
    for start in starts {
        let below = lines.get(start.saturating_add(1)..).unwrap_or_default();
        let stack = below.iter().take(FRAME_WITHIN_LINES).take_while(|line| !starts_stack(line));
        // RISC-V prints this line before a stack only where it has one.
        let may_be_empty = lines.get(start).is_some_and(|line| line.contains(" badaddr: "));
        if stack.filter(|line| is_frame(line)).count() == 0 && !may_be_empty {
            return Some("a stack without frames");
        }
    }
    None
}
