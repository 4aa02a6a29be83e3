//! What content demands beside alerts, on a machine without a guard: its deny rules are said not to be in force, and a process that a
//! rule wants killed is killed only with the word of the machine's owner. With a guard: the lab.

#![allow(clippy::panic)] // a test that never sees its line has failed

mod live;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use live::Run;
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

fn says(line: &Value, kind: &str, words: &str) -> bool {
    line["kind"] == kind && line["message"].as_str().is_some_and(|message| message.contains(words))
}

/// A rule that fires on a file of this name, wherever it is.
fn rule(name: &str, more: &str) -> String {
    format!(
        "title: A file of the test\nid: 7d1c1f0e-5f1b-4c5e-9a55-0c7d6f1f2a03\nlogsource: {{category: file_event, product: linux}}\n\
         detection:\n  selection:\n    TargetFilename|endswith: /{name}\n  condition: selection\n{more}"
    )
}

/// A folder in which this is written.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("our own folder");
    }
    folder
}

fn content(arguments: &[&str]) {
    let output = Command::new(BINARY).arg("content").args(arguments).output().expect("our own executable starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn where_no_guard_is_a_packs_policy_is_said_not_to_be_in_force() {
    let tests = "fires:\n  - category: file_event\n    product: linux\n    event: {TargetFilename: /tmp/wt-enforcing}\nsilent:\n  \
                 - category: file_event\n    product: linux\n    event: {TargetFilename: /tmp/other}\n    why: another name\n";
    let policy = "version: 1\nrules:\n  - { id: no-tool, action: deny, on: exec, match: { file: /opt/wt-tool }, mode: enforce }\n";
    let source = folder(&[
        ("pack.yml", "name: denying\nversion: 3\n"),
        ("rule.yml", &rule("wt-enforcing", "action: kill\nmode: enforce\n")),
        ("rule.tests.yml", tests),
        ("policy.yml", policy),
    ]);
    let state = folder(&[]);
    let text = |path: PathBuf| path.to_str().expect("text").to_owned();
    let (source, pack) = (text(source.path().to_owned()), text(state.path().join("pack")));
    content(&["build", &source, "-o", &pack]);
    let verified = Command::new(BINARY).args(["content", "verify", &pack, "-o", "json"]).output().expect("it starts");
    let verified: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!(verified["enforced_actions"]["kill"], 1, "{verified}");
    content(&["install", &pack, "--state", &text(state.path().to_owned())]);
    let run = Run::start(state.path(), &["--trial", "1h"]);
    let told = run.until(|line| says(line, "sensor.mode", "is not in force"));
    assert!(says(&told, "sensor.mode", "(1 rules)") && says(&told, "sensor.mode", "denying version 3"), "{told}");
    let status = Command::new(BINARY).args(["status", "--state"]).arg(state.path()).output().expect("it starts");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("pack policy: 1 rules of candidate denying version 3"), "{status}");
    assert!(status.contains("NOT in force") && status.contains("no-tool"), "{status}");
    assert_eq!(run.end().1, Some(3));
    let words = std::fs::read_to_string(state.path().join("words")).expect("its words");
    assert!(words.contains("the policy of the content pack (1 rules) is not in force"), "{words}");
}

/// A shell that makes a file of this name again and again.
fn writer(folder: &Path, name: &str) -> Child {
    let file = folder.join(name);
    let file = file.to_str().expect("text");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("while :; do : > {file}; rm {file}; sleep 0.1; done")]);
    shell.stdin(Stdio::null()).spawn().expect("a shell starts")
}

#[test]
fn a_process_that_a_rule_wants_killed_is_killed_only_with_the_owners_word() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, no source sees anything without");
        return;
    }
    let name = format!("wt-enforcing-{}", std::process::id());
    let rules = folder(&[("rule.yml", &rule(&name, "action: kill\nmode: enforce\n"))]);
    let rules = rules.path().to_str().expect("text").to_owned();
    let (state, place) = (folder(&[]), folder(&[]));
    let mut shell = writer(place.path(), &name);

    let run = Run::start(state.path(), &["--rules", &rules]);
    let alert = run.until(|line| line["kind"] == "alert" && line["response"]["action"] == "kill");
    let message = "would kill (not enforced: the run is without --enforce-actions kill)";
    assert_eq!((&alert["response"]["message"], &alert["response"]["is_asked"]), (&message.into(), &false.into()));
    run.end();
    assert_eq!(shell.try_wait().expect("our child"), None, "it lives");

    let run = Run::start(state.path(), &["--rules", &rules, "--enforce-actions", "kill"]);
    let matrix = run.until(|line| line["kind"] == "matrix");
    let alert = run.until(|line| line["kind"] == "alert" && line["response"]["is_asked"] == true);
    assert_eq!(alert["response"]["mode"], "enforce", "{alert}");
    let told = run.until(|line| says(line, "response.action", ": done"));
    assert_eq!(told["target"]["pid"], shell.id(), "{told}");
    assert_eq!(shell.wait().expect("our child").signal(), Some(libc::SIGKILL));

    // In a PID namespace of its own nothing tells of processes that begin later: who they are is not known.
    if matrix["rows"][0]["class"] == "process" && matrix["rows"][0]["source"] == "none" {
        println!("skipped: processes that begin during a run, for want of a source of them here");
        run.end();
        return;
    }
    let mut shell = writer(place.path(), &name);
    let told = run.until(|line| says(line, "response.action", ": done"));
    assert_eq!(told["target"]["pid"], shell.id(), "{told}");
    shell.wait().expect("our child");
    run.end();
    // Nothing is denied here, and a demand for it says so.
    let rules = folder(&[("rule.yml", &rule(&name, "action: deny_next\nmode: enforce\n"))]);
    let rules = rules.path().to_str().expect("text").to_owned();
    let mut shell = writer(place.path(), &name);
    let run = Run::start(state.path(), &["--rules", &rules, "--enforce-actions", "kill,deny_next"]);
    let told = run.until(|line| says(line, "response.action", "refused: "));
    assert_eq!((&told["of"], &told["outcome"]), (&"deny_next".into(), &"denied".into()), "{told}");
    run.end();
    shell.kill().and_then(|()| shell.wait()).expect("our child");
}
