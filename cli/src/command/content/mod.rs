//! `watertight content ...`: content on its way from a publisher's desk to a host. One file a subcommand.
//!
//! Keys never leave their files but to sign, and no passphrase is ever on a command line: it comes from the terminal without echo, from
//! a file, or from a descriptor.

mod build;
mod diff;
mod draft;
mod explain;
mod explain_together;
pub(super) mod fetch;
pub(super) mod heard;
mod install;
mod keys;
mod left_out;
mod passphrase;
mod publish;
mod replay;
mod sign;
mod slots;
mod verify;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{bail, Context as _};
use serde::Serialize;
use watertight_content_repo::publish::Document;
use watertight_content_repo::regular;
use watertight_content_repo::store::Store;
use watertight_host::say::not_written;

/// Exit codes as everywhere in this command.
const OK: u8 = 0;
const PARTIAL: u8 = 3;
const NOT_FOUND: u8 = 4;
const FORBIDDEN: u8 = 5;
const CONFLICT: u8 = 6;

/// Keys, documents and key files that people hand over.
const INPUT_SIZE_BYTES_MAX: u64 = 5 * 1024 * 1024;

/// Content: packs from source, what is in them, and how they are signed, published and fetched.
#[derive(Debug, clap::Args)]
pub struct ContentArgs {
    #[command(subcommand)]
    command: ContentCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ContentCommand {
    /// Say why a rule fires on an event, or why not.
    Explain(explain::ExplainArgs),
    /// Compile rules, their tests and deny rules into a pack.
    Build(build::BuildArgs),
    /// Open a pack as a host does, run its canaries, and say what it is.
    Verify(verify::VerifyArgs),
    /// Say what is different between two packs.
    Diff(diff::DiffArgs),
    /// Run a pack's rules over recorded events.
    Replay(replay::ReplayArgs),
    /// Make keys, show what is public of them.
    Keys(keys::KeysArgs),
    /// Write documents that are still to be signed: who may sign, what may run, who runs it when.
    Draft(draft::DraftArgs),
    /// Add one signature to a document.
    Sign(sign::SignArgs),
    /// Put signed documents and their files into a folder that any web server can serve.
    Publish(publish::PublishArgs),
    /// Refresh from a repository, and fetch the packs that offline keys signed.
    Fetch(fetch::FetchArgs),
    /// Put a pack on trial on this machine.
    Install(install::InstallArgs),
    /// Say what is in the slots of this machine, and in quarantine.
    Slots(slots::SlotsArgs),
    /// Let content that is in quarantine be tried again.
    Forget(slots::ForgetArgs),
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Runs the subcommand and gives its exit code.
///
/// # Errors
/// It failed; the error says what and the mend.
pub fn run(args: &ContentArgs) -> anyhow::Result<u8> {
    match &args.command {
        ContentCommand::Explain(args) => explain::run(args),
        ContentCommand::Build(args) => build::run(args),
        ContentCommand::Verify(args) => verify::run(args),
        ContentCommand::Diff(args) => diff::run(args),
        ContentCommand::Replay(args) => replay::run(args),
        ContentCommand::Keys(args) => keys::run(args),
        ContentCommand::Draft(args) => draft::run(args),
        ContentCommand::Sign(args) => sign::run(args),
        ContentCommand::Publish(args) => publish::run(args),
        ContentCommand::Fetch(args) => fetch::run(args),
        ContentCommand::Install(args) => install::run(args),
        ContentCommand::Slots(args) => slots::show(args),
        ContentCommand::Forget(args) => slots::forget(args),
    }
}

/// Prints the answer in its form.
fn answer(form: Form, json: &impl Serialize, text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match form {
        Form::Json => writeln!(out, "{}", serde_json::to_string(json)?),
        Form::Text => write!(out, "{text}"),
    }
    .and_then(|()| out.flush())
    .map_err(not_written("the answer"))
}

/// A file's bytes, if they are not too many. What is no file is not waited for: a pipe may never say anything.
fn read_file(path: &Path, size_bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let file = regular::open(path).with_context(|| path.display().to_string())?;
    read_open(file, path, size_bytes_max)
}

/// A file's bytes, if they are not too many.
fn read(path: &Path, size_bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    read_open(File::open(path).with_context(|| path.display().to_string())?, path, size_bytes_max)
}

fn read_open(file: File, path: &Path, size_bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(size_bytes_max.saturating_add(1)).read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
    if bytes.len() as u64 > size_bytes_max {
        bail!("{}: more than {size_bytes_max} bytes", path.display());
    }
    Ok(bytes)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read(path, INPUT_SIZE_BYTES_MAX)?).with_context(|| format!("{}: no text", path.display()))
}

fn read_document(path: &Path) -> anyhow::Result<Document> {
    Document::parse(&read(path, INPUT_SIZE_BYTES_MAX)?).with_context(|| path.display().to_string())
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} names no file", path.display()))?;
    if path.is_dir() {
        bail!("{} is a folder: name a file in it", path.display());
    }
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        // A device or a pipe is written to: a file in the place of /dev/null would be the end of many a program.
        let written = File::options().write(true).open(path).and_then(|mut file| file.write_all(bytes));
        return written.with_context(|| format!("writing to {}", path.display()));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Store::shared(parent)?.put(name, bytes)?)
}

/// Refuses to take the place of a file.
fn must_be_new(path: &Path) -> anyhow::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        bail!("{} is there already: name another file", path.display());
    }
    Ok(())
}
