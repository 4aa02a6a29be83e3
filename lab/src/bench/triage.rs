//! Crash triage: time and memory of the command that ships, what it finds beside others, how well its buckets fit.
//!
//! The command is measured whole, with the worker that it starts for a run. The files are written by `bench_dumps`, an example of
//! `triage`; real ones come beside them where a folder of public ones is named.

mod peers;

use std::env;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::TemporaryFolder;
use super::rivals::CORPORA;
use crate::programs::cargo;
use crate::tool;

pub use self::peers::{Compared, Peer};

/// Runs of each file, of which the median counts.
const RUNS: usize = 7;
/// Files of the row with many.
const OOPSES: usize = 1_000;
/// How often a file is given while memory is looked at: its reports must be more than a pipe holds.
const COPIES: usize = 64;
/// How long the reports may take to fill that pipe.
const FILL_MAX: Duration = Duration::from_secs(20);

/// What was measured.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Found {
    /// Small dumps.
    pub small: Vec<Timed>,
    /// A dump of 1 GB.
    pub bitmap: Timed,
    /// Cores of a kernel with 4 GB.
    #[serde(default)]
    pub cores: Vec<Timed>,
    /// Logs.
    pub logs: Vec<Timed>,
    /// A thousand logs of one crash each, on one core.
    pub oopses: Vec<Timed>,
    /// What the others are, or why they are not there.
    pub peers: Vec<Peer>,
    /// What each tool finds in the same file.
    pub compared: Vec<Compared>,
    /// How well buckets fit bugs.
    pub groupings: Vec<Grouping>,
}

/// A run of the command.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Timed {
    /// What it read.
    pub name: String,
    /// Bytes of that.
    pub bytes: u64,
    /// Crashes that it told.
    pub crashes: u64,
    /// By the clock, seconds: the median and the longest.
    pub s: f64,
    pub s_max: f64,
    /// What the command and its worker had resident at most, together, MiB; where that was looked at.
    pub peak_mib: Option<f64>,
}

/// A way to group crashes, over crashes whose bug is known.
#[derive(Debug, Deserialize, Serialize)]
pub struct Grouping {
    /// The crashes.
    pub of: String,
    /// The way.
    pub by: String,
    pub crashes: u64,
    pub bugs: u64,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f: Option<f64>,
    pub auc: f64,
}

/// Measures it all. `cache` keeps the other tools.
pub fn measure(product: &Path, cache: &Path) -> Result<Found> {
    let folder = TemporaryFolder::make()?;
    let files = folder.0.join("triage");
    example("bench_dumps", &["--write".as_ref(), files.as_os_str()])?;
    let corpora = env::var_os(CORPORA).map(PathBuf::from);
    let real = corpora.as_deref().map(|corpora| corpora.join("dumps/triage_x64.dmp")).filter(|file| file.is_file());
    let mut found =
        Found { bitmap: timed(product, "bitmap dump of 1 GB", &[files.join("bitmap.dmp")], &[])?, ..Found::default() };
    let small = [("small dump, of our own", Some(files.join("small.dmp"))), ("small dump, a real one", real.clone())];
    for (name, file) in small.into_iter().filter_map(|(name, file)| Some((name, file?))) {
        eprintln!("   {name}");
        let peak_mib = Some(peak_mib(product, &file)?);
        found.small.push(Timed { peak_mib, ..timed(product, name, &[file], &[])? });
    }
    let cores = [
        ("ELF core of a kernel with 4 GB", "core.elf"),
        ("the same, in which nothing says where the kernel is", "core-lost.elf"),
        ("kdump-compressed core of a kernel with 4 GB", "core.kdump"),
        ("the same flattened", "core.flattened"),
    ];
    for (name, file) in cores {
        found.cores.push(timed(product, name, &[files.join(file)], &[])?);
    }
    for (name, file) in
        [("a log with a crash in each megabyte", "long.log"), ("a log of crashes and nothing else", "dense.log")]
    {
        found.logs.push(timed(product, name, &[files.join(file)], &[])?);
    }
    let one_core = ["taskset", "--cpu-list", "0"];
    let own = listed(&files.join("oops"))?;
    found.oopses.push(timed(product, "logs of one crash each, of our own", &repeated(&own), &one_core)?);
    if let Some(corpora) = &corpora {
        let mut public = listed(&corpora.join("oops/report"))?;
        public.extend(listed(&corpora.join("oops/satyr"))?);
        if !public.is_empty() {
            found.oopses.push(timed(
                product,
                "public logs of crashes, taken again in turn",
                &repeated(&public),
                &one_core,
            )?);
        }
    }
    (found.peers, found.compared) = peers::compare(product, &files, corpora.as_deref(), cache)?;
    found.groupings = groupings(corpora.as_deref())?;
    Ok(found)
}

