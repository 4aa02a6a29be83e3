//! What a host makes of a plan: run this, hold, or refuse by name.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::{Cohort, Entry};
use super::seen::Seen;
use super::SignedPlan;
use crate::release::{ContentId, SignedPack, WHOLE_PER_MILLION};
use crate::time::Moment;

/// Whom a decision is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Its id in the fleet.
    pub id: String,
    /// Hosts like it.
    pub stratum: String,
    /// Its rollout ring.
    pub ring: String,
    /// Its engine's number.
    pub engine: u32,
    /// The oldest engine whose content it takes, too.
    pub engine_oldest: u32,
}

/// Why a plan, or an entry that is for this host, is refused. Whatever runs goes on unless it is recalled.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refused", rename_all = "snake_case")]
pub enum Refusal {
    /// The plan is older than one that this host has seen.
    #[error("epoch {offered} is older than {seen}, which this host has seen: a replay")]
    EpochWentBack {
        /// The plan's.
        offered: u64,
        /// The host's.
        seen: u64,
    },
    /// Two plans with one epoch.
    #[error("epoch {epoch} was seen with other words: the director contradicts itself")]
    EpochReused {
        /// The epoch.
        epoch: u64,
    },
    /// The lease is over.
    #[error("the plan's lease ended at {until}")]
    LeaseExpired {
        /// When.
        until: Moment,
    },
    /// The lease has not begun: the clock, or the director's, is wrong.
    #[error("the plan is of {issued}, which is still to come: compare the clocks")]
    FromTheFuture {
        /// When.
        issued: Moment,
    },
    /// No offline key signed the pack.
    #[error("content {content} is signed by no offline key: the director introduces it")]
    UnsignedContent {
        /// The pack.
        content: ContentId,
    },
    /// The plan both starts and recalls it, or an older one recalled it.
    #[error("content {content} was recalled")]
    Recalled {
        /// The pack.
        content: ContentId,
    },
    /// Below the version with the last hole.
    #[error("content {content}: version {version} of {name} is below the signed floor {floor}")]
    BelowFloor {
        /// The pack.
        content: ContentId,
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
        /// The greatest floor signed for the name.
        floor: u64,
    },
    /// For other engines.
    #[error("content {content} is for engines {min} to {max}, this one is {engine}")]
    WrongEngine {
        /// The pack.
        content: ContentId,
        /// First.
        min: u32,
        /// Last.
        max: u32,
        /// The host's.
        engine: u32,
    },
    /// The signed release does not name the host's ring.
    #[error("content {content} is not for ring {ring}")]
    WrongRing {
        /// The pack.
        content: ContentId,
        /// The host's.
        ring: String,
    },
    /// The director starts it before its signed time, or for more hosts than its signed step.
    #[error("content {content}: the signed schedule gives ring {ring} to {allowed_per_million} of a million hosts by now, this host is {host_per_million}")]
    OutsideSchedule {
        /// The pack.
        content: ContentId,
        /// The host's.
        ring: String,
        /// Hosts of a million that may have it now.
        allowed_per_million: u32,
        /// Where among a million this host stands.
        host_per_million: u32,
    },
}

/// Why nothing is started though nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The director paused the fleet.
    Paused,
    /// No entry names this host at this time.
    NotChosen,
}

/// What to do of one kind of content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Start this one, until the lease ends.
    Run {
        /// The pack.
        content: ContentId,
        /// Its version.
        version: u64,
        /// The lease.
        until: Moment,
    },
    /// An entry is for this host and can't be right.
    Refused(Refusal),
}

/// What a host makes of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// By name of content. What is not named stays as it is.
    pub decisions: BTreeMap<String, Decision>,
    /// Entries for this host that name no signed pack, so that not even their kind is known.
    pub refused: Vec<Refusal>,
    /// Why nothing is started, where nothing is.
    pub hold: Option<Hold>,
    /// What this host may not run any more: this plan's and every earlier one's.
    pub recalled: Vec<ContentId>,
}

impl Verdict {
    /// The packs to run.
    #[must_use]
    pub fn to_run(&self) -> Vec<ContentId> {
        let run = self.decisions.values().filter_map(|decision| match decision {
            Decision::Run { content, .. } => Some(*content),
            Decision::Refused(_) => None,
        });
        run.collect()
    }

    /// Whether the plan asks for something of this host that can't be right. What the director recalled itself is held back as it asked.
    #[must_use]
    pub fn has_refusal(&self) -> bool {
        let is_refused = |decision: &Decision| match decision {
            Decision::Refused(refusal) => !matches!(refusal, Refusal::Recalled { .. }),
            Decision::Run { .. } => false,
        };
        !self.refused.is_empty() || self.decisions.values().any(is_refused)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, decision) in &self.decisions {
            match decision {
                Decision::Run { content, version, until } => {
                    writeln!(f, "director: run {name} {version} ({content}) until {until}")?;
                }
                Decision::Refused(refusal) => writeln!(f, "director: {name} refused: {refusal}")?,
            }
        }
        for refusal in &self.refused {
            writeln!(f, "director: refused: {refusal}")?;
        }
        match self.hold {
            Some(Hold::Paused) => writeln!(f, "director: hold, the fleet is paused")?,
            Some(Hold::NotChosen) => writeln!(f, "director: hold, nothing is for this host now")?,
            None => {}
        }
        Ok(())
    }
}

