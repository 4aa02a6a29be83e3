//! `watertight content fetch`: refresh from a web server or a folder, say how fresh it is, fetch packs, and what the director wants.
//!
//! It always answers: also where nobody was heard or nothing may be trusted any more, the line says what that leaves the host with.
//!
//! Two workers without rights do what strangers have a part in: one speaks to the web server, one reads what that sent (`words.rs`). This
//! process keeps the files (`files.rs`).

mod answered;
pub mod download;
mod files;
mod slots;
pub mod update;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, Context as _};
use watertight_content_repo::client::spread;
use watertight_content_repo::director::Host;
use watertight_content_repo::release::ContentId;
use watertight_content_repo::store::Store;
use watertight_content_repo::time::Moment;
use watertight_host::printable::printable;
use watertight_host::updating::Updater;

use self::answered::{Answer, Row};
use self::files::{Answered, Packs, Place, Trusted};
use self::words::{Ask, Reply, Task};
use super::heard::Heard;
use super::{answer, read, Form, INPUT_SIZE_BYTES_MAX, NOT_FOUND, OK, PARTIAL};
use crate::command::run::{duration, slots_of};

/// How long the `update` worker may read what it was given, by the clock on the wall: its processor time is bounded by itself.
const READING_MAX: Duration = Duration::from_secs(300);

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
    /// Longest that the web server may say nothing, from `1s` to `10m`.
    #[arg(long, value_name = "TIME", value_parser = wait, default_value = "20s")]
    wait: Duration,
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

fn wait(text: &str) -> Result<Duration, String> {
    let wait = duration(text)?;
    let is_wait = (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&wait);
    is_wait.then_some(wait).ok_or_else(|| "a wait is from 1s to 10m".to_owned())
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

/// Exit code 0; 3 if the refresh failed and what was trusted before still is good, a pack could not be had, the plan or what it wants of this host is refused, or what
/// was recalled can't be kept out of the slots; 4 if a name has no pack. An error (1), after the answer, where nothing may be trusted
/// now: it has expired, or never was.
pub(super) fn run(args: &FetchArgs) -> anyhow::Result<u8> {
    wait_for_our_turn(args);
    let now = Moment::now();
    let root = args.root.as_deref().map(|path| read(path, INPUT_SIZE_BYTES_MAX)).transpose()?;
    let mut fetch = Fetch {
        args,
        trusted: Trusted(Store::open(&args.state)?),
        place: Place::of(args)?,
        packs: Packs::of(args),
        found: Answer::default(),
        is_known: false,
    };
    let outcome = fetch.update(&task(args, now, root.is_some()), &root.unwrap_or_default());
    let Fetch { mut found, is_known, packs, .. } = fetch;
    let outcome = outcome.and_then(|error| error.map_or(Ok(()), |error| Err(anyhow!(error))));
    let outcome = outcome.with_context(|| args.from.clone());
    if !is_known {
        return outcome.map(|()| OK);
    }
    for row in &mut found.packs {
        row.file = packs.handed.get(&row.content).cloned();
    }
    found.health = found.freshness.health(now);
    leave_word(args, now, &found);
    answer(args.output, &found, &found.to_text())?;
    outcome?;
    let may_run = |row: &Row| !found.recalled.contains(&row.content);
    let is_missing = args.name.iter().any(|name| found.packs.iter().all(|row| row.name != *name || !may_run(row)));
    Ok(match is_missing {
        true => NOT_FOUND,
        false if found.is_partial() => PARTIAL,
        false => OK,
    })
}

fn task(args: &FetchArgs, now: Moment, has_root: bool) -> Task {
    let host = args.host.as_ref().map(|HostArgs { host, ring, stratum, engine }| {
        let of_this = (watertight_engine::OLDEST_VERSION, watertight_engine::VERSION);
        let (engine_oldest, engine) = engine.map_or(of_this, |other| (other, other));
        Host { id: host.clone(), stratum: stratum.clone(), ring: ring.clone(), engine, engine_oldest }
    });
    let (from, names, hands_out) = (args.from.clone(), args.name.clone(), args.to.is_some());
    Task { from, now, has_root, hands_out, names, host }
}

/// A fetch on its way: this process has the files, its workers read what strangers sent.
struct Fetch<'a> {
    args: &'a FetchArgs,
    trusted: Trusted,
    place: Place,
    packs: Packs,
    found: Answer,
    /// The worker has said how things stand.
    is_known: bool,
}

impl Fetch<'_> {
    /// Has the worker do its task; gives why nothing is to be trusted, if nothing is.
    ///
    /// # Errors
    /// The worker did not come to its end; what it had said before is in `found`.
    fn update(&mut self, task: &Task, root: &[u8]) -> anyhow::Result<Option<String>> {
        let mut worker = Updater::start("update", task, root)?;
        let outcome = loop {
            let (ask, bytes) = match worker.receive(READING_MAX) {
                Ok(asked) => asked,
                Err(why) => break Err(why),
            };
            let (reply, body) = match ask {
                Ask::End { answer, error } => {
                    self.take(*answer);
                    break Ok(error);
                }
                ask => self.answered(ask, &bytes),
            };
            if let Err(why) = worker.send(&reply, &body) {
                break Err(why);
            }
        };
        outcome.map_err(|why| {
            self.found.refresh_failed = Some(why.clone());
            anyhow!(why)
        })
    }

    fn answered(&mut self, ask: Ask, bytes: &[u8]) -> Answered {
        match ask {
            Ask::Kept { name, size_bytes_max } => self.trusted.kept(&name, size_bytes_max),
            Ask::Keep { name } => self.trusted.keep(&name, bytes),
            Ask::Fetch { wanted } => self.place.fetch(&wanted),
            Ask::IsThere { file, content, size_bytes } => self.packs.is_there(&file, content, size_bytes),
            Ask::HandOut { file, content } => self.packs.hand_out(&file, content, bytes),
            Ask::KeepOut { recalled } => {
                self.keep_out(&recalled);
                (Reply::Done, Vec::new())
            }
            Ask::Stands { answer } | Ask::End { answer, .. } => {
                self.take(*answer);
                (Reply::Done, Vec::new())
            }
        }
    }

    /// What the worker knows. What became of slots is known here.
    fn take(&mut self, told: Answer) {
        let taken_out = std::mem::take(&mut self.found.taken_out);
        let not_taken_out = self.found.not_taken_out.take();
        self.found = Answer { taken_out, not_taken_out, ..told };
        self.is_known = true;
    }

    fn keep_out(&mut self, recalled: &[ContentId]) {
        match slots::keep_out(self.args, recalled) {
            Ok(taken_out) => self.found.taken_out = taken_out,
            Err(error) => {
                watertight_host::say!(
                    "watertight: what was recalled is not kept out: {}",
                    printable(&error.to_string())
                );
                self.found.not_taken_out = Some(error.to_string());
            }
        }
    }
}

/// For `status` of the run that this fetch is for.
fn leave_word(args: &FetchArgs, now: Moment, found: &Answer) {
    let slots = slots_of(args.recall_in.as_deref());
    let Some(folder) = slots.parent().filter(|folder| args.recall_in.is_some() || folder.is_dir()) else { return };
    let failed = found.not_taken_out.as_ref().map(|why| format!("what was recalled is not kept out: {why}"));
    let failed = failed.or_else(|| found.refresh_failed.clone());
    let heard =
        Heard::new(&args.from, now, found.freshness, failed.as_deref()).with_recall(found.not_taken_out.is_none());
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
