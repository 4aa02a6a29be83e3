//! `content explain` says of one rule and one event what `detect` finds, and why; from folders and from packs alike.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

const RULE: &str = "title: A shell
id: 7a1e9b1e-31b4-4f2f-8f0e-6a8f0c1d2e3f
logsource: {category: process_creation, product: linux}
detection:
  selection:
    Image|endswith: /sh
    CommandLine|contains: [evil, bad]
  filter: {User: root}
  condition: selection and not filter
---
title: The builder
id: 5c0c1d9e-6f0b-4d6b-8a55-1f3f0b7f0001
exception:
  rules: [7a1e9b1e-31b4-4f2f-8f0e-6a8f0c1d2e3f]
  selection: {User: builder}
  condition: selection
";

fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("shell.yml"), RULE).expect("our own folder");
    folder
}

fn explain(folder: &TempDir, rule: &str, event: &str, form: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_watertight"))
        .args(["content", "explain", rule, "-", "-o", form, "--rules"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("our own executable starts");
    let mut input = child.stdin.take().expect("a pipe");
    let _ = input.write_all(event.as_bytes()); // a refusal before it reads is no failure of the test
    drop(input);
    child.wait_with_output().expect("it ends")
}

fn sigma(command: &str, user: &str) -> String {
    format!(
        "{{\"logsource\":{{\"category\":\"process_creation\",\"product\":\"linux\"}},\"event\":{{\"Image\":\"/bin/sh\",\"CommandLine\":\"{command}\",\"User\":\"{user}\"}}}}\n"
    )
}

fn native(command: &str, user: &str) -> String {
    let event = watertight_event::Event::new(
        watertight_event::Kind::ProcessExec,
        watertight_event::Outcome::Done,
        watertight_event::Source::TpBtf,
        7,
    );
    let event = event
        .with(watertight_event::Field::Executable, "/bin/sh")
        .with(watertight_event::Field::CommandLine, command)
        .with(watertight_event::Field::User, user);
    event.to_json().to_string()
}

#[test]
fn a_rule_is_explained_by_id_title_or_file_in_either_form_of_event() {
    let folder = folder();
    for form in [sigma, native] {
        for name in
            ["7a1e9b1e-31b4-4f2f-8f0e-6a8f0c1d2e3f", "7A1E9B1E-31B4-4F2F-8F0E-6A8F0C1D2E3F", "A shell", "shell.yml"]
        {
            let told = explain(&folder, name, &form("sh -c evil", "mallory"), "json");
            let told: Json = serde_json::from_slice(&told.stdout).expect("JSON");
            assert_eq!((&told["fires"], &told["line"]), (&true.into(), &1.into()), "{name} {told}");
            assert_eq!(told["selections"][0]["matches"][1]["pattern"], "contains 'evil'", "{told}");
            assert_eq!(told["excluded"], serde_json::json!(["filter", "exception The builder: selection"]));
        }
        let told = explain(&folder, "A shell", &form("sh -c evil", "builder"), "json");
        let told: Json = serde_json::from_slice(&told.stdout).expect("JSON");
        assert_eq!(told["fires"], false);
        let way = &told["in_the_way"][0];
        assert_eq!((&way["selection"], &way["is_true"]), (&"exception The builder: selection".into(), &true.into()));
    }
}

#[test]
fn people_read_what_is_true_what_stands_in_the_way_and_where_the_rule_is() {
    let folder = folder();
    let words = |event: &str| {
        let output = explain(&folder, "A shell", event, "text");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let fires = words(&sigma("evil", "mallory"));
    for part in [
        "shell.yml:1) fires",
        "selection is true:",
        "Image = /bin/sh   fits endswith '/sh'",
        "filter is not true, as it must be",
    ] {
        assert!(fires.contains(part), "{part}: {fires}");
    }
    let harmless = words(&sigma("ls", "mallory"));
    for part in
        ["does not fire", "selection is not true, and had to be:", "CommandLine = ls   does not fit contains 'evil'"]
    {
        assert!(harmless.contains(part), "{part}: {harmless}");
    }
    let other = words(&sigma("evil", "mallory").replace("process_creation", "file_event"));
    assert!(other.contains("does not apply"), "{other}");
}

#[test]
fn what_is_no_rule_or_no_event_is_told_with_its_exit_code() {
    let folder = folder();
    let cases = [
        ("Nobody", sigma("a", "b"), 4, "there is no rule Nobody"),
        ("A shell", String::new(), 1, "no event"),
        ("A shell", "{}\n".to_owned(), 1, "logsource"),
        ("A shell", sigma("a", "b").repeat(2), 1, "several lines"),
        ("A shell", "{\"kind\":\"matrix\"}".to_owned(), 1, "no rule is asked"),
    ];
    for (rule, event, code, part) in cases {
        let output = explain(&folder, rule, &event, "json");
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}");
        assert!(words.contains(part), "{words}");
    }
    fs::write(folder.path().join("copy.yml"), RULE.replace("7a1e", "7a1f").split("---").next().unwrap_or_default())
        .expect("our own folder");
    let output = explain(&folder, "A shell", &sigma("a", "b"), "json");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && words.contains("7a1f") && words.contains("7a1e"), "{words}");
}

/// A sequence of a write and a start, as the page of sequences has it.
const SEQUENCE: &str = "title: Write and start
id: 5b0f2f4e-6b1c-4f0e-9c3e-7d1f0c7a4e02
correlation:
  type: temporal_ordered
  timespan: 30s
  join: process
  stages:
    - name: write
      logsource: {product: linux, category: file_event}
      detection: {s: {TargetFilename|startswith: /tmp/}, condition: s}
    - name: run
      by: parent
      logsource: {product: linux, category: process_creation}
      detection: {s: {Image|startswith: /tmp/}, condition: s}
";

fn written(second: u32, process: &str) -> String {
    format!(
        "{{\"time\":\"2026-01-01T00:00:{second:02}Z\",\"logsource\":{{\"category\":\"file_event\",\"product\":\"linux\"}},\
         \"event\":{{\"TargetFilename\":\"/tmp/x\",\"ProcessGuid\":\"{process}\"}}}}\n"
    )
}

fn started(second: u32, image: &str, parent: &str) -> String {
    format!(
        "{{\"time\":\"2026-01-01T00:00:{second:02}Z\",\"logsource\":{{\"category\":\"process_creation\",\"product\":\"linux\"}},\
         \"event\":{{\"Image\":\"{image}\",\"ProcessGuid\":\"new\",\"ParentProcessGuid\":\"{parent}\"}}}}\n"
    )
}

#[test]
fn a_sequence_is_explained_over_its_events_and_what_was_missing_is_named() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("sequence.yml"), SEQUENCE).expect("our own folder");
    for (events, fires, part) in [
        (written(0, "p") + &started(9, "/tmp/x", "p"), true, "fired with event 2: events 1, 2"),
        (written(0, "p") + &started(42, "/tmp/x", "p"), false, "too late by 12 s: the sequence began at event 1"),
        (
            written(0, "p") + &started(9, "/tmp/x", "q"),
            false,
            "with these values had come to the stage before; event 1",
        ),
        (written(0, "p") + &started(9, "/bin/x", "p"), false, "Image = /bin/x   does not fit"),
        (written(0, "p"), false, "ProcessGuid = p): run is missing"),
    ] {
        let text = explain(&folder, "Write and start", &events, "text");
        let words = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(words.contains(part), "{events}{words}{}", String::from_utf8_lossy(&text.stderr));
        let told: Json = serde_json::from_slice(&explain(&folder, "Write and start", &events, "json").stdout)
            .expect("one JSON object");
        assert_eq!(told["fires"], fires, "{told}");
        assert_eq!(words.contains("fires once"), fires, "{words}");
    }
}
