//! The worker that opens sources which need privileges: fanotify marks, the proc connector, socket dumps. It writes native
//! events to its standard output, which is the detector's pipe, and ends when its standard input does.
//!
//! Once they are open it is nobody, with the few capabilities that the open ones need.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use watertight_event::Kind;
use watertight_sensor_fallback::fanotify::{self, MountChange};
use watertight_sensor_fallback::observed::Source;
use watertight_sensor_fallback::{
    proc_connector, snapshot, Counts, Error, Fanotify, Observed, ProcConnector, SockDiag,
};

use super::recording::Recording;
use super::report::{Report, Reporter};
use super::sandbox::{self, Profile};
use super::tally::Tally;
use crate::account::SourceCounts;
use crate::output::{boot_ns_now, sensor_event};
use crate::resident;
use crate::translate::{event_of, process_there};

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
    /// A recording, in place of the machine.
    pub recording: Option<PathBuf>,
}

/// A source as the worker drives it.
trait Drain {
    fn drain_into(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error>;
    fn poll_fd(&self) -> PollFd<'_>;
    /// The table of mounts changed, or events were lost among which a change may have been.
    fn mounts_changed(&mut self) -> Result<MountChange, Error> {
        Ok(MountChange::default())
    }
}

impl Drain for Fanotify {
    fn drain_into(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error> {
        self.drain(sink)
    }
    fn poll_fd(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)
    }
    fn mounts_changed(&mut self) -> Result<MountChange, Error> {
        self.mark_new()
    }
}

macro_rules! drain {
    ($($source:ty),*) => {
        $(impl Drain for $source {
            fn drain_into(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error> { self.drain(sink) }
            fn poll_fd(&self) -> PollFd<'_> { PollFd::from_borrowed_fd(self.fd(), PollFlags::IN) }
        })*
    };
}

drain!(ProcConnector, SockDiag);

/// A source that opened, and what came of it.
struct Opened {
    source: Box<dyn Drain>,
    counts: SourceCounts,
}

/// Tries each wanted source, says on `report` which opened and what holds this worker, and watches them.
///
/// # Errors
/// Standard output or the supervisor is gone, or the privileges can't be given up.
pub fn run(wanted: &Wanted, report: RawFd, page: RawFd) -> Result<()> {
    let mut reporter = Reporter::inherit(report).context("taking the report pipe")?;
    // SAFETY: the supervisor handed this descriptor on, and nobody else here has it.
    let page = Tally::map(unsafe { OwnedFd::from_raw_fd(page) }).context("mapping the page of beats")?;
    sandbox::die_with_parent().context("tying this worker to the supervisor")?;
    let mut sources: Vec<Opened> = Vec::new();
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
    let recording = wanted.recording.as_deref().map(Recording::open).transpose()?;
    let has = |name| sources.iter().any(|opened| opened.counts.source == name);
    let profile = Profile::Sources { has_fanotify: has("fanotify"), has_proc_connector: has("proc connector") };
    let sandbox = sandbox::enter(profile, reporter.as_fd())
        .context("giving up privileges: the sources do not run with all of them")?;
    reporter.say(&Report::Ready { sandbox }).context("speaking to the supervisor")?;
    let mut out = Beating { out: BufWriter::new(io::stdout().lock()), page: &page };
    resident::give_back_code();
    if let Some(recording) = recording {
        return recording.play(&mut out);
    }
    watch(&mut sources, &page, &mut out)?;
    for Opened { counts, .. } in &sources {
        writeln!(out, "{}", serde_json::json!({ "kind": "source", "counts": counts }))?;
    }
    out.flush()?;
    Ok(())
}

fn note(
    reporter: &mut Reporter,
    sources: &mut Vec<Opened>,
    name: &'static str,
    opened: Result<Box<dyn Drain>, Error>,
) -> Result<()> {
    let refused = match opened {
        Ok(source) => {
            sources.push(Opened { source, counts: SourceCounts { source: name.into(), ..SourceCounts::default() } });
            None
        }
        Err(error) => Some(error.to_string()),
    };
    reporter.say(&Report::Trial { source: name.into(), refused }).context("speaking to the supervisor")
}

/// Shows with every line, and whenever there is none to write, that this worker lives.
struct Beating<'p, W> {
    out: W,
    page: &'p Tally,
}

impl<W: io::Write> io::Write for Beating<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.page.beat();
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.page.beat();
        self.out.flush()
    }
}

fn watch(sources: &mut [Opened], page: &Tally, out: &mut impl io::Write) -> Result<()> {
    let stdin = io::stdin();
    // Polls POLLPRI when the table of mounts has changed since the last poll. Without it, new mounts are not seen.
    let mounts = File::open("/proc/self/mountinfo").context("opening /proc/self/mountinfo")?;
    let mut is_ending = false;
    loop {
        let has_more = take_all(sources, page, out)?;
        out.flush()?;
        if is_ending && !has_more {
            return Ok(());
        }
        if has_more || is_ending {
            continue;
        }
        let mut ready: Vec<PollFd<'_>> = sources.iter().map(|opened| opened.source.poll_fd()).collect();
        ready.push(PollFd::new(&mounts, PollFlags::PRI));
        ready.push(PollFd::new(&stdin, PollFlags::IN));
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        // A poll that a signal cut short only makes the next pass an empty one.
        let _ = poll(&mut ready, Some(&second));
        let is_told = ready.pop().is_some_and(|fd| !fd.revents().is_empty());
        let is_mounted = ready.pop().is_some_and(|fd| fd.revents().contains(PollFlags::PRI));
        drop(ready);
        if is_mounted {
            look_at_mounts(sources, out)?;
        }
        if is_told {
            let mut byte = [0_u8];
            is_ending = !matches!(stdin.lock().read(&mut byte), Ok(1));
        }
    }
}

