//! Processes by looking into `/proc` at an interval: the last resort where the kernel offers no process events.
//!
//! A process that starts and ends between two looks is never seen; who forked it when, and how it ended, is not known.
//! An exec is told by a changed program file or name.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;

use crate::error::Error;
use crate::observed::{Counts, Observed, Source};
use crate::process::{pids, Glance, Process};
use crate::timer::Timer;

/// Processes found by polling.
#[derive(Debug)]
pub struct ProcPoll {
    timer: Timer,
    known: HashMap<i32, Glance>,
    is_first: bool,
}

impl ProcPoll {
    /// Starts the timer; the first look (which reports the processes that exist) is at the first drain.
    pub fn open(interval: Duration) -> Result<Self, Error> {
        let origin = Source::ProcPoll;
        let timer = Timer::start(interval).map_err(|errno| Error::System { origin, call: "timerfd", errno })?;
        let own = i32::try_from(std::process::id()).ok().and_then(Glance::read);
        if own.is_none() {
            return Err(Error::System { origin, call: "read of /proc/self/stat", errno: Errno::NOENT });
        }
        Ok(Self { timer, known: HashMap::new(), is_first: true })
    }

    /// Becomes readable when the next look is due.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.timer.fd()
    }

    /// Looks, if a look is due.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error> {
        if !self.timer.has_fired() {
            return Ok(Counts::default());
        }
        Ok(self.look(sink))
    }

    fn look(&mut self, sink: &mut dyn FnMut(Observed)) -> Counts {
        let mut counts = Counts::default();
        let found: HashMap<i32, Glance> =
            pids().into_iter().filter_map(|pid| Some((pid, Glance::read(pid)?))).collect();
        for change in changes(&self.known, &found) {
            match observed(change, self.is_first) {
                Some(observed) => counts.deliver(sink, observed),
                None => counts.filter(), // gone before it could be read: told as gone at the next look
            }
        }
        self.known = found;
        self.is_first = false;
        counts
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Started(i32),
    Executed(i32),
    Ended { pid: i32, start_ticks: u64 },
}

/// What differs between two looks; ends come first, so that a reused id ends before it starts.
fn changes(before: &HashMap<i32, Glance>, after: &HashMap<i32, Glance>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (pid, glance) in before {
        if after.get(pid).is_none_or(|now| now.start_ticks != glance.start_ticks) {
            changes.push(Change::Ended { pid: *pid, start_ticks: glance.start_ticks });
        }
    }
    for (pid, glance) in after {
        match before.get(pid) {
            Some(was) if was == glance => {}
            Some(was) if was.start_ticks == glance.start_ticks => {
                let program_changed = was.executable != glance.executable && glance.executable.is_some();
                if program_changed || was.name != glance.name {
                    changes.push(Change::Executed(*pid));
                }
            }
            _ => changes.push(Change::Started(*pid)),
        }
    }
    changes
}

fn observed(change: Change, existing: bool) -> Option<Observed> {
    Some(match change {
        Change::Started(pid) => Observed::ProcessSeen { process: Box::new(Process::read(pid)?), existing },
        Change::Executed(pid) => {
            let process = Process::read(pid).map(Box::new);
            let vanished = process.as_ref().is_none_or(|process| process.vanished);
            Observed::Exec { pid, tgid: pid, at_ns: None, process, vanished }
        }
        Change::Ended { pid, start_ticks } => Observed::ProcessGone { pid, start_ticks },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(processes: &[(i32, u64, &str)]) -> HashMap<i32, Glance> {
        let glance = |start_ticks, name: &str| Glance {
            start_ticks,
            name: name.into(),
            executable: Some(format!("/bin/{name}").into_bytes()),
        };
        processes.iter().map(|(pid, start_ticks, name)| (*pid, glance(*start_ticks, name))).collect()
    }

    #[test]
    fn a_reused_id_is_an_end_and_a_start() {
        let found = changes(&look(&[(7, 100, "sh")]), &look(&[(7, 200, "sh")]));
        assert_eq!(found, [Change::Ended { pid: 7, start_ticks: 100 }, Change::Started(7)]);
    }

    #[test]
    fn another_program_under_the_same_id_and_start_is_an_exec() {
        assert_eq!(changes(&look(&[(7, 100, "sh")]), &look(&[(7, 100, "nc")])), [Change::Executed(7)]);
        assert!(changes(&look(&[(7, 100, "sh")]), &look(&[(7, 100, "sh")])).is_empty());
    }
}
