//! From a wish to a plan: which pack, for which hosts, how fast; and why not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use watertight_content_repo::director::bucket;
use watertight_content_repo::release::{ContentId, Ring, SignedPack};
use watertight_content_repo::time::Moment;
use watertight_fleet::gate::Rules;
use watertight_fleet::plan::{Cohort, Evidence, HostId, Lane, PlanError, Policy, Schedule, Statistics, Traits};
use watertight_fleet::rollout::{Input, Kin, Spec, Start, State};

use super::live::{id, Entry, Live};
use super::{director, evidence, rings, Held, LeftOut, RolloutAnswer, RolloutError, Rollouts};
use crate::clock::now_ms;
use crate::server::Server;
use crate::store::{AuditEntry, JournalRow, RolloutRow, StoreError};

const WEEK_MS: u64 = 7 * 24 * 3_600_000;
const BUCKETS_MAX: u32 = 10_000;
/// A time of a lane is at most a week.
const LANE_S_MAX: u64 = 7 * 24 * 3_600;
/// So much of a content's id is enough to name it.
const ID_START_MIN: usize = 8;

/// A rollout that is wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The pack: its name (the newest of it), `name@version`, or the start of its SHA-256.
    pub content: String,
    /// `standard` or `emergency`.
    #[serde(default)]
    pub lane: Option<String>,
    /// Within so many seconds hosts fetch what they were given.
    #[serde(default)]
    pub pickup_s: Option<u64>,
    /// For so many seconds a host runs it before it may call itself healthy.
    #[serde(default)]
    pub watch_s: Option<u64>,
    /// So many seconds a report may take.
    #[serde(default)]
    pub report_s: Option<u64>,
    /// Hosts of a million that are held back.
    #[serde(default)]
    pub holdback_per_million: Option<u32>,
    /// For so many seconds.
    #[serde(default)]
    pub holdback_s: Option<u64>,
    /// Only for rings whose turn is now: it does not go on by itself to those whose turn comes later.
    #[serde(default)]
    pub once: bool,
    /// Why, for the audit log; a plan needs none.
    #[serde(default)]
    pub reason: String,
}

/// How it is rolled out.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// Speed and holdback.
    pub(super) policy: Policy,
    /// See `Spec`.
    pub(super) goes_on: bool,
}

impl Terms {
    fn of(wish: &Wish) -> Result<Self, RolloutError> {
        Ok(Self { policy: policy(wish)?, goes_on: !wish.once })
    }
}

/// A plan as it is told.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlanAnswer {
    /// The pack: its SHA-256.
    pub content: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Hosts that it is for: online, and of a ring that may have it now.
    pub hosts: u64,
    /// Hosts of these that are held back, about.
    pub held_back: u64,
    /// `full`, `no_holdback` or `too_few_hosts`: how much the gate can tell.
    pub statistics: String,
    /// From the start to the end of the last stage, if nothing holds it up.
    pub seconds: u64,
    /// Rings that it is not for, though the signed schedule would let them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// The stages.
    pub stages: Vec<PlannedStage>,
}

/// A stage of a plan.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlannedStage {
    /// From 1.
    pub number: u32,
    /// Hosts that have the content after it.
    pub hosts_so_far: u64,
    /// The signed schedule does not let it begin before, milliseconds since 1970; 0 if it may at any time.
    pub not_before_ms: u64,
    /// Who they are, where the stage names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<String>,
}

/// How much the gate can tell, as answers name it.
pub(super) const fn statistics_name(statistics: Statistics) -> &'static str {
    match statistics {
        Statistics::Full => "full",
        Statistics::NoHoldback => "no_holdback",
        Statistics::TooFewHosts => "too_few_hosts",
    }
}