/// The same files in turn until there are as many as wanted.
fn repeated(files: &[PathBuf]) -> Vec<PathBuf> {
    files.iter().cycle().take(OOPSES).cloned().collect()
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|file| file.is_file()).collect();
    files.sort();
    Ok(files)
}

/// Runs the command over files, behind these words.
fn timed(product: &Path, name: &str, files: &[PathBuf], before: &[&str]) -> Result<Timed> {
    let bytes = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum();
    let (mut times, mut crashes) = (Vec::new(), 0);
    for _ in 0..RUNS {
        let mut command = match before.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(product);
                command
            }
            None => Command::new(product),
        };
        command.args(["triage", "-o", "json"]).args(files);
        let begun = Instant::now();
        let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("starting {command:?}"))?;
        times.push(begun.elapsed().as_secs_f64());
        ensure!(output.status.success(), "the command failed over {name}: {}", output.status);
        let is_crash = |line: &&[u8]| {
            serde_json::from_slice::<Value>(line)
                .is_ok_and(|report| report.get("kind").is_some_and(|kind| kind != "none"))
        };
        crashes = output.stdout.split(|byte| *byte == b'\n').filter(is_crash).count() as u64;
    }
    times.sort_by(f64::total_cmp);
    let at = |index: usize| times.get(index).copied().unwrap_or(f64::INFINITY);
    Ok(Timed { name: name.to_owned(), bytes, crashes, s: at(RUNS / 2), s_max: at(RUNS - 1), peak_mib: None })
}

/// Ended when dropped, should it not end by itself.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Memory of the command and its worker, MiB, looked at when both wait for somebody to read what they wrote: the most that each had, summed.
fn peak_mib(product: &Path, file: &Path) -> Result<f64> {
    let mut command = Command::new(product);
    command.args(["triage", "-o", "json"]).args(std::iter::repeat_n(file, COPIES)).stdout(Stdio::piped());
    let mut running = Running(command.spawn().with_context(|| format!("starting {command:?}"))?);
    let mut answers = running.0.stdout.take().context("it has no output")?;
    answers.read_exact(&mut [0]).context("it ended without a report")?;
    let command = running.0.id();
    let (mut before, begun) = (u64::MAX, Instant::now());
    let mut kib = 0;
    // Neither takes processor time any more once the pipe is full.
    while begun.elapsed() < FILL_MAX {
        let workers =
            fs::read_to_string(format!("/proc/{command}/task/{command}/children")).context("asking for its worker")?;
        let all: Vec<String> = workers.split_whitespace().map(str::to_owned).chain([command.to_string()]).collect();
        ensure!(all.len() > 1, "it has no worker any more: its reports fit the pipe");
        let time: u64 = all.iter().filter_map(|id| number(&format!("/proc/{id}/schedstat"), "")).sum();
        kib = all.iter().filter_map(|id| number(&format!("/proc/{id}/status"), "VmHWM:")).sum();
        if time == before {
            let rest = std::io::copy(&mut answers, &mut std::io::sink())?;
            ensure!(
                rest > PIPE_BYTES,
                "its reports of {rest} bytes fit the pipe: it may have ended before it was looked at"
            );
            return Ok(kib as f64 / 1024.0);
        }
        before = time;
        std::thread::sleep(Duration::from_millis(300));
    }
    anyhow::bail!("it never waits for who reads it; it had {kib} KiB")
}

/// What a pipe holds at most; who writes more waits for its reader.
const PIPE_BYTES: u64 = 64 << 10;

/// The first number of the line that begins so.
fn number(file: &str, begin: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(begin))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How well buckets fit, by the example that measures it.
fn groupings(corpora: Option<&Path>) -> Result<Vec<Grouping>> {
    let public = corpora.map(|corpora| corpora.join("oops/report")).filter(|folder| folder.is_dir());
    let mut args = vec!["--json".as_ref()];
    args.extend(public.as_deref().map(Path::as_os_str));
    let text = example("bucket_quality", &args)?;
    let read = |line: &str| serde_json::from_str(line).with_context(|| format!("bucket_quality says {line:?}"));
    text.lines().map(read).collect()
}

/// Runs an example of `triage`; gives what it prints.
fn example(name: &str, args: &[&std::ffi::OsStr]) -> Result<String> {
    let mut cargo = cargo();
    cargo.args(["run", "--release", "--quiet", "-p", "watertight-triage", "--example", name, "--"]).args(args);
    tool::output(&mut cargo)
}
