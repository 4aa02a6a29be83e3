//! `watertight policy` against a loader that answers from a script: what crosses to it, in which order, and what is said.

mod support;

use support::{is_root, Place, NO_BPF_LSM};
use watertight_policy::Policy;

const GOOD: &str =
    "version: 1\nrules:\n  - { id: no-miner, action: deny, on: exec, match: { file: /opt/xmrig }, mode: enforce }\n";
const GOOD_FALLBACK: &str = "version: 1\nfallback_deny: true\nrules:\n  - { id: no-miner, action: deny, on: exec, match: { file: /there/is/none }, mode: enforce }\n";

const TRIAL: &str = r#"'guard apply') echo '{"generation":7,"state":"trial","rules":[{"id":"no-miner","entries":1,"warnings":["a warning"]}],"refused":[]}' ;;"#;
/// On trial until it is confirmed.
const SHOWS: &str = r#"'guard show') if [ -e confirmed ]; then s=confirmed; else s=trial; fi
    echo '{"state":"'$s'","generation":7,"attached":["exec_check"],"missing":[],"rules":[{"id":"no-miner","on":["exec"],"mode":"enforce","match":{"file":"/opt/xmrig"},"denied":3,"audited":0}],"hooks":[]}' ;;
'guard confirm') touch confirmed; echo '{}' ;;"#;

#[test]
fn check_hands_the_typed_policy_to_the_loader_and_shows_its_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = r#"'guard check') echo '{"generation":0,"state":"empty","rules":[{"id":"no-miner","entries":2,"warnings":[]}],"refused":[]}' ;;"#;
    let place = Place::new(folder.path(), answer);
    let file = place.write("p.yaml", GOOD);
    let file = file.to_str().expect("text");
    let answer = place.run(&["policy", "check", file]);
    assert_eq!(answer.code(), 0, "{}", answer.stderr());
    assert!(answer.stdout().contains("no-miner") && answer.stdout().contains("2 entries"), "{}", answer.stdout());
    let given: Policy = serde_json::from_str(&place.read("given")).expect("a policy");
    assert_eq!(given, watertight_policy::yaml::parse("p", GOOD.as_bytes()).expect("good"));
    let json = place.run(&["policy", "check", file, "-o", "json"]).json();
    assert_eq!((&json["kind"], &json["enforced_by"]), (&"policy".into(), &"kernel".into()));
    assert_eq!(json["rules"][0]["entries"], 2);
}

#[test]
fn check_does_not_call_a_policy_enforced_that_the_kernel_can_not_enforce() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = format!(
        r#"'guard check') echo '{{"rules":[{{"id":"no-miner","entries":2}}],"refused":[],"kernel_refused":"{NO_BPF_LSM}"}}' ;;"#
    );
    let place = Place::new(folder.path(), &answer);
    for (text, enforced_by) in [(GOOD, "nothing"), (GOOD_FALLBACK, "fanotify while running")] {
        let file = place.write("p.yaml", text);
        let answer = place.run(&["policy", "check", file.to_str().expect("text"), "-o", "json"]);
        assert_eq!((answer.code(), &answer.json()["enforced_by"]), (3, &enforced_by.into()));
        assert_eq!(answer.json()["kernel_refused"], NO_BPF_LSM);
    }
}

#[test]
fn apply_confirms_only_after_programs_still_start() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::new(folder.path(), &format!("{TRIAL}\n{SHOWS}"));
    let file = place.write("p.yaml", GOOD);
    let answer = place.run(&["policy", "apply", file.to_str().expect("text"), "--confirm-within", "5"]);
    assert_eq!(answer.code(), 0, "{}", answer.stderr());
    assert!(answer.stdout().contains("generation 7, confirmed") && answer.stdout().contains("a warning"));
    let calls = place.calls();
    assert!(calls[0].starts_with("guard apply --watertight /proc/") && calls[0].ends_with(" --confirm-within 5"));
    assert_eq!(calls[1..], ["guard show", "guard confirm", "guard show"]);
    let shown = place.run(&["policy", "show"]);
    assert_eq!(shown.code(), 0, "{}", shown.stderr());
    assert!(shown.stdout().contains("no-miner") && shown.stdout().contains("/opt/xmrig"), "{}", shown.stdout());
    assert_eq!(place.run(&["policy", "show", "-o", "json"]).json()["rules"][0]["denied"], 3);
}

#[test]
fn a_generation_that_is_not_the_one_on_trial_is_not_confirmed() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let other = r#"'guard show') echo '{"state":"returned","generation":6}' ;;"#;
    let place = Place::new(folder.path(), &format!("{TRIAL}\n{other}"));
    let file = place.write("p.yaml", GOOD);
    let answer = place.run(&["policy", "apply", file.to_str().expect("text")]);
    assert_eq!(answer.code(), 1, "{}", answer.stdout());
    assert!(answer.stderr().contains("generation 7 is not confirmed"), "{}", answer.stderr());
    assert!(!place.calls().iter().any(|call| call.starts_with("guard confirm")), "{:?}", place.calls());
}

#[test]
fn a_hook_that_is_missing_makes_show_partial() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = r#"'guard show') echo '{"state":"confirmed","generation":2,"missing":[{"hook":"guard_open","why":"its link is gone"}]}' ;;"#;
    let place = Place::new(folder.path(), answer);
    let shown = place.run(&["policy", "show"]);
    assert_eq!(shown.code(), 3);
    assert!(shown.stdout().contains("hook guard_open is missing: its link is gone"), "{}", shown.stdout());
}

