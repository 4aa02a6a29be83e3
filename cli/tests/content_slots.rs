//! Content on a host: packs that are installed while a run is at work or before it, that live, that kill the engine, that can't be
//! loaded; and what is in force afterwards. The killers are real: in builds with debug assertions a rule with such a title does to the
//! detector what it says when it fires (`worker::fault`).

#![allow(clippy::panic)] // a test that never sees its line has failed

#[path = "content_slots/disk.rs"]
mod disk;
mod live;
mod slot_packs;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};

use live::{again_until, sees, touch, words, Run, WAIT_MAX};
use serde_json::Value;
use slot_packs::{correlating_pack, id_of, killer, pack, TRIGGER};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

/// A state folder, and the commands on it.
struct Host {
    state: TempDir,
}

impl Host {
    fn new() -> Self {
        Self { state: TempDir::new().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    fn content(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.arg("content").args(arguments).arg("--state").arg(self.state.path());
        command.output().expect("our own executable starts")
    }

    /// Installs a pack; gives the exit code and the words.
    fn install(&self, pack: &[u8]) -> (Option<i32>, String) {
        let file = self.path("pack");
        std::fs::write(&file, pack).expect("our own folder");
        let output = self.content(&["install", file.to_str().expect("text")]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn slots(&self) -> Value {
        let output = self.content(&["slots", "-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// The slot that the next start takes, and the ids in quarantine.
    fn stands(&self) -> (String, Vec<String>) {
        let slots = self.slots();
        let quarantine = slots["quarantine"].as_array().expect("a list");
        let ids = quarantine.iter().map(|one| one["id"].as_str().expect("an id").to_owned());
        (slots["next"].as_str().expect("a slot").to_owned(), ids.collect())
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::start(self.state.path(), arguments)
    }

    fn words(&self) -> String {
        words(self.state.path())
    }

    /// Makes an event that the rules of these tests fire on, again and again until `is_done`.
    fn trigger_until(&self, is_done: impl FnMut() -> bool) {
        again_until(self.state.path(), || touch(&self.path(TRIGGER)), is_done);
    }

    fn trigger_until_next_is(&self, slot: &str) {
        self.trigger_until(|| self.stands().0 == slot);
    }
}

fn is_change_to(line: &Value, slot: &str) -> bool {
    let message = line["message"].as_str().unwrap_or_default();
    line["kind"] == "sensor.mode" && message.contains(&format!(" to {slot} "))
}

#[test]
fn a_run_without_packs_has_the_factory_content_and_says_so() {
    let host = Host::new();
    let run = host.run(&[]);
    let (_, content) = run.detector();
    assert_eq!((content["slot"].as_str(), content["version"].is_u64()), (Some("factory"), true), "{content}");
    assert!(content["rules"].as_u64() > Some(50) && content["canaries"].as_u64() > Some(100), "{content}");
    let output = Command::new(BINARY).args(["status", "-o", "json", "--state"]).arg(host.state.path()).output();
    let status: Value = serde_json::from_slice(&output.expect("it starts").stdout).expect("JSON");
    assert_eq!((&status["content"]["slot"], &status["content"]["id"]), (&content["slot"], &content["id"]), "{status}");
    assert_eq!(status["slots"]["next"], "factory", "{status}");
    let (summary, _) = run.end();
    assert_eq!(summary["content"]["id"], content["id"], "{summary}");
}

#[test]
fn a_pack_that_is_installed_meanwhile_comes_into_force_without_another_detector() {
    let host = Host::new();
    let run = host.run(&["--trial", "1h"]);
    run.detector();
    let good = pack("good", 7, "Quiet");
    assert_eq!(host.install(&good).0, Some(0), "{}", host.words());
    let change = run.until(|line| is_change_to(line, "candidate"));
    assert!(change["message"].as_str().is_some_and(|words| words.contains("good version 7")), "{change}");
    let (summary, _) = run.end();
    assert_eq!((&summary["detector_deaths"], &summary["content_changes"]), (&0.into(), &1.into()), "{summary}");
    assert_eq!(summary["content"]["id"], id_of(&good).as_str(), "{summary}");
    assert!(summary["content_pause_ns_max"].as_u64() > Some(0), "{summary}");
    println!("pause {} ns", summary["content_pause_ns_max"]);
    // Its trial ended with the run, which costs no try.
    assert_eq!(host.slots()["slots"][0]["tries_left"], 2, "{}", host.slots());
}

#[test]
fn content_that_changes_six_times_in_a_run_costs_no_detector_and_leaves_the_end_in_good_order() {
    let host = Host::new();
    let run = host.run(&["--trial", "1h"]);
    run.detector();
    for version in 1..=6 {
        let next = if version % 2 == 0 { pack("good", version, "Quiet") } else { correlating_pack(version) };
        assert_eq!(host.install(&next).0, Some(0), "{}", host.words());
        run.until(|line| is_change_to(line, "candidate"));
    }
    let (summary, code) = run.end();
    assert_eq!((&summary["detector_deaths"], &summary["content_changes"]), (&0.into(), &6.into()), "{summary}");
    assert_eq!(code, Some(3), "for want of kernel programs alone: {}", host.words());
    assert!(!host.words().contains("forbids"), "{}", host.words());
}

#[test]
fn a_pack_is_tried_at_the_next_start_and_trusted_once_it_has_lived() {
    if !sees() {
        return;
    }
    let host = Host::new();
    let good = pack("good", 7, "Quiet");
    assert_eq!(host.install(&good).0, Some(0));
    assert_eq!(host.stands().0, "candidate");
    let run = host.run(&["--trial", "10ms"]);
    assert_eq!(run.detector().1["slot"], "candidate");
    host.trigger_until_next_is("last-known-good");
    let (summary, code) = run.end();
    let content = &summary["content"];
    assert_eq!((&content["id"], &content["slot"]), (&id_of(&good).into(), &"last-known-good".into()), "{summary}");
    assert_eq!(code, Some(3), "for want of kernel programs alone: {}", host.words());
}

#[test]
fn content_that_kills_the_engine_is_put_into_quarantine_with_its_rule_and_the_last_known_good_is_back() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    let host = Host::new();
    let (good, bad) = (pack("good", 1, "Quiet"), killer("abort"));
    assert_eq!(host.install(&good).0, Some(0));
    let before = host.run(&["--trial", "10ms"]);
    before.detector();
    host.trigger_until_next_is("last-known-good");
    before.end();
    // A trial that is over before it fires would make it the last-known-good, and the good one would be gone.
    let run = host.run(&["--trial", "1h"]);
    assert_eq!(run.detector().1["slot"], "last-known-good");
    assert_eq!(host.install(&bad).0, Some(0), "nothing shows before it fires");
    host.trigger_until(|| host.stands().1 == [id_of(&bad)]);
    // A try counts from its beginning, until it has lived.
    host.trigger_until_next_is("last-known-good");
    let back = run.until(|line| line["kind"] == "content" && line["slot"] == "last-known-good");
    assert_eq!(back["id"], id_of(&good).as_str());
    let gap = run.until(|line| line["kind"] == "sensor.gap" && line.to_string().contains("again with last-known-good"));
    let message = gap["message"].as_str().expect("a message");
    assert!(
        message.contains("SIGABRT") && message.contains(slot_packs::RULE) && message.contains("candidate bad"),
        "{message}"
    );
    let quarantine = &host.slots()["quarantine"][0];
    assert_eq!(quarantine["slot"], "candidate");
    assert!(quarantine["cause"].as_str().is_some_and(|cause| cause.contains(slot_packs::RULE)), "{quarantine}");
    let (code, words) = host.install(&bad);
    assert_eq!(code, Some(6), "{words}");
    assert!(words.contains("in quarantine") && words.contains("forget"), "{words}");
    assert_eq!(host.content(&["forget", &id_of(&bad)]).status.code(), Some(0));
    assert_eq!(host.content(&["forget", &id_of(&bad)]).status.code(), Some(4), "it is forgotten already");
    assert_eq!(host.install(&bad).0, Some(0), "it may be tried again");
    run.until(|line| is_change_to(line, "candidate"));
    let (summary, code) = run.end();
    assert_eq!(code, Some(3), "{summary}");
    assert!(summary["detector_deaths"].as_u64() >= Some(2), "{summary}");
}

#[test]
fn content_that_takes_memory_without_end_makes_a_forbidden_call_or_touches_what_is_not_there_is_as_dead() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    for (way, why) in [("memory", "SIGABRT"), ("call", "forbids openat"), ("touch", "touched memory")] {
        let host = Host::new();
        let bad = killer(way);
        assert_eq!(host.install(&bad).0, Some(0));
        let run = host.run(&["--trial", "1h"]);
        run.detector();
        host.trigger_until(|| host.stands().1 == [id_of(&bad)]);
        let cause = host.slots()["quarantine"][0]["cause"].to_string();
        assert!(cause.contains(why), "{cause}");
        assert_eq!(run.until(|line| line["kind"] == "content" && line["slot"] == "factory")["name"], "linux");
        run.end();
    }
}

#[test]
fn content_that_hangs_the_engine_is_found_out_by_its_heartbeat() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    let host = Host::new();
    let bad = killer("spin");
    assert_eq!(host.install(&bad).0, Some(0));
    let run = host.run(&["--trial", "1h"]);
    run.detector();
    host.trigger_until(|| host.stands().1 == [id_of(&bad)]);
    let cause = host.slots()["quarantine"][0]["cause"].to_string();
    assert!(cause.contains("made no progress") && cause.contains(slot_packs::RULE), "{cause}");
    run.until(|line| line["kind"] == "content" && line["slot"] == "factory");
    run.end();
}

#[test]
fn a_detector_that_is_stopped_is_a_hang_and_not_its_contents_fault() {
    let host = Host::new();
    let run = host.run(&[]);
    let (pid, _) = run.detector();
    kill_process(pid, Signal::STOP).expect("it runs");
    let gap = run.until(|line| line["kind"] == "sensor.gap" && line["of"] == "detector");
    assert!(gap["message"].as_str().is_some_and(|words| words.contains("made no progress")), "{gap}");
    assert_eq!(host.stands(), ("factory".to_owned(), Vec::new()));
    let (summary, _) = run.end();
    assert_eq!(summary["detector_deaths"], 1, "{summary}");
}

#[test]
fn a_detector_that_somebody_kills_costs_its_content_no_try() {
    let host = Host::new();
    assert_eq!(host.install(&pack("good", 7, "Quiet")).0, Some(0));
    let run = host.run(&["--trial", "1h"]);
    for _ in 0..3 {
        let (pid, content) = run.detector();
        assert_eq!(content["slot"], "candidate");
        kill_process(pid, Signal::KILL).expect("it runs");
    }
    assert_eq!(run.detector().1["slot"], "candidate");
    run.end();
    assert_eq!(host.stands(), ("candidate".to_owned(), Vec::new()));
}

#[test]
fn content_with_which_the_supervisor_went_down_twice_is_not_tried_a_third_time() {
    let host = Host::new();
    let pack = pack("good", 7, "Quiet");
    assert_eq!(host.install(&pack).0, Some(0));
    for _ in 0..2 {
        let mut run = host.run(&["--trial", "1h"]);
        assert_eq!(run.detector().1["slot"], "candidate");
        run.signal(Signal::KILL);
        run.child.wait().expect("it ends");
    }
    let run = host.run(&[]);
    assert_eq!(run.detector().1["slot"], "factory");
    run.end();
    assert_eq!(host.stands().1, [id_of(&pack)]);
    assert!(host.slots()["quarantine"][0]["cause"].to_string().contains("went down"), "{}", host.slots());
}

#[test]
fn content_that_lives_through_its_last_try_is_trusted() {
    if !sees() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.install(&pack("good", 7, "Quiet")).0, Some(0));
    let mut first = host.run(&["--trial", "1h"]);
    assert_eq!(first.detector().1["slot"], "candidate");
    first.signal(Signal::KILL);
    first.child.wait().expect("it ends");
    let second = host.run(&["--trial", "10ms"]);
    assert_eq!(second.detector().1["slot"], "candidate");
    host.trigger_until_next_is("last-known-good");
    second.end();
}

#[test]
fn what_correlations_had_begun_is_told_where_it_is_dropped_by_a_death_and_by_other_content() {
    if !sees() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.install(&correlating_pack(1)).0, Some(0));
    let run = host.run(&["--trial", "1h"]);
    let (pid, content) = run.detector();
    assert_eq!(content["name"], "together");
    let seen = |run: &Run| {
        touch(&host.path(TRIGGER));
        run.until(|line| line["kind"] == "alert" && line.to_string().contains(TRIGGER));
    };
    seen(&run);
    seen(&run); // once a second one was handed on, what the first left in mind is noted
    kill_process(pid, Signal::KILL).expect("it runs");
    let gap = run.until(|line| line["kind"] == "sensor.gap" && line["of"] == "detector");
    assert!(gap["message"].to_string().contains("what correlations had begun on up to"), "{gap}");
    seen(&run);
    assert_eq!(host.install(&pack("good", 7, "Quiet")).0, Some(0));
    let gap = run.until(|line| line["kind"] == "sensor.gap" && line["of"] == "correlations");
    assert!(gap["count"].as_u64() >= Some(1), "{gap}");
    let output = Command::new(BINARY).args(["status", "-o", "json", "--state"]).arg(host.state.path()).output();
    let status: Value = serde_json::from_slice(&output.expect("it starts").stdout).expect("JSON");
    assert_eq!(status["content"]["correlations"]["evicted_groups"], 0, "{}", status["content"]);
    assert_eq!(status["workers"][0]["worker"], "detector", "{}", status["workers"]);
    let (summary, _) = run.end();
    assert_eq!(summary["correlations"]["incomplete_hits"], 0, "{summary}");
}

#[test]
fn what_the_sensor_cuts_of_a_command_line_is_told_and_counted_for_rules_that_ask_for_it() {
    if !sees() {
        return;
    }
    let host = Host::new();
    let run = host.run(&[]);
    run.detector();
    let padded = "x".repeat(100_000);
    // Long enough for a source that looks at a process when it has begun.
    let processes: Vec<_> = (0..5)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            Command::new("sleep").arg0(&padded).arg("3").spawn().expect("it starts")
        })
        .collect();
    let told = run.until(|line| line["kind"] == "content.over_budget" && line["of"] == "source");
    assert!(told["count"].as_u64() >= Some(1), "{told}");
    for mut process in processes {
        process.wait().expect("it is ours");
    }
    let output = Command::new(BINARY).args(["status", "-o", "json", "--state"]).arg(host.state.path()).output();
    let status: Value = serde_json::from_slice(&output.expect("it starts").stdout).expect("JSON");
    assert!(status["content"]["over_budget"]["source"].as_u64() >= Some(1), "{}", status["content"]);
    let (summary, _) = run.end();
    assert!(summary["over_budget"]["source"].as_u64() >= Some(1), "{}", summary["over_budget"]);
}

