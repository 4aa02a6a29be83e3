//! What every shipped rule must be before any engine looks at it: named, identified, tagged, explained, written only for
//! fields that this sensor sends, and held to its word by events that must and must not fire it.
#![allow(clippy::panic, reason = "a test's panic is its verdict; these functions serve tests alone")]

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use serde_norway::Value;
use watertight_rules::{shipped, Shipped};

/// Events of each kind that a rule needs. Two, so that a rule can't be fitted to a single example.
const EVENTS_MIN: usize = 2;

/// Fields that the sensor sends, per Sigma category.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "process_creation",
        &[
            "Image",
            "CommandLine",
            "CurrentDirectory",
            "User",
            "UserId",
            "LogonId",
            "ProcessId",
            "ProcessGuid",
            "ParentImage",
            "ParentCommandLine",
            "ParentProcessId",
            "ParentProcessGuid",
            "ParentUser",
            "Interpreter",
            "ContainerId",
            "CgroupPath",
            "Memfd",
            "Deleted",
            "EffectiveUserId",
        ],
    ),
    ("process_termination", &["Image", "ExitCode", "Signal"]),
    ("process_access", &["SourceImage", "TargetImage", "Access", "User"]),
    ("file_event", &["TargetFilename", "Image", "User", "Operation", "LinkTarget", "ProcessGuid", "ProcessId"]),
    ("file_rename", &["SourceFilename", "TargetFilename", "Image", "User"]),
    ("file_delete", &["TargetFilename", "Image", "User"]),
    ("file_change", &["TargetFilename", "Operation", "Mode", "Attribute", "Image", "User"]),
    ("pipe_created", &["PipeName", "Image", "User"]),
    (
        "network_connection",
        &[
            "Image",
            "DestinationIp",
            "DestinationPort",
            "SourceIp",
            "SourcePort",
            "Protocol",
            "Initiated",
            "Operation",
            "User",
            "CommandLine",
            "ProcessGuid",
        ],
    ),
    ("image_load", &["ImageLoaded", "Image", "Memfd", "Operation"]),
    ("driver_load", &["ModuleName", "ImageLoaded", "Operation", "Image"]),
    (
        "kernel_event",
        &[
            "Operation",
            "Image",
            "CommandLine",
            "User",
            "Source",
            "Target",
            "FsType",
            "Capabilities",
            "OldUserId",
            "NewUserId",
        ],
    ),
];

const LEVELS: &[&str] = &["informational", "low", "medium", "high", "critical"];

const TACTICS: &[&str] = &[
    "reconnaissance",
    "resource-development",
    "initial-access",
    "execution",
    "persistence",
    "privilege-escalation",
    "defense-evasion",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
];

fn yaml(text: &str, path: &str) -> Value {
    serde_norway::from_str(text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn text<'a>(rule: &'a Value, key: &str, path: &str) -> &'a str {
    rule[key].as_str().unwrap_or_else(|| panic!("{path}: {key} is missing or not text"))
}

/// What holds the log source and detection of a rule: itself, or each stage of a sequence.
fn parts_of(rule: &Value) -> Vec<&Value> {
    match rule["correlation"]["stages"].as_sequence() {
        Some(stages) => stages.iter().collect(),
        None => vec![rule],
    }
}

fn category_of(rule: &Value, path: &str) -> String {
    text(&rule["logsource"], "category", path).to_owned()
}

fn fields_of(category: &str, path: &str) -> &'static [&'static str] {
    FIELDS
        .iter()
        .find(|(name, _)| *name == category)
        .map(|(_, fields)| *fields)
        .unwrap_or_else(|| panic!("{path}: the sensor has no category {category:?}"))
}

