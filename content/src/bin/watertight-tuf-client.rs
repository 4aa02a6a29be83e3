//! The update client by the command line that TUF's public conformance suite drives.
//!
//! ```text
//! watertight-tuf-client --metadata-dir D init ROOT
//! watertight-tuf-client --metadata-dir D --metadata-url U refresh
//! watertight-tuf-client --metadata-dir D --metadata-url U --target-name N... --target-base-url T --target-dir O download
//! ```
//!
//! Options may stand anywhere. Exit code 0, or 1 for whatever went wrong. What is trusted lies in D under names without versions; a
//! target lies in O under its path, percent-encoded to one name, so that none can lead out of O.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{bail, Context as _};
use watertight_content_repo::client::{Client, Limits, Target};
use watertight_content_repo::path::encode_name;
use watertight_content_repo::source::{HttpLimits, HttpSource};
use watertight_content_repo::store::{Folder, Store};
use watertight_content_repo::time::Moment;

/// A file of metadata that is given by hand.
const ROOT_SIZE_BYTES_MAX: u64 = 512 * 1024;

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads them the words are lost; the exit code is not.
            let _ = std::io::stderr().write_all(format!("watertight-tuf-client: {error:#}\n").as_bytes());
            ExitCode::from(1)
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let arguments = Arguments::parse(arguments)?;
    let metadata_dir = Path::new(arguments.one("--metadata-dir")?);
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    match words[..] {
        ["init", root] => init(metadata_dir, Path::new(root)),
        ["refresh"] => open(metadata_dir, &arguments, None)?.refresh(Moment::now()).context("refresh"),
        ["download"] => download(metadata_dir, &arguments),
        _ => bail!("expected `init ROOT`, `refresh` or `download`, got {words:?}"),
    }
}

fn init(metadata_dir: &Path, root: &Path) -> anyhow::Result<()> {
    let bytes = read(root).with_context(|| format!("reading {}", root.display()))?;
    Ok(Client::init(&Store::open(metadata_dir)?, &bytes)?)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > ROOT_SIZE_BYTES_MAX {
        return Err(std::io::Error::other("too large for a root"));
    }
    std::fs::read(path)
}

fn open(metadata_dir: &Path, arguments: &Arguments, targets_url: Option<&str>) -> anyhow::Result<Client> {
    let metadata_url = arguments.one("--metadata-url")?;
    let source = HttpSource::with_urls(metadata_url, targets_url.unwrap_or(metadata_url), None, HttpLimits::default())?;
    Ok(Client::open(Store::open(metadata_dir)?, source, None, Limits::default())?)
}

fn download(metadata_dir: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let names = arguments.options.get("--target-name").context("--target-name is missing")?;
    let target_dir = Path::new(arguments.one("--target-dir")?);
    let mut client = open(metadata_dir, arguments, Some(arguments.one("--target-base-url")?))?;
    client.refresh(Moment::now()).context("refresh")?;
    let files = Store::new(Folder::unlocked(target_dir)?); // the lock on the metadata is ours
    for name in names {
        let target = client.find(name, Moment::now())?.with_context(|| format!("no role names the target {name:?}"))?;
        let file = encode_name(name);
        if !is_there(&files, &file, &target) {
            files.put(&file, &client.download(&target)?)?;
        }
    }
    Ok(())
}

fn is_there(files: &Store, file: &str, target: &Target) -> bool {
    files.get(file, target.size_bytes()).ok().flatten().is_some_and(|bytes| target.check(&bytes).is_ok())
}

/// Options with their values, and what is no option.
#[derive(Debug, Default)]
struct Arguments {
    options: HashMap<String, Vec<String>>,
    words: Vec<String>,
}

const OPTIONS: [&str; 5] = ["--metadata-dir", "--metadata-url", "--target-name", "--target-base-url", "--target-dir"];

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut parsed = Self::default();
        while let Some(argument) = arguments.next() {
            if OPTIONS.contains(&argument.as_str()) {
                let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
                parsed.options.entry(argument).or_default().push(value);
            } else if argument.starts_with('-') {
                bail!("unknown option {argument}");
            } else {
                parsed.words.push(argument);
            }
        }
        Ok(parsed)
    }

    fn one(&self, option: &str) -> anyhow::Result<&str> {
        match self.options.get(option).map(Vec::as_slice) {
            Some([value]) => Ok(value),
            Some(_) => bail!("{option} is given more than once"),
            None => bail!("{option} is missing"),
        }
    }
}
