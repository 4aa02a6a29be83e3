//! `watertight content keys new | show`: key files, sealed under a passphrase.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use watertight_content_repo::key::{public_of, SigningKey};

use super::passphrase::PassphraseArgs;
use super::{answer, must_be_new, read_text, write, Form, OK};

/// Make keys, show what is public of them.
#[derive(Debug, clap::Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    /// Make a key that signs, in a file under a passphrase.
    New {
        /// The key file; its public half goes beside it, with `.pub` added.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
        /// Form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Show a key's id and public half; no passphrase is needed.
    Show {
        /// Key files, or public halves.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
}

/// Runs the subcommand and gives its exit code.
pub(super) fn run(args: &KeysArgs) -> anyhow::Result<u8> {
    match &args.command {
        KeysCommand::New { out, passphrase, output } => {
            let public = PathBuf::from(format!("{}.pub", out.display()));
            must_be_new(out)?;
            must_be_new(&public)?;
            let passphrase = passphrase.open()?.next_new(out)?;
            let key = SigningKey::generate()?;
            let id = key.public().id();
            write_private(out, key.seal(&passphrase)?.as_bytes()).with_context(|| out.display().to_string())?;
            write(&public, format!("{:#}\n", json!(key.public())).as_bytes())?;
            let json = json!({ "kind": "content_key", "id": id, "file": out, "public": public });
            answer(*output, &json, &format!("{id}\n"))?;
        }
        KeysCommand::Show { files, output } => {
            let mut keys = Vec::new();
            for file in files {
                let key = public_of(&read_text(file)?).with_context(|| file.display().to_string())?;
                keys.push(json!({ "file": file, "id": key.id(), "key": key }));
            }
            let lines = keys.iter().map(|key| format!("{}  {}\n", text(&key["id"]), text(&key["file"])));
            answer(*output, &json!({ "kind": "content_keys", "keys": keys }), &lines.collect::<String>())?;
        }
    }
    Ok(OK)
}

fn text(value: &serde_json::Value) -> String {
    watertight_host::printable::printable(value.as_str().unwrap_or_default())
}

/// A file that is new, and its owner's alone from the first moment: sealed, and still nobody else's business.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
