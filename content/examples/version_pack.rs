//! Writes what a version of the image is known by: `cargo run -p watertight-content --example version_pack`.
//!
//! From `content/tests/versions/<version>/source` and `events.jsonl` it writes `rules.pack` and `verdicts.jsonl` of the version that this
//! compiler makes. What is there is never written anew: a version is what it was when it came out. To find out what another compiler
//! would make of it, remove the two files first, and commit neither.

#[path = "../tests/support/versions.rs"]
mod versions;

#[allow(dead_code)] // what only the tests need
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;

use versions::{PACK, VERDICTS};
use watertight_content::pack::{build, parse_release, read_folder, Sources, MANIFEST};
use watertight_content::sigma::Source;
use watertight_content_pack::Pack;
use watertight_engine::image::layout::VERSION;

fn main() -> ExitCode {
    let folder = versions::versions().join(VERSION.to_string());
    let written = match folder.join(PACK).exists() {
        true => Err(format!("{} has its pack: a version is what it was when it came out", folder.display()).into()),
        false => write(&folder),
    };
    match written {
        Ok(words) => {
            let _ = writeln!(std::io::stdout(), "{words}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path) -> Result<String, Box<dyn std::error::Error>> {
    let sources = read_folder(&folder.join("source"))?;
    let release = parse_release(Source { file: MANIFEST, text: &sources.manifest })?;
    let lend = |files: &'static [(String, String)]| files.iter().map(|(file, text)| Source { file, text }).collect();
    let (rules, tests) = (sources.rules.leak(), sources.tests.leak());
    let policy = support::policy();
    let built = build(&Sources { release: &release, rules: lend(rules), tests: lend(tests), policy: Some(&policy) })?;
    let pack = Pack::open(&built.bytes)?;
    let verdicts = versions::verdicts(pack.rules(), folder);
    fs::write(folder.join(PACK), &built.bytes)?;
    fs::write(folder.join(VERDICTS), &verdicts)?;
    Ok(format!("{}: {} bytes, {} verdicts", folder.display(), built.bytes.len(), verdicts.lines().count()))
}
