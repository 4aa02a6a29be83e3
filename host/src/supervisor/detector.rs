//! The worker that reads and detects, from its start to its last line.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{ftruncate, seek, sendfile, SeekFrom};
use rustix::pipe::{pipe_with, PipeFlags};
use watertight_event::Event;
use watertight_sensor_abi::Ring;
use watertight_sensor_fallback::snapshot;

use super::dumps::Noter;
use super::ending::Allowance;
use super::guard::GuardMaps;
use super::hang::Beats;
use super::ladder::Active;
use super::pins::Pins;
use super::process::{Death, Worker};
use super::{ending, is_live, Options};
use crate::actions::request::Requests;
use crate::loader::Snapshot;
use crate::outlet::PIECE_BYTES;
use crate::translate::process_there;
use crate::worker::detector::EXIT_OUTPUT;
use crate::worker::protocol::{InheritedRing, Message, Setup};
use crate::worker::sandbox::Sandbox;
use crate::worker::tally::Tally;

/// How long the detector may take to drain the rings and write its summary, beside what it waits for whoever reads that. Full
/// rings hold 100,000 records; a service manager that kills us after 90 s must find us gone.
const FINISH_MAX: Duration = Duration::from_secs(45);
/// How often a detector that does not read is told how the end stands: it may wait for its own reader.
const LOOK: Duration = Duration::from_millis(50);

/// What a detector reads and counts into.
pub struct Feed<'f> {
    pub pins: Option<&'f Pins>,
    pub guard: Option<&'f GuardMaps>,
    /// Rings of builds that were replaced, to be read first.
    pub previous: &'f [(OwnedFd, u32)],
    pub events: Option<BorrowedFd<'f>>,
    pub tally: &'f Tally,
    /// The rings were filled by an earlier run.
    pub is_adopted: bool,
    /// Detectors of this run that died.
    pub deaths: u64,
    /// Our other processes: the live view tells what all cost together.
    pub own_pids: Vec<u32>,
    /// The content to begin with.
    pub active: &'f Active,
    /// Memory through which other content comes.
    pub mailbox: BorrowedFd<'f>,
    /// Socket by which it asks for actions.
    pub asks: Option<BorrowedFd<'f>>,
    /// Knows what it is doing, should it crash.
    pub noter: Noter,
}

/// The worker that reads and detects.
pub struct Detector {
    worker: Worker,
    /// The arguments of the processes that are there must come from /proc.
    is_proc_needed: bool,
    input: ChildStdin,
    /// What was said and it has not read yet.
    unheard: VecDeque<u8>,
    /// Brings one byte when the user asks to quit.
    quit: Option<OwnedFd>,
    /// What holds it.
    pub sandbox: Sandbox,
}

