//! Dumps of our own workers. One that crashes says so on a socket and waits; a thread of ours hears it and has a dump made by a worker
//! that may look at processes and do nothing else. Nothing of what has crashed is looked at here.
//!
//! Each dump says what it came from: worker, version, build of the sensor, and what the worker was doing with which content.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, ensure, Context as _, Result};
use rustix::io::Errno;
use rustix::net::{recv, RecvFlags};

use super::process::Worker;
use crate::printable::printable;
use crate::worker::dumper::{Request, REGISTERS_BYTES};
use crate::worker::report::Report;

/// Name of the folder in which they are kept, beside the content slots.
pub const FOLDER: &str = "dumps";
/// Dumps that are kept; the oldest go first. A worker that crashes again and again is given up before it has filled them.
const KEPT_MAX: usize = 16;
/// How long a dump may take; the worker waits longer than that.
const DUMP_MAX: Duration = Duration::from_secs(10);
/// End of a dump's name.
const DUMP: &str = "dmp";
/// End of the name of one that is being made.
const PART: &str = "dmp.part";

/// Id of the content, as it is noted.
pub const CONTENT_ID: &str = "content_id";
/// Name of its release.
pub const CONTENT_NAME: &str = "content_name";
/// Number of its release.
pub const CONTENT_VERSION: &str = "content_version";
/// The rule that was evaluated.
pub const RULE_ID: &str = "rule_id";
/// What the worker was doing with it.
pub const PHASE: &str = "phase";

/// What is known of a worker beside its registers and stacks, by name.
pub type Notes = Vec<(String, String)>;
/// Tells it at the time of a crash.
pub type Noter = Box<dyn Fn() -> Notes + Send>;

/// Where dumps are kept, and what each says of this product.
static PLACE: OnceLock<(PathBuf, Notes)> = OnceLock::new();

/// From here on crashes of workers leave dumps in this folder.
pub fn keep_in(folder: PathBuf, sensor_build: Option<&str>) {
    let mut notes = vec![note("watertight", env!("CARGO_PKG_VERSION"))];
    notes.extend(sensor_build.map(|build| note("sensor", build)));
    let _ = PLACE.set((folder, notes)); // a process runs once
}

