//! What can only be measured on a real machine: memory, and events a second on a real processor.
//!
//! The product runs in a mount namespace of its own, so that its pins go with it. Processor time is taken, not the clock's: other
//! work on the machine then matters less.

use crate::programs::{BenchPrograms, Programs};
use crate::tool;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Parts in which the short processes are run, with a look at the memory after each.
const PARTS: u64 = 4;
/// Long enough for everything that is only needed at the start to be given back.
const IDLE: Duration = Duration::from_secs(5);
const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(60);
/// Events for `detect`, and how many of them are different.
const DETECT_EVENTS: u64 = 200_000;

/// What was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// Processor and kernel.
    pub machine: String,
    /// Where the product's process events come from here.
    pub source: String,
    /// Resident memory with nothing to do, MiB, by process.
    pub idle_mib: Vec<(String, f64)>,
    /// Short processes run so far and the sum of resident memory, MiB, after them.
    pub memory: Vec<(u64, f64)>,
    /// Events that the detector wrote as JSON.
    pub events: u64,
    /// Events lost, by the product's own account.
    pub lost: u64,
    /// Processor time of the detector for them, s.
    pub detector_s: f64,
    /// Events that `detect` evaluated and its processor time, s, without its start.
    pub detect: (u64, f64),
    /// Rules that both evaluated.
    pub rules: u64,
}

/// Measures it all. Needs root.
pub fn measure(programs: &Programs, bench: &BenchPrograms, processes: u64) -> Result<Found> {
    let product = programs.product_file("watertight").context("there is no product to measure")?;
    let folder = TemporaryFolder::make()?;
    let mut run = Run::start(product, &folder.0)?;
    thread::sleep(IDLE);
    let idle_mib = run.memory_mib();
    let used_before = run.detector_s();
    let mut memory = vec![(0, sum(&idle_mib))];
    for part in 1..=PARTS {
        let count = (processes / PARTS).to_string();
        eprintln!("   {count} short processes, part {part} of {PARTS}");
        tool::output(Command::new(&bench.driver).args(["exec", &count]).arg(&bench.bare))?;
        thread::sleep(Duration::from_secs(1));
        let used = run.memory_mib();
        anyhow::ensure!(
            !used.is_empty(),
            "no process runs {} any more: was it built anew meanwhile?",
            run.product.display()
        );
        memory.push((processes / PARTS * part, sum(&used)));
    }
    let detector_s = run.detector_s() - used_before;
    let summary = run.stop()?;
    let number = |name: &str| summary.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let of_kinds = summary.get("events").and_then(serde_json::Value::as_object);
    let hooks = summary.get("hooks").and_then(serde_json::Value::as_array);
    let lost_of = |hook: &serde_json::Value| {
        let count = |name: &str| hook.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
        count("lost_ring_full").saturating_add(count("lost_no_scratch"))
    };
    Ok(Found {
        machine: describe()?,
        source: run.source.clone(),
        idle_mib,
        memory,
        events: of_kinds.into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum(),
        lost: hooks.into_iter().flatten().map(lost_of).sum(),
        detector_s,
        detect: detect(product, &folder.0)?,
        rules: number("rules"),
    })
}

fn sum(processes: &[(String, f64)]) -> f64 {
    processes.iter().map(|(_, mib)| mib).sum()
}

/// A `watertight run` on this machine.
struct Run {
    child: Child,
    product: PathBuf,
    output: PathBuf,
    source: String,
}

