//! `watertight content fetch`: refresh from a web server or a folder, say how fresh it is, fetch packs, and what the director wants.
//!
//! It always answers: also where nobody was heard or nothing may be trusted any more, the line says what that leaves the host with.

mod answered;
mod slots;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use watertight_content_repo::client::{spread, Client, ClientError, Limits};
use watertight_content_repo::director::{decide, fetch_plan, Host, Seen, SeenError, SignedPlan, Verdict};
use watertight_content_repo::release::{signed_packs, ContentId, SignedPack};
use watertight_content_repo::source::{FolderSource, HttpLimits, HttpSource};
use watertight_content_repo::store::{Folder, Store};
use watertight_content_repo::time::Moment;
use watertight_host::printable::printable;

use self::answered::{Answer, Row};
use super::heard::Heard;
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
    /// State folder of the run, if it was given one: what was recalled goes into its quarantine, and its `status` says how fresh the
    /// repository is.
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

/// Exit code 0; 3 if the refresh failed and what was trusted before still is good, a pack could not be had, the plan is refused, or what
/// was recalled can't be kept out of the slots; 4 if a name has no pack. An error (1), after the answer, where nothing may be trusted
/// now: it has expired, or never was.
pub(super) fn run(args: &FetchArgs) -> anyhow::Result<u8> {
    wait_for_our_turn(args);
    let now = Moment::now();
    let mut found = Answer::default();
    let outcome = match open(args)? {
        Ok(mut client) => ask(args, &mut client, now, &mut found),
        Err(error) => {
            found.refresh_failed = Some(error.to_string());
            Err(error)
        }
    };
    found.health = found.freshness.health(now);
    leave_word(args, now, &found);
    answer(args.output, &found, &found.to_text())?;
    let packs = outcome.with_context(|| args.from.clone())?;
    let may_run = |pack: &SignedPack| !found.recalled.contains(&pack.id);
    let is_missing = args.name.iter().any(|name| packs.iter().all(|pack| pack.release.name != *name || !may_run(pack)));
    Ok(match is_missing {
        true => NOT_FOUND,
        false if found.is_partial() => PARTIAL,
        false => OK,
    })
}

/// Refreshes, and does what is wanted as far as it goes. Gives the packs that are signed, or why none is to be trusted.
fn ask(args: &FetchArgs, client: &mut Client, now: Moment, found: &mut Answer) -> Result<Vec<SignedPack>, ClientError> {
    if let Err(error) = client.refresh(now) {
        watertight_host::say!("watertight: {}", printable(&format!("{}: {error}", args.from)));
        found.refresh_failed = Some(error.to_string());
    }
    // What was trusted before may be good still; if it is not, this says why.
    let packs = signed_packs(client, now);
    (found.versions, found.freshness) = (client.versions(), client.freshness());
    found.packs = packs.iter().flatten().map(Row::of).collect();
    let is_known = match hear_director(args, client, packs.as_deref().ok(), now, found) {
        Ok(()) => true,
        Err(error) => {
            found.director_refused = Some(error.to_string());
            false
        }
    };
    match slots::keep_out(args, &found.recalled) {
        Ok(taken_out) => found.taken_out = taken_out,
        Err(error) => {
            watertight_host::say!("watertight: what was recalled is not kept out: {}", printable(&error.to_string()));
            found.not_taken_out = Some(error.to_string());
        }
    }
    let packs = packs?;
    // Where it is not known what was recalled, nothing is handed out.
    let wanted = if is_known { wanted(args, &packs, found) } else { Vec::new() };
    for (pack, row) in packs.iter().zip(&mut found.packs).filter(|(pack, _)| wanted.contains(&pack.id)) {
        match fetch(args, client, pack) {
            Ok(file) => row.file = file,
            Err(error) => {
                let why = format!("{error:#}");
                watertight_host::say!("watertight: {}", printable(&format!("{} {}: {why}", row.name, row.version)));
                row.failed = Some(why);
            }
        }
    }
    Ok(packs)
}

