//! `watertight rollout` before it speaks to a server: a token goes to nobody whose certificate was not asked for.

use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

fn status(server: &str, dir: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(["rollout", "status", "--server", server, "--ca"]).arg(dir.join("ca.pem"));
    let done = command.arg("--token-file").arg(dir.join("token")).output().expect("the command");
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn a_token_goes_over_no_line_that_others_can_read() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("token"), "wt-operator-1").expect("a file");
    std::fs::write(dir.path().join("ca.pem"), "no certificate").expect("a file");
    let (code, words) = status("http://127.0.0.1:1", dir.path());
    assert!(code == Some(1) && words.contains("begins with https://"), "{words}");
    let (code, words) = status("https://127.0.0.1:1", dir.path());
    assert!(code == Some(1) && words.contains("no certificate in PEM form"), "{words}");
}

#[test]
fn a_change_needs_a_reason() {
    let done = Command::new(BINARY).args(["rollout", "abort", "r1"]).output().expect("the command");
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("--reason"));
}

#[test]
fn a_name_that_is_none_is_refused_and_not_made_into_another() {
    for words in [["ring", "early@eu"], ["abort", "r1/2"]] {
        let mut command = Command::new(BINARY);
        command.args(["rollout"]).args(words).args(["--reason", "r", "--server", "https://127.0.0.1:1"]);
        let done = command.args(["--ca", "none", "--token-file", "none"]).output().expect("the command");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(1) && said.contains("letters, digits and -_."), "{said}");
    }
}