impl Detector {
    /// Starts it and waits until it is confined. It reads its first event after [`Self::go`].
    pub fn start(options: &Options, feed: Feed<'_>, there: Option<Snapshot>) -> Result<Self> {
        let is_proc_needed = there.as_ref().is_none_or(|there| !there.reading.arguments);
        let there = there.map(|there| OwnedFd::from(there.records));
        let (quit, quit_end) = if is_live(options) {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
            (Some(reader), Some(writer))
        } else {
            (None, None)
        };
        // A descriptor of its own: the detector has another standard input.
        let records = if options.has_records {
            Some(std::io::stdin().as_fd().try_clone_to_owned().context("sharing the records' pipe")?)
        } else {
            None
        };
        let image = feed.active.content.as_ref().map(|content| content.image.as_fd());
        let mut setup = Setup {
            boot_id: boot_id(),
            format: options.format,
            has_colour: options.has_colour,
            is_terminal: is_live(options),
            quit_fd: quit_end.as_ref().map(|fd| fd.as_raw_fd()),
            records_fd: records.as_ref().map(|fd| fd.as_raw_fd()),
            content: image.and_then(|image| feed.active.given(image.as_raw_fd())),
            mailbox_fd: feed.mailbox.as_raw_fd(),
            is_adopted: feed.is_adopted,
            is_restart: feed.deaths > 0,
            deaths: feed.deaths,
            tally_fd: feed.tally.fd().as_raw_fd(),
            own_pids: feed.own_pids.clone(),
            processes_fd: there.as_ref().map(|fd| fd.as_raw_fd()),
            events_fd: feed.events.map(|fd| fd.as_raw_fd()),
            actions: options.actions.iter().map(|action| action.name().to_owned()).collect(),
            asks_fd: feed.asks.map(|fd| fd.as_raw_fd()),
            ..Setup::default()
        };
        let mut inherited = vec![feed.tally.fd(), feed.mailbox];
        inherited.extend(image);
        inherited.extend(feed.events);
        inherited.extend(feed.asks);
        inherited.extend(there.as_ref().map(|fd| fd.as_fd()));
        inherited.extend(quit_end.as_ref().map(|fd| fd.as_fd()));
        inherited.extend(records.as_ref().map(|fd| fd.as_fd()));
        for (ring, (fd, bytes)) in feed.pins.iter().flat_map(|pins| pins.rings()).enumerate() {
            setup.rings.push(InheritedRing { ring, fd: fd.as_raw_fd(), bytes: *bytes });
            inherited.push(fd.as_fd());
        }
        if let Some(GuardMaps { verdicts: (fd, bytes), .. }) = feed.guard {
            setup.verdicts = Some(InheritedRing { ring: 0, fd: fd.as_raw_fd(), bytes: *bytes });
            inherited.push(fd.as_fd());
        }
        for (at, (fd, bytes)) in feed.previous.iter().enumerate() {
            let ring = at % Ring::ALL.len();
            setup.previous.push(InheritedRing { ring, fd: fd.as_raw_fd(), bytes: *bytes });
            inherited.push(fd.as_fd());
        }
        let mut worker =
            Worker::start("detector", &[], (Stdio::piped(), Stdio::inherit()), &inherited, Some(feed.noter))?;
        let mut input = worker.child.stdin.take().context("the detector has no input")?;
        // A detector that died at once says why when it is asked whether it is ready.
        let _ = writeln!(input, "{}", serde_json::to_string(&setup)?);
        let sandbox = worker.wait_ready(&mut |_| {}).context("the detector")?;
        Ok(Self { worker, is_proc_needed, input, unheard: VecDeque::new(), quit, sandbox })
    }