/// Clocks that are set by the network differ by less.
const CLOCK_TOLERANCE_S: i64 = 300;

/// What `host` makes of `plan`, given the packs that offline keys signed and what it has seen of the director.
///
/// `seen` takes in the plan's epoch and recalls, also where the plan starts nothing: the caller makes it durable before acting.
///
/// # Errors
/// The plan as a whole is refused: an older epoch, other words under the same epoch, no lease.
pub fn decide(
    signed: &SignedPlan,
    packs: &[SignedPack],
    host: &Host,
    seen: &mut Seen,
    now: Moment,
) -> Result<Verdict, Refusal> {
    let (plan, offered) = (&signed.plan, signed.plan.epoch);
    let epoch_seen = seen.epoch_of(&signed.authority);
    if offered < epoch_seen {
        return Err(Refusal::EpochWentBack { offered, seen: epoch_seen });
    }
    if offered == epoch_seen && signed.sha256 != seen.plan_sha256 {
        return Err(Refusal::EpochReused { epoch: offered });
    }
    // A recall holds though the lease is over or the clock is wrong: to stop is always safe.
    seen.take_in(signed);
    if plan.issued > now.plus_s(CLOCK_TOLERANCE_S) {
        return Err(Refusal::FromTheFuture { issued: plan.issued });
    }
    if plan.lease_until < now {
        return Err(Refusal::LeaseExpired { until: plan.lease_until });
    }
    let mut verdict = Verdict {
        decisions: BTreeMap::new(),
        refused: Vec::new(),
        hold: None,
        recalled: seen.recalled.iter().copied().collect(),
    };
    if plan.paused {
        verdict.hold = Some(Hold::Paused);
        return Ok(verdict);
    }
    for entry in plan.entries.iter().filter(|entry| entry.is_for(host, now)) {
        let Some(pack) = packs.iter().find(|pack| pack.id == entry.content) else {
            verdict.refused.push(Refusal::UnsignedContent { content: entry.content });
            continue;
        };
        verdict.decisions.entry(pack.release.name.clone()).or_insert_with(|| {
            match check_pack(pack, packs, host, seen, now) {
                Ok(()) => Decision::Run { content: pack.id, version: pack.release.version, until: plan.lease_until },
                Err(refusal) => Decision::Refused(refusal),
            }
        });
    }
    if verdict.decisions.is_empty() && verdict.refused.is_empty() {
        verdict.hold = Some(Hold::NotChosen);
    }
    Ok(verdict)
}

/// What the offline keys allow of a pack on this host now.
fn check_pack(pack: &SignedPack, packs: &[SignedPack], host: &Host, seen: &Seen, now: Moment) -> Result<(), Refusal> {
    let (content, release) = (pack.id, &pack.release);
    if seen.recalled.contains(&content) {
        return Err(Refusal::Recalled { content });
    }
    let of_name = packs.iter().filter(|other| other.release.name == release.name);
    let floor = of_name.map(|other| other.release.floor).max().unwrap_or_default();
    if release.version < floor {
        return Err(Refusal::BelowFloor { content, name: release.name.clone(), version: release.version, floor });
    }
    let (min, max) = (release.engine.min, release.engine.max);
    if min > host.engine || max < host.engine_oldest {
        return Err(Refusal::WrongEngine { content, min, max, engine: host.engine });
    }
    let Some(ring) = release.rings.get(&host.ring) else {
        return Err(Refusal::WrongRing { content, ring: host.ring.clone() });
    };
    let allowed_per_million = ring.per_million_at(now);
    let bucket = bucket(content, &host.id);
    let host_per_million = per_million(bucket);
    if u64::from(bucket) < watertight_fleet::plan::buckets_of(allowed_per_million) {
        Ok(())
    } else {
        Err(Refusal::OutsideSchedule { content, ring: host.ring.clone(), allowed_per_million, host_per_million })
    }
}

impl Entry {
    fn is_for(&self, host: &Host, now: Moment) -> bool {
        if now < self.not_before || now > self.not_after {
            return false;
        }
        match &self.cohort {
            Cohort::Hosts(hosts) => hosts.iter().any(|listed| listed.0 == host.id),
            Cohort::Ranges(ranges) => {
                let bucket = u64::from(bucket(self.content, &host.id));
                ranges.iter().any(|range| range.stratum == host.stratum && (range.from..range.to).contains(&bucket))
            }
        }
    }
}

/// Where a host stands for a pack: evenly spread, and anew for every pack, so that no host is always the first.
#[must_use]
pub fn bucket(content: ContentId, host: &str) -> u32 {
    let mut text = b"watertight bucket 1\0".to_vec();
    text.extend(content.bytes());
    text.extend(host.as_bytes());
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    digest.as_ref().iter().take(4).fold(0, |bucket, byte| (bucket << 8) | u32::from(*byte))
}

/// A bucket's place among a million hosts.
fn per_million(bucket: u32) -> u32 {
    let place = (u64::from(bucket) * u64::from(WHOLE_PER_MILLION)) >> 32;
    u32::try_from(place).unwrap_or(WHOLE_PER_MILLION)
}
