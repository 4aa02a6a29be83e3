//! Titles, types and false alarms on the public corpora, where they are there.

use std::fs;
use std::path::{Path, PathBuf};

use watertight_triage::report::Report;

/// Starts of titles that are about the corpus' own fuzzer and not about a kernel.
const FUZZER: [&str; 4] = ["SYZFAIL", "SYZFATAL", "trusty", "unexpected kernel reboot"];

/// The corpus, or `None` with a line that says so.
fn corpus(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let root = std::env::var_os("WATERTIGHT_CORPORA").map_or(beside, PathBuf::from).join("oops").join(name);
    if root.is_dir() {
        return Some(root);
    }
    println!("skipped: no corpus");
    None
}

fn reports(text: &str) -> Vec<Report> {
    let mut reports = Vec::new();
    watertight_triage::linux::read(text, &mut |report| reports.push(report));
    reports
}

/// Title, type and log of a file: header lines, an empty line, the log, perhaps a report that others made of it.
fn split(text: &str) -> (String, String, &str) {
    let (mut title, mut class) = (String::new(), String::new());
    let mut rest = text;
    while let Some((line, after)) = rest.split_once('\n') {
        if line.starts_with('#') {
            rest = after;
            continue;
        }
        let is_key = |key: &str| key.bytes().all(|byte| byte.is_ascii_uppercase());
        let Some((key, value)) = line.split_once(':').filter(|(key, _)| is_key(key)) else { break };
        match key {
            "TITLE" => value.trim().clone_into(&mut title),
            "TYPE" => value.trim().clone_into(&mut class),
            _ => {}
        }
        rest = after;
    }
    let log = rest.split("\nREPORT:\n").next().unwrap_or(rest);
    (title, class, log)
}

#[test]
fn the_public_logs_get_their_titles_and_types_and_no_false_alarm() {
    let Some(folder) = corpus("report") else { return };
    let (mut titled, mut exact, mut typed, mut right, mut false_alarms) = (0_u32, 0_u32, 0_u32, 0_u32, Vec::new());
    for file in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let text = String::from_utf8_lossy(&fs::read(&file).expect("a file")).replace('\r', "");
        let (title, class, log) = split(&text);
        if FUZZER.iter().any(|words| title.starts_with(words)) || title.contains("go runtime") {
            continue;
        }
        let first = reports(log).into_iter().next();
        let found = first.as_ref().and_then(|report| report.title.clone());
        if title.is_empty() {
            false_alarms.extend(found);
            continue;
        }
        titled += 1;
        exact += u32::from(found.as_ref() == Some(&title));
        if !class.is_empty() {
            typed += 1;
            right += u32::from(first.and_then(|report| report.type_) == Some(class));
        }
    }
    println!("titles {exact} of {titled}, types {right} of {typed}, false alarms {}", false_alarms.len());
    assert!(false_alarms.is_empty(), "{false_alarms:?}");
    assert!(
        exact * 100 >= titled * 95 && right * 100 >= typed * 95,
        "titles {exact} of {titled}, types {right} of {typed}"
    );
}

/// Logs of which another parser says something else, and why it is left so.
const DIFFERS: &[(&str, &str)] = &[
    ("gitlog-01", "two crashes, whose frames it counts together"),
    ("gitlog-02", "two crashes, whose frames it counts together"),
    ("rhbz-836206", "two crashes, whose frames it counts together; a line in between is damaged"),
    ("rhbz-1040900-ppc64-1", "the instruction pointer is a frame here"),
    ("rhbz-1040900-s390x-1", "the instruction pointer is a frame here"),
    ("rhbz-1040900-s390x-2", "the instruction pointer is a frame here"),
    ("rhbz-1518943", "the instruction pointer is a frame here"),
    ("rhbz-827868", "the list of modules is broken by an end of line without a front"),
    ("rhbz-827868-modified", "the list of modules is broken by an end of line without a front"),
];

#[test]
fn frames_taint_and_modules_agree_with_another_parser_or_the_difference_has_a_reason() {
    let Some(folder) = corpus("satyr") else { return };
    let expected = fs::read_to_string(folder.join("expected.json")).expect("the expected results");
    let expected: serde_json::Value = serde_json::from_str(&expected).expect("JSON");
    let files = expected["files"].as_object().expect("files by name");
    // What compilers put behind a name is no part of it here.
    let plain = |name: &serde_json::Value| name.as_str().map(|name| name.split('.').next().unwrap_or(name).to_owned());
    let (mut stated, mut differing) = (0_u32, Vec::new());
    for (name, want) in files {
        let text = fs::read_to_string(folder.join(name)).expect("a log");
        let found = reports(&text);
        assert!(!found.is_empty(), "{name}: nothing found");
        let Some(report) = found.first() else { continue };
        let function =
            |frame: Option<&watertight_triage::report::Frame>| frame.and_then(|frame| frame.function.clone());
        let count = |number: usize| u64::try_from(number).ok();
        let (frames, first, last) = (&report.frames, plain(&want["first_function"]), plain(&want["last_function"]));
        let agrees = [
            want["frames"].is_null() || want["frames"].as_u64() == count(frames.len()),
            first.is_none() || first == function(frames.first()),
            last.is_none() || last == function(frames.last()),
            want["modules"].is_null() || want["modules"].as_u64() == count(report.modules.len()),
            want["taint_flags"].is_null() || want["taint_flags"].as_u64() == count(report.taint.len()),
        ];
        stated += u32::from(!want["frames"].is_null());
        if agrees.contains(&false) {
            differing.push(name.as_str());
        }
    }
    println!(
        "{} of {} files agree in all that is stated, {stated} state frames",
        files.len() - differing.len(),
        files.len()
    );
    let mut known: Vec<&str> = DIFFERS.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    differing.sort_unstable();
    assert_eq!(differing, known);
}
