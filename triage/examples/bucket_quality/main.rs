//! How well buckets fit bugs: `bucket_quality [--json] [FOLDER]`, FOLDER with logs that have their title in front, as the public corpus
//! has; without one only over variants of bugs that are made here (`variants.rs`).
//!
//! The titles stand for bugs. B-cubed precision says how much of a bucket is one bug, recall how much of a bug is in one bucket. AUC is the
//! chance that two crashes of one bug get a higher score than two of different bugs. Beside the buckets stand the ways that one would
//! choose without them: the innermost function, the three innermost, and the likeness by which merges are suggested.

mod measure;
mod variants;

use std::collections::BTreeMap;
use std::path::Path;

use measure::{auc, b_cubed};
use watertight_triage::bucket::{assign, similarity, steady_name};
use watertight_triage::report::{Report, Trust};

/// A crash: its bug, and what it can be grouped by.
pub struct Crash {
    bug: String,
    bucket: String,
    calls: Vec<String>,
}

/// A way to group: its name, and the group of a crash.
type Grouping = (&'static str, fn(&Crash) -> String);

const GROUPINGS: [Grouping; 3] = [
    ("bucket b1", |one| one.bucket.clone()),
    ("top frame", |one| one.calls.first().cloned().unwrap_or_default()),
    ("top three frames", |one| one.calls.iter().take(3).cloned().collect::<Vec<_>>().join(" < ")),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_json = arguments.iter().any(|argument| argument == "--json");
    let made: Vec<Crash> = variants::all().filter_map(|(bug, text)| crash(&bug, &text)).collect();
    tell("variants of our own", &made, is_json);
    if let Some(folder) = arguments.iter().find(|argument| !argument.starts_with("--")) {
        tell("logs with titles", &with_titles(Path::new(folder)), is_json);
    }
}

fn with_titles(folder: &Path) -> Vec<Crash> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let texts = entries.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok());
    let texts = texts.map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', ""));
    let titled = texts.filter_map(|text| {
        let bug = text.lines().next()?.strip_prefix("TITLE: ")?.trim();
        let is_whole = !bug.is_empty() && !bug.contains("corrupted");
        is_whole.then(|| crash(bug, text.split_once("\n\n")?.1)).flatten()
    });
    titled.collect()
}

/// The first crash of a text.
fn crash(bug: &str, text: &str) -> Option<Crash> {
    let mut first: Option<Report> = None;
    watertight_triage::linux::read(text, &mut |report| {
        first.get_or_insert(report);
    });
    let mut report = first?;
    assign(&mut report);
    let trusted = report.frames.iter().filter(|frame| frame.trust > Trust::Scan);
    let calls = trusted.filter_map(|frame| frame.function.as_deref()).map(steady_name).collect();
    Some(Crash { bug: bug.to_owned(), bucket: report.bucket?.id, calls })
}

fn tell(of: &str, all: &[Crash], is_json: bool) {
    let mut bugs: BTreeMap<&str, usize> = BTreeMap::new();
    for one in all {
        *bugs.entry(one.bug.as_str()).or_default() += 1;
    }
    let repeated = bugs.values().filter(|count| **count > 1).count();
    if !is_json {
        println!("{of}: {} crashes of {} bugs, {repeated} of them with several", all.len(), bugs.len());
    }
    for (name, group) in GROUPINGS {
        let groups: Vec<String> = all.iter().map(group).collect();
        let (precision, recall) = b_cubed(all, &groups);
        let area = auc(all, |one, other| f64::from(u8::from(groups[one] == groups[other])));
        let f = 2.0 * precision * recall / (precision + recall);
        if is_json {
            println!(
                "{}",
                serde_json::json!({"of": of, "by": name, "crashes": all.len(), "bugs": bugs.len(),
                    "precision": precision, "recall": recall, "f": f, "auc": area})
            );
        } else {
            println!("  {name:<18} B-cubed precision {precision:.3}, recall {recall:.3}, F {f:.3}; pair AUC {area:.3}");
        }
    }
    let mut with: BTreeMap<String, usize> = BTreeMap::new();
    for call in all.iter().flat_map(|one| one.calls.iter().collect::<std::collections::BTreeSet<_>>()) {
        *with.entry(call.clone()).or_default() += 1;
    }
    let likeness = |one: usize, other: usize| similarity(&all[one].calls, &all[other].calls, &with, all.len());
    let area = auc(all, likeness);
    if is_json {
        println!(
            "{}",
            serde_json::json!({"of": of, "by": "likeness", "crashes": all.len(), "bugs": bugs.len(), "auc": area})
        );
    } else {
        println!("  {:<18} pair AUC {area:.3}", "likeness");
    }
}
