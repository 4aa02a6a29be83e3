//! How a rollout stands, and why a host runs what it runs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use watertight_content_repo::time::Moment;
use watertight_fleet::rollout::{Place, State};

use super::live::Live;
use super::start::statistics_name;
use super::{live_of, Held, RolloutError, Rollouts};
use crate::server::Server;

/// Decisions that a status has.
const DECISIONS_MAX: u32 = 100;
/// Hosts that it names.
const UNREACHED_MAX: usize = 1_000;

/// How a rollout stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RolloutAnswer {
    /// Its id.
    pub id: String,
    /// `running`, `holding`, `paused`, `halted`, `complete` (all but the holdback) or `open` (all).
    pub state: String,
    /// The stage that runs or ran last, from 1.
    pub stage: u32,
    /// Stages of its plan.
    pub stages: u32,
    /// Hosts that were given the content.
    pub exposed: u64,
    /// Hosts that failed while they had it.
    pub failed: u64,
    /// Why it stands where it does.
    pub why: String,
    /// The pack: its SHA-256.
    pub content: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Hosts that it is for.
    pub hosts: u64,
    /// `full`, `no_holdback` or `too_few_hosts`: how much the gate can tell.
    #[serde(default)]
    pub statistics: String,
    /// Hosts that reported after the watch that they run it.
    pub healthy: u64,
    /// Hosts that have it now, as far as they have said.
    pub has: u64,
    /// When it was started.
    pub started_ms: u64,
    /// Hosts with recalled content that are away, or have not said within 60 s of the recall that they left it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<String>,
    /// Why the director's document does not say what follows from the rollouts, with the mend; empty if it does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trouble: String,
    /// What the gate decided, the newest first; only where one rollout is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionAnswer>,
}

/// A decision of the gate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DecisionAnswer {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// What, by which evidence, and the sentence `why`.
    #[schema(value_type = Object)]
    pub decision: serde_json::Value,
}

/// Why a host is on its version.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WhyAnswer {
    /// Which host.
    pub host: String,
    /// What it said last that it runs; empty if it did not say.
    pub content: String,
    /// Its version.
    pub version: u64,
    /// From which slot.
    pub slot: String,
    /// In words, what matters most first.
    pub why: Vec<String>,
}

