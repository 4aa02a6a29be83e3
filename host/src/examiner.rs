//! Crash files, examined in a worker that has no rights. One worker serves all files of a run; a file that it does not survive, or over
//! which it takes too long, is told with that as its error, and the others go on in a fresh one.
//!
//! This side opens files and hands them over. Of what the worker answers it believes nothing but its form.

use std::fs::File;
use std::io::{self, IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    sendmsg, socketpair, AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use watertight_triage::source::FileSource;
use watertight_triage::symbols::{Folders, Opened, SymbolFiles as _};
use watertight_triage::{system_hive, Examined, Report};

use crate::supervisor::process::Worker;
use crate::worker::triage::{Answer, Request};

/// Processor time that the worker may take over one file.
const FILE_TIME_MAX: Duration = Duration::from_secs(10);
/// And by the clock on the wall, as long as it is waited for: a machine may be busy.
const FILE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Processor time after which a worker is let go between two files, before its own bound ends it.
const WORKER_TIME_MAX: Duration = Duration::from_secs(300);
/// How often its time is looked at.
const LOOK_MS: i64 = 100;
/// Longest line that is taken from it: a report of the most frames and modules that one may have.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Most that is taken for one file: reports of the most crashes that a log may tell.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Bytes taken from the pipe at once.
const PIECE_BYTES: usize = 64 << 10;
/// Files that the worker may ask for, for one file: symbols in several places for each module of a deep stack.
const FILES_MAX: u32 = 4_096;

/// Examines crash files.
#[derive(Debug, Default)]
pub struct Examiner {
    redacts: bool,
    symbols: Folders,
    running: Option<Running>,
}

/// A worker at work.
struct Running {
    worker: Worker,
    requests: OwnedFd,
    answers: File,
    unread: Vec<u8>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "worker {}", self.worker.child.id())
    }
}

/// What the worker may still take for a file.
struct Budget {
    /// Its processor time when the file was handed over.
    begun: Duration,
    wait_left: Duration,
    bytes_left: u64,
    files_left: u32,
}

impl Examiner {
    /// Reports without what may be secret, if so wished; names of functions from files in these folders.
    #[must_use]
    pub fn new(redacts: bool, symbols: Vec<PathBuf>) -> Self {
        Self { redacts, symbols: Folders(symbols), running: None }
    }

    /// Examines a file and hands out each crash in it, in the file's order. A file without a crash gives one report of kind `none`, an
    /// unreadable one, or one that the worker did not survive, the same with its error.
    ///
    /// # Errors
    /// No worker can be started.
    pub fn examine(&mut self, path: &Path, report: &mut dyn FnMut(Report)) -> Result<Examined> {
        let mut named = |mut one: Report| {
            one.set_file(path);
            report(one);
        };
        let source = match FileSource::open(path) {
            Ok(source) => source,
            Err(error) => {
                named(Report::none(String::new(), Some(error.to_string())));
                return Ok(Examined::Failed);
            }
        };
        let mut running = match self.running.take() {
            Some(running) if running.time() < WORKER_TIME_MAX => running,
            _ => Running::start(self.redacts, self.symbols.is_any()).context("starting the triage worker")?,
        };
        let (file, size_bytes) = source.into_file();
        let examined = running.examine((path, &file, size_bytes), &self.symbols, &mut named);
        match examined {
            Ok(examined) => {
                self.running = Some(running);
                Ok(examined)
            }
            Err(why) => {
                named(Report::none(String::new(), Some(running.end(why))));
                Ok(Examined::Failed)
            }
        }
    }
}

/// Why a worker is done with.
#[derive(Debug)]
enum Done {
    /// Its pipe is closed.
    Gone,
    /// What it does is no good any more, in words that follow its name.
    Ended(String),
}

impl From<io::Error> for Done {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Gone,
            _ => Self::Ended(format!("can't be spoken to: {error}")),
        }
    }
}

