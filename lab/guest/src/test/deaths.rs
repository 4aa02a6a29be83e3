//! kill -9 of each of our processes while the machine is busy: the machine goes on, nothing stays half done, and what follows
//! says the truth about the gap.

use super::ledger::balances;
use super::Test;
use crate::action::{process, storm, Act};
use crate::product::{by, Events, Watertight, LOADER};
use crate::story::Story;
use anyhow::{bail, ensure, Context, Result};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "deaths.detector",
        claim: "the detector is killed under load: the machine goes on, and the run goes on with a true account",
        run: detector,
    },
    Test {
        name: "hardening.detector_killed",
        claim: "a killed detector is started again, what died with it is counted, and the account balances",
        run: detector_is_replaced,
    },
    Test {
        name: "deaths.supervisor",
        claim: "the supervisor is killed under load: the machine goes on, the next run adopts, tells the gap, leaves nothing",
        run: supervisor,
    },
    Test {
        name: "deaths.group",
        claim: "a SIGTERM to all processes of a run under load ends it in good order, with a true account",
        run: group,
    },
    Test {
        name: "deaths.loader",
        claim: "the loader is killed at four points of its work: the next run has every hook once, and a true account",
        run: loader,
    },
];

/// Processes that make the load: some seconds of it in emulation.
const LOAD: &str = "1500";
/// How long the load runs before the blow.
const BEFORE: Duration = Duration::from_millis(700);
/// How long another detector may take to be there, in emulation.
const REPLACED_MAX: Duration = Duration::from_secs(60);
/// How long the kernel may take to end a process.
const END_MAX: Duration = Duration::from_secs(30);
/// Parts into which a load is cut; it is killed at the end of each. A whole load is some twenty seconds in emulation.
const BLOWS: u32 = 4;

/// Kills during a storm of processes, all of which must come to their end.
fn under_load(blow: impl FnOnce() -> Result<()>) -> Result<Act> {
    let load = thread::spawn(|| storm::exec(LOAD));
    thread::sleep(BEFORE);
    blow()?;
    let act = load.join().ok().context("the load panicked")??;
    ensure!(act.number("count")?.to_string() == LOAD, "the load did not come to its end");
    Ok(act)
}

/// A run that begins now sees a program once, and its account is true.
fn next_run_is_whole() -> Result<()> {
    let run = Watertight::start()?;
    let act = process::exec_many("wt-after-death", "1")?;
    let events = run.stop()?;
    balances(&events)?;
    let seen = events.count("process.exec", |event| by(event, &act) && event.to_string().contains("wt-after-death-0"));
    ensure!(seen == 1, "the program was seen {seen} times");
    nothing_is_pinned()
}

fn nothing_is_pinned() -> Result<()> {
    let left = match std::fs::read_dir("/sys/fs/bpf/watertight") {
        Ok(builds) => {
            builds.filter_map(Result::ok).map(|build| build.path().join("links")).find(|links| links.exists())
        }
        Err(_) => None,
    };
    match left {
        Some(links) => bail!("{} is still there", links.display()),
        None => Ok(()),
    }
}

/// What a run said whose detector was killed under load.
struct Killed {
    events: Events,
    load: Act,
    /// After another detector had taken its place.
    after: Act,
}

fn killed() -> Result<&'static Killed> {
    static KILLED: Story<Killed> = Story::new();
    KILLED.told(kill_detector)
}

fn kill_detector() -> Result<Killed> {
    let run = Watertight::start()?;
    // One that dies before it is set up ends the run instead.
    run.wait_for("sandbox", |line| line["worker"] == "detector", REPLACED_MAX)?;
    let worker = run.worker("detector")?;
    let load = under_load(|| Ok(rustix::process::kill_process(worker, Signal::KILL)?))?;
    let is_other = |line: &Value| line["worker"] == "detector" && line["pid"] != worker.as_raw_nonzero().get();
    run.wait_for("sandbox", is_other, REPLACED_MAX)?;
    let after = process::exec_many("wt-second-detector", "1")?;
    Ok(Killed { events: run.stop()?, load, after })
}

