//! `watertight content sign`: one more signature on a document. Signers need not meet: the file goes from one to the next.

use std::path::PathBuf;

use serde_json::json;
use watertight_content_repo::key::KeyError;

use super::passphrase::PassphraseArgs;
use super::{answer, read_document, write, Form, FORBIDDEN, OK};

/// Add one signature to a document.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// The document; the signature is added to it in place.
    file: PathBuf,
    /// The key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The key is one of the root before: a new root needs both the old keys' and the new ones' signatures.
    #[arg(long)]
    old_root_key: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Exit code 0, or 5 if the passphrase does not open the key.
pub(super) fn run(args: &SignArgs) -> anyhow::Result<u8> {
    let mut document = read_document(&args.file)?;
    let key = match args.passphrase.open()?.open_key(&args.key) {
        Err(error) if matches!(error.downcast_ref(), Some(KeyError::WrongPassphrase)) => {
            watertight_host::say!("watertight: {}", watertight_host::printable::printable(&format!("{error:#}")));
            return Ok(FORBIDDEN);
        }
        key => key?,
    };
    document.sign(&key, args.old_root_key)?;
    write(&args.file, &document.to_bytes())?;
    let (kind, version, signers) = (document.kind().to_owned(), document.version(), document.signers());
    let json = json!({
        "kind": "content_signature", "file": args.file, "type": kind, "version": version, "key": key.public().id(), "signers": signers,
    });
    let file = watertight_host::printable::printable(&args.file.display().to_string());
    answer(args.output, &json, &format!("{file}: {kind} version {version}, {} signatures\n", signers.len()))?;
    Ok(OK)
}
