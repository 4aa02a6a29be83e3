//! `watertight content fetch`: refresh from a web server or a folder, say how fresh it is, fetch packs, and what the director wants.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use watertight_content_repo::client::{spread, Client, Freshness, Health, Limits, Versions};
use watertight_content_repo::director::{decide, fetch_plan, Host, Seen, Verdict};
use watertight_content_repo::release::{signed_packs, ContentId, SignedPack};
use watertight_content_repo::source::{FolderSource, HttpLimits, HttpSource};
use watertight_content_repo::store::{Folder, Store};
use watertight_content_repo::time::Moment;
use watertight_host::printable::printable;
use watertight_host::slots::{Event, Slots, SlotsError};
use watertight_host::supervisor::factory;

use super::{answer, read, Form, INPUT_SIZE_BYTES_MAX, NOT_FOUND, OK, PARTIAL};
use crate::command::run::{duration, slots_of};

/// Refresh from a repository and fetch packs.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// `http://` or `https://` URL, or a folder: the one that `content publish --to` wrote.
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Folder of what is trusted; it must outlive this command.
    #[arg(long, value_name = "FOLDER")]
    state: PathBuf,
    /// The root that came with the product: needed where the state has none yet.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Certificates of the only authorities that are good for `https`, in PEM form.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Folder for packs; without it none is fetched.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Fetch only packs of this name; the newest of each name is fetched.
    #[arg(long)]
    name: Vec<String>,
    /// Wait a part of this time first, each host its own (`10m`): hosts that were started together then don't ask together.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    spread: Option<Duration>,
    #[command(flatten)]
    host: Option<HostArgs>,
    /// State folder of the run, if it was given one: what was recalled leaves its slots for the quarantine.
    #[arg(long, value_name = "DIR")]
    recall_in: Option<PathBuf>,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Who asks the director.
#[derive(Debug, clap::Args)]
#[group(requires_all = ["host", "ring", "stratum"], multiple = true)]
struct HostArgs {
    /// This host's id: the director's plan is read for it, and only what it wants is fetched.
    #[arg(long, required = false)]
    host: String,
    /// Its rollout ring.
    #[arg(long, required = false)]
    ring: String,
    /// Hosts like it.
    #[arg(long, required = false)]
    stratum: String,
    /// Asks as a host with another engine than this program's, which it says otherwise: to see what an update would bring.
    #[arg(long, value_name = "NUMBER")]
    engine: Option<u32>,
}

/// A timestamp is renewed daily; two days without one are worth a word.
const STALE_AFTER_S: i64 = 2 * 24 * 3600;

#[derive(Debug, Serialize)]
struct Answer {
    kind: &'static str,
    versions: Versions,
    #[serde(flatten)]
    freshness: Freshness,
    health: Health,
    /// Why the refresh ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_failed: Option<String>,
    packs: Vec<Row>,
    /// What the director wants of this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    director: Option<Verdict>,
    /// Why the plan as a whole is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    director_refused: Option<String>,
    /// What this host may not run any more, by any plan that it has seen.
    recalled: Vec<ContentId>,
    /// What of it was in a slot of this host, and is in quarantine now.
    taken_out: Vec<ContentId>,
    /// Why what was recalled could not be taken out of the slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_taken_out: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    content: ContentId,
    name: String,
    version: u64,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

/// Exit code 0; 3 if the refresh failed and what was trusted before still is good, the plan is refused, or what was recalled can't be
/// taken out of the slots; 4 if a name has no pack.
pub(super) fn run(args: &FetchArgs) -> anyhow::Result<u8> {
    wait_for_our_turn(args);
    let now = Moment::now();
    let mut client = open(args)?;
    let refreshed = client.refresh(now);
    if let Err(error) = &refreshed {
        watertight_host::say!("watertight: {}", printable(&format!("{}: {error}", args.from)));
    }
    // What was trusted before may be good still; if it is not, this says why.
    let packs = signed_packs(&mut client, now).with_context(|| args.from.clone())?;
    let (director, director_refused) = match &args.host {
        Some(host) => match ask_director(&mut client, host, &packs, now)? {
            Ok(verdict) => (verdict, None),
            Err(refusal) => (None, Some(refusal)),
        },
        None => (None, None),
    };
    let freshness = client.freshness();
    let mut found = Answer {
        kind: "content_fetched",
        versions: client.versions(),
        freshness,
        health: freshness.health(now, STALE_AFTER_S),
        refresh_failed: refreshed.as_ref().err().map(ToString::to_string),
        packs: packs.iter().map(Row::of).collect(),
        director,
        director_refused,
        recalled: Seen::read(client.store())?.recalled.into_iter().collect(),
        taken_out: Vec::new(),
        not_taken_out: None,
    };
    match take_out(args, &found.recalled) {
        Ok(taken_out) => found.taken_out = taken_out,
        Err(error) => {
            watertight_host::say!("watertight: what was recalled stays in its slot: {}", printable(&error.to_string()));
            found.not_taken_out = Some(error.to_string());
        }
    }
    let wanted = wanted(args, &packs, &found);
    for (pack, row) in packs.iter().zip(&mut found.packs).filter(|(pack, _)| wanted.contains(&pack.id)) {
        row.file = fetch(args, &client, pack)?;
    }
    answer(args.output, &found, &text(&found))?;
    let is_missing = args.name.iter().any(|name| packs.iter().all(|pack| pack.release.name != *name));
    Ok(if is_missing {
        NOT_FOUND
    } else if refreshed.is_err() || found.director_refused.is_some() || found.not_taken_out.is_some() {
        PARTIAL
    } else {
        OK
    })
}

/// Without a name that the fleet knows, the machine's own stands for the host.
fn wait_for_our_turn(args: &FetchArgs) {
    let Some(most) = args.spread else { return };
    let machine =
        || std::fs::read_to_string("/etc/machine-id").or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"));
    let host = args.host.as_ref().map(|args| args.host.clone());
    let host = host.unwrap_or_else(|| machine().unwrap_or_default().trim().to_owned());
    let wait = spread::wait(&host, Moment::now(), most);
    watertight_host::say!("watertight: asks in {:.1} s, at its own time of {} s", wait.as_secs_f64(), most.as_secs());
    std::thread::sleep(wait);
}

fn open(args: &FetchArgs) -> anyhow::Result<Client> {
    let root = args.root.as_deref().map(|path| read(path, INPUT_SIZE_BYTES_MAX)).transpose()?;
    let store = Store::open(&args.state)?;
    if args.from.starts_with("http://") || args.from.starts_with("https://") {
        let ca = args.ca.as_deref().map(|path| read(path, INPUT_SIZE_BYTES_MAX)).transpose()?;
        let source = HttpSource::new(&args.from, ca.as_deref(), HttpLimits::default())?;
        return Ok(Client::open(store, source, root.as_deref(), Limits::default())?);
    }
    let source = FolderSource::new(args.from.as_ref())?;
    Ok(Client::open(store, source, root.as_deref(), Limits::default())?)
}

/// The director's word for this host, or why its plan is refused. What was seen of it is durable before anybody acts on it.
fn ask_director(
    client: &mut Client,
    host: &HostArgs,
    packs: &[SignedPack],
    now: Moment,
) -> anyhow::Result<Result<Option<Verdict>, String>> {
    let (engine_oldest, engine) =
        host.engine.map_or((watertight_engine::OLDEST_VERSION, watertight_engine::VERSION), |other| (other, other));
    let (id, stratum, ring) = (host.host.clone(), host.stratum.clone(), host.ring.clone());
    let host = Host { id, stratum, ring, engine, engine_oldest };
    let plan = match fetch_plan(client, now) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Ok(None)),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut seen = Seen::read(client.store())?;
    let verdict = decide(&plan, packs, &host, &mut seen, now);
    seen.write(client.store())?;
    Ok(verdict.map(Some).map_err(|refusal| refusal.to_string()))
}

