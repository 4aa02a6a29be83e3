//! `watertight content draft roles | release | plan`: documents without signatures, for `sign` to complete.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _};
use serde_json::json;
use watertight_content_pack::Pack;
use watertight_content_repo::director::{Entry, Plan, PLAN_PATH, PLAN_SIZE_BYTES_MAX};
use watertight_content_repo::key::public_of;
use watertight_content_repo::publish::{
    keep_apart, published_document, Authority, Document, DELEGATED_ROLES, ROOT_ROLES,
};
use watertight_content_repo::release::{ContentId, EngineRange, Release, Ring, Step};
use watertight_content_repo::time::Moment;

use super::verify::{must_load, read_pack};
use super::{answer, read, read_text, write, Form, OK};

/// Write documents that are still to be signed.
#[derive(Debug, clap::Args)]
pub struct DraftArgs {
    #[command(subcommand)]
    command: DraftCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DraftCommand {
    /// Who may sign what: writes `root.json` and `targets.json`.
    Roles(RolesArgs),
    /// What may run: writes the `content` role's document, with one more pack in it.
    Release(ReleaseArgs),
    /// Who runs what when: writes the `director` role's document for a plan.
    Plan(PlanArgs),
}

#[derive(Debug, clap::Args)]
struct CommonArgs {
    /// The published repository that this follows: versions go on from there, and what is not given anew stays.
    #[arg(long, value_name = "FOLDER")]
    after: Option<PathBuf>,
    /// Days until the document expires.
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = clap::value_parser!(u32).range(1..=3650))]
    expires_days: u32,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, clap::Args)]
struct RolesArgs {
    /// A key of a role, by key file or public half: `root=alice.key.pub`. Roles: root, targets, content, director, snapshot, timestamp.
    #[arg(long = "key", value_name = "ROLE=FILE", required = true)]
    keys: Vec<String>,
    /// How many of a role's keys must sign: `root=2`. Where it is not given, as many as in `--after`, or 1.
    #[arg(long = "threshold", value_name = "ROLE=NUMBER")]
    thresholds: Vec<String>,
    /// Folder for the two documents.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, clap::Args)]
struct ReleaseArgs {
    /// The pack: opened and tried with its canaries as on a host, and refused here where a host would refuse it.
    pack: PathBuf,
    /// What kind of content it is: the pack says it, and must say the same where it is given.
    #[arg(long)]
    name: Option<String>,
    /// Greater than that of every pack of this name before: the pack says it, too.
    #[arg(long)]
    version: Option<u64>,
    /// The release that it is part of, for people. The version where it is not given.
    #[arg(long)]
    release: Option<String>,
    /// No pack of this name below this version may run again.
    #[arg(long, default_value = "0")]
    floor: u64,
    /// Engines that get it: `1-3`, or `2`. All that the pack is for, where it is not given; never others.
    #[arg(long, value_name = "MIN-MAX")]
    engine: Option<String>,
    /// Whom and how fast at most: `broad=2026-11-22T02:00:00Z,0h:1000,4h:1000000`, hours after the time and hosts of a million.
    #[arg(long = "ring", value_name = "RING", required = true)]
    rings: Vec<String>,
    /// The document.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// The plan, in JSON.
    plan: PathBuf,
    /// The document.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    common: CommonArgs,
}

impl CommonArgs {
    fn expires(&self) -> Moment {
        Moment::now().plus_s(i64::from(self.expires_days).saturating_mul(24 * 3600))
    }

    /// The document of a role that is published, and the version that follows it.
    fn published(&self, role: &str) -> anyhow::Result<(Option<Document>, u64)> {
        let document = match &self.after {
            Some(folder) => published_document(folder, role).with_context(|| folder.display().to_string())?,
            None => None,
        };
        let version = document.as_ref().map_or(0, Document::version).saturating_add(1);
        Ok((document, version))
    }

