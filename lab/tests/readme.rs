//! The README's table is the list of what the lab proves, so a test that is missing there is proof that nobody finds.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file in a folder, however deep.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the guest has tests");
    let paths = entries.map(|entry| entry.expect("a listable folder").path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn every_test_of_the_guest_is_in_the_table() {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(lab.join("README.md")).expect("the README is beside the manifest");
    let mut names = 0;
    let crashes = sources(&lab.join("src/crash"));
    for file in sources(&lab.join("guest/src/test")).into_iter().chain(crashes) {
        let source = fs::read_to_string(file).expect("a readable source");
        for name in source
            .replace("NAME: &str = \"", "name: \"")
            .split("name: \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            names += 1;
            assert!(readme.contains(&format!("`{name}`")), "{name} is not in lab/README.md");
        }
    }
    assert!(names > 0, "the way in which tests are declared has changed: this check finds none");
}
