//! What the lab and its guest say to each other: a job goes in as a file of the initramfs, lines come back on the second
//! serial port.
//!
//! The second port and not the console, because the kernel prints on the console whenever it likes, in the middle of a
//! line too. Nobody but the guest's init writes to the second port, so a line there is whole.

mod measurement;

pub use measurement::{Finding, Measurement, ReaderCost, Round, Sensor, Workload};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where the job lies in the guest.
pub const JOB_PATH: &str = "/lab/job.json";

/// Into how many guests of one kernel the tests are divided, which run at the same time: a guest idles for a third of its time,
/// while its kernel lets the programs of an earlier test go.
pub const PARTS: usize = 3;

/// Begins the names of tests that want a boot of their own: `booted.<variant>.<test>`.
pub const BOOTED: &str = "booted.";

/// Starts every line that is ours.
const PREFIX: &str = "@@ ";

/// What the guest is booted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Run the tests whose name contains the filter.
    Test {
        /// Part of a test's name; empty for all.
        filter: String,
        /// How the guest was booted: only the tests for that, or all but those.
        #[serde(default)]
        variant: Option<String>,
        /// Which part of them, from 0: another guest of the same kernel runs the rest.
        #[serde(default)]
        part: usize,
    },
    /// Run one command with `sh -c` and show what it prints.
    Command {
        /// The shell text.
        command: String,
    },
    /// Measure what a sensor costs, with rounds without it before and after.
    Bench {
        /// Which.
        sensor: Sensor,
    },
}

/// One line from the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The guest is up; what `uname -r` says there.
    Ready(String),
    /// A test begins: the one to blame when nothing follows.
    Start(String),
    /// A test kept its promise.
    Passed(String),
    /// A test did not.
    Failed(String, String),
    /// A test could not be tried, and why.
    Skipped(String, String),
    /// Output of the job's command.
    Output(String),
    /// The job's command ended: its exit code, or 128 + signal.
    Exit(i32),
    /// All tests were tried: passed, failed.
    Done(u32, u32),
    /// What a benchmark found.
    Found(Finding),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Ready(release) => write!(f, "ready {release}"),
            Self::Start(name) => write!(f, "start {name}"),
            Self::Passed(name) => write!(f, "test {name} ok"),
            Self::Failed(name, reason) => write!(f, "test {name} FAIL {}", one_line(reason)),
            Self::Skipped(name, reason) => write!(f, "test {name} skip {}", one_line(reason)),
            Self::Output(text) => write!(f, "out {}", one_line(text)),
            Self::Exit(code) => write!(f, "exit {code}"),
            Self::Done(passed, failed) => write!(f, "done {passed} {failed}"),
            Self::Found(finding) => {
                write!(f, "found {}", serde_json::to_string(finding).map_err(|_| fmt::Error)?)
            }
        }
    }
}

impl Line {
    /// The line's meaning, or `None` for a line that is not the guest's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim_end_matches(['\r', '\n']).strip_prefix(PREFIX)?;
        let (word, rest) = rest.split_once(' ')?;
        match word {
            "ready" => Some(Self::Ready(rest.to_owned())),
            "start" => Some(Self::Start(rest.to_owned())),
            "out" => Some(Self::Output(rest.to_owned())),
            "found" => serde_json::from_str(rest).ok().map(Self::Found),
            "exit" => rest.parse().ok().map(Self::Exit),
            "done" => {
                let (passed, failed) = rest.split_once(' ')?;
                Some(Self::Done(passed.parse().ok()?, failed.parse().ok()?))
            }
            "test" => {
                let (name, verdict) = rest.split_once(' ')?;
                let (verdict, reason) = verdict.split_once(' ').unwrap_or((verdict, ""));
                match verdict {
                    "ok" => Some(Self::Passed(name.to_owned())),
                    "FAIL" => Some(Self::Failed(name.to_owned(), reason.to_owned())),
                    "skip" => Some(Self::Skipped(name.to_owned(), reason.to_owned())),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// The text with nothing in it that could end the line early.
fn one_line(text: &str) -> String {
    text.replace('\r', "").trim_end_matches('\n').replace('\n', " | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_back_as_it_was_said() {
        let name = || "boots".to_owned();
        for line in [
            Line::Ready("6.1.0".to_owned()),
            Line::Start(name()),
            Line::Passed(name()),
            Line::Failed(name(), "was 3, not 4".to_owned()),
            Line::Skipped(name(), "no product".to_owned()),
            Line::Output(String::new()),
            Line::Exit(137),
            Line::Done(4, 0),
            Line::Found(Finding::Absent(Sensor::Enforce, "no\npolicy".to_owned())),
        ] {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
    }

    #[test]
    fn a_reason_of_many_lines_can_not_pass_for_a_verdict() {
        let line = Line::Failed("boots".to_owned(), "bad\n@@ test boots ok".to_owned());
        assert_eq!(line.to_string().lines().count(), 1);
    }

    #[test]
    fn a_kernel_message_is_nobody_s_verdict() {
        assert_eq!(Line::parse("[    1.0] test boots ok"), None);
    }
}
