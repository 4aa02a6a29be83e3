//! Whoever reads `run -o json` finds each line that is no event, and each of its fields, in the reference.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
/// Kinds of lines that are no events and that every run has.
const LINES: [&str; 4] = ["matrix", "sandbox", "content", "summary"];
/// Fields whose own fields are names of events and rings, not of the format.
const COUNTED_BY_NAME: [&str; 2] = ["events", "lost"];

/// Every name of a field of this value, also within lists and objects.
fn names(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                found.push(name.clone());
                if !COUNTED_BY_NAME.contains(&name.as_str()) {
                    names(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, found)),
        _ => {}
    }
}

/// The part of the reference below the heading of this kind.
fn section<'r>(reference: &'r str, kind: &str) -> Option<&'r str> {
    let (_, below) = reference.split_once(&format!("\n## `{kind}`"))?;
    Some(below.split_once("\n## ").map_or(below, |(section, _)| section))
}

#[test]
fn each_line_that_is_no_event_is_in_the_reference_with_each_of_its_fields() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("the reference");
    let (reference, events) = (read("lines.md"), read("events.md"));
    let state = tempfile::TempDir::new().expect("a folder");
    let mut command = Command::new(BINARY);
    command.args(["run", "-o", "json", "--for", "1s", "--mute", "uid=1", "--loader", "/nonexistent/loader", "--state"]);
    let output = command.arg(state.path()).stdin(Stdio::null()).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut seen = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let kind = line["kind"].as_str().expect("every line has one").to_owned();
        if kind == "alert" || events.contains(&format!("\n| `{kind}` |")) {
            continue;
        }
        let section = section(&reference, &kind);
        let mut fields = Vec::new();
        names(&line, &mut fields);
        let missing: Vec<_> = fields
            .into_iter()
            .filter(|name| name != "kind" && !section.is_some_and(|section| section.contains(&format!("`{name}`"))))
            .collect();
        assert!(section.is_some() && missing.is_empty(), "{kind}: {missing:?} are not in the reference");
        seen.push(kind);
    }
    assert!(LINES.iter().all(|kind| seen.iter().any(|seen| seen == kind)), "{seen:?}");
    assert!(section(&reference, "alert").is_some());
}
