//! Calls `watertight-loader`, the only part that links libbpf, and reads the one line that it answers with.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::filter::Filter;

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
    /// Why the programs do not know our own processes, if they do not.
    #[serde(default)]
    pub untrusted: Option<String>,
}

/// A program that is not in force.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Refused {
    /// Its name.
    pub program: String,
    /// Why not.
    pub why: String,
}

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
        serde_json::from_str(&line).with_context(|| format!("the loader answered {line:?}: is it of this version?"))
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

    /// The executable.
    #[must_use]
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Runs the loader to its end, with this on its standard input, and gives what it printed.
    pub(crate) fn call(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<String> {
        let mut child = Command::new(&self.executable)
            .arg("--pins")
            .arg(&self.pins)
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {}", self.executable.display()))?;
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
                bail!("{} {} ended with {}", self.executable.display(), arguments.join(" "), output.status);
            }
            bail!("{words}");
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
