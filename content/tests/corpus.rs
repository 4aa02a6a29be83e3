//! The public Sigma rules and their regression events, where they are at hand: outside data that we did not write and do not
//! keep. `meaning.rs` holds the same promises on data of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use watertight_content::rule::LogSource;
use watertight_content::sigma::detect::Detector;
use watertight_content::sigma::verdict::{rows, Supply};
use watertight_content::sigma::{load_dirs, Library, Reason};
use watertight_engine::Image;

const LIVE: [&str; 4] = ["rules", "rules-emerging-threats", "rules-threat-hunting", "rules-compliance"];

/// The corpus, or `None` with a line that says so.
fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let root = std::env::var_os("WATERTIGHT_CORPORA").map_or(beside, PathBuf::from).join("sigma");
    if root.join("rules").is_dir() {
        return Some(root);
    }
    println!("skipped: no corpus");
    None
}

fn live_rules(root: &Path) -> Library {
    load_dirs(LIVE.map(|folder| root.join(folder)))
}

#[test]
fn every_live_rule_has_a_verdict_and_only_those_with_placeholders_are_rejected() {
    let Some(root) = corpus() else { return };
    let mut library = live_rules(&root);
    assert!(library.unreadable.is_empty(), "{:?}", library.unreadable);
    let others: Vec<String> = library
        .rejections
        .iter()
        .filter(|rejection| !matches!(rejection.reason, Reason::NoPlaceholderValue { .. }))
        .map(ToString::to_string)
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(library.rejections.len(), 2);
    let verdicts = rows(&library, &Supply::default());
    assert_eq!(verdicts.len(), library.rules.len() + library.rejections.len());
    library.image().expect("the compiler accepts what the reader accepts");
    println!("{} rules, {} rejected", verdicts.len(), library.rejections.len());
}

#[test]
fn every_regression_event_fires_its_rule() {
    let Some(root) = corpus() else { return };
    let mut library = live_rules(&root);
    let image = library.image().expect("the compiler accepts what the reader accepts");
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    let mut cases = BTreeMap::new();
    collect(&root.join("regression_data"), &mut cases);
    assert!(!cases.is_empty());
    let mut missed = Vec::new();
    for (rule, path) in &cases {
        let text = std::fs::read_to_string(path).expect("a readable case");
        let events = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}')).into_iter::<Json>();
        let mut fired = BTreeSet::new();
        for event in events.flat_map(|event| match event.expect("JSON") {
            Json::Array(items) => items,
            other => vec![other],
        }) {
            for (logsource, fields) in adapted(&event) {
                fired.extend(detector.event(logsource, &fields, false).into_iter().map(|hit| hit.rule));
            }
        }
        if !fired.contains(rule) {
            missed.push(path.display().to_string());
        }
    }
    println!("{} regression cases, {} missed", cases.len(), missed.len());
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Every case's rule id (the name of its file) and its events.
fn collect(folder: &Path, cases: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, cases);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            cases.insert(stem, path);
        }
    }
}

/// A Windows event as rules see it: its data fields with spaces taken out of their names, and the log sources it stands for.
fn adapted(event: &Json) -> Vec<(LogSource, Json)> {
    let event = event.get("Event").unwrap_or(event);
    let system = event.get("System").cloned().unwrap_or_default();
    let id = match &system["EventID"] {
        Json::Object(entries) => entries.get("#text").cloned().unwrap_or_default(),
        plain => plain.clone(),
    };
    let mut fields = Map::new();
    for part in ["EventData", "UserData"] {
        if let Some(Json::Object(entries)) = event.get(part) {
            for (name, value) in entries {
                flatten(name, value, &mut fields);
            }
        }
    }
    fields.insert("EventID".into(), id.clone());
    for name in ["Channel", "Computer", "Level", "Task", "Opcode", "Keywords"] {
        if let Some(value) = system.get(name) {
            fields.insert(name.into(), value.clone());
        }
    }
    if let Some(provider) = system.pointer("/Provider/#attributes/Name") {
        fields.insert("Provider_Name".into(), provider.clone());
    }
    let channel = system["Channel"].as_str().unwrap_or_default();
    let number = id.as_u64().or_else(|| id.as_str().and_then(|text| text.parse().ok())).unwrap_or_default();
    let fields = Json::Object(fields);
    logsources(channel, number).into_iter().map(|logsource| (logsource, fields.clone())).collect()
}

fn flatten(name: &str, value: &Json, fields: &mut Map<String, Json>) {
    match value {
        Json::Object(entries) if name != "#attributes" => {
            for (inner, value) in entries {
                flatten(inner, value, fields);
            }
        }
        Json::Object(_) => {}
        other => {
            fields.insert(name.replace(' ', ""), other.clone());
        }
    }
}

fn logsources(channel: &str, id: u64) -> Vec<LogSource> {
    let categories: &[&str] = match (channel, id) {
        ("Microsoft-Windows-Sysmon/Operational", 1) => &["process_creation"],
        ("Microsoft-Windows-Sysmon/Operational", 2) => &["file_change"],
        ("Microsoft-Windows-Sysmon/Operational", 3) => &["network_connection"],
        ("Microsoft-Windows-Sysmon/Operational", 5) => &["process_termination"],
        ("Microsoft-Windows-Sysmon/Operational", 6) => &["driver_load"],
        ("Microsoft-Windows-Sysmon/Operational", 7) => &["image_load"],
        ("Microsoft-Windows-Sysmon/Operational", 8) => &["create_remote_thread"],
        ("Microsoft-Windows-Sysmon/Operational", 10) => &["process_access"],
        ("Microsoft-Windows-Sysmon/Operational", 11) => &["file_event"],
        ("Microsoft-Windows-Sysmon/Operational", 12) => &["registry_event", "registry_add", "registry_delete"],
        ("Microsoft-Windows-Sysmon/Operational", 13) => &["registry_event", "registry_set"],
        ("Microsoft-Windows-Sysmon/Operational", 14) => &["registry_event", "registry_rename"],
        ("Microsoft-Windows-Sysmon/Operational", 15) => &["create_stream_hash"],
        ("Microsoft-Windows-Sysmon/Operational", 17 | 18) => &["pipe_created"],
        ("Microsoft-Windows-Sysmon/Operational", 22) => &["dns_query"],
        ("Microsoft-Windows-Sysmon/Operational", 23 | 26) => &["file_delete"],
        ("Microsoft-Windows-PowerShell/Operational", 4103) => &["ps_module"],
        ("Microsoft-Windows-PowerShell/Operational", 4104) => &["ps_script"],
        ("Security", 4688) => &["process_creation"],
        _ => &[],
    };
    let service = match channel {
        "Microsoft-Windows-Sysmon/Operational" => "sysmon",
        "Microsoft-Windows-PowerShell/Operational" => "powershell",
        "Microsoft-Windows-Windows Defender/Operational" => "windefend",
        "Microsoft-Windows-TaskScheduler/Operational" => "taskscheduler",
        "Microsoft-Windows-WMI-Activity/Operational" => "wmi",
        "Security" => "security",
        "System" => "system",
        "Application" => "application",
        other => other,
    };
    let source = |category: Option<&str>| LogSource {
        category: category.map(str::to_owned),
        product: Some("windows".to_owned()),
        service: Some(service.to_owned()),
    };
    if categories.is_empty() {
        return vec![source(None)];
    }
    categories.iter().map(|category| source(Some(category))).collect()
}
