//! Windows kernel dumps: one real small dump where the corpora are, and dumps by a writer of ours, which knows nothing of the
//! reader. That the writer is right is checked by somebody else's reader.

mod arm64;
mod compiled;
mod driver;
mod evidence;
mod hive;
mod hostile;
mod machine;
#[path = "../mutants/mod.rs"]
mod mutants;
mod partial;
mod processor;
mod real;
mod scene;
mod seed;
#[path = "../tools/mod.rs"]
mod tools;
mod writer;

use std::path::Path;

use watertight_triage::{examine, Examined, Options, Report};

/// The one report of a file.
fn only_report(file: &Path) -> Report {
    let mut reports = Vec::new();
    assert_eq!(examine(file, &Options::default(), &mut |report| reports.push(report)), Examined::Found(1));
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

/// The report of a dump in memory.
fn report_of(dump: &[u8]) -> Report {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), dump).expect("written");
    only_report(file.path())
}

/// A fact by name.
fn fact<'a>(report: &'a Report, name: &str) -> Option<&'a str> {
    report.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str())
}
