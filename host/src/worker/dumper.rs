//! The worker that makes a dump of another one that has crashed and waits for it. It looks at a process whose memory whoever wrote its
//! input may have filled, so it is confined itself: it reads, and writes the dump into what it was given.

mod annotations;

use std::io::{self, Cursor, Read as _, Write as _};
use std::os::fd::{AsFd as _, RawFd};
use std::path::Path;

use anyhow::{ensure, Context as _, Result};
use crash_context::CrashContext;
use minidump_writer::minidump_writer::MinidumpWriterConfig;
use minidump_writer::CrashContextExt;
use serde::{Deserialize, Serialize};

use super::report::{Report, Reporter};
use super::sandbox::{self, Profile};

/// Bytes in which registers are told.
pub const REGISTERS_BYTES: usize = size_of::<CrashContext>();
/// Longest request: what is noted of content.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// From this size on the stacks of other threads are cut. That of the thread that crashed is kept whole.
const DUMP_BYTES_MAX: u64 = 8 << 20;

/// The first line on standard input; the registers follow it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Request {
    /// The process.
    pub pid: i32,
    /// What else is known of it, by name.
    pub notes: Vec<(String, String)>,
    /// It has not crashed, it is only to be seen: there are no registers.
    pub is_alive: bool,
}

/// `watertight worker dump`: the request on standard input, the dump on standard output.
///
/// # Errors
/// It can't be confined, the request is damaged, the process is gone, or there is no room for the dump.
pub fn run(report: RawFd) -> Result<()> {
    let mut reporter = Reporter::inherit(report).context("taking the report pipe")?;
    sandbox::die_with_parent().context("tying this worker to the supervisor")?;
    crate::say::prepare();
    let sandbox = sandbox::enter(Profile::Dumper, reporter.as_fd()).context("giving up privileges")?;
    reporter.say(&Report::Ready { sandbox }).context("speaking to the supervisor")?;
    let dump = match dump() {
        Ok(dump) => dump,
        Err(error) => {
            let why = format!("{error:#}");
            return reporter.say(&Report::Refused { why }).context("speaking to the supervisor");
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(&dump).and_then(|()| out.flush()).context("writing the dump")
}

fn dump() -> Result<Vec<u8>> {
    let mut input = Vec::new();
    io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_end(&mut input).context("reading the request")?;
    let end = input.iter().position(|byte| *byte == b'\n').context("the request has no end")?;
    let (request, registers) = input.split_at(end);
    let Request { pid, notes, is_alive } = serde_json::from_slice(request).context("reading the request")?;
    let mut thread = pid;
    let mut context = None;
    if !is_alive {
        let registers = registers.get(1..).unwrap_or_default();
        let told = CrashContext::from_bytes(registers).context("the registers are not in their form")?;
        // Whose they are is not for the process to say, and which of its threads only among those that it has.
        thread = told.tid;
        let is_its = Path::new(&format!("/proc/{pid}/task/{thread}")).exists();
        ensure!(is_its, "it names thread {thread}, which is not its own");
        context = Some(CrashContext { pid, ..told });
    }
    let mut config = MinidumpWriterConfig::new(pid, thread);
    config.set_minidump_size_limit(DUMP_BYTES_MAX);
    if let Some(inner) = context {
        config.set_crash_context(CrashContextExt { inner });
    }
    let dump = config.write(&mut Cursor::new(Vec::new())).context("making the dump")?;
    annotations::added(dump, &notes).context("the dump that was made is not in its form")
}