#[test]
fn a_policy_that_the_loader_refuses_changes_nothing_and_its_words_are_told() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let refusal =
        "'guard apply') echo 'watertight-loader: rule no-miner would stop pid 1: name another file' >&2; exit 1 ;;";
    let place = Place::new(folder.path(), refusal);
    let file = place.write("p.yaml", GOOD_FALLBACK);
    let answer = place.run(&["policy", "apply", file.to_str().expect("text")]);
    assert_eq!(answer.code(), 1);
    assert!(answer.stderr().contains("would stop pid 1"), "{}", answer.stderr());
    assert!(!place.state().join("deny-policy.json").exists(), "the fallback is not for refused policies");
}

#[test]
fn check_tells_which_rule_would_stop_what_and_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let refusal = "'guard check') echo 'watertight-loader: rule no-miner would stop the package manager (/usr/bin/tar: dpkg unpacks with it): take the rule out' >&2; exit 1 ;;";
    let place = Place::new(folder.path(), refusal);
    let file = place.write("p.yaml", GOOD);
    let answer = place.run(&["policy", "check", file.to_str().expect("text")]);
    assert_eq!(answer.code(), 1, "{}", answer.stdout());
    for words in ["rule no-miner", "the package manager", "/usr/bin/tar", "dpkg unpacks with it"] {
        assert!(answer.stderr().contains(words), "no {words:?} in {}", answer.stderr());
    }
    assert!(!answer.stdout().contains("in force"), "{}", answer.stdout());
}

#[test]
fn rules_that_are_left_out_make_it_partial() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let partial = r#"'guard apply') echo '{"generation":1,"state":"confirmed","rules":[],"refused":[{"id":"no-miner","why":"there is no /opt/xmrig"}]}' ;;"#;
    let place = Place::new(folder.path(), partial);
    let file = place.write("p.yaml", GOOD);
    let answer = place.run(&["policy", "apply", file.to_str().expect("text")]);
    assert_eq!(answer.code(), 3);
    assert!(answer.stdout().contains("there is no /opt/xmrig"), "{}", answer.stdout());
}

#[test]
fn without_bpf_lsm_the_mend_and_the_fallback_are_named() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::new(folder.path(), "");
    let file = place.write("p.yaml", GOOD);
    let answer = place.run(&["policy", "apply", file.to_str().expect("text")]);
    assert_eq!(answer.code(), 1);
    for words in [NO_BPF_LSM, "mend:", "fallback_deny: true"] {
        assert!(answer.stderr().contains(words), "no {words:?} in {}", answer.stderr());
    }
    assert!(!place.state().join("deny-policy.json").exists(), "it was not asked for");
}

#[test]
fn the_fallback_is_kept_for_run_and_taken_away_by_unseal() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::new(folder.path(), "");
    let file = place.write("p.yaml", GOOD_FALLBACK);
    let json = place.run(&["policy", "apply", file.to_str().expect("text"), "-o", "json"]);
    assert_eq!(json.code(), 3, "{}", json.stderr());
    let json = json.json();
    assert_eq!(json["enforced_by"], "fanotify while running");
    assert_eq!(json["refused"][0]["id"], "no-miner", "there is no such file");
    assert!(json["passes"].as_array().is_some_and(|passes| !passes.is_empty()));
    let shown = place.run(&["policy", "show", "-o", "json"]);
    assert_eq!((shown.code(), &shown.json()["fallback"]["deny"]), (3, &"none".into()));
    let status = place.run(&["status", "-o", "json"]).json();
    assert!(status["deny_by_fanotify"]["why"].as_str().is_some_and(|why| why.contains("not running")), "{status}");
    let unsealed = place.run(&["policy", "unseal", "-o", "json"]).json();
    assert_eq!((&unsealed["unsealed"], &unsealed["fallback_removed"]), (&true.into(), &true.into()));
    assert_eq!(place.run(&["policy", "show", "-o", "json"]).json()["fallback"], serde_json::Value::Null);
}

#[test]
fn a_file_with_problems_never_reaches_the_loader() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::new(folder.path(), "");
    let file =
        place.write("p.yaml", "version: 1\nrules:\n  - { id: A, action: deny, on: exec, match: {}, mode: enforce }\n");
    let file = file.to_str().expect("text");
    for command in ["check", "apply"] {
        let answer = place.run(&["policy", command, file, "-o", "json"]);
        assert_eq!(answer.code(), 1);
        let json = answer.json();
        let lines: Vec<_> =
            json["problems"].as_array().expect("problems").iter().map(|problem| &problem["line"]).collect();
        assert_eq!(lines, [3, 3]);
        assert!(answer.stderr().contains("p.yaml:3:11"), "{}", answer.stderr());
    }
    assert!(place.calls().is_empty());
    assert_eq!(place.run(&["policy", "check", "/there/is/none.yaml"]).code(), 1);
}

#[test]
fn a_loader_of_another_version_is_told_from_a_refusal() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::new(folder.path(), "'guard show') echo 'guards: 1' ;;");
    let answer = place.run(&["policy", "show"]);
    assert_eq!(answer.code(), 1);
    assert!(answer.stderr().contains("is it of this version?"), "{}", answer.stderr());
}