    fn say(&self, what: &str, out: &Path, document: &Document) -> anyhow::Result<()> {
        let version = document.version();
        let json = json!({ "kind": "content_draft", "what": what, "file": out, "version": version });
        let file = watertight_host::printable::printable(&out.display().to_string());
        answer(self.output, &json, &format!("{file}: {what} version {version}, to be signed\n"))
    }
}

/// Runs the subcommand and gives its exit code.
pub(super) fn run(args: &DraftArgs) -> anyhow::Result<u8> {
    match &args.command {
        DraftCommand::Roles(args) => roles(args),
        DraftCommand::Release(args) => release(args),
        DraftCommand::Plan(args) => plan(args),
    }
}

fn roles(args: &RolesArgs) -> anyhow::Result<u8> {
    let (root, root_version) = args.common.published("root")?;
    let (targets, targets_version) = args.common.published("targets")?;
    let mut authorities = BTreeMap::new();
    for document in root.iter().chain(&targets) {
        authorities.extend(document.authorities());
    }
    let mut given: BTreeMap<&str, Authority> = BTreeMap::new();
    for argument in &args.keys {
        let (role, file) = role_and(argument)?;
        let key = public_of(&read_text(Path::new(file))?).with_context(|| file.to_owned())?;
        // Other keys for a role are no reason for fewer of them.
        let threshold = authorities.get(role).map_or(1, |published: &Authority| published.threshold);
        given.entry(role).or_insert_with(|| Authority { keys: Vec::new(), threshold }).keys.push(key);
    }
    authorities.extend(given.into_iter().map(|(role, authority)| (role.to_owned(), authority)));
    for argument in &args.thresholds {
        let (role, number) = role_and(argument)?;
        let threshold = number.parse().with_context(|| format!("--threshold {argument}: no number"))?;
        authorities.entry(role.to_owned()).or_default().threshold = threshold;
    }
    keep_apart(&authorities)?;
    let expires = args.common.expires();
    for (what, document) in [
        ("root", Document::root(root_version, expires, &authorities)?),
        ("targets", Document::targets(targets_version, expires, &authorities)?),
    ] {
        let out = args.out.join(format!("{what}.json"));
        write(&out, &document.to_bytes())?;
        args.common.say(what, &out, &document)?;
    }
    Ok(OK)
}

fn role_and(argument: &str) -> anyhow::Result<(&str, &str)> {
    let (role, value) = argument.split_once('=').with_context(|| format!("{argument:?} has no `=`"))?;
    if !ROOT_ROLES.iter().chain(&DELEGATED_ROLES).any(|known| *known == role) {
        bail!("{argument:?}: {role:?} is no role: {} or {}", ROOT_ROLES.join(", "), DELEGATED_ROLES.join(", "));
    }
    Ok((role, value))
}

fn release(args: &ReleaseArgs) -> anyhow::Result<u8> {
    let pack = read_pack(&args.pack)?;
    let identity = identity(args, &pack).with_context(|| args.pack.display().to_string())?;
    must_load(&pack).with_context(|| args.pack.display().to_string())?;
    let mut rings = BTreeMap::new();
    for argument in &args.rings {
        let (name, ring) = ring(argument).with_context(|| format!("--ring {argument}"))?;
        rings.insert(name, ring);
    }
    let release = Release {
        release: args.release.clone().unwrap_or_else(|| identity.version.to_string()),
        name: identity.name,
        version: identity.version,
        floor: args.floor,
        engine: identity.engine,
        rings,
    };
    let (published, version) = args.common.published("content")?;
    let id = ContentId::of(&pack);
    let mut document = Document::content(version, args.common.expires(), &[(release, pack)])?;
    if let Some(published) = &published {
        document = document.with_packs_of(published)?;
    }
    write(&args.out, &document.to_bytes())?;
    args.common.say(&format!("content {id}"), &args.out, &document)?;
    Ok(OK)
}

/// What is signed of a pack is what it says of itself.
struct Identity {
    name: String,
    version: u64,
    engine: EngineRange,
}

/// Opens the pack and runs its canaries: offline keys sign nothing that a host would refuse.
fn identity(args: &ReleaseArgs, pack: &[u8]) -> anyhow::Result<Identity> {
    let pack = Pack::open(pack)?;
    pack.self_test()?;
    let manifest = pack.manifest();
    if let Some(name) = args.name.as_ref().filter(|name| *name != manifest.name) {
        bail!("--name {name}: the pack says {}: leave the option out, or build the pack anew", manifest.name);
    }
    if let Some(version) = args.version.filter(|version| *version != manifest.version) {
        bail!("--version {version}: the pack says {}: leave the option out, or build the pack anew", manifest.version);
    }
    let of_pack = EngineRange { min: manifest.engines.min, max: manifest.engines.max };
    let engine = args.engine.as_deref().map_or(Ok(of_pack), engines)?;
    if engine.min < of_pack.min || engine.max > of_pack.max {
        bail!("--engine {}-{}: the pack is for engines {} to {}", engine.min, engine.max, of_pack.min, of_pack.max);
    }
    Ok(Identity { name: manifest.name.to_owned(), version: manifest.version, engine })
}

/// `1-3`, or `2`
fn engines(text: &str) -> anyhow::Result<EngineRange> {
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    let number = |part: &str| part.parse().with_context(|| format!("--engine {text}: no range such as 1-3"));
    Ok(EngineRange { min: number(min)?, max: number(max)? })
}

/// `broad=2026-11-22T02:00:00Z,0h:1000,4h:1000000`
fn ring(text: &str) -> anyhow::Result<(String, Ring)> {
    let (name, rest) = text.split_once('=').context("it has no `=`")?;
    let mut parts = rest.split(',');
    let earliest = parts.next().unwrap_or_default().parse()?;
    let steps = parts.map(|part| {
        let (hours, hosts) = part.split_once("h:").with_context(|| format!("{part:?} is no step such as 4h:1000"))?;
        Ok(Step {
            after_h: hours.parse().context(part.to_owned())?,
            per_million: hosts.parse().context(part.to_owned())?,
        })
    });
    Ok((name.to_owned(), Ring { earliest, steps: steps.collect::<anyhow::Result<_>>()? }))
}

fn plan(args: &PlanArgs) -> anyhow::Result<u8> {
    let bytes = read(&args.plan, PLAN_SIZE_BYTES_MAX)?;
    let plan = Plan::parse(&bytes).with_context(|| args.plan.display().to_string())?;
    if let (Some(content), _) = args.common.published("content")? {
        let signed: Vec<_> = content.named_targets()?.into_iter().map(|(_, _, sha256)| sha256).collect();
        let unsigned = plan.entries.iter().find(|entry| !signed.contains(&entry.content.to_string()));
        if let Some(Entry { content, .. }) = unsigned {
            bail!("{}: content {content} is not published: no host would start it", args.plan.display());
        }
    }
    let (_, version) = args.common.published("director")?;
    let document = Document::director(version, args.common.expires(), PLAN_PATH, &bytes);
    write(&args.out, &document.to_bytes())?;
    args.common.say(&format!("plan of epoch {}", plan.epoch), &args.out, &document)?;
    Ok(OK)
}
