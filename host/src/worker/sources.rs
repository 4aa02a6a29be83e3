//! The worker that opens sources which need privileges: fanotify marks, the proc connector, socket dumps. It writes native
//! events to its standard output, which is the detector's pipe, and ends when its standard input does.
//!
//! Once they are open it is nobody, with the few capabilities that the open ones need.

use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, RawFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use watertight_sensor_fallback::{
    fanotify, proc_connector, Counts, Error, Fanotify, Observed, ProcConnector, SockDiag,
};

use super::report::{Report, Reporter};
use super::sandbox::{self, Profile};
use crate::account::SourceCounts;
use crate::output::boot_ns_now;
use crate::translate::event_of;

/// Between two dumps of the sockets.
const SOCKETS_EVERY: Duration = Duration::from_millis(500);

/// Which sources to open.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// fanotify for files.
    pub fanotify: bool,
    /// Proc connector for processes.
    pub proc_connector: bool,
    /// Socket dumps for the network.
    pub sock_diag: bool,
    /// Processes whose own file operations are not reported: the sensor's.
    pub ignored_pids: Vec<i32>,
}

trait Drain {
    fn drain_into(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error>;
    fn poll_fd(&self) -> PollFd<'_>;
}

macro_rules! drain {
    ($($source:ty),*) => {
        $(impl Drain for $source {
            fn drain_into(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error> { self.drain(sink) }
            fn poll_fd(&self) -> PollFd<'_> { PollFd::from_borrowed_fd(self.fd(), PollFlags::IN) }
        })*
    };
}

drain!(Fanotify, ProcConnector, SockDiag);

/// A source that is open, with its account.
type Open = (&'static str, Box<dyn Drain>, SourceCounts);

/// Tries each wanted source, says on `report` which opened and what holds this worker, and watches them.
///
/// # Errors
/// Standard output or the supervisor is gone, or the privileges can't be given up.
pub fn run(wanted: &Wanted, report: RawFd) -> Result<()> {
    let mut reporter = Reporter::inherit(report).context("taking the report pipe")?;
    sandbox::die_with_parent().context("tying this worker to the supervisor")?;
    let mut sources: Vec<Open> = Vec::new();
    if wanted.fanotify {
        let opened = Fanotify::open(fanotify::Options::default());
        let opened = opened.map(|mut fanotify| {
            wanted.ignored_pids.iter().for_each(|pid| fanotify.ignore_pid(*pid));
            fanotify.ignore_pid(i32::try_from(std::process::id()).unwrap_or(0));
            Box::new(fanotify) as Box<dyn Drain>
        });
        note(&mut reporter, &mut sources, "fanotify", opened)?;
    }
    if wanted.proc_connector {
        let opened = ProcConnector::open(proc_connector::Options::default());
        note(&mut reporter, &mut sources, "proc connector", opened.map(|source| Box::new(source) as Box<dyn Drain>))?;
    }
    if wanted.sock_diag {
        let opened = SockDiag::open(SOCKETS_EVERY);
        note(&mut reporter, &mut sources, "sock_diag", opened.map(|source| Box::new(source) as Box<dyn Drain>))?;
    }
    let has = |name| sources.iter().any(|(open, ..)| *open == name);
    let profile = Profile::Sources { has_fanotify: has("fanotify"), has_proc_connector: has("proc connector") };
    let sandbox = sandbox::enter(profile, reporter.as_fd())
        .context("giving up privileges: the sources do not run with all of them")?;
    reporter.say(&Report::Ready { sandbox }).context("speaking to the supervisor")?;
    let mut out = BufWriter::new(io::stdout().lock());
    watch(&mut sources, &mut out)?;
    for (_, _, counts) in &sources {
        writeln!(out, "{}", serde_json::json!({ "kind": "source", "counts": counts }))?;
    }
    out.flush()?;
    Ok(())
}

fn note(
    reporter: &mut Reporter,
    sources: &mut Vec<Open>,
    name: &'static str,
    opened: Result<Box<dyn Drain>, Error>,
) -> Result<()> {
    let refused = match opened {
        Ok(source) => {
            sources.push((name, source, SourceCounts { source: name.into(), ..SourceCounts::default() }));
            None
        }
        Err(error) => Some(error.to_string()),
    };
    reporter.say(&Report::Trial { source: name.into(), refused }).context("speaking to the supervisor")
}

fn watch(sources: &mut [Open], out: &mut impl io::Write) -> Result<()> {
    let stdin = io::stdin();
    let mut is_ending = false;
    loop {
        let mut has_more = false;
        for (_, source, counts) in sources.iter_mut() {
            let mut failed = Ok(());
            let drained = source.drain_into(&mut |observed| {
                if let Some(event) = event_of(observed, boot_ns_now()) {
                    if failed.is_ok() {
                        failed = writeln!(out, "{}", event.to_json());
                    }
                }
            })?;
            failed?;
            counts.received = counts.received.saturating_add(drained.delivered);
            counts.filtered = counts.filtered.saturating_add(drained.filtered);
            counts.malformed = counts.malformed.saturating_add(drained.malformed);
            counts.overflows = counts.overflows.saturating_add(drained.overflows);
            has_more |= drained.has_more;
        }
        out.flush()?;
        if is_ending && !has_more {
            return Ok(());
        }
        if has_more || is_ending {
            continue;
        }
        let mut ready: Vec<PollFd<'_>> = sources.iter().map(|(_, source, _)| source.poll_fd()).collect();
        ready.push(PollFd::new(&stdin, PollFlags::IN));
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        // A poll that a signal cut short only makes the next pass an empty one.
        let _ = poll(&mut ready, Some(&second));
        let is_told = ready.last().is_some_and(|fd| !fd.revents().is_empty());
        if is_told {
            let mut byte = [0_u8];
            is_ending = !matches!(stdin.lock().read(&mut byte), Ok(1));
        }
    }
}
