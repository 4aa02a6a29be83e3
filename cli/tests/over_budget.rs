//! What costs more than it may is said where rules are tried offline, too: whoever reads the hits knows what they are worth.

use std::fs;
use std::process::{Command, Output};

use serde_json::{json, Value};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

const RULES: &str = "title: Has foo\nid: 00000000-0000-4000-8000-000000000031\nname: foo\n\
    logsource: {category: process_creation, product: linux}\ndetection: {s: {CommandLine|contains: foo}, condition: s}\n---\n\
    title: Often\nid: 00000000-0000-4000-8000-000000000032\ncorrelation: {type: event_count, rules: [foo], group-by: [User], \
    timespan: 1h, state: 4KB, generate: true, condition: {gte: 3}}\n";

fn folder(events: &[Value]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::create_dir(folder.path().join("rules")).expect("our own folder");
    fs::write(folder.path().join("rules/foo.yml"), RULES).expect("our own folder");
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    fs::write(folder.path().join("events.jsonl"), lines).expect("our own folder");
    folder
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).current_dir(folder.path()).output().expect("our own executable starts")
}

fn event(line: &str, user: &str) -> Value {
    json!({
        "logsource": {"category": "process_creation", "product": "linux"},
        "event": {"CommandLine": line, "User": user},
    })
}

/// A command line that is hidden behind a megabyte.
fn padded() -> Value {
    event(&format!("{} foo {}", "a".repeat(1_000_000), "b".repeat(100_000)), "u")
}

#[test]
fn detect_and_replay_end_with_the_events_that_were_read_in_part() {
    let folder = folder(&[event("foo", "u"), padded(), padded()]);
    let output = run(&folder, &["detect", "--rules", "rules", "--input", "events.jsonl"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("2 events, the first in line 2, were read in part"), "{words}");
    fs::write(folder.path().join("rules/pack.yml"), "name: x\nversion: 1\n").expect("our own folder");
    let case = |line: &str| format!("  - {{rule: foo, category: process_creation, event: {{CommandLine: {line}}}}}\n");
    let tests = format!("fires:\n{}silent:\n{}", case("foo"), case("bar"));
    let tests = tests.replace("rule: foo", "rule: 00000000-0000-4000-8000-000000000031");
    fs::write(folder.path().join("rules/foo.tests.yml"), tests).expect("our own folder");
    let built = run(&folder, &["content", "build", "rules", "-o", "x.pack"]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let output = run(&folder, &["content", "replay", "x.pack", "--events", "events.jsonl", "-o", "json"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("2 events, the first in line 2, were read in part"), "{words}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["cut_events"], 2);
}

#[test]
fn detect_ends_with_the_events_that_the_sensor_had_cut() {
    let native = |is_cut: bool| {
        let mut event = json!({"kind": "process.exec", "boot_ns": 1, "outcome": "done", "source": "tp_btf",
            "process": {"pid": 7, "command_line": "true xxx"}});
        if is_cut {
            event["truncated"] = json!(["process.command_line"]);
        }
        event
    };
    let folder = folder(&[native(false), native(true), native(true)]);
    let output = run(&folder, &["detect", "--rules", "rules", "--input", "events.jsonl"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("2 events, the first in line 2, were cut by the sensor"), "{words}");
}

#[test]
fn a_correlation_whose_state_is_full_is_named_at_the_end() {
    let events: Vec<Value> = (0..400).map(|user| event("foo", &format!("user-{user}"))).collect();
    let folder = folder(&events);
    let output = run(&folder, &["detect", "--rules", "rules", "--input", "events.jsonl"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = words.lines().find(|line| line.contains("its state was full")).expect("it is told");
    assert!(
        told.contains("00000000-0000-4000-8000-000000000032") && told.contains("groups or events let go"),
        "{told}"
    );
}

#[test]
fn an_explanation_says_that_a_field_was_read_in_part() {
    let folder = folder(&[padded()]);
    let explain =
        |form: &str| run(&folder, &["content", "explain", "Has foo", "events.jsonl", "--rules", "rules", "-o", form]);
    let words = String::from_utf8_lossy(&explain("text").stdout).into_owned();
    assert!(words.contains("does not fire") && words.contains("read in part"), "{words}");
    let told: Value = serde_json::from_slice(&explain("json").stdout).expect("JSON");
    assert_eq!(told["in_the_way"][0]["matches"][0]["read_in_part"], true, "{told}");
    fs::write(folder.path().join("events.jsonl"), event("bar", "u").to_string()).expect("our own folder");
    let words = String::from_utf8_lossy(&explain("text").stdout).into_owned();
    assert!(words.contains("does not fire") && !words.contains("read in part"), "{words}");
}
