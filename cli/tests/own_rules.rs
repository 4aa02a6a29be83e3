//! The repository's own rule folder, with the tests beside each rule, is what the commands take without a word of complaint.

use std::process::{Command, Output};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules");

fn watertight(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watertight")).args(arguments).output().expect("our own executable starts")
}

#[test]
fn every_rule_can_fire_and_no_tests_are_taken_for_rules() {
    let output = watertight(&["rules", "check", RULES]);
    let (out, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{words}");
    let last = out.lines().last().unwrap_or_default();
    assert!(last.contains(" 0 rejected; ") && last.ends_with("files with tests of rules left out"), "{last}");
}

#[test]
fn detect_rejects_none_of_them() {
    let output = watertight(&["detect", "--rules", RULES, "--input", "/dev/null"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
