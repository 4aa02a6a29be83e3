//! Workers that crash leave a dump that names the content that did it. The crashes are real: in builds with debug assertions a rule with
//! such a title does to the detector what it says when it fires (`worker::fault`).

mod live;
mod slot_packs;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use live::{again_until, sees, touch, words, Run};
use serde_json::Value;
use slot_packs::{id_of, killer, pack, RULE, TRIGGER};
use tempfile::TempDir;
use watertight_host::worker::dumper::REGISTERS_BYTES;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

fn install(state: &Path, pack: &[u8]) {
    let file = state.join("pack");
    std::fs::write(&file, pack).expect("our own folder");
    let mut command = Command::new(BINARY);
    command.args(["content", "install"]).arg(&file).arg("--state").arg(state);
    assert!(command.output().expect("our own executable starts").status.success());
}

/// The reports of a dump.
fn triaged(dump: &Path, options: &[&str]) -> Vec<Value> {
    let output = Command::new(BINARY).args(["triage", "-o", "json"]).args(options).arg(dump).output();
    let output = output.expect("our own executable starts");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{lines} {}", String::from_utf8_lossy(&output.stderr));
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What a run says of two crashes in a row of the same content.
fn crashed(state: &Path, way: &str, times: usize) -> Vec<Value> {
    install(state, &killer(way));
    let run = Run::start(state, &["--trial", "1h"]);
    let mut told = Vec::new();
    run.detector();
    while told.len() < times {
        let deaths = || std::fs::read_dir(state.join("dumps")).map_or(0, |entries| entries.flatten().count());
        again_until(state, || touch(&state.join(TRIGGER)), || deaths() > told.len());
        told.push(run.until(|line| line["kind"] == "sensor.crash"));
    }
    run.end();
    told
}

fn facts(report: &Value) -> String {
    let facts = report["facts"].as_array().expect("a list").iter();
    let word = |fact: &Value, name: &str| fact[name].as_str().unwrap_or_default().to_owned();
    facts.map(|fact| format!("{} = {}\n", word(fact, "name"), word(fact, "value"))).collect()
}

#[test]
fn a_crash_of_the_detector_names_the_content_and_the_rule_that_caused_it() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    let ways = [
        ("touch", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("overflow", "SIGSEGV"),
        ("call", "SIGSYS"),
        ("memory", "SIGABRT"),
    ];
    let mut buckets = Vec::new();
    for (way, signal) in ways {
        let state = TempDir::new().expect("a folder");
        let told = crashed(state.path(), way, 1).remove(0);
        let id = id_of(&killer(way));
        assert_eq!((&told["content"]["id"], &told["content"]["rule"]), (&id.as_str().into(), &RULE.into()), "{told}");
        let dump = PathBuf::from(told["crash"]["dump"].as_str().expect("a path"));
        assert!(dump.starts_with(state.path()), "{told}");
        let about = std::fs::metadata(&dump).expect("it is there");
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
        // A stack that has overflowed is as large as it can be.
        assert!(about.len() < 9 << 20, "{} bytes", about.len());
        let reports = triaged(&dump, &[]);
        let [report] = reports.as_slice() else { panic!("one crash: {reports:?}") };
        assert_eq!(report["kind"], "minidump", "{way}");
        assert_eq!(
            (&report["title"], &report["bucket"]["id"]),
            (&told["crash"]["title"], &told["crash"]["bucket"]),
            "{way}"
        );
        assert!(report.to_string().contains(signal), "{way}: {report}");
        let facts = facts(report);
        for noted in [
            format!("CONTENT_ID = {id}"),
            "CONTENT_NAME = bad".to_owned(),
            "CONTENT_VERSION = 1".to_owned(),
            format!("RULE_ID = {RULE}"),
            "PHASE = evaluating".to_owned(),
            "WORKER = detector".to_owned(),
            format!("SENSOR_VERSION = {}", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(facts.contains(&noted), "{way}: {noted} is not in {facts}");
        }
        let frames = report["frames"].as_array().expect("a list");
        let ours = frames.iter().filter(|frame| frame["module"] == "watertight").count();
        assert!(ours >= 3, "{way}: {frames:?}");
        // Where it crashed, not where it asked for the dump.
        let first = &frames[0];
        if way == "touch" {
            assert_eq!(report["access"]["address"], "0x1", "{report}");
            assert_eq!((&first["module"], &first["trust"]), (&"watertight".into(), &"context".into()), "{first}");
        }
        buckets.push(told["crash"]["bucket"].as_str().expect("a bucket").to_owned());
    }
    // Where no functions are named, two ways to give up may look alike; faults don't.
    let different: std::collections::BTreeSet<&String> = buckets.iter().collect();
    assert!(different.len() >= 4, "{buckets:?}");
}

#[test]
fn the_same_crash_has_the_same_bucket_each_time() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    let state = TempDir::new().expect("a folder");
    let told = crashed(state.path(), "touch", 2);
    assert_eq!(told[0]["crash"]["bucket"], told[1]["crash"]["bucket"]);
    assert_ne!(told[0]["crash"]["dump"], told[1]["crash"]["dump"]);
    // The store counts it for the release and the content that the dumps name.
    let store = state.path().join("crashes.db");
    let mut add = Command::new(BINARY);
    add.args(["crash", "add", "--host", "a", "--store"]).arg(&store);
    add.args(told.iter().map(|told| told["crash"]["dump"].as_str().expect("a path")));
    assert!(add.output().expect("it starts").status.success());
    let mut show = Command::new(BINARY);
    show.args(["crash", "show", "-o", "json", "--store"]).arg(&store);
    let shown = show.arg(told[0]["crash"]["bucket"].as_str().expect("a bucket")).output().expect("it starts");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&id_of(&killer("touch"))) && shown.contains(env!("CARGO_PKG_VERSION")), "{shown}");
}

