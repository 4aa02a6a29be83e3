//! `watertight content sign`: one more signature on a document. Signers need not meet: the file goes from one to the next.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use watertight_content_repo::key::KeyError;
use watertight_content_repo::publish::{published_document, Document, DocumentError};

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
    /// The published repository, which says who may sign what: another key is refused. Roles that lie beside the document say it, too.
    #[arg(long, value_name = "FOLDER")]
    after: Option<PathBuf>,
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
    check_signer(args, &document, &key.public().id())?;
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

/// Refuses a key that may not sign this, as far as it is known who may. A root says it itself.
fn check_signer(args: &SignArgs, document: &Document, key: &str) -> anyhow::Result<()> {
    let Some(role) = document.role().filter(|role| *role != "root") else { return Ok(()) };
    let mut may_sign = BTreeSet::new();
    for named in named_roles(args)? {
        let authority = named.authorities().remove(role);
        may_sign.extend(authority.into_iter().flat_map(|authority| authority.keys).map(|key| key.id()));
    }
    if may_sign.is_empty() {
        watertight_host::say!(
            "watertight: who may sign for the role {role} is not known here: name the published repository by --after, or `publish` says so"
        );
    } else if !may_sign.contains(key) {
        return Err(DocumentError::ForeignKey { key: key.to_owned(), kind: role.to_owned() }.into());
    }
    Ok(())
}

/// What says who may sign: published, or drafted beside the document.
fn named_roles(args: &SignArgs) -> anyhow::Result<Vec<Document>> {
    let mut found = Vec::new();
    for role in ["root", "targets"] {
        if let Some(folder) = &args.after {
            found.extend(published_document(folder, role).with_context(|| folder.display().to_string())?);
        }
        let beside = args.file.with_file_name(format!("{role}.json"));
        if beside.is_file() && beside != args.file {
            found.push(read_document(&beside)?);
        }
    }
    Ok(found)
}