/// One thing that is known.
pub fn note(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// A dump that was made.
#[derive(Debug)]
pub struct Made {
    /// Its file.
    pub path: PathBuf,
    /// What it says beside registers and stacks.
    pub notes: Notes,
}

/// Dumps that nobody has told of yet.
static MADE: Mutex<Vec<Made>> = Mutex::new(Vec::new());

/// The dumps that were made since this was asked last.
#[must_use]
pub fn made() -> Vec<Made> {
    std::mem::take(&mut MADE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether a crash of a worker would leave a dump: there is a folder, and only root may look into a worker.
#[must_use]
pub fn are_kept() -> bool {
    PLACE.get().is_some() && rustix::process::geteuid().is_root()
}

/// Has a dump made once the worker says on this socket that it has crashed; that the socket is closed is the answer. Ends with the worker.
pub fn watch(worker: &str, pid: u32, socket: OwnedFd, noter: Noter) {
    let worker = worker.to_owned();
    std::thread::spawn(move || {
        let mut registers = [0; REGISTERS_BYTES];
        let length = loop {
            match recv(&socket, &mut registers[..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                Ok((0, _)) | Err(_) => return, // it has ended without a word
                Ok((length, _)) => break length,
            }
        };
        // Bytes in another form are refused by who makes the dump.
        if let Err(error) = make(&worker, pid, registers.get(..length).unwrap_or_default(), noter()) {
            crate::say!(
                "watertight: the {worker} worker crashed and left no dump: {}",
                printable(&format!("{error:#}"))
            );
        }
    });
}

/// A dump of a worker that does not crash and does not go on either.
pub fn of_hung(worker: &str, pid: u32, noter: &Noter) {
    if !are_kept() {
        return;
    }
    if let Err(error) = make(worker, pid, &[], noter()) {
        crate::say!("watertight: the {worker} worker hangs and left no dump: {}", printable(&format!("{error:#}")));
    }
}

fn make(worker: &str, pid: u32, registers: &[u8], notes: Notes) -> Result<()> {
    let (folder, common) = PLACE.get().context("no folder for dumps was named")?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| at(folder))?;
    make_room(folder);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("{}-{worker}-{pid}", since.as_millis());
    let part = folder.join(format!("{name}.{PART}"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).with_context(|| at(&part))?;
    let is_alive = registers.is_empty();
    let mut all = vec![note("worker", worker)];
    if is_alive {
        all.push(note("stop", "hang"));
    }
    all.extend(common.iter().cloned());
    all.extend(notes);
    let request = Request { pid: pid.cast_signed(), notes: all.clone(), is_alive };
    let kept = folder.join(format!("{name}.{DUMP}"));
    let made = dump(&request, registers, &file).and_then(|()| {
        file.sync_all().with_context(|| at(&part))?;
        fs::rename(&part, &kept).with_context(|| at(&kept))?;
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| at(folder))
    });
    if let Err(error) = made {
        let _ = fs::remove_file(&part); // nothing of use is in it
        return Err(error);
    }
    MADE.lock().unwrap_or_else(PoisonError::into_inner).push(Made { path: kept, notes: all });
    Ok(())
}

/// Has it made into this file.
fn dump(request: &Request, registers: &[u8], file: &File) -> Result<()> {
    let until = Instant::now() + DUMP_MAX;
    let output = file.try_clone().context("sharing the dump's file")?;
    let mut dumper = Worker::start("dump", &[], (Stdio::piped(), Stdio::from(output)), &[], None)?;
    let ended = dumper.wait_ready(&mut |_| {}).and_then(|_| {
        let mut input = dumper.child.stdin.take().context("it has no input")?;
        let line = serde_json::to_vec(request)?;
        // Less than a pipe holds.
        input.write_all(&line).and_then(|()| input.write_all(b"\n")).and_then(|()| input.write_all(registers))?;
        drop(input);
        loop {
            if let Some(status) = dumper.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let _ = dumper.child.kill(); // it is ours; a failure means that it has ended
    let last = dumper.child.wait().context("waiting for who makes dumps")?;
    let status = ended.context("who makes dumps")?;
    let Some(status) = status else { bail!("who makes dumps did not end within {} s", DUMP_MAX.as_secs()) };
    let said = dumper.said_until(Instant::now());
    if let Some(why) = said.into_iter().find_map(|said| match said {
        Report::Refused { why } => Some(why),
        _ => None,
    }) {
        bail!("{why}");
    }
    ensure!(status.success(), "who makes dumps {}", dumper.death_by(last).words());
    ensure!(file.metadata().context("looking at the dump")?.len() > 0, "the dump is empty");
    Ok(())
}

/// Forgets the oldest dumps, and what is left of one that was not finished.
fn make_room(folder: &Path) {
    let paths = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let is_part = |path: &PathBuf| path.to_string_lossy().ends_with(PART);
    let (parts, rest): (Vec<_>, Vec<_>) = paths.partition(is_part);
    let mut dumps: Vec<PathBuf> =
        rest.into_iter().filter(|path| path.extension().is_some_and(|end| end == DUMP)).collect();
    // The name begins with the time.
    dumps.sort();
    let excess = dumps.len().saturating_add(1).saturating_sub(KEPT_MAX);
    let old = |path: &PathBuf| {
        fs::metadata(path)
            .and_then(|about| about.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > DUMP_MAX * 2))
    };
    // One that somebody else is making now is younger than that.
    for path in dumps.iter().take(excess).chain(parts.iter().filter(|path| old(path))) {
        let _ = fs::remove_file(path); // what can't be removed takes room and no more
    }
}

fn at(path: &Path) -> String {
    path.display().to_string()
}
