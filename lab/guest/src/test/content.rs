//! Content that kills the engine, and workers that want more than they may have: each costs itself, and nothing else on the machine.
//!
//! What kills is real: in a build with debug assertions a rule with such a title does to the detector what it says.

use super::ledger::balances;
use super::{skip, Test};
use crate::action::process;
use crate::guard::{folder, program, rule, starts, LOADER};
use crate::product::{by, Watertight, PROGRAM};
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "content.group",
        claim: "a worker that wants more memory than its control group may hold dies alone, and the cause is told",
        run: group,
    },
    Test {
        name: "content.killer",
        claim: "content that kills the engine harms nothing else: programs start, what is denied does not, events are told, the \
                last-known-good is back, and the next start has it",
        run: killer,
    },
];

/// The product with debug assertions.
const KILLABLE: &str = "/usr/bin/watertight-killable";
/// A program without optimization, in emulation.
const TRIAGE_MAX: Duration = Duration::from_secs(200);
/// Where the guest's control groups are.
const GROUPS: &str = "/sys/fs/cgroup";
/// The rules fire on files of this name.
const TRIGGER: &str = "wt-content-trigger";
/// The id of the rule.
const RULE: &str = "7d1c1f0e-5f1b-4c5e-9a55-0c7d6f1f2a03";
/// Between two rounds of what goes on beside: the emulated processors have a detector with debug assertions to run, too.
const BESIDE_PAUSE: Duration = Duration::from_millis(200);
/// How long content has to live here before it is trusted.
const TRIAL: &str = "20s";
/// In emulation a detector with debug assertions takes its time to start.
const BACK_MAX: Duration = Duration::from_secs(150);

fn succeeds(program: &str, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("running {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?} ended with {}: {said}", output.status);
    Ok(output)
}

/// A pack of one rule of this title, installed on trial.
fn install(folder: &str, state: &str, version: u32, title: &str) -> Result<()> {
    let source = format!("{folder}/source");
    fs::create_dir_all(&source)?;
    let event = |path: &str| {
        format!(
            "  - category: file_event\n    product: linux\n    event: {{TargetFilename: {path}}}\n    why: its name\n"
        )
    };
    let rule = format!(
        "title: {title}\nid: {RULE}\nlogsource: {{category: file_event, product: linux}}\ndetection:\n  selection:\n    \
         TargetFilename|endswith: /{TRIGGER}\n  condition: selection\n"
    );
    let tests = format!("fires:\n{}silent:\n{}", event(&format!("/tmp/{TRIGGER}")), event("/tmp/other"));
    for (name, text) in
        [("pack.yml", format!("name: lab\nversion: {version}\n")), ("rule.yml", rule), ("rule.tests.yml", tests)]
    {
        fs::write(format!("{source}/{name}"), text)?;
    }
    let pack = format!("{folder}/pack");
    succeeds(PROGRAM, &["content", "build", &source, "-o", &pack])?;
    succeeds(PROGRAM, &["content", "install", &pack, "--state", state]).map(drop)
}

/// What goes on beside: files on which the rules fire, programs that must start, one that must not.
struct Beside<'d> {
    denied: &'d str,
    file: String,
    is_over: AtomicBool,
    rounds: AtomicU64,
}

impl Beside<'_> {
    fn go_on(&self) -> Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            fs::write(&self.file, "x")?;
            fs::remove_file(&self.file)?;
            ensure!(!starts(self.denied)?, "what is denied starts");
            let shell = Command::new("/bin/sh").args(["-c", "test -d / && exit 7"]).status().context("a shell")?;
            ensure!(shell.code() == Some(7), "a shell ended with {shell}");
            self.rounds.fetch_add(1, Ordering::Relaxed);
            thread::sleep(BESIDE_PAUSE);
        }
        Ok(())
    }

    /// Goes on as long as this takes.
    fn as_long_as<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        thread::scope(|scope| {
            let beside = scope.spawn(|| self.go_on());
            let done = work();
            self.is_over.store(true, Ordering::Relaxed);
            beside.join().ok().context("what goes on beside panicked")??;
            done
        })
    }
}

fn is_content(line: &Value, slot: &str, version: u32) -> bool {
    line["slot"] == slot && line["version"] == version
}