#[test]
fn content_that_hangs_and_content_that_kills_the_loader_leave_a_dump_too() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    let state = TempDir::new().expect("a folder");
    let told = crashed(state.path(), "sleep", 1).remove(0);
    assert_eq!((&told["of"], &told["content"]["rule"]), (&"detector".into(), &RULE.into()), "{told}");
    assert!(told["crash"]["title"].as_str().is_some_and(|title| title.starts_with("hang in ")), "{told}");
    // The loader dies while a run is at work, which is told of it by name of the content.
    let state = TempDir::new().expect("a folder");
    install(state.path(), &pack("good", 1, "Quiet"));
    let run = Run::start(state.path(), &["--trial", "1h"]);
    run.detector();
    let bad = pack("fault-touch", 2, "Quiet");
    // A loader of `content install` is nobody's worker: the pack is put where a run finds it.
    let slots = state.path().join("slots");
    std::fs::write(slots.join(".new"), &bad).expect("our own folder");
    let name = format!("candidate-9-v2-{}+2-0", id_of(&bad));
    std::fs::rename(slots.join(".new"), slots.join(name)).expect("our own folder");
    let told = run.until(|line| line["kind"] == "sensor.crash");
    assert_eq!((&told["of"], &told["content"]["id"]), (&"load".into(), &id_of(&bad).as_str().into()), "{told}");
    run.end();
}

#[test]
fn the_dump_holds_no_more_than_stacks_and_redaction_leaves_the_words_of_content_out() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    let state = TempDir::new().expect("a folder");
    let told = crashed(state.path(), "touch", 1).remove(0);
    let dump = PathBuf::from(told["crash"]["dump"].as_str().expect("a path"));
    let reports = triaged(&dump, &["--redact"]);
    assert_eq!(reports[0]["title"], told["crash"]["title"]);
    assert!(!reports[0].to_string().contains("COMMAND_LINE"), "{reports:?}");
    // What the report is sent away for stays.
    assert!(facts(&reports[0]).contains(&format!("CONTENT_ID = {}", id_of(&killer("touch")))), "{reports:?}");
    assert!(words(state.path()).contains("its dump is"), "{}", words(state.path()));
}

/// What the worker that makes dumps says and gives when it is asked for one of this process, whose crash was in this thread.
fn dumped(pid: u32, thread: u32) -> (String, Vec<u8>) {
    let mut command = Command::new(BINARY);
    command.args(["worker", "dump", "--report-fd", "2"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut worker = command.spawn().expect("our own executable starts");
    let mut registers = vec![0; REGISTERS_BYTES];
    // The thread stands at the end.
    registers[REGISTERS_BYTES - 4..].copy_from_slice(&thread.to_le_bytes());
    let mut input = worker.stdin.take().expect("a pipe");
    writeln!(input, "{{\"pid\":{pid},\"notes\":[],\"is_alive\":false}}").expect("it listens");
    input.write_all(&registers).expect("it listens");
    drop(input);
    let output = worker.wait_with_output().expect("it ends");
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.stdout)
}

#[test]
fn a_worker_can_not_have_another_process_dumped() {
    if !sees() {
        return;
    }
    let mut sleeper = Command::new("sleep").arg("600").spawn().expect("it starts");
    let (said, dump) = dumped(sleeper.id(), sleeper.id());
    let (refused, nothing) = dumped(sleeper.id(), std::process::id());
    sleeper.kill().and_then(|()| sleeper.wait()).expect("it is our child");
    assert!(dump.starts_with(b"MDMP"), "{said}");
    assert!(nothing.is_empty() && refused.contains("not its own"), "{refused}");
}