/// One pass over the sources. Returns whether one has more.
fn take_all(sources: &mut [Opened], page: &Tally, out: &mut impl io::Write) -> Result<bool> {
    let mut has_more = false;
    for Opened { source, counts } in sources.iter_mut() {
        let mut lost = None;
        let mut failed = Ok(());
        let drained = source.drain_into(&mut |observed| {
            if let Observed::Overflow { source } = &observed {
                lost = Some(*source);
            }
            if let Some(event) = event_of(observed, boot_ns_now()) {
                if failed.is_ok() {
                    failed = writeln!(out, "{}", event.to_json());
                }
            }
        })?;
        failed?;
        let more = SourceCounts {
            source: counts.source.clone(),
            received: drained.delivered,
            filtered: drained.filtered,
            malformed: drained.malformed,
            overflows: drained.overflows,
        };
        counts.add(&more);
        page.note_source(&more);
        has_more |= drained.has_more;
        match lost {
            Some(Source::ProcConnector) => tell_processes(out)?,
            Some(Source::Fanotify) => {
                tell_mounts(&source.mounts_changed()?, out)?;
                let message = "after lost events the marks were made anew and the remembered folders forgotten";
                writeln!(out, "{}", sensor_event(Kind::SensorMode, "fanotify", message).to_json())?;
            }
            _ => {}
        }
    }
    Ok(has_more)
}

fn look_at_mounts(sources: &mut [Opened], out: &mut impl io::Write) -> Result<()> {
    for Opened { source, .. } in sources.iter_mut() {
        tell_mounts(&source.mounts_changed()?, out)?;
    }
    Ok(())
}

fn tell_mounts(change: &MountChange, out: &mut impl io::Write) -> io::Result<()> {
    let told = [
        (&change.begun, "is watched from now on: it was mounted"),
        (&change.ended, "is no longer watched: it is gone"),
    ];
    for (places, what) in told {
        for place in places {
            let message = format!("the file system at {} {what}", place.display());
            writeln!(out, "{}", sensor_event(Kind::SensorMode, "fanotify", &message).to_json())?;
        }
    }
    Ok(())
}

/// After lost process events: every process that is there, for the tree, then who they were, then what was done.
fn tell_processes(out: &mut impl io::Write) -> io::Result<()> {
    let mut pids = Vec::new();
    for process in snapshot() {
        pids.push(process.pid);
        writeln!(out, "{}", serde_json::json!({ "kind": "there", "process": process_there(&process).to_json() }))?;
    }
    writeln!(out, "{}", serde_json::json!({ "kind": "only", "pids": pids }))?;
    let message = format!("after lost events the {} processes that are there were read anew from /proc", pids.len());
    writeln!(out, "{}", sensor_event(Kind::SensorMode, "proc connector", &message).to_json())
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    /// Says once that events were lost.
    struct Lossy {
        of: Source,
        has_told: bool,
    }

    impl Drain for Lossy {
        fn drain_into(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error> {
            if !std::mem::replace(&mut self.has_told, true) {
                sink(Observed::Overflow { source: self.of });
            }
            Ok(Counts::default())
        }
        fn poll_fd(&self) -> PollFd<'_> {
            unreachable!("these tests do not wait")
        }
        fn mounts_changed(&mut self) -> Result<MountChange, Error> {
            Ok(MountChange { begun: vec!["/new".into()], ended: vec!["/old".into()] })
        }
    }

    fn lines_after_loss_of(of: Source) -> Vec<Json> {
        let mut out = Vec::new();
        let source = Box::new(Lossy { of, has_told: false });
        let page = Tally::create().expect("memory");
        take_all(&mut [Opened { source, counts: SourceCounts::default() }], &page, &mut out).expect("a pass");
        String::from_utf8(out).expect("text").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn lost_process_events_are_told_and_every_process_is_read_anew() {
        let lines = lines_after_loss_of(Source::ProcConnector);
        let kinds: Vec<&str> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
        assert_eq!(kinds.first(), Some(&"sensor.overflow"));
        assert_eq!(kinds.last(), Some(&"sensor.mode"));
        let own = u64::from(std::process::id());
        let is_told = |line: &&Json| line["kind"] == "there" && line["process"]["process"]["pid"] == own;
        assert_eq!(lines.iter().filter(is_told).count(), 1);
        let only = lines.iter().find(|line| line["kind"] == "only").expect("who is there");
        assert!(only["pids"].as_array().expect("pids").contains(&Json::from(own)));
    }

    #[test]
    fn lost_file_events_make_the_marks_anew_and_say_so() {
        let text = serde_json::to_string(&lines_after_loss_of(Source::Fanotify)).expect("JSON");
        for part in ["sensor.overflow", "/new is watched", "/old is no longer watched", "marks were made anew"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