#[test]
fn a_second_pack_takes_the_place_of_one_that_is_on_trial() {
    let host = Host::new();
    let run = host.run(&["--trial", "1h"]);
    run.detector();
    let (one, two) = (pack("good", 1, "One"), pack("good", 2, "Two"));
    assert_eq!(host.install(&one).0, Some(0));
    run.until(|line| is_change_to(line, "candidate"));
    assert_eq!(host.install(&two).0, Some(0));
    run.until(|line| is_change_to(line, "candidate") && line["message"].to_string().contains("version 2"));
    let (summary, _) = run.end();
    assert_eq!((&summary["content"]["version"], &summary["content_changes"]), (&2.into(), &2.into()), "{summary}");
    assert_eq!(host.slots()["slots"].as_array().map(Vec::len), Some(2), "it and the factory's: {}", host.slots());
}

#[test]
fn a_pack_that_its_loader_does_not_survive_is_put_into_quarantine_and_one_that_it_refuses_is_not() {
    let mut ways = vec![("", "no content pack", b"no pack at all".to_vec())];
    let good = pack("good", 7, "Quiet");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    ways.push(("", "", flipped));
    ways.push(("", "", good[..good.len() - 1].to_vec()));
    if cfg!(debug_assertions) {
        for (way, why) in [
            ("abort", "SIGABRT"),
            ("spin", "processor time"),
            ("memory", "no memory"),
            ("call", "forbids openat"),
            ("touch", "touched memory"),
        ] {
            ways.push((way, why, pack(&format!("fault-{way}"), 7, "Quiet")));
        }
    }
    for (way, why, bytes) in ways {
        let host = Host::new();
        let (code, words) = host.install(&bytes);
        assert_eq!(code, Some(5), "{way}: {words}");
        assert!(words.contains(why) && words.contains("not installed"), "{way}: {words}");
        let (next, quarantine) = host.stands();
        assert_eq!(next, "factory", "{way}");
        if way.is_empty() {
            assert!(quarantine.is_empty(), "it is damaged, and nothing died of it: {quarantine:?}");
            assert_eq!(host.install(&bytes).0, Some(5), "as before");
            continue;
        }
        // Its loader died of it: that is not tried again.
        assert_eq!(quarantine, [id_of(&bytes)], "{way}");
        let record = &host.slots()["quarantine"][0];
        assert_eq!(record["slot"], "not installed", "{record}");
        assert!(record["cause"].as_str().is_some_and(|cause| cause.contains(why)), "{way}: {record}");
        let (code, words) = host.install(&bytes);
        assert!(code == Some(6) && words.contains("in quarantine"), "{way}: {code:?} {words}");
        assert_eq!(host.content(&["forget", &id_of(&bytes)]).status.code(), Some(0), "{way}");
        assert_eq!(host.stands().1, Vec::<String>::new(), "{way}");
    }
}