impl PlanAnswer {
    fn of(spec: &Spec, left_out: Vec<LeftOut>) -> Self {
        let plan = &spec.plan;
        let share =
            u128::from(plan.hosts) * u128::from(plan.holdback_from) / u128::from(watertight_fleet::plan::BUCKETS);
        let (opens_ms, now_ms) = (spec.opens_ms(), now_ms());
        let stage = |(stage, opens_ms): (&watertight_fleet::plan::Stage, &u64)| PlannedStage {
            number: stage.number,
            hosts_so_far: stage.hosts_so_far,
            not_before_ms: if *opens_ms > now_ms { *opens_ms } else { 0 },
            named: match &stage.cohort {
                Cohort::Hosts(hosts) => hosts.iter().map(|host| host.0.clone()).collect(),
                Cohort::Ranges(_) => Vec::new(),
            },
        };
        let stages: Vec<PlannedStage> = plan.stages.iter().zip(&opens_ms).map(stage).collect();
        Self {
            content: spec.content.clone(),
            name: spec.name.clone(),
            version: spec.version,
            hosts: plan.hosts,
            held_back: plan.hosts.saturating_sub(u64::try_from(share).unwrap_or(plan.hosts)),
            statistics: statistics_name(plan.statistics).to_owned(),
            left_out,
            seconds: (plan.policy.lane.stage_ms() / 1000).saturating_mul(stages.len() as u64),
            stages,
        }
    }
}

impl Rollouts {
    /// What a rollout would be.
    ///
    /// # Errors
    /// As `start`.
    pub async fn plan(&self, server: &Server, wish: &Wish) -> Result<PlanAnswer, RolloutError> {
        let mut held = self.held.lock().await;
        self.read(server, &mut held).await?;
        let (spec, left_out) = self.spec(server, &held, &wish.content, Terms::of(wish)?).await?;
        Ok(PlanAnswer::of(&spec, left_out))
    }

    /// Begins a rollout.
    ///
    /// # Errors
    /// There is no such pack or no host for it, another of its name is under way, or something speaks against it.
    pub async fn start(&self, server: &Server, wish: &Wish, audit: AuditEntry) -> Result<RolloutAnswer, RolloutError> {
        let terms = Terms::of(wish)?;
        let mut held = self.held.lock().await;
        self.read(server, &mut held).await?;
        self.begin(server, &mut held, &wish.content, terms, audit).await
    }

    /// Begins one of content by this word, on these terms.
    pub(super) async fn begin(
        &self,
        server: &Server,
        held: &mut Held,
        content: &str,
        terms: Terms,
        audit: AuditEntry,
    ) -> Result<RolloutAnswer, RolloutError> {
        if self.keys.is_none() {
            let mend =
                "this server has no director's key: start it with --director-key, --snapshot-key, --timestamp-key";
            return Err(RolloutError::Conflict(mend.to_owned()));
        }
        let (spec, _) = self.spec(server, held, content, terms).await?;
        let number = held.rollouts.last_key_value().map_or(0, |(number, _)| *number).saturating_add(1);
        let heard = server.store.newest_evidence().await?;
        let text = |error: serde_json::Error| StoreError::Failed { why: error.to_string() };
        let row = RolloutRow { number, started_ms: audit.at_ms, spec: serde_json::to_string(&spec).map_err(text)? };
        let entry = Entry {
            at_ms: audit.at_ms,
            heard,
            inputs: vec![Input::Start],
            word: Some(format!("{}: {}", audit.actor, audit.reason)),
        };
        let first = JournalRow { number: 0, entry: serde_json::to_string(&entry).map_err(text)? };
        let audit =
            AuditEntry { subject: format!("{} of {} version {}", id(number), spec.name, spec.version), ..audit };
        match server.noted(server.store.put_rollout(&row, &first, &audit).await) {
            Err(StoreError::Taken) => {
                held.is_read = false;
                return Err(RolloutError::Conflict("another server has begun a rollout: look again".to_owned()));
            }
            stored => stored?,
        }
        held.rollouts.insert(number, Live::read(&row, &[first], None, &server.hosts)?);
        self.follow(server, held).await;
        self.answer(server, held, &id(number)).await
    }

