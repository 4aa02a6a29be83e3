//! Whose turn it is: the rings that a content is for now, and the hosts of these that are online.

use std::collections::BTreeMap;

use watertight_content_repo::director::bucket;
use watertight_content_repo::release::{ContentId, Ring, SignedPack};
use watertight_content_repo::time::Moment;
use watertight_fleet::gate::Thresholds;
use watertight_fleet::plan::{HostId, Schedule, Traits};
use watertight_fleet::rollout::{Kin, Spec, State};

use super::later::Until;
use super::live::Live;
use super::{rings, Held, LeftOut, RolloutError};
use crate::clock::now_ms;
use crate::server::Server;

/// The rings that a content is for now.
pub(super) struct Admitted {
    /// Each with its schedule.
    pub(super) rings: BTreeMap<String, Schedule>,
    /// Those that the schedule would let, and their policy does not.
    pub(super) left_out: Vec<LeftOut>,
    /// When others may join them.
    pub(super) again_ms: Option<u64>,
}

/// Those whose first step has come, without those that a rollout of it was for, and those that their policy leaves out.
pub(super) fn admitted(
    held: &Held,
    packs: &[SignedPack],
    pack: &SignedPack,
    now: Moment,
) -> Result<Admitted, RolloutError> {
    let content = pack.id.to_string();
    let is_done = |ring: &str| {
        held.rollouts.values().map(|live| &live.running).any(|running| {
            let spec = running.spec();
            spec.content == content && running.state() != State::Halted && spec.rings().contains(ring)
        })
    };
    let waiting = || pack.release.rings.iter().filter(|(name, _)| !is_done(name));
    let is_open = |ring: &Ring| ring.per_million_at(now) > 0;
    let (mut begun, mut left_out) = (BTreeMap::new(), Vec::new());
    for (name, ring) in waiting().filter(|(_, ring)| is_open(ring)) {
        let kept = other(held, pack, name).or_else(|| passed(held, pack, name));
        match kept.or_else(|| rings::stays(held, packs, pack, name)) {
            None => {
                begun.insert(name.clone(), schedule(ring));
            }
            Some(ring) => left_out.push(ring),
        }
    }
    // The first bucket's turn is the ring's.
    let opens_ms = waiting().filter(|(_, ring)| !is_open(ring)).filter_map(|(_, ring)| schedule(ring).opens_ms(0));
    let again_ms = opens_ms.chain(left_out.iter().filter_map(|left| left.again_ms)).min();
    if !begun.is_empty() {
        return Ok(Admitted { rings: begun, left_out, again_ms });
    }
    let why = if left_out.is_empty() {
        match waiting().map(|(_, ring)| ring.earliest).min() {
            Some(first) => format!("no other ring may have it yet by the signed schedule: the next may at {first}"),
            None => "every ring of its signed schedule was given it".to_owned(),
        }
    } else {
        let of_rings = left_out.iter().map(|left| format!("ring {}: {}", left.ring, left.why));
        format!("no ring may begin it: {}", of_rings.collect::<Vec<_>>().join("; "))
    };
    Err(RolloutError::NotYet { why, until: Box::new(Until { again_ms, hosts: None }) })
}

/// Why a ring is another name's: a host runs one pack, and of two that it is given each looks like one that it left.
fn other(held: &Held, pack: &SignedPack, ring: &str) -> Option<LeftOut> {
    let has_ring = |live: &&Live| {
        let (spec, state) = (live.running.spec(), live.running.state());
        spec.name != pack.release.name && state != State::Halted && spec.rings().contains(ring)
    };
    let live = held.rollouts.values().rev().find(has_ring)?;
    let (id, Spec { name, version, .. }) = (live.id(), live.running.spec());
    let mend = format!("publish this as a version of {name}, or `watertight rollout abort {id}` takes that away");
    let why = format!("rollout {id} gave it {name} version {version}, and a host runs content of one name: {mend}");
    Some(LeftOut { ring: ring.to_owned(), why, again_ms: None })
}