/// Calls `seen` with every `Field|modifier` key and its value, at any depth of a selection.
fn for_each_predicate(selection: &Value, seen: &mut dyn FnMut(&str, &Value)) {
    match selection {
        Value::Sequence(alternatives) => alternatives.iter().for_each(|each| for_each_predicate(each, seen)),
        Value::Mapping(predicates) => {
            for (key, value) in predicates {
                seen(key.as_str().expect("a field name is text"), value);
            }
        }
        other => panic!("a selection is a mapping or a list of mappings, not {other:?}"),
    }
}

/// A file may have several rules.
fn for_each_rule(mut check: impl FnMut(&Shipped, &Value)) {
    for shipped in shipped() {
        for document in serde_norway::Deserializer::from_str(shipped.source) {
            let rule = Value::deserialize(document).unwrap_or_else(|error| panic!("{}: {error}", shipped.path));
            check(shipped, &rule);
        }
    }
}

/// The cases of a rule: those that name it, or, where it is alone in its file, all.
fn cases_of<'c>(cases: &'c [Value], id: &str) -> Vec<&'c Value> {
    cases.iter().filter(|case| case["rule"].as_str().is_none_or(|of| of == id)).collect()
}

fn is_tactic(tag: &str) -> bool {
    TACTICS.contains(&tag)
}

/// `t1059` or `t1059.004`.
fn is_technique(tag: &str) -> bool {
    let Some(number) = tag.strip_prefix('t') else { return false };
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    match number.split_once('.') {
        None => digits(number, 4),
        Some((technique, part)) => digits(technique, 4) && digits(part, 3),
    }
}

fn is_uuid_v4(id: &str) -> bool {
    let parts: Vec<&str> = id.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.concat().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && parts[2].starts_with('4')
        && parts[3].starts_with(['8', '9', 'a', 'b'])
}

#[test]
fn there_are_rules_and_they_are_ordered_by_path() {
    assert!(shipped().len() >= 45, "only {} rules are embedded", shipped().len());
    assert!(shipped().is_sorted_by_key(|rule| rule.path));
}

#[test]
fn every_id_is_a_version_4_uuid_that_no_other_rule_has() {
    let mut owners = BTreeMap::new();
    for_each_rule(|shipped, rule| {
        let id = text(rule, "id", shipped.path).to_owned();
        assert!(is_uuid_v4(&id), "{}: {id:?} is no version 4 uuid", shipped.path);
        if let Some(other) = owners.insert(id, shipped.path) {
            panic!("{} has the id of {other}", shipped.path);
        }
    });
}

#[test]
fn every_title_is_short_and_unique() {
    let mut titles = BTreeSet::new();
    for_each_rule(|shipped, rule| {
        let title = text(rule, "title", shipped.path).to_owned();
        assert!(title.chars().count() <= 100, "{}: the title is longer than a line of a list", shipped.path);
        assert!(titles.insert(title), "{}: another rule has this title", shipped.path);
    });
}

#[test]
fn every_rule_says_who_wrote_it_under_which_terms_why_it_matters_and_when_it_errs() {
    for_each_rule(|shipped, rule| {
        let path = shipped.path;
        assert_eq!(text(rule, "author", path), "Watertight", "{path}");
        assert_eq!(text(rule, "license", path), "Apache-2.0", "{path}");
        assert!(matches!(text(rule, "status", path), "experimental" | "test" | "stable"), "{path}: status");
        assert!(text(rule, "description", path).len() >= 60, "{path}: the description explains too little");
        assert!(LEVELS.contains(&text(rule, "level", path)), "{path}: level");
        for part in parts_of(rule) {
            assert_eq!(text(&part["logsource"], "product", path), "linux", "{path}");
        }
        assert_eq!(text(rule, "date", path).len(), "2026/11/21".len(), "{path}: date");
        assert!(rule["falsepositives"].as_sequence().is_some_and(|list| !list.is_empty()), "{path}: falsepositives");
    });
}

