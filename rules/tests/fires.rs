//! Every shipped rule, read and evaluated by our own compiler and engine, keeps its word on the events beside it.

use serde::Deserialize as _;
use serde_json::{json, Value};
use watertight_content::sigma::{detect::Detector, load_texts, Library, Source};
use watertight_engine::Image;
use watertight_rules::{shipped, Shipped};

/// When a case begins, in milliseconds since 1970.
const BEGIN_MS: u64 = 1_767_225_600_000;

fn library() -> Library {
    load_texts(shipped().iter().map(|rule| Source { file: rule.path, text: rule.source }))
}

#[test]
fn the_content_compiler_refuses_no_shipped_rule() {
    let library = library();
    assert!(library.rejections.is_empty(), "{:#?}", library.rejections);
    let documents: usize = shipped().iter().map(|file| documents(file).len()).sum();
    assert_eq!(library.rules.len() + library.correlations.len(), documents);
}

/// The rules of a file.
fn documents(file: &Shipped) -> Vec<Value> {
    let documents = serde_norway::Deserializer::from_str(file.source);
    documents.map(|document| Value::deserialize(document).expect("a rule is YAML")).collect()
}

/// The rule that a case is for: the one that it names, or the only one of its file.
fn rule_of<'r>(case: &Value, rules: &'r [Value]) -> &'r Value {
    let named = rules.iter().find(|rule| rules.len() == 1 || case["rule"] == rule["id"]);
    named.expect("a case of a file with several rules names one")
}

#[test]
fn every_rule_fires_on_what_it_must_and_stays_silent_on_what_it_must_not() {
    let image = library().image().expect("the shipped rules compile");
    let image = Image::open(&image).expect("compiled here");
    let mut wrong = Vec::new();
    for rule in shipped() {
        let sources = documents(rule);
        let tests: Value = serde_norway::from_str(rule.tests).expect("events are YAML");
        for (kind, must_fire) in [("fires", true), ("silent", false)] {
            for case in tests[kind].as_array().expect("a list of events") {
                let events = case["events"].as_array().cloned().unwrap_or_else(|| vec![case.clone()]);
                // Each case begins with nothing that came before.
                let mut detector = Detector::new(image);
                let (mut hits, mut at_ms) = (Vec::new(), BEGIN_MS);
                for event in &events {
                    at_ms += event["after_ms"].as_u64().unwrap_or(0);
                    let line = json!({
                        "time": at_ms,
                        "logsource": { "product": "linux", "category": event["category"] },
                        "event": event["event"],
                    });
                    hits.extend(detector.line(&line.to_string(), false).expect("a well-formed event"));
                }
                if hits.iter().any(|hit| rule_of(case, &sources)["id"] == hit.rule.as_str()) != must_fire {
                    wrong.push(format!("{} ({kind}): {case}", rule.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} events judged wrongly:\n{}", wrong.len(), wrong.join("\n"));
}

/// No name below /proc and /sys can be taken by a rename; a ransom note is told by its text's arrival, not by its place.
const NO_PLACES: [&str; 2] =
    ["linux/privilege_escalation/container_core_pattern.yml", "linux/impact/ransom_note_written.yml"];

#[test]
fn a_file_moved_into_place_is_told_wherever_a_written_one_is() {
    let image = library().image().expect("the shipped rules compile");
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    let mut missed = Vec::new();
    for rule in shipped().iter().filter(|rule| !NO_PLACES.contains(&rule.path)) {
        let sources = documents(rule);
        let tests: Value = serde_norway::from_str(rule.tests).expect("events are YAML");
        for case in tests["fires"].as_array().expect("a list of events") {
            if rule_of(case, &sources)["logsource"]["category"] != "file_event" {
                continue;
            }
            let written = &case["event"];
            let line = json!({
                "logsource": { "product": "linux", "category": "file_rename" },
                "event": {
                    "SourceFilename": "/tmp/a", "TargetFilename": written["TargetFilename"],
                    "Image": "/usr/bin/mv", "User": written["User"],
                },
            });
            if detector.line(&line.to_string(), false).expect("a well-formed event").is_empty() {
                missed.push(format!("{}: {}", rule.path, written["TargetFilename"]));
            }
        }
    }
    assert!(missed.is_empty(), "{} renames into place fire nothing:\n{}", missed.len(), missed.join("\n"));
}
