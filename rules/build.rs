//! The rule files under `linux/` to the table that `src/lib.rs` embeds and to the factory pack, so that adding a rule is adding
//! two files and nothing else. A rule without its events stops the build, and so does one that does not keep its word on them:
//! what nobody tried must not ship.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use watertight_content::pack::{build, parse_release, Release, Sources};
use watertight_content::sigma::Source;
use watertight_content_pack::Pack;

/// Ending of the file that holds the events a rule must and must not fire on.
const TESTS_ENDING: &str = ".tests.yml";

/// What the release is.
const MANIFEST: &str = "pack.yml";

/// A file by its path from this folder.
type File = (String, String);

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    println!("cargo::rerun-if-changed=linux");
    println!("cargo::rerun-if-changed={MANIFEST}");
    let mut files = Vec::new();
    collect(&root.join("linux"), &mut files)?;
    files.sort();

    let mut table = String::from("&[\n");
    let (mut rules, mut tests): (Vec<File>, Vec<File>) = (Vec::new(), Vec::new());
    for rule in &files {
        println!("cargo::rerun-if-changed={}", rule.display());
        let beside = rule.with_extension("tests.yml");
        if !beside.is_file() {
            println!("cargo::error={} has no events beside it: write {}", rule.display(), beside.display());
            continue;
        }
        println!("cargo::rerun-if-changed={}", beside.display());
        let path = rule.strip_prefix(&root).map_err(io::Error::other)?;
        writeln!(
            table,
            "    Shipped {{ path: {path:?}, source: include_str!({rule:?}), tests: include_str!({beside:?}) }},"
        )
        .map_err(io::Error::other)?;
        rules.push(read(&root, rule)?);
        tests.push(read(&root, &beside)?);
    }
    table.push_str("]\n");
    fs::write(out.join("shipped.rs"), table)?;
    let pack = factory(&read(&root, &root.join(MANIFEST))?, &rules, &tests)?;
    fs::write(out.join("factory.id"), Pack::open(&pack).map_err(io::Error::other)?.id())?;
    fs::write(out.join("factory.pack"), pack)
}

/// The rules as a pack, whose events have come out as they must.
fn factory(manifest: &File, rules: &[File], tests: &[File]) -> io::Result<Vec<u8>> {
    fn lend((file, text): &File) -> Source<'_> {
        Source { file, text }
    }
    let release: Release = parse_release(lend(manifest)).map_err(io::Error::other)?;
    let sources = Sources {
        release: &release,
        rules: rules.iter().map(lend).collect(),
        tests: tests.iter().map(lend).collect(),
        policy: None,
    };
    let built = build(&sources).map_err(io::Error::other)?;
    for warning in &built.warnings {
        println!("cargo::error={warning}");
    }
    Ok(built.bytes)
}

fn read(root: &Path, path: &Path) -> io::Result<File> {
    let name = path.strip_prefix(root).map_err(io::Error::other)?;
    Ok((name.to_string_lossy().into_owned(), fs::read_to_string(path)?))
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
