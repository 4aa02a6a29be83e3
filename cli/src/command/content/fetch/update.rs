//! `watertight worker update`: reads what a repository sent and says what that comes to. It asks for each file, of the repository and of what is
//! trusted; it has none itself, and no network.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use watertight_content_repo::client::{Client, ClientError, Limits};
use watertight_content_repo::director::{decide, fetch_plan, Host, Seen, SeenError, SignedPlan, Verdict};
use watertight_content_repo::release::{signed_packs, ContentId, SignedPack};
use watertight_content_repo::source::{Source, SourceError, Tree};
use watertight_content_repo::store::{Disk, Store};
use watertight_host::printable::printable;
use watertight_host::worker::sandbox::Profile;
use watertight_host::worker::updater::Link;

use super::answered::{Answer, Row};
use super::words::{Ask, Reply, Task, Wanted};

/// Runs the worker to its end.
///
/// # Errors
/// It can't be confined, or nobody answers.
pub fn run(report: i32) -> anyhow::Result<u8> {
    let mut link = Link::inherit(report)?;
    let (task, root): (Task, Vec<u8>) = link.receive()?.context("there is no task")?;
    link.confine(Profile::Updater)?;
    let asker = Asker(Arc::new(Mutex::new(link)));
    let (mut found, root) = (Answer::default(), task.has_root.then_some(root.as_slice()));
    let store = Store::new(Kept { asker: asker.clone(), beside: Mutex::default() });
    let outcome = match Client::open(store, asker.clone(), root, Limits::default()) {
        Ok(mut client) => update(&task, &asker, &mut client, &mut found),
        Err(error) => {
            found.refresh_failed = Some(error.to_string());
            Err(error)
        }
    };
    let error = outcome.err().map(|error| error.to_string());
    asker.tell(&Ask::End { answer: Box::new(found), error })?;
    Ok(0)
}

/// Refreshes, and does what is wanted as far as it goes.
///
/// # Errors
/// Nothing that is signed is to be trusted.
fn update(task: &Task, asker: &Asker, client: &mut Client, found: &mut Answer) -> Result<(), ClientError> {
    stands(asker, client, found);
    if let Err(error) = client.refresh(task.now) {
        watertight_host::say!("watertight: {}", printable(&format!("{}: {error}", task.from)));
        found.refresh_failed = Some(error.to_string());
    }
    // What was trusted before may be good still; if it is not, this says why.
    let packs = signed_packs(client, task.now);
    found.packs = packs.iter().flatten().map(Row::of).collect();
    let heard = hear_director(task, client, packs.as_deref().ok(), found);
    let is_known = !matches!(heard, Err(Unheard::Seen(_)));
    let unheard = heard.err().map(|error| match error {
        Unheard::Seen(error) => error.to_string(),
        Unheard::Plan(error) => error.to_string(),
    });
    found.director_refused = found.director_refused.take().or_else(|| unheard.clone());
    let mut is_noted = Ok(());
    if let Some(why) = packs.as_ref().err().map(ToString::to_string).or(unheard) {
        found.refresh_failed.get_or_insert(why);
        is_noted = client.was_not_whole();
    }
    stands(asker, client, found);
    let _ = asker.ask(&Ask::KeepOut { recalled: found.recalled.clone() }, &[]); // who is asked tells what becomes of it
    is_noted?; // not before: what can't be noted must be kept out all the same
    let packs = packs?;
    // Where it is not known what was recalled, nothing is handed out.
    let wanted = if is_known && task.hands_out { wanted(task, &packs, found) } else { Vec::new() };
    for (pack, row) in packs.iter().zip(&mut found.packs).filter(|(pack, _)| wanted.contains(&pack.id)) {
        if let Err(why) = hand_out(asker, client, pack) {
            watertight_host::say!("watertight: {}", printable(&format!("{} {}: {why}", row.name, row.version)));
            row.failed = Some(why);
        }
    }
    Ok(())
}

/// Tells how things stand: what is known is not lost with this process.
fn stands(asker: &Asker, client: &Client, found: &mut Answer) {
    (found.versions, found.freshness) = (client.versions(), client.freshness());
    let _ = asker.ask(&Ask::Stands { answer: Box::new(found.clone()) }, &[]); // said again at the end
}

/// What the director says: of this host where one is named, and what it has recalled in any case. What was seen of it is durable
/// before anybody acts on it. `packs` is what offline keys signed, if that may be trusted now.
///
/// # Errors
/// What it recalled before can't be read, or what it says now can't be had.
fn hear_director(
    task: &Task,
    client: &mut Client,
    packs: Option<&[SignedPack]>,
    found: &mut Answer,
) -> Result<(), Unheard> {
    let mut seen = Seen::read(client.store()).map_err(Unheard::Seen)?;
    found.recalled = seen.recalled.iter().copied().collect();
    let Some(plan) = fetch_plan(client, task.now).map_err(Unheard::Plan)? else { return Ok(()) };
    let verdict = match packs {
        Some(packs) => judge(task, &plan, packs, &mut seen),
        // Nothing can be run by it, but what it recalls must not run either.
        None => {
            seen.take_recalls(&plan);
            Ok(None)
        }
    };
    match verdict {
        Ok(verdict) => found.director = verdict,
        Err(why) => found.director_refused = Some(why),
    }
    found.recalled = seen.recalled.iter().copied().collect();
    seen.write(client.store()).map_err(Unheard::Seen)
}

