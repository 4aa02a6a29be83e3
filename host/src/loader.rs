//! Calls `watertight-loader`, the only part that links libbpf, and reads the one line that it answers with.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context as _, Result};
use rustix::fs::{memfd_create, MemfdFlags};
use serde::{Deserialize, Serialize};

use watertight_sensor_abi::{HookClass, HOOKS};

use crate::filter::Filter;
use crate::signals::{spawn_alone, spawn_sheltered};

/// What the loader says is in force.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Build of the kernel objects.
    pub build: String,
    /// Where its maps and links are pinned.
    pub directory: PathBuf,
    /// Folders of other builds, silent now, whose rings are still to be read.
    #[serde(default)]
    pub previous: Vec<PathBuf>,
    /// It was pinned already, by an earlier run.
    pub adopted: bool,
    /// Why what an earlier run had pinned could not be adopted; it was dropped with what its rings held.
    #[serde(default)]
    pub replaced: Option<String>,
    /// Programs that are attached.
    pub attached: Vec<String>,
    /// Programs that are not, and why.
    pub refused: Vec<Refused>,
    /// Why the programs do not know our own processes, if they do not.
    #[serde(default)]
    pub untrusted: Option<String>,
}

impl Report {
    /// Whether LSM programs are attached.
    #[must_use]
    pub fn has_lsm(&self) -> bool {
        let lsm = HOOKS.iter().filter(|hook| hook.class() == HookClass::Lsm);
        lsm.into_iter().any(|hook| self.attached.iter().any(|name| name == hook.program()))
    }
}

/// A program that is not in force.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Refused {
    /// Its name.
    pub program: String,
    /// Why not.
    pub why: String,
}

/// How the processes that were there already have been read.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reading {
    /// Their arguments are among it.
    pub arguments: bool,
    /// Why not.
    pub refused: Option<String>,
}

/// The processes that were there already, as records of the sensor that nobody has looked at yet.
#[derive(Debug)]
pub struct Snapshot {
    /// How they were read.
    pub reading: Reading,
    /// Memory that holds the records, to be read from where it stands.
    pub records: File,
}

/// Longest first line of a snapshot, bytes: a word and a reason.
const READING_BYTES_MAX: u64 = 4_096;

/// What went wrong is the loader's own: the kernel was not asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadersFault(String);

/// Why nothing is loaded.
#[derive(Debug)]
pub struct NotLoaded {
    /// In words.
    pub why: String,
    /// It is the loader, not the kernel, that must be mended.
    pub is_loaders_fault: bool,
}

/// The loader's exit code when what it would load is damaged.
const EXIT_DAMAGED: i32 = 70;

/// Loads, and where that fails takes back what may be half attached: a loader that was killed leaves what it had pinned.
///
/// # Errors
/// Why nothing is attached, and what stays behind if even that could not be cleared.
pub fn load_or_clear(loader: Result<&Loader, &anyhow::Error>, filters: &[Filter]) -> Result<Report, NotLoaded> {
    if !rustix::process::geteuid().is_root() {
        return Err(NotLoaded { why: "not root".into(), is_loaders_fault: false });
    }
    let missing = |error: &anyhow::Error| NotLoaded { why: format!("{error:#}"), is_loaders_fault: true };
    loader.map_err(missing)?.load_or_clear(filters)
}

/// The loader's executable and the pin folder that it works on.
#[derive(Clone, Debug)]
pub struct Loader {
    executable: PathBuf,
    pins: PathBuf,
    /// What ends a run does not reach it in the middle of its work.
    is_sheltered: bool,
}

impl Loader {
    /// The loader beside the running executable, or the one that was named.
    ///
    /// # Errors
    /// There is none.
    pub fn find(named: Option<&Path>, pins: &Path) -> Result<Self> {
        let executable = match named {
            Some(path) => path.to_owned(),
            None => std::env::current_exe().context("finding our own executable")?.with_file_name("watertight-loader"),
        };
        if !executable.is_file() {
            bail!(LoadersFault(format!(
                "{} is not there: build or install it beside watertight, or name it with --loader",
                executable.display()
            )));
        }
        Ok(Self { executable, pins: pins.to_owned(), is_sheltered: false })
    }

    /// The loader of a run: a signal to the run's whole group asks the supervisor to end, and this one does its work for that.
    #[must_use]
    pub fn sheltered(self) -> Self {
        Self { is_sheltered: true, ..self }
    }

