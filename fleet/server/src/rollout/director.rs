//! The director's document: who may run which content now, as the rollouts stand. Signed here, with the keys that are online; it can
//! choose among what offline keys signed and recall, and every host checks that by itself (`watertight-content-repo`).
//!
//! What is wanted follows from the rollouts alone, and is compared with what is published: a server that was killed between a decision
//! and its publication publishes it when it starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use watertight_content_repo::director::{
    Cohort, Entry, HashRange, Plan, BUCKETS, DIRECTOR_ROLE, PLAN_PATH, PLAN_SIZE_BYTES_MAX,
};
use watertight_content_repo::key::SigningKey;
use watertight_content_repo::publish::{publish, published_document, Document, OnlineKeys, Publication};
use watertight_content_repo::release::{ContentId, SignedPack};
use watertight_content_repo::source::FolderSource;
use watertight_content_repo::store::{MemoryDisk, Store};
use watertight_content_repo::time::Moment;
use watertight_content_repo::{client, release};
use watertight_fleet::plan::{HostId, LISTED_MAX};
use watertight_fleet::rollout::{Members, Running, State};

const DAY_S: i64 = 24 * 3600;
const TIMESTAMP: &str = "metadata/timestamp.json";
/// A host that can't be reached begins nothing after this: while a rollout is under way, and otherwise.
const LEASE_UNDER_WAY_S: i64 = 3600;
const LEASE_S: i64 = DAY_S;
const ROLE_LIFE_S: i64 = 30 * DAY_S;
const SNAPSHOT_LIFE_S: i64 = 7 * DAY_S;
const TIMESTAMP_LIFE_S: i64 = DAY_S;
/// What a rollout gives stays to be had for hosts that come later; the lease bounds it anyway.
const ENTRY_LIFE_S: i64 = 366 * DAY_S;
/// Ranges of an entry in the document.
const RANGES_MAX: usize = 256;

/// The keys that are online.
#[derive(Debug, Default)]
pub struct Keys {
    director: Vec<SigningKey>,
    snapshot: Vec<SigningKey>,
    timestamp: Vec<SigningKey>,
}

/// Where these keys are.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KeyArgs {
    /// Key that signs who runs what when: the server then carries rollouts out. Made by `watertight content keys new`.
    #[arg(long, value_name = "FILE", requires_all = ["snapshot_key", "timestamp_key", "passphrase_file"])]
    pub director_key: Option<PathBuf>,
    /// Key that signs the snapshot.
    #[arg(long, value_name = "FILE", requires = "director_key")]
    pub snapshot_key: Option<PathBuf>,
    /// Key that signs the timestamp.
    #[arg(long, value_name = "FILE", requires = "director_key")]
    pub timestamp_key: Option<PathBuf>,
    /// File with the passphrase of the three keys in its first line.
    #[arg(long, value_name = "FILE", requires = "director_key")]
    pub passphrase_file: Option<PathBuf>,
}

impl KeyArgs {
    /// Opens the keys; nothing where none is named.
    ///
    /// # Errors
    /// A file can't be read, or the passphrase does not open it.
    pub fn open(&self) -> anyhow::Result<Option<Keys>> {
        let (Some(director), Some(snapshot), Some(timestamp), Some(passphrase)) =
            (&self.director_key, &self.snapshot_key, &self.timestamp_key, &self.passphrase_file)
        else {
            return Ok(None);
        };
        let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
        let passphrase = read(passphrase)?;
        let passphrase = passphrase.lines().next().unwrap_or_default();
        let open = |path: &Path| -> anyhow::Result<Vec<SigningKey>> {
            let key = SigningKey::open(&read(path)?, passphrase).with_context(|| path.display().to_string())?;
            Ok(vec![key])
        };
        Ok(Some(Keys { director: open(director)?, snapshot: open(snapshot)?, timestamp: open(timestamp)? }))
    }
}

