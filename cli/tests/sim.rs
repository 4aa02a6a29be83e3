//! `watertight sim rollout` as a person or a script runs it.

use std::process::{Command, Output};

use serde_json::Value;

fn sim(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    command.args(["sim", "rollout", "--hosts", "20000", "--runs", "4"]).args(args).output().expect("the command")
}

fn json(args: &[&str]) -> Value {
    let output = sim(&[args, &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_figures_are_the_ones_that_scripts_read() {
    let bad = json(&["--fail-share", "1", "--bucket-rule", "off"]);
    for figure in
        ["/runs", "/failed/p50", "/failed/p95", "/failed/max", "/exposed/p95", "/halted", "/halt_s/p95", "/held"]
    {
        assert!(bad.pointer(figure).is_some_and(Value::is_number), "{figure}: {bad}");
    }
    assert_eq!((bad["halted"].as_u64(), bad["false_halts"].as_u64()), (Some(4), Some(0)));
    assert!(bad["full_s"]["p95"].is_null(), "no bad rollout reached everybody: {bad}");
    assert!(bad["blind_spots"].as_array().is_some_and(|spots| spots.len() == 2));
    let good = json(&["--kind", "good", "--lane", "emergency", "--spike-x", "30", "--spike-stage", "2"]);
    assert!(good["full_s"]["p50"].is_number() && good["halt_s"]["p95"].is_null(), "{good}");
}

#[test]
fn one_case_for_people_has_both_rules_and_the_blind_spots() {
    let output = sim(&["--fail-share", "0.1"]);
    let text = String::from_utf8(output.stdout).expect("text");
    for words in [
        "content that kills 10 % of hosts at once",
        "statistic alone",
        "with bucket rule",
        "Blind spots",
        "Taken for granted",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn the_outage_is_replayed_beside_what_others_do_and_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let (svg, png) = (folder.path().join("a.svg"), folder.path().join("a.png"));
    let files = ["--svg", svg.to_str().expect("a name"), "--png", png.to_str().expect("a name")];
    let output = sim(&[&["--incident", "2024-07-19"], &files[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    assert!(row("all at once").contains(" 20000 "), "{text}");
    assert!(row("a tenth every 6 h").contains(" 2000 ") && row("waves").contains(" 28"), "{text}");
    let failed: f64 =
        row("watertight, standard lane").split_whitespace().nth(3).and_then(|n| n.parse().ok()).expect("a figure");
    assert!(failed <= 10.0, "{text}");
    assert!(text.contains("04:10:") || text.contains("04:11:"), "the halt has its time: {text}");
    assert!(std::fs::read_to_string(svg).expect("a picture").contains("at 78 min: 20000 hosts failed"));
    assert!(std::fs::read(png).expect("a picture").starts_with(b"\x89PNG"));
}

#[test]
fn arguments_that_fit_no_rollout_are_refused() {
    for args in [
        ["--fail-share", "1.5"],
        ["--hosts", "0"],
        ["--latency-s", "-1"],
        ["--incident", "2024-07-20"],
        ["--spike-x", "nan"],
    ] {
        assert_eq!(sim(&args).status.code(), Some(2), "{args:?}");
    }
    for (option, value, why) in [
        ("--spike-x", "1001", "expected 0 to 1000"),
        ("--background-x", "1e9", "expected 0 to 1000"),
        ("--spike-stage", "99", "a rollout to 20000 hosts has 7 stages"),
    ] {
        let refused = sim(&[option, value]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(option) && said.contains(value) && said.contains(why), "{said}");
    }
}