/// For `status` of the run that this fetch is for.
fn leave_word(args: &FetchArgs, now: Moment, found: &Answer) {
    let slots = slots_of(args.recall_in.as_deref());
    let Some(folder) = slots.parent().filter(|folder| args.recall_in.is_some() || folder.is_dir()) else { return };
    let heard = Heard::new(&args.from, now, found.freshness, found.refresh_failed.as_deref());
    if let Err(error) = heard.leave(folder) {
        watertight_host::say!("watertight: `status` is not told: {}", printable(&format!("{error:#}")));
    }
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

/// The client, or why there is none: it has no root to begin with, and so has never heard anybody.
fn open(args: &FetchArgs) -> anyhow::Result<Result<Client, ClientError>> {
    let root = args.root.as_deref().map(|path| read(path, INPUT_SIZE_BYTES_MAX)).transpose()?;
    let store = Store::open(&args.state)?;
    if args.from.starts_with("http://") || args.from.starts_with("https://") {
        let ca = args.ca.as_deref().map(|path| read(path, INPUT_SIZE_BYTES_MAX)).transpose()?;
        let source = HttpSource::new(&args.from, ca.as_deref(), HttpLimits::default())?;
        return Ok(Client::open(store, source, root.as_deref(), Limits::default()));
    }
    let source = FolderSource::at(Path::new(&args.from));
    Ok(Client::open(store, source, root.as_deref(), Limits::default()))
}

/// What the director says: of this host where one is named, and what it has recalled in any case. What was seen of it is durable
/// before anybody acts on it. `packs` is what offline keys signed, if that may be trusted now.
///
/// # Errors
/// What it recalled before can't be read.
fn hear_director(
    args: &FetchArgs,
    client: &mut Client,
    packs: Option<&[SignedPack]>,
    now: Moment,
    found: &mut Answer,
) -> Result<(), SeenError> {
    let mut seen = Seen::read(client.store())?;
    found.recalled = seen.recalled.iter().copied().collect();
    let Some(packs) = packs else { return Ok(()) };
    match fetch_plan(client, now) {
        Ok(Some(plan)) => {
            match judge(args, &plan, packs, &mut seen, now) {
                Ok(verdict) => found.director = verdict,
                Err(why) => found.director_refused = Some(why),
            }
            found.recalled = seen.recalled.iter().copied().collect();
            seen.write(client.store())?;
        }
        Ok(None) => {}
        Err(error) => found.director_refused = Some(error.to_string()),
    }
    Ok(())
}

fn judge(
    args: &FetchArgs,
    plan: &SignedPlan,
    packs: &[SignedPack],
    seen: &mut Seen,
    now: Moment,
) -> Result<Option<Verdict>, String> {
    let Some(HostArgs { host, ring, stratum, engine }) = &args.host else {
        seen.take_recalls(plan);
        return Ok(None);
    };
    let (engine_oldest, engine) =
        engine.map_or((watertight_engine::OLDEST_VERSION, watertight_engine::VERSION), |other| (other, other));
    let host = Host { id: host.clone(), stratum: stratum.clone(), ring: ring.clone(), engine, engine_oldest };
    decide(plan, packs, &host, seen, now).map(Some).map_err(|refusal| refusal.to_string())
}

/// What the director wants where one is asked; else the newest pack of each name. Never what was recalled.
fn wanted(args: &FetchArgs, packs: &[SignedPack], found: &Answer) -> Vec<ContentId> {
    let may_run = |id: &ContentId| !found.recalled.contains(id);
    if args.host.is_some() {
        let mut to_run = found.director.as_ref().map(Verdict::to_run).unwrap_or_default();
        to_run.retain(may_run);
        return to_run;
    }
    let is_wanted = |pack: &&SignedPack| args.name.is_empty() || args.name.contains(&pack.release.name);
    let is_newest = |pack: &&SignedPack| {
        let of_name = packs.iter().filter(|other| other.release.name == pack.release.name && may_run(&other.id));
        of_name.map(|other| other.release.version).max() == Some(pack.release.version)
    };
    packs.iter().filter(is_wanted).filter(|pack| may_run(&pack.id)).filter(is_newest).map(|pack| pack.id).collect()
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