/// What the document is to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// What is started, and by whom.
    pub entries: Vec<Entry>,
    /// What nobody may run.
    pub recall: BTreeSet<ContentId>,
    /// Whether a rollout is under way.
    pub is_under_way: bool,
}

impl Wanted {
    /// Of these rollouts, the oldest first, each with the time of its start. `strata` are those of the fleet now, each with its ring.
    /// A ring that is closed to a version begins nothing, and who has that version is not told to run an older one.
    #[must_use]
    pub fn of<'a>(
        rollouts: impl DoubleEndedIterator<Item = (&'a Running, u64)>,
        strata: &Strata,
        is_closed: impl Fn(&str, u64) -> bool,
    ) -> Self {
        let mut wanted = Self::default();
        // Rings that have nothing older of a name.
        let mut closed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (running, started_ms) in rollouts.rev() {
            let (spec, state) = (running.spec(), running.state());
            let Ok(content) = spec.content.parse::<ContentId>() else { continue };
            wanted.is_under_way |= state.is_under_way();
            if state == State::Halted {
                wanted.recall.insert(content);
                continue;
            }
            let closed = closed.entry(&spec.name).or_default();
            closed.extend(spec.rings().into_iter().filter(|ring| is_closed(ring, spec.version)));
            let rings: BTreeSet<&str> = spec.rings().difference(closed).copied().collect();
            // Who has it stays with it: while it is paused, older content of the name is nobody's either, and after it is open, nobody's any more.
            if matches!(state, State::Paused | State::Open) {
                closed.extend(&rings);
            }
            if state != State::Paused {
                let begun = Moment::from_unix_s(i64::try_from(started_ms / 1000).unwrap_or(i64::MAX));
                let entry =
                    |cohort| Entry { content, cohort, not_before: begun, not_after: begun.plus_s(ENTRY_LIFE_S) };
                wanted.entries.extend(cohorts(running, strata, &rings).into_iter().map(entry));
            }
        }
        wanted
    }
}

/// Strata of a fleet, each with its ring.
pub type Strata = BTreeMap<String, String>;

/// Who of these rings may have a rollout's content now, in parts that the document has room for.
fn cohorts(running: &Running, strata: &Strata, rings: &BTreeSet<&str>) -> Vec<Cohort> {
    let (mut hosts, mut ranges) = (BTreeSet::new(), Vec::new());
    for cohort in running.cohorts() {
        match cohort {
            Cohort::Hosts(listed) => hosts.extend(listed.iter().cloned()),
            // Each has those before it within.
            Cohort::Ranges(of_stage) => ranges.clone_from(of_stage),
        }
    }
    hosts.extend(running.replacements());
    let to = match running.state() {
        State::Open => BUCKETS,
        _ => running.spec().plan.holdback_from,
    };
    if matches!(running.state(), State::Complete | State::Open) {
        // Hosts that came, or came back, since the start are of strata that its plan may not have.
        let mut all: BTreeSet<&str> = of_rings(strata.iter().map(|(stratum, ring)| (ring, stratum)), rings);
        all.extend(of_rings(running.spec().members.iter().map(|members| (&members.ring, &members.stratum)), rings));
        ranges = all.into_iter().map(|stratum| HashRange { stratum: stratum.to_owned(), from: 0, to }).collect();
    }
    let members = &running.spec().members;
    if members.iter().any(|members| !rings.contains(members.ring.as_str())) {
        let others = members.iter().filter(|members| !rings.contains(members.ring.as_str()));
        let others: Vec<&Members> = others.collect();
        ranges.retain(|range| others.iter().all(|members| members.stratum != range.stratum));
        others.iter().flat_map(|members| &members.hosts).for_each(|(_, host)| {
            hosts.remove(host);
        });
    }
    let hosts: Vec<HostId> = hosts.into_iter().collect();
    let lists = hosts.chunks(LISTED_MAX).map(|part| Cohort::Hosts(part.to_vec()));
    lists.chain(ranges.chunks(RANGES_MAX).map(|part| Cohort::Ranges(part.to_vec()))).collect()
}