/// What was recalled and lies in a slot of this host goes into quarantine; a run that is at work goes over to the step below.
fn take_out(args: &FetchArgs, recalled: &[ContentId]) -> Result<Vec<ContentId>, SlotsError> {
    if recalled.is_empty() {
        return Ok(Vec::new());
    }
    let mut slots = Slots::at(&slots_of(args.recall_in.as_deref()), factory());
    let held = match slots.state() {
        Ok(state) => state,
        Err(SlotsError::Disk { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut taken_out = Vec::new();
    for content in recalled {
        let Ok(id) = content.to_string().parse() else { continue }; // the same digest by another name
        if held.candidates.iter().chain(&held.goods).any(|held| held.id == id) {
            slots.after(Event::Recalled(id))?;
            taken_out.push(*content);
        }
    }
    Ok(taken_out)
}

/// What the director wants where one is asked; else the newest pack of each name.
fn wanted(args: &FetchArgs, packs: &[SignedPack], found: &Answer) -> Vec<ContentId> {
    if args.host.is_some() {
        return found.director.as_ref().map(Verdict::to_run).unwrap_or_default();
    }
    let is_wanted = |pack: &&SignedPack| args.name.is_empty() || args.name.contains(&pack.release.name);
    let is_newest = |pack: &&SignedPack| {
        let of_name = packs.iter().filter(|other| other.release.name == pack.release.name);
        of_name.map(|other| other.release.version).max() == Some(pack.release.version)
    };
    packs.iter().filter(is_wanted).filter(is_newest).map(|pack| pack.id).collect()
}

fn fetch(args: &FetchArgs, client: &Client, pack: &SignedPack) -> anyhow::Result<Option<PathBuf>> {
    let Some(to) = &args.to else { return Ok(None) };
    let file = format!("{}-{}.pack", pack.release.name, pack.release.version);
    let store = Store::new(Folder::unlocked(to)?);
    let present = store.get(&file, pack.target.size_bytes()).ok().flatten();
    if present.is_none_or(|bytes| pack.target.check(&bytes).is_err()) {
        store.put(&file, &client.download(&pack.target)?)?;
    }
    Ok(Some(to.join(file)))
}

impl Row {
    fn of(pack: &SignedPack) -> Self {
        Self {
            content: pack.id,
            name: pack.release.name.clone(),
            version: pack.release.version,
            size_bytes: pack.target.size_bytes(),
            file: None,
        }
    }
}

fn text(found: &Answer) -> String {
    let mut text = format!("{}\n", found.health);
    for row in &found.packs {
        let file = row.file.as_ref().map(|file| printable(&format!("  {}", file.display()))).unwrap_or_default();
        text.push_str(&format!("{}  {} {}{file}\n", row.content, printable(&row.name), row.version));
    }
    if let Some(refusal) = &found.director_refused {
        text.push_str(&format!("director refused: {}\n", printable(refusal)));
    }
    if let Some(verdict) = &found.director {
        text.push_str(&verdict.to_string());
    }
    for content in &found.recalled {
        let taken_out = if found.taken_out.contains(content) { ": taken out of its slot" } else { "" };
        text.push_str(&format!("recalled {content}{taken_out}\n"));
    }
    text
}