/// Time that a process has computed, in ticks of 10 ms (fields 14 and 15 of `/proc/PID/stat`).
fn computed(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// The loader among the children of a process, other than this one, once it computes over the content.
fn loader_of(parent: u32, other: Option<Pid>) -> Pid {
    let until = Instant::now() + WAIT_MAX;
    let mut confined: Option<(String, u64)> = None;
    while Instant::now() < until {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let found = children.split_whitespace().find(|child| {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{child}/{file}")).unwrap_or_default();
            let is_confined = read("status").lines().any(|line| line == "Seccomp:\t2");
            let is_other = other.is_some_and(|pid| child.parse() == Ok(pid.as_raw_nonzero().get()));
            read("cmdline").contains("\0load\0") && is_confined && !is_other
        });
        match (found, &confined) {
            // Once confined it has only to say so before it reads the content: its end until then says nothing of it.
            (Some(child), Some((seen, since))) if child == seen && computed(child) >= since + 5 => {
                return child.parse().ok().and_then(Pid::from_raw).expect("a process id");
            }
            (Some(child), seen) if seen.as_ref().is_none_or(|(seen, _)| child != seen) => {
                confined = Some((child.to_owned(), computed(child)));
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no loader came")
}

#[test]
fn a_load_that_ends_by_a_signal_is_tried_once_more_before_it_counts() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    for kills in [1, 2] {
        let host = Host::new();
        // It computes until it may no more: there is time to end it.
        let bad = pack("fault-spin", 7, "Quiet");
        let file = host.path("pack");
        std::fs::write(&file, &bad).expect("our own folder");
        let mut command = Command::new(BINARY);
        command.args(["content", "install"]).arg(&file).arg("--state").arg(host.state.path());
        let child = command.stderr(Stdio::piped()).spawn().expect("our own executable starts");
        let mut killed = None;
        for _ in 0..kills {
            let pid = loader_of(child.id(), killed);
            kill_process(pid, Signal::SEGV).expect("it computes");
            killed = Some(pid);
        }
        let output = child.wait_with_output().expect("it ends");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(words.contains("touched memory") && words.contains("tried once more"), "{words}");
        // The cause is the second one's.
        let why = if kills == 1 { "processor time" } else { "touched memory" };
        let quarantine = host.slots()["quarantine"].to_string();
        assert!(output.status.code() == Some(5) && quarantine.contains(why), "{words} {quarantine}");
    }
}

#[test]
fn a_process_of_nobody_can_not_stop_a_worker_and_each_has_a_user_of_its_own() {
    if !sees() {
        return;
    }
    let host = Host::new();
    let run = host.run(&[]);
    let worker = |name: &str| {
        let line = std::fs::read_to_string(host.path(&format!("{name}.json"))).expect("the run has written it");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        (line["pid"].clone(), line["sandbox"]["uid"].as_u64().expect("a user"))
    };
    run.detector();
    let workers = [worker("detector"), worker("sources")];
    assert_ne!(workers[0].1, workers[1].1);
    for (pid, uid) in workers {
        assert!((61_184..=65_519).contains(&uid), "{uid}");
        let mut stop = Command::new("kill");
        stop.args(["-STOP", &pid.to_string()]).uid(65_534).gid(65_534).stderr(Stdio::null());
        assert!(!stop.status().expect("it starts").success(), "a process of nobody has stopped {pid}");
    }
    let (summary, _) = run.end();
    assert_eq!(summary["detector_deaths"], 0, "{summary}");
}

#[test]
fn without_any_content_that_may_be_tried_events_are_collected_and_that_is_told() {
    if !sees() {
        return;
    }
    let host = Host::new();
    let factory = host.slots()["slots"][0]["id"].as_str().expect("the factory's").to_owned();
    std::fs::create_dir_all(host.path("slots")).expect("our own folder");
    std::fs::write(host.path("slots").join(format!("quarantine-{factory}")), "factory\ntried\n")
        .expect("our own folder");
    let run = host.run(&[]);
    let (_, content) = run.detector();
    assert_eq!((&content["slot"], &content["rules"]), (&"collect-only".into(), &0.into()), "{content}");
    touch(&host.path(TRIGGER));
    run.until(|line| {
        line["kind"].as_str().is_some_and(|kind| kind.starts_with("file.")) && line.to_string().contains(TRIGGER)
    });
    let (summary, code) = run.end();
    assert_eq!((&summary["content"]["slot"], code), (&"collect-only".into(), Some(3)), "{summary}");
    // Other content ends it.
    assert_eq!(host.install(&pack("good", 7, "Quiet")).0, Some(0));
    assert_eq!(host.stands().0, "candidate");
}

/// The limit of deaths within a minute is for a detector that dies of everything, not for a host that is sent one bad pack after the
/// other. How long it takes is measured by `watertight-lab bench --content-only`.
#[test]
fn one_pack_after_the_other_that_kills_the_engine_ends_in_quarantine_and_the_run_goes_on() {
    const PACKS: u64 = 8;
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    let host = Host::new();
    let run = host.run(&["--trial", "1h"]);
    run.detector();
    let is_over = Arc::new(AtomicBool::new(false));
    let events = {
        let (folder, is_over) = (host.state.path().to_owned(), Arc::clone(&is_over));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                touch(&folder.join(TRIGGER));
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    for version in 1..=PACKS {
        // The line of the change may come late, from the detector after the one that went over and died.
        assert_eq!(host.install(&pack("bad", version, "fault-abort")).0, Some(0), "{}", host.words());
        run.until(|line| line["kind"] == "content" && line["slot"] == "candidate" && line["version"] == version);
        run.until(|line| line["kind"] == "content" && line["slot"] == "factory");
    }
    is_over.store(true, Ordering::Relaxed);
    events.join().expect("it only writes files");
    let (summary, _) = run.end();
    assert_eq!(summary["detector_deaths"].as_u64(), Some(2 * PACKS), "{summary}");
    assert_eq!(host.stands().1.len() as u64, PACKS, "{}", host.slots());
}