/// The names of the strata that are of these rings.
fn of_rings<'a>(strata: impl Iterator<Item = (&'a String, &'a String)>, rings: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    strata.filter(|(ring, _)| rings.contains(ring.as_str())).map(|(_, stratum)| stratum.as_str()).collect()
}

/// Publishes what is wanted if something else is published, its lease is half over, or the timestamp's life is. Says whether it did.
///
/// # Errors
/// Nothing is published there, or not what these keys may sign, or another publisher is at work: again later.
pub fn publish_wanted(folder: &Path, keys: &Keys, wanted: &Wanted, now: Moment) -> anyhow::Result<bool> {
    if wanted.entries.is_empty() && wanted.recall.is_empty() && !folder.join(TIMESTAMP).exists() {
        return Ok(false); // nothing is published, and nothing is to be said
    }
    let (version, published) = published_plan(folder)?;
    let lease_s = if wanted.is_under_way { LEASE_UNDER_WAY_S } else { LEASE_S };
    let is_needed = match &published {
        None => !wanted.entries.is_empty() || !wanted.recall.is_empty(),
        Some(plan) => {
            let is_same = plan.entries == wanted.entries && wanted.recall.is_subset(&plan.recall) && !plan.paused;
            let has_lease = wanted.entries.is_empty() || plan.lease_until.since_s(now) > lease_s / 2;
            !(is_same && has_lease)
        }
    };
    let mut publication = Publication {
        snapshot_lifetime_s: SNAPSHOT_LIFE_S,
        timestamp_lifetime_s: TIMESTAMP_LIFE_S,
        ..Publication::default()
    };
    let next = next_numbers(version, published.as_ref(), now);
    if let (true, Ok((version, epoch))) = (is_needed, &next) {
        let (version, epoch) = (*version, *epoch);
        let mut recall = wanted.recall.clone();
        recall.extend(published.into_iter().flat_map(|plan| plan.recall)); // what was recalled stays recalled
        let plan = Plan {
            format: 1,
            epoch,
            issued: now,
            lease_until: now.plus_s(lease_s),
            paused: false,
            entries: wanted.entries.clone(),
            recall,
        };
        plan.check()?;
        let bytes = serde_json::to_vec(&plan)?;
        let mut document = Document::director(version, now.plus_s(ROLE_LIFE_S), PLAN_PATH, &bytes);
        keys.director.iter().try_for_each(|key| document.sign(key, false))?;
        publication.roles.insert(DIRECTOR_ROLE.to_owned(), document);
        publication.files.push(bytes);
    } else if !timestamp_is_old(folder, now)? {
        return next.map(|_| false);
    }
    // The timestamp also where no document can follow: hosts go on hearing the repository.
    publish(folder, &publication, OnlineKeys { snapshot: &keys.snapshot, timestamp: &keys.timestamp }, now)?;
    next.map(|_| true)
}

/// Version and epoch of the next document. Who had the director's key may have run one up to the last there is: hosts refuse all that
/// follows by that key.
fn next_numbers(version: u64, published: Option<&Plan>, now: Moment) -> anyhow::Result<(u64, u64)> {
    let mend = "somebody had the director's key: put another in its place (docs/content.md, \"When a key is lost or stolen\"), \
                and start the server with it; until then no recall reaches a host and nothing can be begun";
    let before = published.map_or(0, |plan| plan.epoch);
    let version = version
        .checked_add(1)
        .with_context(|| format!("version {version} of its role is the last there is: {mend}"))?;
    let epoch = before.checked_add(1).with_context(|| format!("epoch {before} is the last there is: {mend}"))?;
    // Seconds since 1970 as the epoch: it grows also where the folder was put back from a copy.
    Ok((version, epoch.max(u64::try_from(now.unix_s()).unwrap_or(0))))
}