fn killer() -> Result<()> {
    if !Path::new(KILLABLE).exists() {
        return skip("the guest was made without a product that content can kill");
    }
    let folder = folder("content")?;
    let (denied, policy, state) =
        (format!("{folder}/denied"), format!("{folder}/policy.yaml"), format!("{folder}/state"));
    program(&denied)?;
    let rules = rule("no-start", "exec", &format!("file: {denied}"), "enforce");
    fs::write(&policy, format!("version: 1\nrules:\n{rules}"))?;
    crate::world::mount_bpf()?;
    // The guard knows the executable that put it in force, and no other.
    succeeds(KILLABLE, &["policy", "apply", "--confirm-within", "300", &policy])?;
    ensure!(!starts(&denied)?, "it starts before anybody has done anything");
    install(&folder, &state, 1, "Quiet")?;

    let arguments = ["--trial", TRIAL, "--state", &state, "--loader", LOADER];
    let run = Watertight::start_program(KILLABLE, &arguments)?;
    let beside = Beside {
        denied: &denied,
        file: format!("{folder}/{TRIGGER}"),
        is_over: AtomicBool::default(),
        rounds: AtomicU64::default(),
    };
    beside.as_long_as(|| {
        run.wait_for("sensor.mode", |line| line["message"].to_string().contains("lived through its trial"), BACK_MAX)?;
        install(&folder, &state, 2, "fault-abort")?;
        run.wait_for("content", |line| is_content(line, "candidate", 2), BACK_MAX).context("after the first death")?;
        run.wait_for("content", |line| is_content(line, "last-known-good", 1), BACK_MAX).map(drop)
    })?;
    ensure!(beside.rounds.load(Ordering::Relaxed) > 0, "nothing was tried beside");
    run.wait_for("sandbox", |line| line["worker"] == "detector", BACK_MAX)?;
    let after = process::exec_many("wt-after-the-killer", "1")?;
    tells(&state)?;
    // A dump is triaged beside the next detector: its event may be the last one.
    let first = run.wait_for("sensor.crash", |_| true, TRIAGE_MAX)?;
    run.wait_for("sensor.crash", |crash| crash["crash"]["dump"] != first["crash"]["dump"], TRIAGE_MAX)?;
    let events = run.stop()?;
    let summary = balances(&events)?;
    ensure!(summary["detector_deaths"] == 2 && is_content(&summary["content"], "last-known-good", 1), "{summary}");
    events.expect("process.exec", |event| by(event, &after))?;
    let gap = events.expect("sensor.gap", |gap| gap["of"] == "detector")?;
    ensure!(gap["message"].to_string().contains(RULE), "the rule is not named: {gap}");
    let crashes: Vec<&Value> = events.of_kind("sensor.crash").collect();
    let buckets: BTreeSet<&str> = crashes.iter().filter_map(|crash| crash["crash"]["bucket"].as_str()).collect();
    ensure!(crashes.len() == 2 && buckets.len() == 1, "two deaths are one bug: {crashes:?}");
    for crash in crashes {
        ensure!(crash["content"]["rule"] == RULE, "the rule is not named: {crash}");
        let dump = crash["crash"]["dump"].as_str().context("it names no dump")?;
        ensure!(Path::new(dump).exists(), "there is no {dump}");
    }

    // As after a boot: the slots are there, and what killed is not tried again.
    let again = Watertight::start_program(KILLABLE, &arguments)?;
    again.wait_for("content", |line| is_content(line, "last-known-good", 1), BACK_MAX)?;
    ensure!(!starts(&denied)?, "what is denied starts under the next run");
    balances(&again.stop()?)?;
    succeeds(KILLABLE, &["policy", "unseal"])?;
    ensure!(starts(&denied)?, "it starts not after the unseal");
    Ok(())
}

/// `status` says what is in force, what is in quarantine and why.
fn tells(state: &str) -> Result<()> {
    let output = Command::new(KILLABLE).args(["status", "-o", "json", "--state", state]).output()?;
    let status: Value = serde_json::from_slice(&output.stdout).context("the status")?;
    ensure!(status["level"] == "enforce", "{status}");
    ensure!(is_content(&status["content"], "last-known-good", 1), "{}", status["content"]);
    let cause = status["slots"]["quarantine"][0]["cause"].as_str().unwrap_or_default();
    ensure!(cause.contains("SIGABRT") && cause.contains(RULE), "{}", status["slots"]);
    ensure!(output.status.code() == Some(3), "something is in quarantine, and status ends with {}", output.status);
    Ok(())
}

fn group() -> Result<()> {
    let run = Watertight::start()?;
    let line = run.wait_for("sandbox", |line| line["worker"] == "detector", BACK_MAX)?;
    let words = line["sandbox"]["group"].as_str().unwrap_or_default();
    for bound in ["memory 768 MiB", "processors 1", "tasks 8"] {
        ensure!(words.contains(bound), "{bound}: {line}");
    }
    let folder = Path::new(GROUPS).join(format!("watertight-{}", run.pid()));
    let group = folder.join("detector");
    let members = fs::read_to_string(group.join("cgroup.procs"))?;
    ensure!(members.trim().parse().ok() == line["pid"].as_u64(), "in the group: {members:?}, {line}");
    // As if it had come to want more: less is left to it than it has.
    fs::write(group.join("memory.max"), "4096").context("taking memory from it")?;
    let gap = run.wait_for("sensor.gap", |gap| gap["of"] == "detector", BACK_MAX)?;
    ensure!(gap["message"].to_string().contains("used up the memory of its control group"), "{gap}");
    let after = process::exec_many("wt-after-its-group", "1")?;
    let events = run.stop()?;
    ensure!(balances(&events)?["detector_deaths"] == 1, "{}", events.summary()?);
    events.expect("process.exec", |event| by(event, &after))?;
    ensure!(!folder.exists(), "the run has left its control groups");
    Ok(())
}