    async fn spec(
        &self,
        server: &Server,
        held: &Held,
        word: &str,
        Terms { policy, goes_on }: Terms,
    ) -> Result<(Spec, Vec<LeftOut>), RolloutError> {
        let folder = self.folder.clone();
        let now = Moment::now();
        let read = tokio::task::spawn_blocking(move || {
            (director::signed_packs(&folder, now), director::can_follow(&folder, now))
        });
        let (read, can_follow) = read.await.map_err(|error| RolloutError::Form(error.to_string()))?;
        let (packs, recalled) =
            read.map_err(|error| RolloutError::Conflict(format!("the content repository: {error:#}")))?;
        can_follow.map_err(|error| RolloutError::Conflict(format!("the director's document: {error:#}")))?;
        let pack = find(&packs, word)?;
        let content = pack.id.to_string();
        check(held, pack, &packs)?;
        let since_ms = now_ms().saturating_sub(WEEK_MS);
        let known = server.store.buckets_without(&content, since_ms, BUCKETS_MAX).await?;
        let start = Start {
            name: pack.release.name.clone(),
            version: pack.release.version,
            policy,
            rules: Rules::default(),
            evidence: found(held, pack.id, &recalled),
            known: known.iter().map(|(bucket, last_ms)| (evidence::bucket(bucket), *last_ms)).collect(),
            content,
            goes_on,
        };
        let (rings, left_out) = admitted(held, &packs, pack, now)?;
        let spec = Spec::plan(start, kin(server, &rings, pack)).map_err(|error| match error {
            PlanError::Halted { .. } | PlanError::NoHosts => RolloutError::Conflict(error.to_string()),
            error => RolloutError::Form(error.to_string()),
        })?;
        Ok((spec, left_out))
    }
}

fn find<'a>(packs: &'a [SignedPack], word: &str) -> Result<&'a SignedPack, RolloutError> {
    let (name, version) = match word.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (word, None),
    };
    let of_name = packs.iter().filter(|pack| pack.release.name == name);
    let named = of_name
        .filter(|pack| version.is_none_or(|version| pack.release.version.to_string() == version))
        .max_by_key(|pack| pack.release.version);
    let is_id = word.len() >= ID_START_MIN;
    let mut by_id = packs.iter().filter(|pack| is_id && pack.id.to_string().starts_with(word));
    let found = named.or_else(|| by_id.next().filter(|_| by_id.next().is_none()));
    let why = "that offline keys signed and that is published: `watertight content publish`";
    found.ok_or_else(|| RolloutError::NotFound(format!("content {word:?} {why}")))
}

fn policy(wish: &Wish) -> Result<Policy, RolloutError> {
    let mut lane = match wish.lane.as_deref() {
        None | Some("standard") => Lane::STANDARD,
        Some("emergency") => Lane::EMERGENCY,
        Some(other) => return Err(RolloutError::Form(format!("lane {other:?}: `standard` or `emergency`"))),
    };
    let ms = |name: &str, seconds: Option<u64>, usual_ms: u64| match seconds {
        None => Ok(usual_ms),
        Some(seconds @ 1..=LANE_S_MAX) => Ok(seconds.saturating_mul(1000)),
        Some(_) => Err(RolloutError::Form(format!("{name}: 1 to {LANE_S_MAX}"))),
    };
    lane.pickup_ms = ms("pickup_s", wish.pickup_s, lane.pickup_ms)?;
    lane.watch_ms = ms("watch_s", wish.watch_s, lane.watch_ms)?;
    lane.report_ms = ms("report_s", wish.report_s, lane.report_ms)?;
    let mut policy = Policy::of(lane);
    policy.holdback_ms = ms("holdback_s", wish.holdback_s, policy.holdback_ms)?;
    policy.holdback_per_million = wish.holdback_per_million.unwrap_or(policy.holdback_per_million);
    Ok(policy)
}

/// Whether the rollouts so far leave room for this one.
fn check(held: &Held, pack: &SignedPack, packs: &[SignedPack]) -> Result<(), RolloutError> {
    let release = &pack.release;
    let floor = packs.iter().filter(|other| other.release.name == release.name).map(|other| other.release.floor).max();
    if floor.is_some_and(|floor| release.version < floor) {
        let (name, version) = (&release.name, release.version);
        return Err(RolloutError::Conflict(format!(
            "{name} version {version} is below the signed floor: no host would run it"
        )));
    }
    for live in held.rollouts.values().filter(|live| live.running.spec().name == release.name) {
        let (spec, state, id) = (live.running.spec(), live.running.state(), live.id());
        if state.is_under_way() {
            let mend = format!("`watertight rollout abort {id}`, or wait for its end");
            return Err(RolloutError::Conflict(format!("rollout {id} of {} is {}: {mend}", spec.name, state.name())));
        }
    }
    Ok(())
}