    /// Tells it of the processes that are there, shows these events, and lets it begin.
    pub fn go<'e>(&mut self, first: impl Iterator<Item = &'e Event>, tally: &Tally) -> Result<()> {
        let from_proc = if self.is_proc_needed { snapshot() } else { Vec::new() };
        for process in from_proc {
            self.tell(&Message::Process(process_there(&process).to_json()), tally)?;
        }
        for event in first {
            self.tell(&Message::Event(event.to_json()), tally)?;
        }
        self.tell(&Message::Go, tally)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.worker.child.id()
    }

    /// What it died of, if it did.
    pub fn death(&mut self) -> Option<Death> {
        self.worker.death()
    }

    /// Ends one that stands still.
    pub fn end_hung(&mut self, still: Duration) -> Death {
        self.worker.end_hung(still)
    }

    /// Puts other content into the mailbox and says so.
    pub fn hand_over(&mut self, next: &Active, mailbox: &OwnedFd) -> Result<()> {
        let Some(content) = &next.content else { return Ok(()) };
        ftruncate(mailbox, 0).context("emptying the mailbox")?;
        seek(mailbox, SeekFrom::Start(0)).context("rewinding the mailbox")?;
        let (mut at, bytes) = (0_u64, content.header.image_bytes);
        while at < bytes {
            let most = usize::try_from(bytes.saturating_sub(at)).unwrap_or(usize::MAX);
            let copied = sendfile(mailbox, &content.image, Some(&mut at), most).context("filling the mailbox")?;
            anyhow::ensure!(copied > 0, "the content has fewer bytes than it was told");
        }
        next.given(-1).map_or(Ok(()), |given| self.queue(&Message::Content(given)))
    }

    /// Waits this long, or until the user asked to quit at the terminal, or a request is there.
    pub fn is_quit_within(&mut self, most: Duration, requests: Option<&Requests>) -> bool {
        let most = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_nanos()) };
        let mut fds: Vec<PollFd<'_>> =
            requests.iter().map(|requests| PollFd::from_borrowed_fd(requests.as_fd(), PollFlags::IN)).collect();
        fds.extend(self.quit.iter().map(|quit| PollFd::from_borrowed_fd(quit.as_fd(), PollFlags::IN)));
        let is_ready = matches!(poll(&mut fds, Some(&most)), Ok(1..));
        let is_quit = fds.get(requests.iter().len()).is_some_and(|quit| !quit.revents().is_empty());
        let Some(quit) = self.quit.as_ref().filter(|_| is_ready && is_quit) else { return false };
        let is_asked = matches!(rustix::io::read(quit, &mut [0_u8; 1]), Ok(1));
        self.quit = None; // asked, or the other end is gone: there is nothing to wait for any more
        is_asked
    }

    /// Says one line to it, however long it takes to read.
    fn tell(&mut self, message: &Message, tally: &Tally) -> Result<()> {
        self.queue(message)?;
        let mut beats = Beats::from(Instant::now());
        while !self.has_heard_all() {
            self.tell_within(LOOK)?;
            ending::look(tally);
            if beats.is_hung(tally, Instant::now()) {
                bail!("it does not listen"); // noticed at the next look, as a death is
            }
        }
        Ok(())
    }

    /// Keeps one line until it reads.
    pub fn queue(&mut self, message: &Message) -> Result<()> {
        self.unheard.extend(serde_json::to_string(message)?.bytes());
        self.unheard.push_back(b'\n');
        Ok(())
    }

    /// Whether it has taken every line.
    #[must_use]
    pub fn has_heard_all(&self) -> bool {
        self.unheard.is_empty()
    }

    /// Says what waits, as long as the detector reads: a pause longer than this ends it. Never blocks beyond that, because
    /// a pipe that is ready takes PIPE_BUF bytes at once.
    pub fn tell_within(&mut self, pause_max: Duration) -> Result<()> {
        let pause_max = Timespec {
            tv_sec: i64::try_from(pause_max.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(pause_max.subsec_nanos()),
        };
        while !self.unheard.is_empty() {
            let mut fds = [PollFd::new(&self.input, PollFlags::OUT)];
            if !matches!(poll(&mut fds, Some(&pause_max)), Ok(1..)) {
                return Ok(());
            }
            let piece: Vec<u8> = self.unheard.iter().take(PIECE_BYTES).copied().collect();
            let told = rustix::io::write(&self.input, &piece).context("speaking to the detector")?;
            self.unheard.drain(..told);
        }
        Ok(())
    }

    /// Tells it to stop and waits for its end. Returns its exit code.
    pub fn finish(&mut self, stop: &Message, tally: &Tally) -> Result<u8> {
        self.queue(stop)?;
        let mut allowance = Allowance::of(FINISH_MAX);
        loop {
            // One that died just now says why when its end is waited for.
            let _ = self.tell_within(Duration::ZERO);
            if let Some(status) = self.worker.child.try_wait().context("waiting for the detector")? {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return match (code, self.worker.death_by(status)) {
                    (Some(EXIT_OUTPUT), Death::Output(why)) => bail!("{}", output_gone(&why)),
                    (Some(code @ (0 | 3)), _) => Ok(code),
                    (_, Death::Output(why) | Death::Killed(why) | Death::Other(why)) => {
                        bail!("the detector {why} while it finished: what it had not written is lost, uncounted")
                    }
                };
            }
            if allowance.is_used_up(tally) {
                let _ = self.worker.child.kill(); // it is ours; a failure means that it ended meanwhile
                bail!(
                    "the detector did not finish within {} s, or after it was told again: what it had not written is lost",
                    FINISH_MAX.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What is said when nobody takes the output.
#[must_use]
pub fn output_gone(why: &str) -> String {
    format!(
        "standard output takes no more events ({why}): the run ends; send it where it is read and where there is room"
    )
}

/// The id of this boot without dashes; empty where /proc does not tell, which only makes process ids shorter.
#[must_use]
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().replace('-', "")
}
