//! What a crash file says, in two short strings, from a process of its own: the file is a kernel's or a crashed worker's, and what is in it
//! anybody's. Who asks has rights and does not read it.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};

use crate::signals::spawn_sheltered;

/// What triage may say of one crash.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Longest title or bucket that is passed on.
const WORDS_BYTES_MAX: usize = 256;

/// What triage said of a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The title, if a crash was found.
    pub title: Option<String>,
    /// The bucket's id.
    pub bucket: Option<String>,
}

/// What `watertight triage` says of a file.
///
/// # Errors
/// It could not be started, or did not end in time.
pub fn triaged(file: &Path, most: Duration) -> Result<Seen> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["triage", "-o", "json", "--redact", "--"]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = spawn_sheltered(&mut command).context("starting watertight triage")?;
    let answer = child.stdout.take().context("watertight triage has no output")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        answer.take(ANSWER_BYTES_MAX).read_to_string(&mut text).map(|_| text)
    });
    let begun = Instant::now();
    while child.try_wait().context("waiting for watertight triage")?.is_none() {
        // More than it may say leaves it in a pipe that nobody reads.
        if begun.elapsed() > most {
            let _ = child.kill();
            let _ = child.wait();
            bail!("watertight triage did not end within {} s", most.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let text = reader.join().ok().and_then(Result::ok).context("watertight triage's answer is no text")?;
    Ok(fatal(&text))
}

/// The crash that the machine died of, out of a JSON line for each.
pub fn fatal(lines: &str) -> Seen {
    let reports: Vec<serde_json::Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let words =
        |value: &serde_json::Value| value.as_str().map(|text| text.chars().take(WORDS_BYTES_MAX).collect::<String>());
    let crashes: Vec<Seen> = reports
        .iter()
        .map(|report| Seen { title: words(&report["title"]), bucket: words(&report["bucket"]["id"]) })
        .filter(|seen| seen.title.is_some())
        .collect();
    let titles = crashes.iter().map(|seen| seen.title.as_deref().unwrap_or_default());
    watertight_triage::linux::fatal(titles).and_then(|place| crashes.get(place)).cloned().unwrap_or_default()
}