/// What speaks against a content, and which hosts have had enough of it.
fn found(held: &Held, content: ContentId, recalled: &BTreeSet<ContentId>) -> Evidence {
    let mut evidence = Evidence::default();
    let halted =
        |live: &&Live| live.running.state() == State::Halted && live.running.spec().content == content.to_string();
    if let Some(live) = held.rollouts.values().find(halted) {
        let why = live.why().unwrap_or_default();
        evidence.halted = Some(format!("rollout {} of it was halted: {why}", live.id()));
    } else if recalled.contains(&content) {
        evidence.halted = Some("it was recalled".to_owned());
    }
    evidence
}

/// The rings that it is for now, each with its schedule: those whose first step has come, without those that a rollout of it was for, and
/// those that their policy leaves out.
fn admitted<'a>(
    held: &Held,
    packs: &[SignedPack],
    pack: &'a SignedPack,
    now: Moment,
) -> Result<(BTreeMap<&'a str, Schedule>, Vec<LeftOut>), RolloutError> {
    let content = pack.id.to_string();
    let is_done = |ring: &str| {
        held.rollouts.values().map(|live| &live.running).any(|running| {
            let spec = running.spec();
            spec.content == content && running.state() != State::Halted && spec.rings().contains(ring)
        })
    };
    let waiting = || pack.release.rings.iter().filter(|(name, _)| !is_done(name));
    let (mut begun, mut left_out) = (BTreeMap::new(), Vec::new());
    for (name, ring) in waiting().filter(|(_, ring)| ring.per_million_at(now) > 0) {
        match passed(held, pack, name).or_else(|| rings::stays(held, packs, pack, name)) {
            None => {
                begun.insert(name.as_str(), schedule(ring));
            }
            Some(ring) => left_out.push(ring),
        }
    }
    if !begun.is_empty() {
        return Ok((begun, left_out));
    }
    if !left_out.is_empty() {
        let why =
            left_out.iter().map(|left| format!("ring {}: {}", left.ring, left.why)).collect::<Vec<_>>().join("; ");
        return Err(RolloutError::Conflict(format!("no ring may begin it: {why}")));
    }
    Err(RolloutError::Conflict(match waiting().map(|(_, ring)| ring.earliest).min() {
        Some(first) => format!("no other ring may have it yet by the signed schedule: the next may at {first}"),
        None => "every ring of its signed schedule was given it".to_owned(),
    }))
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

/// The hosts that it is for, by stratum: those that are online, of a ring that may have it by now. One of which nothing was heard since
/// the server was started is online as long as its own promise says so: a plan is for hosts that are there.
fn kin(server: &Server, rings: &BTreeMap<&str, Schedule>, pack: &SignedPack) -> Vec<Kin> {
    let (now_ms, usual_ms) = (now_ms(), server.pace().usual_ms());
    let thresholds = Rules::default().thresholds;
    let mut by_name: BTreeMap<String, Kin> = BTreeMap::new();
    for cell in server.hosts.all() {
        let host = cell.lock();
        let row = &host.row;
        // Who was asked to come sooner, because its watch ends, is no sooner silent.
        let due_ms = row.seen.promised_ms.max(row.seen.last_seen_ms.saturating_add(usual_ms));
        let is_online = row.revoked_ms.is_none() && host.absence(now_ms, due_ms, 0, &thresholds).is_none();
        let Some(schedule) = rings.get(row.ring.as_str()).filter(|_| is_online) else { continue };
        let bucket = bucket(pack.id, &row.id);
        if schedule.opens_ms(bucket).is_none() {
            continue; // it would refuse
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
    by_name.into_values().collect()
}
