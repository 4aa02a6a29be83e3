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

#[test]
fn the_first_frame_taint_and_modules_agree_with_another_parser() {
    let Some(folder) = corpus("satyr") else { return };
    let expected = fs::read_to_string(folder.join("expected.json")).expect("the expected results");
    let expected: serde_json::Value = serde_json::from_str(&expected).expect("JSON");
    let files = expected["files"].as_object().expect("files by name");
    let (mut stated, mut agreed) = (0_u32, 0_u32);
    for (name, want) in files {
        let text = fs::read_to_string(folder.join(name)).expect("a log");
        let found = reports(&text);
        assert!(!found.is_empty(), "{name}: nothing found");
        let Some(report) = found.first() else { continue };
        let first = report.frames.first().and_then(|frame| frame.function.clone());
        let plain = want["first_function"].as_str().map(|name| name.split('.').next().unwrap_or(name).to_owned());
        let count = |number: usize| u64::try_from(number).expect("small");
        for (is_stated, agrees) in [
            (plain.is_some(), plain == first),
            (want["modules"].is_u64(), want["modules"].as_u64() == Some(count(report.modules.len()))),
            (want["taint_flags"].is_u64(), want["taint_flags"].as_u64() == Some(count(report.taint.len()))),
        ] {
            stated += u32::from(is_stated);
            agreed += u32::from(is_stated && agrees);
        }
    }
    println!("{agreed} of {stated} stated values agree, a report in each of {} files", files.len());
    assert!(agreed * 100 >= stated * 85, "{agreed} of {stated}");
}
