//! `watertight detect` reads what `watertight run -o json` writes, whole. No kernel program is loaded: the loader that is named
//! does not exist.

use std::process::{Command, Output, Stdio};

/// Fires on every process that a source tells of.
const RULE: &str = "
title: A process
id: 7a1e9b1e-31b4-4f2f-8f0e-6a8f0c1d2e3f
logsource: {category: process_creation, product: linux}
detection:
  selection:
    ProcessId|exists: true
  condition: selection
";

fn watertight(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    command.args(arguments).stdin(Stdio::null()).output().expect("our own executable starts")
}

/// A recording of a second, whose rule is the one in the file.
fn record(form: &str, rules: &str, state: &str) -> Output {
    let loader = ["--loader", "/nonexistent"];
    let run = ["run", "--for", "1s", "-o", "json", "--as", form, "--rules", rules, "--state", state];
    watertight(&[&run[..], &loader].concat())
}

#[test]
fn a_recording_is_read_to_its_end_and_fires_what_fired_live() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (rules, state) = (path("rule.yml"), path("state"));
    std::fs::write(&rules, RULE).expect("a file");
    for form in ["native", "sigma"] {
        let run = record(form, &rules, &state);
        let input = path(form);
        std::fs::write(&input, &run.stdout).expect("a file");
        let detect = watertight(&["detect", "--rules", &rules, "--input", &input]);
        let (hits, words) = (String::from_utf8_lossy(&detect.stdout), String::from_utf8_lossy(&detect.stderr));
        assert_eq!(detect.status.code(), Some(0), "{words}");
        assert!(
            words.contains("lines passed over") && words.contains("1 matrix") && words.contains("1 summary"),
            "{words}"
        );
        let recorded = String::from_utf8_lossy(&run.stdout);
        let live = recorded.lines().filter(|line| line.contains(r#""kind":"alert""#) && line.contains("7a1e9b1e"));
        assert_eq!(hits.lines().count(), live.count(), "{form}: {hits}");
    }
}

#[test]
fn a_recording_that_is_cut_fires_what_its_whole_lines_fire_and_the_half_ones_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (rules, input) = (path("rule.yml"), path("events"));
    std::fs::write(&rules, RULE).expect("a file");
    let run = record("native", &rules, &path("state"));
    let recorded = String::from_utf8_lossy(&run.stdout);
    let summary = recorded.lines().last().expect("a summary");
    let detect = |text: &str| {
        std::fs::write(&input, text).expect("a file");
        let output = watertight(&["detect", "--rules", &rules, "--input", &input]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{words}");
        (String::from_utf8_lossy(&output.stdout).lines().count(), words)
    };
    let (whole, words) = detect(&recorded);
    assert!(!words.contains("unreadable"), "{words}");
    let half = &summary[..summary.len() / 2];
    let cut = recorded.strip_suffix(&format!("{summary}\n")).expect("it ends with the summary");
    let (hits, words) = detect(&format!("{half}\n\n{cut}{half}"));
    assert_eq!(hits, whole);
    assert!(words.contains("2 unreadable") && words.contains("events:1: the first line that is unreadable"), "{words}");
}
