//! Lists the rule files under `linux/` and generates the table that `src/lib.rs` embeds, so that adding a rule is adding
//! two files and nothing else. A rule without its events stops the build: what nobody tried must not ship.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Ending of the file that holds the events a rule must and must not fire on.
const TESTS_ENDING: &str = ".tests.yml";

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    println!("cargo::rerun-if-changed=linux");
    let mut files = Vec::new();
    collect(&root.join("linux"), &mut files)?;
    files.sort();

    let mut table = String::from("&[\n");
    for rule in &files {
        println!("cargo::rerun-if-changed={}", rule.display());
        let tests = rule.with_extension("tests.yml");
        if !tests.is_file() {
            println!("cargo::error={} has no events beside it: write {}", rule.display(), tests.display());
            continue;
        }
        println!("cargo::rerun-if-changed={}", tests.display());
        let path = rule.strip_prefix(&root).map_err(io::Error::other)?;
        writeln!(
            table,
            "    Shipped {{ path: {path:?}, source: include_str!({rule:?}), tests: include_str!({tests:?}) }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    fs::write(out.join("shipped.rs"), table)
}

/// Adds every rule file below `dir`, at any depth, to `files`.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", dir.display());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "yml")
            && !path.to_string_lossy().ends_with(TESTS_ENDING)
        {
            files.push(path);
        }
    }
    Ok(())
}
