//! `watertight content publish`: signed documents and their files into a static folder, the timestamp last.

use std::path::{Path, PathBuf};

use serde_json::json;
use watertight_content_repo::key::SigningKey;
use watertight_content_repo::publish::{publish, OnlineKeys, Publication, PublishError};
use watertight_content_repo::time::Moment;

use super::passphrase::{PassphraseArgs, Passphrases};
use super::{answer, read, read_document, Form, CONFLICT, OK};

/// Publish signed documents and their files.
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// The folder; `metadata/` and `targets/` in it are what a web server serves.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// A signed root.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Signed top-level targets.
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,
    /// The signed `content` role.
    #[arg(long, value_name = "FILE")]
    content: Option<PathBuf>,
    /// The signed `director` role.
    #[arg(long, value_name = "FILE")]
    director: Option<PathBuf>,
    /// A pack or a plan that one of the documents names; files that are published already need not be given.
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Key that signs the snapshot.
    #[arg(long, value_name = "FILE", required = true)]
    snapshot_key: Vec<PathBuf>,
    /// Key that signs the timestamp.
    #[arg(long, value_name = "FILE", required = true)]
    timestamp_key: Vec<PathBuf>,
    /// Hours until the timestamp expires: publish again before, also where nothing is new.
    #[arg(long, value_name = "HOURS", default_value = "24", value_parser = clap::value_parser!(u32).range(1..=8760))]
    timestamp_hours: u32,
    /// Days until the snapshot expires.
    #[arg(long, value_name = "DAYS", default_value = "7", value_parser = clap::value_parser!(u32).range(1..=365))]
    snapshot_days: u32,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

const FILE_SIZE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Exit code 0, or 6 if the folder has what is given already, or newer.
pub(super) fn run(args: &PublishArgs) -> anyhow::Result<u8> {
    let publication = publication(args)?;
    let mut passphrases = args.passphrase.open()?;
    let snapshot = open_keys(&mut passphrases, &args.snapshot_key)?;
    let timestamp = open_keys(&mut passphrases, &args.timestamp_key)?;
    let keys = OnlineKeys { snapshot: &snapshot, timestamp: &timestamp };
    let published = match publish(&args.to, &publication, keys, Moment::now()) {
        Err(error @ (PublishError::NotHigher { .. } | PublishError::RootGap { .. })) => {
            watertight_host::say!("watertight: {}", watertight_host::printable::printable(&error.to_string()));
            return Ok(CONFLICT);
        }
        published => published?,
    };
    let versions: Vec<_> = published.versions.iter().map(|(role, version)| format!("{role} {version}")).collect();
    let text = format!("published: {}; publish again before {}\n", versions.join(", "), published.expires);
    answer(args.output, &json!({ "kind": "content_published", "published": published }), &text)?;
    Ok(OK)
}

fn publication(args: &PublishArgs) -> anyhow::Result<Publication> {
    let document = |path: &Option<PathBuf>| path.as_deref().map(read_document).transpose();
    let mut publication = Publication {
        root: document(&args.root)?,
        targets: document(&args.targets)?,
        snapshot_lifetime_s: i64::from(args.snapshot_days).saturating_mul(24 * 3600),
        timestamp_lifetime_s: i64::from(args.timestamp_hours).saturating_mul(3600),
        ..Publication::default()
    };
    for (role, path) in [("content", &args.content), ("director", &args.director)] {
        if let Some(document) = document(path)? {
            publication.roles.insert(role.into(), document);
        }
    }
    publication.files = args
        .files
        .iter()
        .map(|path: &PathBuf| read(Path::new(path), FILE_SIZE_BYTES_MAX))
        .collect::<anyhow::Result<_>>()?;
    Ok(publication)
}

fn open_keys(passphrases: &mut Passphrases, paths: &[PathBuf]) -> anyhow::Result<Vec<SigningKey>> {
    paths.iter().map(|path| passphrases.open_key(path)).collect()
}
