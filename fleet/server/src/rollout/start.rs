//! From a wish to a plan: which pack, for which hosts, how fast; and why not.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use watertight_content_repo::release::{ContentId, SignedPack};
use watertight_content_repo::time::Moment;
use watertight_fleet::gate::Rules;
use watertight_fleet::plan::{Cohort, Evidence, Lane, PlanError, Policy, Statistics};
use watertight_fleet::rollout::{Input, Spec, Start, State};

use super::later::{HostsOf, Until};
use super::live::{id, Entry, Live};
use super::turn::{admitted, asked, Admitted};
use super::{director, evidence, Held, LeftOut, RolloutAnswer, RolloutError, Rollouts};
use crate::clock::now_ms;
use crate::server::Server;
use crate::store::{AuditEntry, JournalRow, RolloutRow, StoreError};

const WEEK_MS: u64 = 7 * 24 * 3_600_000;
const BUCKETS_MAX: u32 = 10_000;
/// A repository that can't be read is tried again after this, where nobody asks.
const UNREAD_MS: u64 = 60_000;
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

/// What came of a wish.
struct Planned {
    spec: Spec,
    /// Rings that it is not for.
    left_out: Vec<LeftOut>,
    /// Hosts that would begin nothing, in words.
    hosts_left_out: Vec<String>,
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
    /// Hosts that are online and would begin nothing: how many, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts_left_out: Vec<String>,
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
    fn of(Planned { spec, left_out, hosts_left_out }: Planned) -> Self {
        let plan = &spec.plan;
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
            held_back: plan.held_back(),
            statistics: statistics_name(plan.statistics).to_owned(),
            left_out,
            hosts_left_out,
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
        Ok(PlanAnswer::of(self.spec(server, &held, &wish.content, Terms::of(wish)?).await?))
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
        let Planned { spec, .. } = self.spec(server, held, content, terms).await?;
        let number = held.rollouts.last_key_value().map_or(0, |(number, _)| *number).saturating_add(1);
        let heard = server.store.newest_evidence().await?;
        let text = |error: serde_json::Error| StoreError::Failed { why: error.to_string() };
        let row = RolloutRow { number, started_ms: audit.at_ms, spec: serde_json::to_string(&spec).map_err(text)? };
        let entry = Entry {
            at_ms: audit.at_ms,
            heard,
            joined: Vec::new(),
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
    ) -> Result<Planned, RolloutError> {
        let now = Moment::now();
        let (packs, recalled) = self.signed(now).await?;
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
        let Admitted { rings, left_out, again_ms } = admitted(held, &packs, pack, now)?;
        let asked = asked(server, &rings, pack.id);
        let hosts_left_out = asked.left_out();
        match Spec::plan(start, asked.kin) {
            Ok(spec) => Ok(Planned { spec, left_out, hosts_left_out }),
            Err(error @ PlanError::NoHosts) => {
                let until = Until { again_ms, hosts: Some(HostsOf { content: pack.id, rings }) };
                let why = match hosts_left_out.as_slice() {
                    [] => error.to_string(),
                    hosts => format!("no host would begin it: there are {}", hosts.join(" and ")),
                };
                Err(RolloutError::NotYet { why, until: Box::new(until) })
            }
            Err(error @ PlanError::Halted { .. }) => Err(RolloutError::Conflict(error.to_string())),
            Err(error) => Err(RolloutError::Form(error.to_string())),
        }
    }

    /// The packs that offline keys signed, and what is recalled: all of the repository is read and verified.
    async fn signed(&self, now: Moment) -> Result<(Vec<SignedPack>, BTreeSet<ContentId>), RolloutError> {
        self.repository_reads.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || {
            (director::signed_packs(&folder, now), director::can_follow(&folder, now))
        });
        let (signed, can_follow) = read.await.map_err(|error| RolloutError::Form(error.to_string()))?;
        let unread = |what: &str, error: anyhow::Error| {
            let until = Until { again_ms: Some(now_ms().saturating_add(UNREAD_MS)), hosts: None };
            RolloutError::NotYet { why: format!("{what}: {error:#}"), until: Box::new(until) }
        };
        let signed = signed.map_err(|error| unread("the content repository", error))?;
        can_follow.map_err(|error| unread("the director's document", error))?;
        Ok(signed)
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