impl Running {
    fn start(redacts: bool, has_symbols: bool) -> Result<Self> {
        let (requests, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .context("making a socket")?;
        let options = [("--redact", redacts), ("--symbols", has_symbols)];
        let options: Vec<String> =
            options.into_iter().filter(|(_, is_set)| *is_set).map(|(option, _)| option.to_owned()).collect();
        let mut worker = Worker::start("triage", &options, (Stdio::from(theirs), Stdio::piped()), &[], None)?;
        worker.wait_ready(&mut |_| {})?;
        let answers = worker.child.stdout.take().context("it has no pipe")?;
        Ok(Self { worker, requests, answers: File::from(OwnedFd::from(answers)), unread: Vec::new() })
    }

    fn examine(
        &mut self,
        (path, file, size_bytes): (&Path, &File, u64),
        symbols: &Folders,
        report: &mut dyn FnMut(Report),
    ) -> Result<Examined, Done> {
        let mut budget =
            Budget { begun: self.time(), wait_left: FILE_WAIT_MAX, bytes_left: FILE_BYTES_MAX, files_left: FILES_MAX };
        self.send(Request { size_bytes }, Some(file.as_fd()))?;
        loop {
            let wanted = match self.answer(&mut budget)? {
                Answer::Report(one) => {
                    report(*one);
                    continue;
                }
                Answer::Symbol(path) => {
                    symbols.open(Path::new(&path)).map(|Opened { file, size_bytes }| (file, size_bytes))
                }
                Answer::Hive => system_hive(path).map(FileSource::into_file),
                Answer::End(None) => return Ok(Examined::Failed),
                Answer::End(Some(0)) => return Ok(Examined::Nothing),
                Answer::End(Some(count)) => return Ok(Examined::Found(count)),
            };
            let left = budget.files_left.checked_sub(1);
            budget.files_left = left.ok_or_else(|| Done::Ended("asks for files without end".to_owned()))?;
            match wanted {
                Some((file, size_bytes)) => self.send(Request { size_bytes }, Some(file.as_fd()))?,
                None => self.send(Request::default(), None)?,
            }
        }
    }

    fn send(&self, request: Request, file: Option<BorrowedFd<'_>>) -> Result<(), Done> {
        let message = serde_json::to_vec(&request).map_err(io::Error::from)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&files)); // there is room for one
        }
        loop {
            match sendmsg(&self.requests, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(Done::from(io::Error::from(error))),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Its next line, within the budget of the file.
    fn answer(&mut self, budget: &mut Budget) -> Result<Answer, Done> {
        let mut searched = 0_usize;
        loop {
            let fresh = self.unread.get(searched..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let end = searched.saturating_add(end);
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map_err(|error| Done::Ended(format!("answers no report: {error}")));
            }
            searched = self.unread.len();
            if searched > LINE_BYTES_MAX {
                return Err(Done::Ended(format!("answers with a line of more than {LINE_BYTES_MAX} bytes")));
            }
            self.wait(budget)?;
            let mut piece = vec![0; PIECE_BYTES];
            match self.answers.read(&mut piece) {
                Ok(0) => return Err(Done::Gone),
                Ok(length) => {
                    let left = budget.bytes_left.checked_sub(length as u64);
                    budget.bytes_left =
                        left.ok_or_else(|| Done::Ended(format!("answers with more than {FILE_BYTES_MAX} bytes")))?;
                    self.unread.extend_from_slice(piece.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until it says something.
    fn wait(&self, budget: &mut Budget) -> Result<(), Done> {
        let slice = Timespec { tv_sec: 0, tv_nsec: LOOK_MS.saturating_mul(1_000_000) };
        loop {
            let begun = Instant::now();
            match poll(&mut [PollFd::new(&self.answers, PollFlags::IN)], Some(&slice)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(Done::Ended(format!("can't be heard: {error}"))),
            }
            budget.wait_left = budget.wait_left.saturating_sub(begun.elapsed());
            if self.time().saturating_sub(budget.begun) > FILE_TIME_MAX {
                return Err(Done::Ended(format!(
                    "took more than {} s of processor time over it and was ended",
                    FILE_TIME_MAX.as_secs()
                )));
            }
            if budget.wait_left.is_zero() {
                return Err(Done::Ended(format!("gave no answer for {} s and was ended", FILE_WAIT_MAX.as_secs())));
            }
        }
    }

    /// Processor time that it has used; nothing where the kernel does not tell.
    fn time(&self) -> Duration {
        let pid = libc::pid_t::try_from(self.worker.child.id()).unwrap_or(0);
        let mut clock: libc::clockid_t = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both calls write into variables that live through them.
        let answer = unsafe {
            match libc::clock_getcpuclockid(pid, &raw mut clock) {
                0 => libc::clock_gettime(clock, &raw mut time),
                refused => refused,
            }
        };
        if answer != 0 {
            return Duration::ZERO;
        }
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    /// Ends it; gives why, in words.
    fn end(mut self, why: Done) -> String {
        if let Done::Ended(_) = &why {
            let _ = self.worker.child.kill(); // it is ours; a failure means that it has ended
        }
        let status = self.worker.child.wait();
        let words = match (why, status) {
            (Done::Ended(words), _) => words,
            (Done::Gone, Ok(status)) => self.worker.death_by(status).words().to_owned(),
            (Done::Gone, Err(error)) => format!("is gone ({error})"),
        };
        format!("the triage worker {words}: nothing more can be told of this file")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.worker.child.kill(); // it has nothing left to do; a failure means that it has ended
        let _ = self.worker.child.wait();
    }
}