fn detector() -> Result<()> {
    let Killed { events, after, .. } = killed()?;
    balances(events)?;
    events.expect("process.exec", |event| by(event, after))?;
    nothing_is_pinned()
}

fn detector_is_replaced() -> Result<()> {
    let Killed { events, load, .. } = killed()?;
    events.expect("sensor.gap", |gap| gap["of"] == "detector" && gap["message"].to_string().contains("signal 9"))?;
    let summary = balances(events)?;
    ensure!(summary["detector_deaths"] == 1, "{summary}");
    let seen = events.count_by("process.fork", load);
    let fork = summary["hooks"].as_array().into_iter().flatten().find(|hook| hook["hook"] == "task_fork");
    let lost = fork.and_then(|hook| hook["lost_with_detector"].as_u64()).context("the loss of task_fork")?;
    ensure!(seen + lost >= load.number("count")?, "{seen} forks of the load were seen, {lost} lost: {summary}");
    Ok(())
}

fn supervisor() -> Result<()> {
    let run = Watertight::start()?;
    let worker = run.worker("detector")?;
    let pid = run.raw_pid()?;
    let load = under_load(|| Ok(rustix::process::kill_process(pid, Signal::KILL)?))?;
    let said = run.kill()?; // dead already: its last words
    ensure!(said.summary().is_err(), "a killed run printed a summary");
    ensure!(is_gone(worker), "its detector outlives it");
    let unread = process::exec_many("wt-nobody-reads", "1")?;
    let second = Watertight::start()?;
    let events = second.stop()?;
    let gap = events.expect("sensor.gap", |_| true)?;
    ensure!(
        gap["message"].as_str().is_some_and(|text| text.contains("earlier run")),
        "the gap is not explained: {gap}"
    );
    events.expect("process.exec", |event| by(event, &unread))?;
    let seen = said.count_by("process.fork", &load) + events.count_by("process.fork", &load);
    ensure!(seen > 0, "neither run saw the load");
    balances(&events)?;
    nothing_is_pinned()
}

fn group() -> Result<()> {
    let run = Watertight::start()?;
    run.wait_for("sandbox", |line| line["worker"] == "detector", REPLACED_MAX)?;
    let before = process::exec_many("wt-before-the-end", "1")?;
    let mut ended = None;
    under_load(|| {
        ended = Some(run.stop_group());
        Ok(())
    })?;
    let events = ended.context("nobody ended it")??;
    let summary = balances(&events)?;
    ensure!(summary["detector_deaths"] == 0, "{summary}");
    ensure!(events.of_kind("summary").count() == 1, "one summary");
    events.expect("process.exec", |event| by(event, &before))?;
    nothing_is_pinned()
}

/// Ended, though its parent may not have asked how: that is init now, which does so between tests.
fn is_gone(process: Pid) -> bool {
    let status = format!("/proc/{}/status", process.as_raw_nonzero());
    let asked = Instant::now();
    while asked.elapsed() < END_MAX {
        match std::fs::read_to_string(&status) {
            Ok(text) if !text.contains("State:\tZ") => thread::sleep(Duration::from_millis(20)),
            _ => return true,
        }
    }
    false
}

fn loader() -> Result<()> {
    crate::world::mount_bpf()?;
    let load =
        || Command::new(LOADER).arg("load").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let started = Instant::now();
    let status = load()?.wait()?;
    let whole = started.elapsed();
    ensure!(status.success(), "the loader ended with {status}");
    ensure!(Command::new(LOADER).arg("unload").stdout(Stdio::null()).status()?.success(), "unload failed");
    for blow in 1..=BLOWS {
        let mut child = load()?;
        thread::sleep(whole * blow / BLOWS);
        child.kill()?;
        child.wait()?;
        ensure!(process::exec("/bin/true", "wt")?.status.success(), "no program starts after a blow at {blow}/{BLOWS}");
    }
    next_run_is_whole()
}
