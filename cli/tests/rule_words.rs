//! What `rules check` and `detect` say of rules: refusals with their place, exceptions in rows of their own, and what exceptions left
//! out of a run.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;
use tempfile::TempDir;

const RULE: &str = "title: A shell
id: 7a1e9b1e-31b4-4f2f-8f0e-6a8f0c1d2e3f
logsource: {category: process_creation, product: linux}
detection:
  selection:
    Image|endswith: /sh
  condition: selection
";

const EXCEPTION: &str = "title: The builder
id: 5c0c1d9e-6f0b-4d6b-8a55-1f3f0b7f0001
exception:
  rules: [7a1e9b1e-31b4-4f2f-8f0e-6a8f0c1d2e3f]
  selection: {User: builder}
  condition: selection
";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("our own folder");
    }
    folder
}

fn watertight(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    command.args(arguments).output().expect("our own executable starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_refusal_is_shown_with_its_line_and_told_as_json_with_its_place() {
    let folder =
        folder(&[("good.yml", RULE), ("bad.yml", &RULE.replace("7a1e", "7a1f").replace("endswith", "endwith"))]);
    for arguments in [
        &["rules", "check", text(folder.path())][..],
        &["detect", "--rules", text(folder.path()), "--input", "/dev/null"],
    ] {
        let output = watertight(arguments);
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{words}");
        for part in [
            "error[WT0203]",
            "bad.yml:6:11",
            "6 |     Image|endwith: /sh",
            "  |           ^^^^^^^ unknown modifier",
            "mend: did you mean `endswith`?",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(!words.contains('\x1b'), "no colours where no terminal is: {words}");
    }
    let output = watertight(&["rules", "check", text(folder.path()), "-o", "json"]);
    let rows: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    let row = rows.as_array().expect("an array").iter().find(|row| row["verdict"] == "rejected").expect("a row");
    let told = ["code", "line", "column", "end", "label", "mend", "kind"].map(|name| row[name].to_string());
    assert_eq!(
        told,
        ["\"WT0203\"", "6", "11", "[6,18]", "\"unknown modifier\"", "\"did you mean `endswith`?\"", "\"rule\""]
    );
}

#[test]
fn an_exception_has_a_row_and_a_dangling_one_says_so() {
    let folder = folder(&[
        ("rule.yml", RULE),
        ("exception.yml", EXCEPTION),
        ("gone.yml", &EXCEPTION.replace("0001", "0002").replace("[7a1e", "[0000")),
    ]);
    let output = watertight(&["rules", "check", text(folder.path()), "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    let told: Vec<_> =
        rows.as_array().expect("an array").iter().map(|row| (row["kind"].clone(), row["verdict"].clone())).collect();
    let expected = [("exception", "can-fire"), ("exception", "never"), ("rule", "can-fire")]
        .map(|(kind, verdict)| (kind.into(), verdict.into()));
    assert_eq!(told, expected, "{rows}");
    assert!(rows[1]["reason"].as_str().is_some_and(|reason| reason.contains("dangling")), "{rows}");
    let output = watertight(&["rules", "check", text(folder.path())]);
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(words.contains("1 can fire, 0 degraded, 0 never, 0 rejected; 2 exceptions: 1 in use, 1 not"), "{words}");
}

#[test]
fn what_needs_several_events_is_counted_among_the_rules_everywhere() {
    let together = "title: Twice\nid: 5a1b0d34-0d0e-4f43-8f6e-0c9d4f0e0009\ncorrelation:\n  type: temporal_ordered\n  timespan: 10s\n\
                    \x20 stages:\n    - name: one\n      logsource: {category: process_creation, product: linux}\n\
                    \x20     detection: {selection: {Image: /a}, condition: selection}\n    - name: two\n\
                    \x20     logsource: {category: process_creation, product: linux}\n\
                    \x20     detection: {selection: {Image: /b}, condition: selection}\n";
    let tests = "fires:\n  - events:\n      - {category: process_creation, event: {Image: /a}}\n\
                 \x20     - {category: process_creation, event: {Image: /b}}\n\
                 silent:\n  - {category: process_creation, event: {Image: /b}}\n";
    let manifest = "name: test\nversion: 1\n";
    let folder = folder(&[("together.yml", together), ("together.tests.yml", tests), ("pack.yml", manifest)]);
    let output = watertight(&["rules", "check", text(folder.path())]);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("1 can fire, 0 degraded, 0 never, 0 rejected") && !words.contains("exceptions"), "{words}");
    let pack = folder.path().join("a.pack");
    let output = watertight(&["content", "build", text(folder.path()), "-o", text(&pack)]);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains(" 1 rules on "), "{words}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn detect_leaves_out_what_is_excepted_and_tells_what_exceptions_did() {
    let folder = folder(&[("rule.yml", RULE), ("exception.yml", EXCEPTION), ("events.jsonl", "")]);
    let event = |user: &str| {
        format!("{{\"logsource\":{{\"category\":\"process_creation\",\"product\":\"linux\"}},\"event\":{{\"Image\":\"/bin/sh\",\"User\":\"{user}\"}}}}\n")
    };
    let events = folder.path().join("events.jsonl");
    let detect = || {
        let output = watertight(&["detect", "--rules", text(folder.path()), "--input", text(&events)]);
        assert_eq!(output.status.code(), Some(0));
        let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (told(&output.stdout).lines().count(), told(&output.stderr))
    };
    fs::write(&events, ["builder", "builder", "mallory"].map(event).concat()).expect("our own folder");
    let (hits, words) = detect();
    assert_eq!(hits, 1);
    assert!(words.contains("over-broad: it left out 2 of 3 hits"), "{words}");
    fs::write(&events, ["mallory", "eve"].map(event).concat()).expect("our own folder");
    let (hits, words) = detect();
    assert_eq!(hits, 2);
    assert!(words.contains("was never used on these events"), "{words}");
}
