//! Where what is said on standard error goes nowhere (a full disk, a reader that left), nothing ends and nothing fails for it.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
const RULE: &str = "
title: A shell
id: 7a1e9b1e-31b4-4f2f-8f0e-6a8f0c1d2e3f
logsource: {category: process_creation, product: linux}
detection:
  selection:
    Image|endswith: /sh
  condition: selection
";
const EVENT: &str = r#"{"logsource":{"category":"process_creation","product":"linux"},"event":{"Image":"/bin/sh"}}"#;

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it").into()
}

fn left() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// Exit code and output with standard error full, and with nobody at its end.
fn outcomes(command: impl Fn() -> Command) -> Vec<(Option<i32>, String)> {
    [full(), left()]
        .into_iter()
        .map(|words| {
            let output = command().stdin(Stdio::null()).stderr(words).output().expect("our own executable starts");
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .collect()
}

fn watertight(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn errors_keep_their_exit_code() {
    for (arguments, code) in [
        (&["policy", "check", "/etc/passwd"][..], 1),
        (&["detect", "--rules", "/nonexistent", "--input", "-"], 1),
        (&["rules", "check", "/nonexistent"], 1),
        (&["no-such-command"], 2),
    ] {
        for (found, _) in outcomes(|| watertight(arguments)) {
            assert_eq!(found, Some(code), "{arguments:?}");
        }
    }
}

#[test]
fn hits_and_verdicts_are_written_though_a_rejection_can_not_be_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).expect("a folder");
    std::fs::write(rules.join("good.yml"), RULE).expect("a file");
    std::fs::write(rules.join("bad.yml"), "title: no rule\n").expect("a file");
    let events = folder.path().join("events");
    std::fs::write(&events, EVENT).expect("a file");
    for (code, out) in outcomes(|| watertight(&["detect", "--rules", text(&rules), "--input", text(&events)])) {
        assert_eq!((code, out.lines().count()), (Some(3), 1), "{out}");
    }
    for (code, out) in outcomes(|| watertight(&["rules", "check", text(&rules)])) {
        assert_eq!(code, Some(3), "{out}");
        assert!(out.contains("1 can fire") && out.contains("1 rejected"), "{out}");
    }
}

#[test]
fn a_run_goes_on_to_its_summary() {
    let state = tempfile::tempdir().expect("a folder");
    let run = || {
        let mut command =
            watertight(&["run", "--for", "1s", "-o", "json", "--loader", "/nonexistent/watertight-loader", "--state"]);
        command.arg(state.path());
        command
    };
    for (code, out) in outcomes(run) {
        let last = out.lines().last().unwrap_or_default();
        assert!(last.contains(r#""kind":"summary""#), "{last}");
        assert_eq!(code, Some(3), "{last}");
    }
}

#[test]
fn a_run_whose_output_is_full_too_fails_and_does_not_panic() {
    let state = tempfile::tempdir().expect("a folder");
    let mut command =
        watertight(&["run", "--for", "1s", "-o", "json", "--loader", "/nonexistent/watertight-loader", "--state"]);
    let status = command.arg(state.path()).stdin(Stdio::null()).stdout(full()).stderr(full()).status();
    assert_eq!(status.expect("our own executable starts").code(), Some(1));
}

#[test]
fn a_full_output_is_named_with_what_was_written_and_the_mend() {
    for arguments in [&["status"][..], &["doctor", "-o", "json"], &["rules", "check", "/nonexistent"]] {
        let output = watertight(arguments).stdout(full()).output().expect("our own executable starts");
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {words}");
        assert!(words.contains("to standard output: No space left") && words.contains("send it where"), "{words}");
    }
}
