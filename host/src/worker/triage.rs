//! The worker that reads crash files. Whoever made a process crash may have written its dump too: what reads it has no file, no network and
//! no rights, and opens nothing. Files and symbol files come as descriptors from who started it; reports go back as lines of JSON.
//!
//! A request is one message of a socket with one descriptor, an answer one line. While it examines a file the worker may ask for symbol
//! files, by their path below the folders that the user named; it gets a descriptor or none.

use std::fs::File;
use std::io::{self, BufWriter, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, Context as _, Result};
use rustix::io::Errno;
use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde::{Deserialize, Serialize};
use watertight_triage::source::FileSource;
use watertight_triage::symbols::{Opened, SymbolFiles};
use watertight_triage::{examine_source, Examined, Options, Report as Crash};

use super::report::{Report, Reporter};
use super::sandbox::{self, Profile};

/// Longest request: a number.
const REQUEST_BYTES_MAX: usize = 256;
/// Longest path of a symbol file that is asked for.
const PATH_BYTES_MAX: usize = 1_024;
/// A text of our own in which a crash is found.
const OWN_TEXT: &[u8] =
    b"[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 frob_open+0x1/0x2\n[    1.000000] Call Trace:\n\
    [    1.000000]  frob_attach+0x1/0x2\n";

/// What comes with a descriptor; without one there is no such file.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Request {
    /// Bytes of the file.
    pub size_bytes: u64,
}

/// A line of the worker's.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A crash that was found, or the report of a file without one.
    Report(Box<Crash>),
    /// A symbol file is wanted, by its path below the folders.
    Symbol(String),
    /// The registry's hive beside the file is wanted.
    Hive,
    /// That was all of this file; how many crashes there were, none where it could not be read.
    End(Option<u64>),
}

/// Both ways to who started this.
#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    answers: Mutex<BufWriter<File>>,
}

impl Link {
    /// The next request with its descriptor; `None` when there are to be no more.
    fn request(&self) -> io::Result<Option<(Request, Option<OwnedFd>)>> {
        let mut bytes = [0; REQUEST_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                received => break received?,
            }
        };
        let message = bytes.get(..received.bytes).filter(|bytes| !bytes.is_empty());
        let Some(message) = message else { return Ok(None) };
        let mut file = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                file = fds.into_iter().next();
            }
        }
        Ok(Some((serde_json::from_slice(message)?, file)))
    }

    fn answer(&self, answer: &Answer) -> io::Result<()> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_writer(&mut *answers, answer)?;
        writeln!(answers)?;
        match answer {
            Answer::Report(_) => Ok(()),
            Answer::Symbol(_) | Answer::Hive | Answer::End(_) => answers.flush(),
        }
    }

    /// Asks for a file.
    fn ask(&self, wanted: &Answer) -> Option<Opened> {
        self.answer(wanted).ok()?;
        let (Request { size_bytes }, file) = self.request().ok()??;
        Some(Opened { file: file?.into(), size_bytes })
    }
}

/// Symbol files that somebody else opens.
#[derive(Debug)]
struct Asked(Arc<Link>);

impl SymbolFiles for Asked {
    fn open(&self, relative: &Path) -> Option<Opened> {
        let path = relative.to_str().filter(|path| path.len() <= PATH_BYTES_MAX)?;
        self.0.ask(&Answer::Symbol(path.to_owned()))
    }

    fn is_any(&self) -> bool {
        true
    }
}

/// `watertight worker triage`: requests on standard input. Returns the exit code.
///
/// # Errors
/// It can't be confined, or nobody takes the answers.
pub fn run(report: RawFd, redacts: bool, has_symbols: bool) -> Result<u8> {
    let mut reporter = Reporter::inherit(report).context("taking the report pipe")?;
    sandbox::die_with_parent().context("tying this worker to who started it")?;
    crate::say::prepare();
    let socket = io::stdin().as_fd().try_clone_to_owned().context("taking the socket")?;
    let answers = File::from(io::stdout().as_fd().try_clone_to_owned().context("taking the answers' pipe")?);
    let link = Arc::new(Link { socket, answers: Mutex::new(BufWriter::new(answers)) });
    let mut options = Options::default();
    options.redacts = redacts;
    if has_symbols {
        options.symbols = Arc::new(Asked(Arc::clone(&link)));
    }
    // Libraries look up once how many processors there are, in files that are out of reach afterwards.
    examine_source("", &OWN_TEXT.to_vec(), &|| None, &Options::default(), &mut |_| {});
    let sandbox = sandbox::enter(Profile::Triage, reporter.as_fd()).context("giving up privileges")?;
    reporter.say(&Report::Ready { sandbox }).context("speaking to who started this")?;
    while let Some((Request { size_bytes }, file)) = link.request().context("hearing a request")? {
        let Some(file) = file else { bail!("a request without a file") };
        let source = FileSource::of(file.into(), size_bytes);
        let mut told = Ok(());
        // Who asked knows the file's name.
        let hive = || link.ask(&Answer::Hive).map(|Opened { file, size_bytes }| FileSource::of(file, size_bytes));
        let examined = examine_source("", &source, &hive, &options, &mut |crash| {
            if told.is_ok() {
                told = link.answer(&Answer::Report(Box::new(crash)));
            }
        });
        told.context("answering")?;
        let count = match examined {
            Examined::Found(count) => Some(count),
            Examined::Nothing => Some(0),
            Examined::Failed => None,
        };
        link.answer(&Answer::End(count)).context("answering")?;
    }
    Ok(0)
}