/// Why the director was not heard.
enum Unheard {
    /// What it said before.
    Seen(SeenError),
    /// What it says now.
    Plan(ClientError),
}

fn judge(task: &Task, plan: &SignedPlan, packs: &[SignedPack], seen: &mut Seen) -> Result<Option<Verdict>, String> {
    let Some(host): &Option<Host> = &task.host else {
        seen.take_recalls(plan);
        return Ok(None);
    };
    decide(plan, packs, host, seen, task.now).map(Some).map_err(|refusal| refusal.to_string())
}

/// What the director wants where one is asked; else the newest pack of each name. Never what was recalled.
fn wanted(task: &Task, packs: &[SignedPack], found: &Answer) -> Vec<ContentId> {
    let may_run = |id: &ContentId| !found.recalled.contains(id);
    if task.host.is_some() {
        let mut to_run = found.director.as_ref().map(Verdict::to_run).unwrap_or_default();
        to_run.retain(may_run);
        return to_run;
    }
    let is_wanted = |pack: &&SignedPack| task.names.is_empty() || task.names.contains(&pack.release.name);
    let is_newest = |pack: &&SignedPack| {
        let of_name = packs.iter().filter(|other| other.release.name == pack.release.name && may_run(&other.id));
        of_name.map(|other| other.release.version).max() == Some(pack.release.version)
    };
    packs.iter().filter(is_wanted).filter(|pack| may_run(&pack.id)).filter(is_newest).map(|pack| pack.id).collect()
}

fn hand_out(asker: &Asker, client: &Client, pack: &SignedPack) -> Result<(), String> {
    let file = format!("{}-{}.pack", pack.release.name, pack.release.version);
    let (content, size_bytes) = (pack.id, pack.target.size_bytes());
    if asker.ask(&Ask::IsThere { file: file.clone(), content, size_bytes }, &[])?.is_some() {
        return Ok(());
    }
    let bytes = client.download(&pack.target).map_err(|error| error.to_string())?;
    asker.ask(&Ask::HandOut { file, content }, &bytes).map(drop)
}

/// Who has the files.
#[derive(Clone)]
struct Asker(Arc<Mutex<Link>>);

impl Asker {
    /// Asks, and gives the bytes of the answer; `None` if that is no.
    ///
    /// # Errors
    /// It could not be done, or nobody answers.
    fn ask(&self, ask: &Ask, body: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut link = self.link();
        let answered = link.send(ask, body).and_then(|()| link.receive());
        match answered {
            Ok(Some((Reply::Done, bytes))) => Ok(Some(bytes)),
            Ok(Some((Reply::None, _))) => Ok(None),
            Ok(Some((Reply::Failed { why }, _))) => Err(why),
            Ok(Some((Reply::Going { .. }, _)) | None) => Err("nobody answers".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn tell(&self, ask: &Ask) -> anyhow::Result<()> {
        self.link().send(ask, &[]).context("answering")
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // this process has one thread
    }
}

impl Source for Asker {
    fn fetch(&self, tree: Tree, path: &str, size_bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let wanted = Wanted::new(tree, path, size_bytes_max);
        let fetched = self.ask(&Ask::Fetch { wanted }, &[]).map_err(|why| SourceError::Told { why })?;
        match fetched {
            Some(bytes) if bytes.len() as u64 > size_bytes_max => {
                Err(SourceError::TooLarge { place: path.to_owned(), size_bytes_max })
            }
            fetched => Ok(fetched),
        }
    }
}

/// What is trusted, on the disk of who started this. A file is kept at once there when it gets its name, durably.
struct Kept {
    asker: Asker,
    /// What was written and has no name yet.
    beside: Mutex<Option<Vec<u8>>>,
}

impl Kept {
    fn beside(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner) // as above
    }
}

impl Disk for Kept {
    fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        self.asker.ask(&Ask::Kept { name: name.to_owned(), size_bytes_max }, &[]).map_err(io::Error::other)
    }

    fn write(&self, _: &str, bytes: &[u8]) -> io::Result<()> {
        *self.beside() = Some(bytes.to_vec());
        Ok(())
    }

    fn sync_file(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &str, to: &str) -> io::Result<()> {
        let bytes = self.beside().take().ok_or(io::ErrorKind::NotFound)?;
        self.asker.ask(&Ask::Keep { name: to.to_owned() }, &bytes).map(drop).map_err(io::Error::other)
    }

    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        *self.beside() = None;
        Ok(())
    }
}