/// Why a ring has had its time for this pack: another may still be to get it, as one that follows the release before the newest.
fn passed(held: &Held, pack: &SignedPack, ring: &str) -> Option<LeftOut> {
    let release = &pack.release;
    let newer = held.rollouts.values().map(|live| &live.running).find(|running| {
        let spec = running.spec();
        let is_newer = spec.name == release.name && spec.version > release.version;
        is_newer && running.state() != State::Halted && spec.rings().contains(ring)
    })?;
    let why = "no host goes back to an older version: publish what it had under a higher one";
    let why = format!("version {} was rolled out: {why}", newer.spec().version);
    Some(LeftOut { ring: ring.to_owned(), why, again_ms: None })
}

/// A ring's signed schedule, as the planner reads it.
fn schedule(ring: &Ring) -> Schedule {
    let from_ms =
        |after_h: u32| ring.earliest.plus_s(i64::from(after_h).saturating_mul(3_600)).unix_s().saturating_mul(1_000);
    Schedule::new(ring.steps.iter().map(|step| (u64::try_from(from_ms(step.after_h)).unwrap_or(0), step.per_million)))
}

/// Hosts that a content is for now.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// By stratum.
    pub(super) kin: Vec<Kin>,
    /// Would be of these, and said that somebody paused them.
    paused: u64,
    /// The same, and refuse the director's document.
    refusing: u64,
}

impl Asked {
    /// Those that are there and would begin nothing, each kind in a sentence.
    pub(super) fn left_out(&self) -> Vec<String> {
        let paused = "paused by `watertight pause` on the host";
        let refusing = "that refuse the director's document (`watertight rollout why HOST`)";
        let of = |(count, what): (u64, &str)| (count > 0).then(|| format!("{count} hosts {what}"));
        [(self.paused, paused), (self.refusing, refusing)].into_iter().filter_map(of).collect()
    }
}

/// The hosts that it is for: those that are online and would begin it, of a ring that may have it by now. One of which nothing was heard since
/// the server was started is online as long as its own promise says so: a plan is for hosts that are there.
pub(super) fn asked(server: &Server, rings: &BTreeMap<String, Schedule>, content: ContentId) -> Asked {
    let mut asked = Asked::default();
    let (now_ms, usual_ms) = (now_ms(), server.pace().usual_ms());
    let thresholds = Thresholds::default();
    let mut by_name: BTreeMap<String, Kin> = BTreeMap::new();
    for cell in server.hosts.all() {
        let host = cell.lock();
        let row = &host.row;
        // Who was asked to come sooner, because its watch ends, is no sooner silent.
        let due_ms = row.seen.promised_ms.max(row.seen.last_seen_ms.saturating_add(usual_ms));
        let is_online = row.revoked_ms.is_none() && host.absence(now_ms, due_ms, 0, &thresholds).is_none();
        let Some(schedule) = rings.get(&row.ring).filter(|_| is_online) else { continue };
        let bucket = bucket(content, &row.id);
        if schedule.opens_ms(bucket).is_none() {
            continue; // it would refuse
        }
        let told = row.seen.state.content.as_ref();
        let (is_paused, refuses) =
            told.map_or((false, false), |told| (told.is_paused, !told.director_refused.is_empty()));
        if is_paused || refuses {
            let count = if is_paused { &mut asked.paused } else { &mut asked.refusing };
            *count = count.saturating_add(1);
            continue;
        }
        let part = row.seen.state.host.clone().unwrap_or_default();
        let name = part.stratum(&row.ring);
        let kin = by_name.entry(name.clone()).or_insert_with(|| Kin {
            name,
            ring: row.ring.clone(),
            schedule: schedule.clone(),
            traits: Traits {
                kernel: part.kernel,
                distribution: part.distribution,
                architecture: part.architecture,
                agent_version: part.agent_version,
                workload: part.workload,
            },
            hosts: Vec::new(),
        });
        kin.hosts.push((bucket, HostId(row.id.clone())));
    }
    Asked { kin: by_name.into_values().collect(), ..asked }
}
