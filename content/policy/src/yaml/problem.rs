//! What is wrong with a policy file, where, and the mend; and how a person is shown it.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// Most problems told of one file. A file with more is most likely not a policy at all.
const PROBLEMS_MAX: usize = 100;

/// Longest part of the file that is shown with a problem, characters.
const SHOWN_CHARACTERS_MAX: usize = 160;

/// A place in the file. Lines and columns count from 1, columns and widths in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

/// Where a file begins.
pub(super) const START: Place = Place { line: 1, column: 1, width: 1 };

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// How many characters it is about.
    #[serde(skip)]
    pub width: usize,
    /// The rule that it is in, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What is wrong, in one sentence.
    pub what: String,
    /// What to say at the place itself.
    pub label: String,
    /// What to do about it.
    pub mend: String,
}

/// A file that is no policy: every problem, and the lines that they are in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The file as it was named.
    pub file: String,
    /// The problems in the order of the file; at least one.
    pub problems: Vec<Problem>,
    /// How many more there are, that are not told.
    pub more: usize,
    #[serde(skip)]
    lines: Vec<String>,
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    more: usize,
    /// The rule that is being read.
    rule: Option<String>,
}

impl Problems {
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// From here on problems are this rule's.
    pub(super) fn in_rule(&mut self, rule: Option<String>) {
        self.rule = rule;
    }

    pub(super) fn add(
        &mut self,
        Place { line, column, width }: Place,
        what: impl Into<String>,
        label: impl Into<String>,
        mend: impl Into<String>,
    ) {
        if self.found.len() >= PROBLEMS_MAX {
            self.more = self.more.saturating_add(1);
            return;
        }
        let rule = self.rule.clone();
        self.found.push(Problem {
            line,
            column,
            width,
            rule,
            what: what.into(),
            label: label.into(),
            mend: mend.into(),
        });
    }

    pub(super) fn refusal(mut self, file: &str, bytes: &[u8]) -> Refusal {
        self.found.sort_by_key(|problem| (problem.line, problem.column));
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<&str> = text.lines().collect();
        let line_of = |problem: &Problem| shown(lines.get(problem.line.saturating_sub(1)).copied().unwrap_or(""));
        let lines = self.found.iter().map(line_of).collect();
        Refusal { file: file.to_owned(), problems: self.found, more: self.more, lines }
    }
}

/// The place of the byte that follows `valid` bytes of UTF-8.
pub(super) fn after(bytes: &[u8], valid: usize) -> Place {
    let text = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
    let line = text.matches('\n').count().saturating_add(1);
    let column = text.rsplit('\n').next().map_or(0, |rest| rest.chars().count()).saturating_add(1);
    Place { line, column, width: 1 }
}

/// A part of the file that can be printed: one character for each of the file, so that columns stay where they are.
fn shown(text: &str) -> String {
    let visible = |letter: char| match letter {
        '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    };
    text.chars().take(SHOWN_CHARACTERS_MAX).map(visible).collect()
}

/// Text from the file, quoted and cut for a message.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = format!("{:?}", shown(text));
    if text.chars().count() > SHOWN_CHARACTERS_MAX {
        quoted.push_str("...");
    }
    quoted
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (problem, line) in self.problems.iter().zip(&self.lines) {
            let rule = problem.rule.as_ref().map(|rule| format!("rule {rule}: ")).unwrap_or_default();
            let number = problem.line.to_string();
            let margin = " ".repeat(number.len());
            writeln!(f, "{}:{}:{}: {rule}{}", shown(&self.file), problem.line, problem.column, problem.what)?;
            writeln!(f, " {number} | {line}")?;
            writeln!(f, " {margin} | {}{} {}", indent(problem), underline(problem, line), problem.label)?;
            writeln!(f, " {margin} = mend: {}", problem.mend)?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more problems: mend these first", self.more)?;
        }
        let count = self.problems.len().saturating_add(self.more);
        let plural = if count == 1 { "problem" } else { "problems" };
        write!(f, "{}: {count} {plural}, no policy", shown(&self.file))
    }
}

fn indent(problem: &Problem) -> String {
    " ".repeat(problem.column.saturating_sub(1).min(SHOWN_CHARACTERS_MAX))
}

fn underline(problem: &Problem, line: &str) -> String {
    let room = line.chars().count().saturating_sub(problem.column.saturating_sub(1));
    let mut marks = String::new();
    for _ in 0..problem.width.min(room).max(1) {
        let _ = marks.write_char('^'); // writing to a String does not fail
    }
    marks
}