#[test]
fn every_rule_is_tagged_with_a_technique_and_with_the_tactic_of_its_folder() {
    for_each_rule(|shipped, rule| {
        let path = shipped.path;
        let folder = path.split('/').nth(1).expect("rules lie in linux/<tactic>/").replace('_', "-");
        let tags: Vec<&str> = rule["tags"]
            .as_sequence()
            .unwrap_or_else(|| panic!("{path}: tags"))
            .iter()
            .map(|tag| tag.as_str().and_then(|tag| tag.strip_prefix("attack.")).expect("a tag begins with attack."))
            .collect();
        for tag in &tags {
            assert!(is_tactic(tag) || is_technique(tag), "{path}: attack.{tag} is neither tactic nor technique");
        }
        assert!(tags.iter().any(|tag| is_technique(tag)), "{path}: no technique");
        assert!(tags.contains(&folder.as_str()), "{path}: not tagged attack.{folder}");
    });
}

#[test]
fn every_file_name_is_lower_case_words_joined_by_underscores() {
    for rule in shipped() {
        let name = rule.path.rsplit('/').next().and_then(|name| name.strip_suffix(".yml")).expect("a .yml file");
        let is_slug = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        assert!(is_slug && !name.starts_with('_') && !name.ends_with('_') && !name.contains("__"), "{}", rule.path);
    }
}

#[test]
fn no_rule_asks_for_a_field_that_its_category_does_not_have() {
    for_each_rule(|shipped, rule| {
        for part in parts_of(rule) {
            let fields = fields_of(&category_of(part, shipped.path), shipped.path);
            for (name, selection) in part["detection"].as_mapping().expect("a detection is a mapping") {
                if name.as_str() == Some("condition") {
                    continue;
                }
                for_each_predicate(selection, &mut |key, _| {
                    let field = key.split('|').next().unwrap_or(key);
                    assert!(fields.contains(&field), "{}: {name:?} reads {field}", shipped.path);
                });
            }
        }
    });
}

#[test]
fn every_regular_expression_is_one_that_linear_time_engines_accept() {
    for_each_rule(|shipped, rule| {
        let detections = parts_of(rule).into_iter().map(|part| part["detection"].as_mapping());
        for (_, selection) in detections.flat_map(|detection| detection.expect("a detection is a mapping")) {
            if selection.is_string() {
                continue;
            }
            for_each_predicate(selection, &mut |key, value| {
                if !key.split('|').any(|modifier| modifier == "re") {
                    return;
                }
                let patterns = match value {
                    Value::Sequence(patterns) => patterns.clone(),
                    one => vec![one.clone()],
                };
                for pattern in &patterns {
                    let pattern = pattern.as_str().expect("a pattern is text");
                    if let Err(error) = regex::Regex::new(pattern) {
                        panic!("{}: {key}: {error}", shipped.path);
                    }
                }
            });
        }
    });
}

#[test]
fn every_rule_has_events_that_fire_it_and_events_that_do_not() {
    for_each_rule(|shipped, rule| {
        let path = shipped.path;
        let tests = yaml(shipped.tests, path);
        let categories: Vec<String> = parts_of(rule).into_iter().map(|part| category_of(part, path)).collect();
        for kind in ["fires", "silent"] {
            let cases = tests[kind].as_sequence().unwrap_or_else(|| panic!("{path}: no list {kind}"));
            let events = cases_of(cases, text(rule, "id", path));
            assert!(events.len() >= EVENTS_MIN, "{path}: {kind} has {} events, not {EVENTS_MIN}", events.len());
            let told = events.iter().copied().flat_map(|case| match case["events"].as_sequence() {
                Some(several) => several.iter().collect(),
                None => vec![case],
            });
            for event in told {
                let category = text(event, "category", path).to_owned();
                assert!(categories.contains(&category), "{path}: an event of another category");
                let fields = fields_of(&category, path);
                for (field, _) in event["event"].as_mapping().unwrap_or_else(|| panic!("{path}: {kind} event")) {
                    let field = field.as_str().expect("a field name is text");
                    assert!(fields.contains(&field), "{path}: a {kind} event has {field}");
                }
            }
        }
    });
}