    /// Loads what the kernel admits, or adopts what is pinned. The programs know processes of our own executable by its
    /// identity, and leave out what the filters name.
    ///
    /// # Errors
    /// The loader could not be run or attached nothing; its own words say why.
    pub fn load(&self, filters: &[Filter]) -> Result<Report> {
        // Not the path by which we were started: it may name another file by now.
        let ourselves = format!("/proc/{}/exe", std::process::id());
        let filters = serde_json::to_string(filters).context("writing the filters")?;
        let line = self.call(&["load", "--watertight", &ourselves, "--filters", &filters], None)?;
        let fault = |_| LoadersFault(self.in_words(&format!("answered {line:?} to `load`")));
        Ok(serde_json::from_str(&line).map_err(fault)?)
    }

    /// What it did wrong, and the mend.
    fn in_words(&self, what: &str) -> String {
        format!("{} {what}: install the watertight-loader of this version there", self.executable.display())
    }

    /// Removes the pins of all builds but one.
    ///
    /// # Errors
    /// A pin could not be removed.
    pub fn forget_all_but(&self, build: &str) -> Result<()> {
        self.call(&["forget", "--keep", build], None).map(drop)
    }

    fn load_or_clear(&self, filters: &[Filter]) -> Result<Report, NotLoaded> {
        self.load(filters).map_err(|error| {
            let is_loaders_fault = error.is::<LoadersFault>();
            let why = match self.unload() {
                Err(left) if !is_loaders_fault => format!("{error:#}; clearing up failed too ({left:#})"),
                _ => format!("{error:#}"),
            };
            NotLoaded { why, is_loaders_fault }
        })
    }

    /// Ends telemetry: no program of it runs when this returns, except in calls that began before.
    ///
    /// # Errors
    /// A pin could not be removed.
    pub fn detach(&self) -> Result<()> {
        self.call(&["detach"], None).map(drop)
    }

    /// Removes telemetry's maps too.
    ///
    /// # Errors
    /// A pin could not be removed.
    pub fn unload(&self) -> Result<()> {
        self.call(&["unload"], None).map(drop)
    }

    /// Reads the processes that are there already, by an iterator of the kernel.
    ///
    /// # Errors
    /// The kernel refuses the iterator.
    pub fn processes(&self) -> Result<Snapshot> {
        let memory = memfd_create("processes", MemfdFlags::CLOEXEC).context("making memory for the processes")?;
        let mut records = File::from(memory);
        let written = records.try_clone().context("handing memory to the loader")?;
        self.run(&["processes"], None, Stdio::from(written))?;
        records.rewind().context("reading the processes that are there")?;
        let mut line = Vec::new();
        BufReader::new((&records).take(READING_BYTES_MAX)).read_until(b'\n', &mut line)?;
        let reading =
            serde_json::from_slice(&line).context("the loader does not say how it read: is it of this version?")?;
        records.seek(SeekFrom::Start(u64::try_from(line.len())?))?;
        Ok(Snapshot { reading, records })
    }

    /// The executable.
    #[must_use]
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Runs the loader to its end, with this on its standard input, and gives what it printed.
    pub(crate) fn call(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<String> {
        self.run(arguments, input, Stdio::piped())
    }

    fn run(&self, arguments: &[&str], input: Option<&[u8]>, stdout: Stdio) -> Result<String> {
        let mut command = Command::new(&self.executable);
        command
            .arg("--pins")
            .arg(&self.pins)
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(stdout)
            .stderr(Stdio::piped());
        let spawned = if self.is_sheltered { spawn_sheltered(&mut command) } else { spawn_alone(&mut command) };
        let mut child = spawned.map_err(|error| LoadersFault(self.in_words(&format!("can't be run ({error})"))))?;
        if let (Some(bytes), Some(mut pipe)) = (input, child.stdin.take()) {
            match pipe.write_all(bytes) {
                // It ended without reading everything: its own words say why.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                written => written.context("speaking to the loader")?,
            }
        }
        let output = child.wait_with_output().context("waiting for the loader")?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let words = words.trim().trim_start_matches("watertight-loader: ");
            if words.is_empty() {
                let doing = arguments.first().copied().unwrap_or_default();
                bail!(LoadersFault(self.in_words(&format!("ended without a word ({}) at `{doing}`", output.status))));
            }
            if output.status.code() == Some(EXIT_DAMAGED) {
                bail!(LoadersFault(words.to_owned()));
            }
            bail!("{words}");
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