impl Rollouts {
    /// All rollouts, the newest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn all(&self, server: &Server) -> Result<Vec<RolloutAnswer>, RolloutError> {
        let mut held = self.held.lock().await;
        self.read(server, &mut held).await?;
        let trouble = self.trouble().unwrap_or_default();
        Ok(held.rollouts.values().rev().map(|live| answer(live, &trouble)).collect())
    }

    /// What of the rollouts speaks against leaving the fleet alone, each with the mend.
    pub async fn because(&self, server: &Server) -> Vec<String> {
        let mut because: Vec<String> = self.standstill().into_iter().chain(self.trouble()).collect();
        let mut held = self.held.lock().await;
        if let Err(error) = self.read(server, &mut held).await {
            because.push(format!("rollouts can't be read: {error}"));
        }
        for live in held.rollouts.values() {
            let id = live.id();
            match live.running.state() {
                State::Paused => {
                    because.push(format!("rollout {id} is paused: `watertight rollout resume {id}`, or abort it"))
                }
                State::Holding => because.push(format!("rollout {id} holds: {}", why(live))),
                State::Halted => because.extend(not_recalled(live)),
                State::Running | State::Complete | State::Open => {}
            }
        }
        because
    }

    /// One rollout, with what was decided in it.
    ///
    /// # Errors
    /// There is none of that id, or the store can't be read.
    pub async fn one(&self, server: &Server, id: &str) -> Result<RolloutAnswer, RolloutError> {
        let mut held = self.held.lock().await;
        self.read(server, &mut held).await?;
        self.answer(server, &mut held, id).await
    }

    pub(super) async fn answer(
        &self,
        server: &Server,
        held: &mut Held,
        id: &str,
    ) -> Result<RolloutAnswer, RolloutError> {
        let live = live_of(held, id)?;
        let (mut answer, number) = (answer(live, &self.trouble().unwrap_or_default()), live.number);
        for row in server.store.decisions(number, DECISIONS_MAX).await? {
            let decision = serde_json::from_str(&row.decision).unwrap_or(serde_json::Value::Null);
            answer.decisions.push(DecisionAnswer { at_ms: row.at_ms, decision });
        }
        Ok(answer)
    }

    /// Why a host is on its version.
    ///
    /// # Errors
    /// There is no such host, or the store can't be read.
    pub async fn why(&self, server: &Server, host: &str) -> Result<WhyAnswer, RolloutError> {
        let mut held = self.held.lock().await;
        self.read(server, &mut held).await?;
        let cell = server.hosts.get(host).ok_or_else(|| RolloutError::NotFound(format!("host {host:?}")))?;
        let (row, told, absence) = {
            let host = cell.lock();
            let absence = host.absence_by_its_promise(crate::clock::now_ms());
            (host.row.clone(), host.row.seen.state.content.clone().unwrap_or_default(), absence)
        };
        let mut why = Vec::new();
        if row.revoked_ms.is_some() {
            why.push("the host was revoked: it is told nothing any more".to_owned());
        }
        if row.seen.last_seen_ms == 0 {
            why.push("the host was never heard since it enrolled: what it runs is not known".to_owned());
        } else if let Some(absence) = absence {
            let (absence, heard) = (absence.in_words(), moment(row.seen.last_seen_ms));
            why.push(format!("the host {absence}: what it runs is its word of {heard}"));
        }
        if !told.director_refused.is_empty() {
            let refused = &told.director_refused;
            why.push(format!("the host refuses the director's document, so that nothing reaches it: {refused}"));
        }
        if told.is_paused {
            why.push("somebody said `watertight pause` on the host: it begins nothing new".to_owned());
        }
        let now_ms = crate::clock::now_ms();
        if let Some(policy) = held.policies.get(&row.ring) {
            let ring = &row.ring;
            why.extend(policy.says(now_ms, moment).into_iter().map(|said| format!("ring {ring} {said}")));
            why.extend(policy.closed(now_ms).map(|_| format!("ring {ring} begins nothing new now")));
        }
        let whose = whose(&held, &row.ring, &told.id);
        why.extend(held.rollouts.values().rev().map(|live| place(live, host, &row.ring, &told.id, whose)));
        if held.rollouts.is_empty() {
            why.push(
                "nothing was rolled out by this server: the host runs what it came with, or what was installed on it"
                    .to_owned(),
            );
        }
        Ok(WhyAnswer { host: host.to_owned(), content: told.id, version: told.version, slot: told.slot, why })
    }
}

/// A moment for people.
fn moment(at_ms: u64) -> String {
    Moment::from_unix_s(i64::try_from(at_ms / 1_000).unwrap_or(i64::MAX)).to_string()
}

/// Who still has what was recalled.
fn not_recalled(live: &Live) -> Option<String> {
    let (counts, id) = (live.running.counts(), live.id());
    let late = (live.running.unreached(live.clock_ms()).len() as u64).saturating_sub(counts.unreached);
    let more = match late {
        0 => String::new(),
        late => format!(", {late} are online and have it after 60 s (`watertight rollout status {id}` names them)"),
    };
    (counts.has > 0).then(|| {
        format!(
            "{} hosts have not said that they left the recalled content of rollout {id}, {} of them can't be reached{more}",
            counts.has, counts.unreached
        )
    })
}

/// How a rollout stands.
fn answer(live: &Live, trouble: &str) -> RolloutAnswer {
    let (running, counts) = (&live.running, live.running.counts());
    let spec = running.spec();
    let unreached = running.unreached(live.clock_ms()).into_iter().take(UNREACHED_MAX).map(|host| host.0).collect();
    RolloutAnswer {
        id: live.id(),
        state: running.state().name().to_owned(),
        stage: running.stage(),
        stages: u32::try_from(spec.plan.stages.len()).unwrap_or(u32::MAX),
        exposed: counts.exposed,
        failed: counts.failed,
        why: why(live),
        content: spec.content.clone(),
        name: spec.name.clone(),
        version: spec.version,
        hosts: counts.hosts,
        statistics: statistics_name(spec.plan.statistics).to_owned(),
        healthy: counts.healthy,
        has: counts.has,
        started_ms: live.started_ms,
        unreached,
        trouble: trouble.to_owned(),
        decisions: Vec::new(),
    }
}

