//! A `watertight run` without kernel programs, whose lines are looked at as they come.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use serde_json::Value;

use crate::tool;

/// Far beyond what anything here takes: a line that has not come by then does not come.
const LINE_MAX: Duration = Duration::from_secs(60);
/// Lines that say what became of a run; events and alerts are in millions.
const TOLD: [&str; 4] = ["content", "sandbox", "sensor.mode", "summary"];

/// A run.
pub struct Watched {
    child: Child,
    lines: Receiver<Value>,
    words: PathBuf,
    /// The content that it began with.
    pub began_with: Value,
}

impl Watched {
    /// Starts it in a mount namespace of its own, and waits for its detector.
    pub fn start(product: &Path, state: &Path, trial: &str) -> Result<Self> {
        fs::create_dir_all(state)?;
        let words = state.with_extension("words");
        let mut command = Command::new("unshare");
        command.arg("-m").arg(product).args(["run", "-o", "json", "--loader", "/nonexistent/watertight-loader"]);
        command.args(["--trial", trial, "--state"]).arg(state);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&words)?)
            .spawn()
            .context("starting the product by unshare")?;
        let stdout = child.stdout.take().context("the product has no output")?;
        let (told, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                // A detector that dies leaves half a line.
                let Ok(line) = serde_json::from_slice::<Value>(&line) else { continue };
                let is_told = line.get("kind").and_then(Value::as_str).is_some_and(|kind| TOLD.contains(&kind));
                if is_told && told.send(line).is_err() {
                    return;
                }
            }
        });
        let mut run = Self { child, lines, words, began_with: Value::Null };
        run.began_with = run.until("the first content", |line| is(line, "kind", "content"))?;
        run.until("the first detector", is_detector)?;
        Ok(run)
    }

    /// The next line that fits.
    pub fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + LINE_MAX;
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if fits(&line) {
                return Ok(line);
            }
        }
        let words = fs::read_to_string(&self.words).unwrap_or_default();
        bail!("{what} did not come within {} s; the run said: {words}", LINE_MAX.as_secs())
    }

    /// A detector that begins with this content and is ready.
    pub fn until_content(&mut self, slot: &str, version: u64) -> Result<()> {
        self.until(&format!("version {version} in slot {slot}"), |line| {
            let found = line.get("version").and_then(Value::as_u64);
            is(line, "kind", "content") && is(line, "slot", slot) && found == Some(version)
        })?;
        self.until("its detector", is_detector).map(drop)
    }

    /// Ends it in good order and gives its summary.
    pub fn stop(mut self) -> Result<Value> {
        tool::output(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        let summary = self.until("the summary", |line| is(line, "kind", "summary"))?;
        self.child.wait().context("waiting for the product")?;
        Ok(summary)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

fn is(line: &Value, name: &str, word: &str) -> bool {
    line.get(name).and_then(Value::as_str) == Some(word)
}

fn is_detector(line: &Value) -> bool {
    is(line, "kind", "sandbox") && is(line, "worker", "detector")
}