/// Whether another document can follow the one that is published.
///
/// # Errors
/// None can, with the mend; or the folder can't be read.
pub fn can_follow(folder: &Path, now: Moment) -> anyhow::Result<()> {
    let (version, published) = published_plan(folder)?;
    next_numbers(version, published.as_ref(), now).map(|_| ())
}

/// The version of the director's role and its plan, as they are published here.
fn published_plan(folder: &Path) -> anyhow::Result<(u64, Option<Plan>)> {
    let Some(document) = published_document(folder, DIRECTOR_ROLE)? else { return Ok((0, None)) };
    let named = document.named_targets()?;
    let Some((_, _, sha256)) = named.into_iter().find(|(path, ..)| path == PLAN_PATH) else {
        return Ok((document.version(), None));
    };
    let (within, name) = PLAN_PATH.rsplit_once('/').unwrap_or(("", PLAN_PATH));
    let path = folder.join("targets").join(within).join(format!("{sha256}.{name}"));
    let size_bytes = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len();
    anyhow::ensure!(size_bytes <= PLAN_SIZE_BYTES_MAX, "{}: too large for a plan", path.display());
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok((document.version(), Some(Plan::parse(&bytes)?)))
}

/// Whether half of the timestamp's life is over: whoever publishes nothing new publishes it again before its end.
fn timestamp_is_old(folder: &Path, now: Moment) -> anyhow::Result<bool> {
    let path = folder.join(TIMESTAMP);
    let Ok(bytes) = std::fs::read(&path) else { return Ok(false) }; // nothing is published yet
    let expires = Document::parse(&bytes).with_context(|| path.display().to_string())?.expires();
    Ok(expires.is_none_or(|expires| expires.since_s(now) < TIMESTAMP_LIFE_S / 2))
}

/// The packs that offline keys signed, as a host would see them; and what is recalled.
///
/// # Errors
/// The folder is no repository that a host would take.
pub fn signed_packs(folder: &Path, now: Moment) -> anyhow::Result<(Vec<SignedPack>, BTreeSet<ContentId>)> {
    let root = published_document(folder, "root")?.context("nothing is published yet: `watertight content publish`")?;
    let source = FolderSource::new(folder)?;
    let store = Store::new(MemoryDisk::default());
    let mut client = client::Client::open(store, source, Some(&root.to_bytes()), client::Limits::default())?;
    client.refresh(now)?;
    let packs = release::signed_packs(&mut client, now)?;
    let recalled = published_plan(folder)?.1.map_or_else(BTreeSet::new, |plan| plan.recall);
    Ok((packs, recalled))
}

#[cfg(test)]
mod tests {
    use watertight_fleet::gate::{Event, Rules};
    use watertight_fleet::plan::{Evidence, Lane, Policy, Schedule, Traits};
    use watertight_fleet::rollout::{Input, Kin, Spec, Start};

    use super::*;

    fn id(letter: char) -> ContentId {
        letter.to_string().repeat(64).parse().expect("an id")
    }

    /// A rollout to one host, begun.
    fn begun(letter: char, version: u64) -> Running {
        begun_for("early", letter, version)
    }

    fn begun_for(ring: &str, letter: char, version: u64) -> Running {
        let any = || "any".to_owned();
        let traits =
            Traits { kernel: any(), distribution: any(), architecture: any(), agent_version: any(), workload: any() };
        let hosts = vec![(7, HostId(format!("{ring}-h")))];
        let kin = Kin { name: format!("{ring}-any"), ring: ring.to_owned(), schedule: Schedule::open(), traits, hosts };
        let start = Start {
            content: id(letter).to_string(),
            name: "linux".into(),
            version,
            policy: Policy::of(Lane::STANDARD),
            rules: Rules::default(),
            evidence: Evidence::default(),
            known: Vec::new(),
            goes_on: false,
        };
        let mut running = Running::new(Spec::plan(start, vec![kin]).expect("a plan"));
        running.take(0, Input::Start);
        running
    }