impl Run {
    fn start(product: &Path, folder: &Path) -> Result<Self> {
        let output = folder.join("events.json");
        let child = Command::new("unshare")
            .arg("-m")
            .arg(product)
            .args(["run", "-o", "json", "--state"])
            .arg(folder.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the product by unshare")?;
        let mut run = Self { child, product: fs::canonicalize(product)?, output, source: String::new() };
        run.wait_for_matrix()?;
        Ok(run)
    }

    /// The first line says where events come from; the rest is counted by the product itself and kept nowhere.
    fn wait_for_matrix(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().context("the product has no output")?;
        let (sender, receiver) = std::sync::mpsc::channel();
        let last = self.output.clone();
        thread::spawn(move || {
            let mut lines = BufReader::with_capacity(1 << 20, stdout).split(b'\n').map_while(Result::ok);
            let _ = sender.send(lines.next());
            // The summary is the last line; a million others need not be kept.
            let end = lines.last();
            let _ = File::create(last).and_then(|mut file| file.write_all(&end.unwrap_or_default()));
        });
        let line = receiver.recv_timeout(START_MAX).context("waiting for the product to start")?;
        let line = line.context("the product ended before it watched: is another one running, and are you root?")?;
        let matrix: serde_json::Value = serde_json::from_slice(&line).context("reading the product's first line")?;
        let rows = matrix.get("rows").and_then(serde_json::Value::as_array);
        let process = rows.into_iter().flatten().next().and_then(|class| class.get("source"));
        self.source = process.and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
        Ok(())
    }

    /// Every process that runs the product's executable, with its resident memory.
    fn memory_mib(&self) -> Vec<(String, f64)> {
        let resident = |process: &Path| {
            let status = fs::read_to_string(process.join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").parse::<f64>().ok()
        };
        self.processes().filter_map(|(name, process)| Some((name, resident(&process)? / 1024.0))).collect()
    }

    fn processes(&self) -> impl Iterator<Item = (String, PathBuf)> + '_ {
        let all = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        all.filter(|path| fs::read_link(path.join("exe")).is_ok_and(|exe| exe == self.product)).map(|path| {
            let words = fs::read(path.join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            let name = if words.contains("worker detector") {
                "detector"
            } else if words.contains("worker sources") {
                "sources"
            } else {
                "supervisor"
            };
            (name.to_owned(), path)
        })
    }

    /// Processor time that the detector has used, s.
    fn detector_s(&self) -> f64 {
        let used = |process: &Path| {
            let text = fs::read_to_string(process.join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        };
        let all = self.processes().filter(|(name, _)| name == "detector").filter_map(|(_, process)| used(&process));
        all.sum::<f64>() / 1e9
    }

    /// Ends it and returns its summary.
    fn stop(&mut self) -> Result<serde_json::Value> {
        // `unshare -m` without a fork becomes the product: the child is it.
        tool::output(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() || !self.output.exists() {
            if asked.elapsed() > STOP_MAX {
                bail!("the product had not ended {} s after it was asked to", STOP_MAX.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_millis(200)); // the line is written right after the file is made
        serde_json::from_slice(&fs::read(&self.output)?).context("reading the product's summary")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `detect` over events of our own making, without what its start costs.
fn detect(product: &Path, folder: &Path) -> Result<(u64, f64)> {
    let few = time_detect(product, folder, 1)?;
    let many = time_detect(product, folder, DETECT_EVENTS)?;
    Ok((DETECT_EVENTS, many - few))
}

fn time_detect(product: &Path, folder: &Path, events: u64) -> Result<f64> {
    let input = folder.join("events.jsonl");
    let mut lines = String::new();
    for at in 0..events {
        lines.push_str(&format!(
            "{{\"logsource\":{{\"category\":\"process_creation\",\"product\":\"linux\"}},\"event\":{{\"Image\":\"/usr/bin/tool{}\",\
             \"CommandLine\":\"tool{} --input /srv/project/file{at}.txt --mode fast\",\"ParentImage\":\"/usr/bin/make\",\
             \"ParentCommandLine\":\"make -j4 all\",\"User\":\"builder\",\"CurrentDirectory\":\"/srv/project\"}}}}\n",
            at % 50,
            at % 50
        ));
    }
    fs::write(&input, lines)?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/linux");
    let mut times = Command::new("bash");
    times
        .arg("-c")
        .arg("\"$0\" detect --rules \"$1\" --input \"$2\" >/dev/null; times")
        .arg(product)
        .arg(rules)
        .arg(&input);
    let said = tool::output(&mut times)?;
    // bash prints its own times, then those of its children: `0m1.250s 0m0.010s`.
    let children = said.lines().nth(1).context("bash printed no times")?;
    children.split_whitespace().map(seconds).sum::<Option<f64>>().with_context(|| format!("{children:?} is no time"))
}

fn seconds(text: &str) -> Option<f64> {
    let (minutes, seconds) = text.trim_end_matches('s').split_once('m')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
}

fn describe() -> Result<String> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{count} x {}, Linux {}", model.trim_start_matches([' ', '\t', ':']), release.trim()))
}

/// Removed when dropped.
pub struct TemporaryFolder(pub PathBuf);

impl TemporaryFolder {
    /// Makes it.
    pub fn make() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("watertight-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