fn why(live: &Live) -> String {
    let running = &live.running;
    let decided = live.why().map(str::to_owned);
    match (running.state(), &live.word, decided) {
        (State::Paused, word, _) => {
            let person = word.as_ref().filter(|_| running.is_paused());
            let who: Vec<&str> = person.into_iter().chain(&live.closed).map(String::as_str).collect();
            format!("paused by {}", who.join(", and by "))
        }
        (State::Holding, ..) if running.waits_until_ms().is_some() => {
            let next = running.stage().saturating_add(1);
            let until = running.waits_until_ms().map(moment).unwrap_or_default();
            format!("stage {next} is not begun before {until}: until then the signed schedule keeps it from some of its hosts")
        }
        (_, _, Some(why)) => why,
        (_, Some(word), None) => format!("stage {} is watched; begun by {word}", running.stage()),
        (_, None, None) => format!("stage {} is watched", running.stage()),
    }
}

/// The newest rollout that gives a ring what a host of it runs.
fn whose(held: &Held, ring: &str, runs: &str) -> Option<u64> {
    let gives = |live: &&Live| live.running.spec().content == runs && live.running.spec().rings().contains(ring);
    held.rollouts.values().rev().find(gives).map(|live| live.number)
}

/// What a rollout says about a host. `whose`: the number of the one whose content it runs.
fn place(live: &Live, host: &str, ring: &str, runs: &str, whose: Option<u64>) -> String {
    let (running, id) = (&live.running, live.id());
    let (spec, state) = (running.spec(), running.state());
    let what = format!("rollout {id} of {} version {} ({})", spec.name, spec.version, state.name());
    let place = live.index(host).map_or(Place::Outside, |number| running.place(number));
    match place {
        _ if state == State::Halted && runs == spec.content => {
            format!("{what} was halted and the content is recalled; the host has not said yet that it left it: {}", why(live))
        }
        _ if state == State::Halted => format!("{what}: the host runs something else, {}", why(live)),
        Place::Outside if !spec.rings().contains(ring) => {
            let rings: Vec<&str> = spec.rings().into_iter().collect();
            format!("{what} is for rings {}; the host's is {ring}", rings.join(", "))
        }
        Place::Outside if runs == spec.content => {
            format!("{what}: the host was not there when it was planned, and got it by its bucket")
        }
        Place::Outside => format!(
            "{what}: the host was not online when it was planned, or the signed schedule never gives it to it; it gets it by its bucket, \
             in the last stage at the latest"
        ),
        Place::HeldBack => format!(
            "{what}: the host is held back for comparison until {}",
            moment(live.started_ms.saturating_add(spec.plan.policy.holdback_ms))
        ),
        Place::Later if live.has_come_late(host) => {
            format!("{what}: the host was not there when it was planned, and gets it by its bucket, in the last stage at the latest; {}", why(live))
        }
        Place::Later => format!("{what}: the host's stage is still to come; {}", why(live)),
        Place::Offered(stage) => format!("{what}: the host was chosen in stage {stage} and has not said that it runs it"),
        Place::Has(0) if live.has_come_late(host) => {
            format!("{what}: the host was not there when it was planned, and got it by its bucket")
        }
        Place::Has(0) => format!("{what}: the host has had it since before its turn"),
        Place::Has(stage) => format!("{what}: the host was chosen in stage {stage} and has it"),
        Place::Left if whose.is_some_and(|number| number > live.number) => {
            format!("{what}: the host had it and went over to a later one")
        }
        Place::Left => format!("{what}: the host had it and left it: it fell back, or refused it"),
    }
}
