//! The page and the tests say the same: every incident has its page's part, and every test that a part names is there.

use std::collections::BTreeSet;
use std::path::Path;

/// Fewer would not be a museum.
const INCIDENTS_MIN: usize = 9;
/// What stands in this folder and is no incident.
const NO_INCIDENTS: [&str; 4] = ["main", "page", "place", "raw"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// `file::test` of every test in a source file.
fn tests_in(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a source file");
    let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
    let mut lines = text.lines().map(str::trim);
    let mut tests = Vec::new();
    while lines.by_ref().any(|line| line == "#[test]") {
        let line = lines.by_ref().find(|line| line.starts_with("fn ")).expect("a test is a function");
        let name = line.trim_start_matches("fn ").split('(').next().expect("a name");
        tests.push(format!("{stem}::{name}"));
    }
    tests
}

/// The parts of the page that have a table of layers: heading, and the names in the table's last column.
fn parts(page: &str) -> Vec<(&str, BTreeSet<&str>)> {
    let parts = page.split("\n## ").skip(1);
    let named = parts.map(|part| {
        let heading = part.lines().next().expect("a heading");
        let rows = part.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| layer"));
        let names = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
        (heading, names.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect())
    });
    named.filter(|(_, names): &(&str, BTreeSet<&str>)| !names.is_empty()).collect()
}

#[test]
fn every_incident_of_the_page_has_its_tests_and_every_test_its_incident() {
    let page = std::fs::read_to_string(root().join("docs/incidents.md")).expect("the page");
    let parts = parts(&page);
    let named: BTreeSet<&str> = parts.iter().flat_map(|(_, names)| names.iter().copied()).collect();

    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("cli/tests/incidents")).expect("this folder") {
        let path = entry.expect("a file").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        if NO_INCIDENTS.contains(&stem.as_str()) {
            continue;
        }
        let tests = tests_in(&path);
        assert!(tests.len() >= 2, "{stem}: two layers, each with its test");
        there.extend(tests);
    }
    there.extend(tests_in(&root().join("sensor/loader/tests/incidents.rs")));
    let guests = std::fs::read_to_string(root().join("lab/README.md")).expect("the table of claims");

    for name in &named {
        let is_in_guest = guests.contains(&format!("`{name}`"));
        assert!(there.contains(*name) || is_in_guest, "the page names {name}, which is no test");
    }
    let silent: Vec<&String> = there.iter().filter(|test| !named.contains(test.as_str())).collect();
    assert!(silent.is_empty(), "the page does not tell of {silent:?}");
    assert!(parts.len() >= INCIDENTS_MIN, "{} incidents", parts.len());
    for (heading, names) in &parts {
        assert!(names.len() >= 2, "{heading}: two layers at least");
    }
}