    fn complete(letter: char, version: u64) -> Running {
        let mut running = begun(letter, version);
        for event in [Event::Given, Event::Healthy] {
            running.take(1, Input::Host { host: 0, event });
        }
        running.take(Lane::STANDARD.stage_ms(), Input::Tick);
        assert_eq!(running.state(), State::Complete);
        running
    }

    fn started(rollouts: &[Running]) -> Vec<ContentId> {
        let wanted = Wanted::of(rollouts.iter().map(|running| (running, 5_000)), &Strata::new(), |_, _| false);
        wanted.entries.iter().map(|entry| entry.content).collect()
    }

    #[test]
    fn the_newest_content_comes_first_and_a_pause_takes_nobody_back() {
        let mut rollouts = [complete('a', 1), begun('b', 2)];
        assert_eq!(started(&rollouts), [id('b'), id('a')]);
        rollouts[1].take(2, Input::Pause);
        assert_eq!(started(&rollouts), [], "who has the newer one is not told to run the older");
        rollouts[1].take(3, Input::Resume);
        assert_eq!(started(&rollouts), [id('b'), id('a')]);
    }

    #[test]
    fn what_is_halted_is_recalled_and_what_was_there_before_goes_on() {
        let mut rollouts = [complete('a', 1), begun('b', 2)];
        rollouts[1].take(2, Input::Abort);
        assert_eq!(started(&rollouts), [id('a')]);
        let wanted = Wanted::of(rollouts.iter().map(|running| (running, 0)), &Strata::new(), |_, _| false);
        assert_eq!((wanted.recall, wanted.is_under_way), ([id('b')].into(), false));
    }

    #[test]
    fn a_ring_that_has_the_newer_content_takes_the_older_one_from_no_other_ring() {
        let mut newer = begun_for("broad", 'b', 2);
        newer.take(2, Input::Pause);
        let rollouts = [complete('a', 1), begun_for("broad", 'a', 1), newer];
        assert_eq!(started(&rollouts), [id('a')], "ring early goes on with it, ring broad is paused");
    }

    #[test]
    fn a_ring_that_is_closed_begins_nothing_and_goes_back_to_nothing() {
        let rollouts = [complete('a', 1), complete('b', 2)];
        let wanted = |closed: fn(&str, u64) -> bool| {
            let wanted = Wanted::of(rollouts.iter().map(|running| (running, 0)), &Strata::new(), closed);
            wanted.entries.iter().map(|entry| entry.content).collect::<Vec<_>>()
        };
        assert_eq!(wanted(|ring, _| ring == "broad"), [id('b'), id('a')]);
        assert_eq!(wanted(|ring, _| ring == "early"), []);
        assert_eq!(wanted(|_, version| version == 2), [], "pinned to 1: who has 2 is not taken back");
        assert_eq!(wanted(|_, version| version == 1), [id('b')]);
    }

    #[test]
    fn hosts_of_strata_that_came_later_have_what_is_complete_and_the_holdback_what_is_open() {
        let mut rollouts = [complete('a', 1)];
        let ranges = |rollouts: &[Running]| {
            let strata = [("new", "early"), ("not-its", "broad")]
                .map(|(stratum, ring)| (stratum.to_owned(), ring.to_owned()))
                .into();
            let wanted = Wanted::of(rollouts.iter().map(|running| (running, 0)), &strata, |_, _| false);
            let ranges = wanted.entries.into_iter().filter_map(|entry| match entry.cohort {
                Cohort::Ranges(ranges) => Some(ranges),
                Cohort::Hosts(_) => None,
            });
            ranges.flatten().map(|range| (range.stratum, range.to)).collect::<Vec<_>>()
        };
        let all = [("early-any".to_owned(), BUCKETS), ("new".to_owned(), BUCKETS)];
        assert_eq!(ranges(&rollouts), all, "one host: nobody is held back");
        rollouts[0].take(9, Input::Open);
        assert_eq!((rollouts[0].state(), ranges(&rollouts)), (State::Open, all.to_vec()));
    }
}
