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

#[test]
fn a_folder_without_rules_is_named_and_nothing_is_called_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    std::fs::write(folder.path().join("rules.txt"), "title: x\n").expect("our own folder");
    for arguments in [&["rules", "check", path][..], &["detect", "--rules", path, "--input", "/dev/null"]] {
        let output = watertight(arguments);
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(&format!("no rules in {path}")) && words.contains(".yml"), "{words}");
    }
    std::fs::write(folder.path().join("broken.YML"), "title: x\n").expect("our own folder");
    let output = watertight(&["rules", "check", path]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert!(words.contains("broken.YML:"), "{words}");
}

#[test]
fn a_run_given_the_shipped_rules_again_has_each_once_and_says_so() {
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path().to_str().expect("text");
    let output = watertight(&[
        "run",
        "--for",
        "0s",
        "-o",
        "json",
        "--rules",
        RULES,
        "--state",
        state,
        "--loader",
        "/nonexistent/watertight-loader",
    ]);
    let (out, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_str(out.lines().last().expect("a summary")).expect("JSON");
    assert!(summary["rules"].as_u64() > Some(0), "{summary}");
    assert_eq!((&summary["rules_replaced"], &summary["rules_rejected"]), (&summary["rules"], &0.into()), "{summary}");
    let rules = &summary["rules"];
    assert!(
        words.contains(&format!("{rules} rules, {rules} of them from --rules in the place of shipped ones")),
        "{words}"
    );
}
