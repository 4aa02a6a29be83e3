//! Calls `watertight-loader`, the only part that links libbpf, and reads the one line that it answers with.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context as _, Result};
use rustix::fs::{memfd_create, MemfdFlags};
use serde::{Deserialize, Serialize};

/// What the loader says is in force.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Build of the kernel objects.
    pub build: String,
    /// Where its maps and links are pinned.
    pub directory: PathBuf,
    /// It was pinned already, by an earlier run.
    pub adopted: bool,
    /// Programs that are attached.
    pub attached: Vec<String>,
    /// Programs that are not, and why.
    pub refused: Vec<Refused>,
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
#[derive(Clone, Debug, Default, Deserialize)]
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

/// The loader's executable and the pin folder that it works on.
#[derive(Clone, Debug)]
pub struct Loader {
    executable: PathBuf,
    pins: PathBuf,
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
            bail!(
                "{} is not there: build or install it beside watertight, or name it with --loader",
                executable.display()
            );
        }
        Ok(Self { executable, pins: pins.to_owned() })
    }

    /// Loads what the kernel admits, or adopts what is pinned.
    ///
    /// # Errors
    /// The loader could not be run or attached nothing; its own words say why.
    pub fn load(&self) -> Result<Report> {
        let line = self.call(&["load"])?;
        serde_json::from_str(&line).with_context(|| format!("the loader answered {line:?}: is it of this version?"))
    }

    /// Ends telemetry: no program of it runs when this returns, except in calls that began before.
    ///
    /// # Errors
    /// A pin could not be removed.
    pub fn detach(&self) -> Result<()> {
        self.call(&["detach"]).map(drop)
    }

    /// Removes telemetry's maps too.
    ///
    /// # Errors
    /// A pin could not be removed.
    pub fn unload(&self) -> Result<()> {
        self.call(&["unload"]).map(drop)
    }

    /// Reads the processes that are there already, by an iterator of the kernel.
    ///
    /// # Errors
    /// The kernel refuses the iterator.
    pub fn processes(&self) -> Result<Snapshot> {
        let memory = memfd_create("processes", MemfdFlags::CLOEXEC).context("making memory for the processes")?;
        let mut records = File::from(memory);
        let written = records.try_clone().context("handing memory to the loader")?;
        self.run(&["processes"], Stdio::from(written))?;
        records.rewind().context("reading the processes that are there")?;
        let mut line = Vec::new();
        BufReader::new((&records).take(READING_BYTES_MAX)).read_until(b'\n', &mut line)?;
        let reading =
            serde_json::from_slice(&line).context("the loader does not say how it read: is it of this version?")?;
        records.seek(SeekFrom::Start(u64::try_from(line.len())?))?;
        Ok(Snapshot { reading, records })
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        self.run(arguments, Stdio::piped())
    }

    fn run(&self, arguments: &[&str], stdout: Stdio) -> Result<String> {
        let output = Command::new(&self.executable)
            .arg("--pins")
            .arg(&self.pins)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .output()
            .with_context(|| format!("running {}", self.executable.display()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("{}", words.trim().trim_start_matches("watertight-loader: "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
