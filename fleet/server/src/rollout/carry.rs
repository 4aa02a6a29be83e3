//! Each moment: hosts are looked at, evidence is heard, the gate is asked, and the director's document follows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::sleep;
use watertight_content_repo::time::Moment;
use watertight_fleet::gate::{Decision, Event, Metric, Verdict};
use watertight_fleet::rollout::{Input, Look, State};
use watertight_fleet::{HostIndex, Ms};
use watertight_fleet_wire::records::Record;

use super::director::{publish_wanted, Strata, Wanted};
use super::live::Live;
use super::{evidence, newcomers, rings, Held, RolloutError, Rollouts};
use crate::clock::now_ms;
use crate::hosts::{Absence, Pace};
use crate::server::Server;
use crate::store::AuditEntry;

/// A moment, while a rollout is watched.
const MOMENT: Duration = Duration::from_millis(250);
/// The same, for more hosts than can be looked at so often.
const MOMENT_OF_MANY: Duration = Duration::from_secs(2);
const MANY_HOSTS: usize = 20_000;
/// Records of one reading.
const EVIDENCE_MAX: u32 = 1_000;
/// The document is compared with what is wanted at least so often: leases and timestamps run out.
const COMPARED_EVERY_MS: u64 = 60_000;
/// After what could not be published.
const AGAIN_MS: u64 = 1_000;
/// Hosts of a rollout that everybody has are looked at so often, where they report nothing.
const OPEN_EVERY_MS: u64 = 10_000;
/// A recall is followed for so long after the last word of its rollout.
const FOLLOWED_MS: Ms = 7 * 24 * 3_600_000;
/// Between two moments that are further apart the server was away, and hosts could not be heard.
const AWAY_MS: u64 = 10_000;
/// Clocks of hosts may be behind by so much: a host that looks too early refuses, and looks again minutes later.
const CLOCKS_APART_MS: u64 = 15_000;
/// No host promises to come later than this.
const PROMISE_MS_MAX: u64 = 3_600_000;
/// Strata that came after a rollout's start are looked for so often.
const STRATA_EVERY_MS: u64 = 10_000;

impl Rollouts {
    /// Carries rollouts out until the server is to end.
    pub async fn carry_out(&self, server: &Server) {
        let mut stopping = server.stopping();
        let mut awake = Awake::new(now_ms());
        while !*stopping.borrow() {
            awake.note(now_ms());
            let moved = self.moment(server, &awake).await;
            if moved.is_err() {
                self.heard(); // the next moment tries again
            }
            self.set_standstill(moved.err().map(|error| format!("rollouts stand still: {error}")).unwrap_or_default());
            let moment = if server.hosts.len() > MANY_HOSTS { MOMENT_OF_MANY } else { MOMENT };
            tokio::select! {
                () = sleep(moment) => {}
                _ = stopping.changed() => {}
            }
        }
    }

    async fn moment(&self, server: &Server, awake: &Awake) -> Result<(), RolloutError> {
        let mut held = self.held.lock().await;
        self.read(server, &mut held).await?;
        if server.refusing().is_some() {
            return Ok(()); // nothing can be stored, so nobody advances
        }
        let has_news = self.has_news.swap(false, std::sync::atomic::Ordering::AcqRel);
        let now_ms = now_ms();
        held.rollouts.values_mut().for_each(|live| live.look(now_ms));
        for (id, word) in recalled(&held) {
            self.move_on(server, &mut held, &id, vec![Input::Abort], Some(word), Vec::new()).await?;
        }
        for (number, id) in followed(&held) {
            self.follow_policies(server, &mut held, number, now_ms).await?;
            let later = later(&held, number);
            let Some(live) = held.rollouts.get_mut(&number) else { continue };
            let is_open = live.running.state() == State::Open;
            if is_open && !has_news && now_ms.abs_diff(live.seen_ms) < OPEN_EVERY_MS {
                continue;
            }
            live.seen_ms = now_ms;
            let (mut heard, mut seen) = (Vec::new(), Vec::new());
            newcomers::take_in(server, live, now_ms);
            if has_news {
                hear(server, live, &mut heard).await?;
            }
            look_at_hosts(live, &later, server.pace(), awake, now_ms, &mut seen);
            if is_open {
                seen.retain(counts_for_ever);
            }
            let mut inputs = in_order(heard, seen);
            let clock_ms = live.clock_ms();
            if live.running.is_due(clock_ms, !inputs.is_empty()) {
                inputs.push(Input::Tick);
            }
            let is_allowed = |until_ms: u64| now_ms >= until_ms.saturating_add(CLOCKS_APART_MS);
            if live.running.state() == State::Holding && live.running.waits_until_ms().is_some_and(is_allowed) {
                inputs.push(Input::Begin);
            }
            if live.running.opens(live.started_ms, clock_ms) {
                inputs.push(Input::Open);
            }
            if !inputs.is_empty() || live.has_joined() || (live.is_to_store() && live.running.state().is_under_way()) {
                self.move_on(server, &mut held, &id, inputs, None, Vec::new()).await?;
            }
        }
        self.go_on(server, &mut held, awake, now_ms).await?;
        self.follow(server, &mut held).await;
        Ok(())
    }

    /// Stops a rollout that the policy of one of its rings has closed, and lets it go on afterwards.
    async fn follow_policies(
        &self,
        server: &Server,
        held: &mut Held,
        number: u64,
        now_ms: u64,
    ) -> Result<(), RolloutError> {
        let Some(live) = held.rollouts.get(&number) else { return Ok(()) };
        let closed = rings::closed(&held.policies, &live.running, now_ms);
        if live.running.is_closed() == closed.is_some() || !live.running.state().is_under_way() {
            return Ok(());
        }
        let (id, is_closed) = (live.id(), closed.is_some());
        let why = closed.unwrap_or_else(|| "the policies of its rings let it go on".to_owned());
        let (input, word) = if is_closed { (Input::Close, "close") } else { (Input::Reopen, "reopen") };
        let audit = AuditEntry {
            at_ms: now_ms,
            actor: "policy".to_owned(),
            action: format!("rollout_{word}"),
            subject: id.clone(),
            reason: why.clone(),
        };
        self.move_on(server, held, &id, vec![input], Some(why), vec![audit]).await
    }

    /// Lets the director's document follow the rollouts.
    pub(super) async fn follow(&self, server: &Server, held: &mut Held) {
        let Some(keys) = self.keys.clone() else {
            let needs = held.rollouts.values().any(|live| live.running.state().is_under_way());
            self.set_trouble(if needs {
                "rollouts are under way and this server has no director's key: start it with --director-key".to_owned()
            } else {
                String::new()
            });
            return;
        };
        let now_ms = now_ms();
        if now_ms.abs_diff(held.strata_ms) >= STRATA_EVERY_MS {
            (held.strata, held.strata_ms) = (strata(server), now_ms);
        }
        let rollouts = held.rollouts.values().map(|live| (&live.running, live.started_ms));
        let is_closed = |ring: &str, version| {
            held.policies.get(ring).is_some_and(|policy| policy.closed_for(version, now_ms).is_some())
        };
        let wanted = Wanted::of(rollouts, &held.strata, is_closed);
        let generation = server.generation();
        if held.compared.is_good(&wanted, generation, now_ms) || now_ms.abs_diff(held.failed_ms) < AGAIN_MS {
            return;
        }
        let (folder, next) = (self.folder.clone(), wanted.clone());
        let published = tokio::task::spawn_blocking(move || publish_wanted(&folder, &keys, &next, Moment::now())).await;
        let trouble = match published {
            Ok(Ok(is_new)) => {
                held.compared = Compared { wanted: Some(wanted), generation, at_ms: now_ms };
                if is_new {
                    server.look_at_content().await;
                }
                String::new()
            }
            Ok(Err(error)) => {
                held.failed_ms = now_ms;
                format!("the director's document is not published: {error:#}")
            }
            Err(error) => format!("the director's document is not published: {error}"),
        };
        self.set_trouble(trouble);
    }
}

/// When the director's document was compared with what is wanted, and found or made the same.
#[derive(Debug, Default)]
pub(super) struct Compared {
    wanted: Option<Wanted>,
    /// What was published then.
    generation: u64,
    at_ms: u64,
}

impl Compared {
    /// Whether that still says something: nothing else is wanted, and nobody published anything since. Whoever has the director's key may.
    fn is_good(&self, wanted: &Wanted, generation: u64, now_ms: u64) -> bool {
        let is_recent = now_ms.abs_diff(self.at_ms) < COMPARED_EVERY_MS;
        is_recent && self.generation == generation && self.wanted.as_ref() == Some(wanted)
    }
}

/// The strata of all hosts that are not revoked.
fn strata(server: &Server) -> Strata {
    let cells = server.hosts.all();
    let of = cells.iter().filter_map(|cell| {
        let host = cell.lock();
        let part = || host.row.seen.state.host.clone().unwrap_or_default();
        host.row.revoked_ms.is_none().then(|| (part().stratum(&host.row.ring), host.row.ring.clone()))
    });
    of.collect()
}

/// The rollouts to which hosts still have something to say. One whose content a newer one replaces has had its time: that hosts leave it
/// says nothing against it.
fn followed(held: &Held) -> Vec<(u64, String)> {
    let mut replaced: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut followed = Vec::new();
    for (number, live) in held.rollouts.iter().rev() {
        let (state, spec) = (live.running.state(), live.running.spec());
        let replaced = replaced.entry(&spec.name).or_default();
        let is_followed = match state {
            State::Halted => live.clock_ms().saturating_sub(live.running.at_ms()) < FOLLOWED_MS,
            State::Running | State::Holding | State::Paused | State::Complete | State::Open => {
                !spec.rings().is_subset(replaced)
            }
        };
        if is_followed {
            followed.push((*number, live.id()));
        }
        if state != State::Halted {
            replaced.extend(spec.rings());
        }
    }
    followed.reverse();
    followed
}

/// Rollouts of content that another rollout's halt has recalled, and why they end with it: the recall is of the content, wherever it runs.
fn recalled(held: &Held) -> Vec<(String, String)> {
    let is_halted = |live: &&Live| live.running.state() == State::Halted;
    let of = |live: &Live| live.running.spec().content.clone();
    let halted: BTreeMap<String, &Live> =
        held.rollouts.values().filter(is_halted).map(|live| (of(live), live)).collect();
    let others = held.rollouts.values().filter(|live| !is_halted(live));
    let ends = others.filter_map(|live| {
        let by = halted.get(&of(live))?;
        let why = by.why().unwrap_or_default();
        Some((live.id(), format!("the recall of its content: rollout {} of it was halted: {why}", by.id())))
    });
    ends.collect()
}

/// What rollouts after this one give in its place. A host that went over to it has not fallen back: it comes back when that is recalled.
fn later(held: &Held, number: u64) -> BTreeSet<String> {
    let Some(own) = held.rollouts.get(&number).map(|live| live.running.spec()) else { return BTreeSet::new() };
    let after = held.rollouts.range(number.saturating_add(1)..).map(|(_, live)| live.running.spec());
    let in_its_place = after.filter(|spec| spec.name == own.name && !spec.rings().is_disjoint(&own.rings()));
    in_its_place.map(|spec| spec.content.clone()).collect()
}

/// Records that came since this rollout heard the last.
async fn hear(server: &Server, live: &mut Live, inputs: &mut Vec<Input>) -> Result<(), RolloutError> {
    live.names.clear();
    loop {
        let rows = server.store.evidence(live.heard, EVIDENCE_MAX).await?;
        for row in &rows {
            live.heard = row.number;
            // What is in the store was read before it was put there.
            if let Ok(record) = Record::from_bytes(&row.body) {
                let has_it = evidence::content(&record) == Some(&live.running.spec().content);
                if has_it && live.index(&row.host).is_none() {
                    newcomers::take_in_one(server, live, &row.host);
                }
                let host = live.index(&row.host);
                evidence::note(&record, &mut live.names);
                evidence::inputs(&live.running, host, &record, inputs);
            }
        }
        if rows.len() < EVIDENCE_MAX as usize {
            return Ok(());
        }
    }
}

/// What was heard and seen within a moment, in the order in which it came, as far as that can be known: who has the content by now had it
/// before the records of this moment are judged, else its failures would be those of fewer hosts than have it; that others left it or are
/// missing comes after them, else a host that failed and fell back at once would not have failed.
fn in_order(heard: Vec<Input>, seen: Vec<Input>) -> Vec<Input> {
    let comes_first = |input: &Input| matches!(input, Input::Host { event: Event::Given | Event::Online, .. });
    let (mut inputs, after): (Vec<Input>, Vec<Input>) = seen.into_iter().partition(comes_first);
    inputs.extend(heard);
    inputs.extend(after);
    inputs
}

/// What is seen of a host once everybody has the content, for as long as nothing takes its place: that hosts come and go is no news then.
fn counts_for_ever(input: &Input) -> bool {
    matches!(input, Input::Host { event: Event::Given | Event::Left, .. })
}

/// When this server could hear hosts.
#[derive(Debug)]
pub(super) struct Awake {
    since_ms: u64,
    noted_ms: u64,
}

impl Awake {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { since_ms: now_ms, noted_ms: now_ms }
    }

    /// A gap, or a clock that was set, is as a start.
    pub(super) fn note(&mut self, now_ms: u64) {
        if now_ms < self.noted_ms || now_ms.saturating_sub(self.noted_ms) > AWAY_MS {
            self.since_ms = now_ms;
        }
        self.noted_ms = now_ms;
    }

    /// Whether every host that is there had time to be heard.
    pub(super) fn has_heard_all(&self, pace: Pace, now_ms: u64) -> bool {
        now_ms >= self.since_ms.saturating_add(pace.usual_ms())
    }

    /// Until when a host that was heard last at a moment and promised another may be silent. Judged alike for all: a host that was
    /// asked to come sooner, because its watch ends, is no sooner silent.
    pub(super) fn due_ms(&self, seen_ms: u64, promised_ms: u64, pace: Pace) -> u64 {
        let usual_ms = pace.usual_ms();
        // A host may have come since the moment was noted.
        let is_to_come = seen_ms > self.noted_ms.saturating_add(AWAY_MS);
        let is_of_another_clock = is_to_come || promised_ms.saturating_sub(seen_ms) > PROMISE_MS_MAX;
        let due_ms = self.since_ms.max(if is_of_another_clock { 0 } else { seen_ms }).saturating_add(usual_ms);
        due_ms.max(if is_of_another_clock { 0 } else { promised_ms })
    }
}

/// What is new of the hosts. Those that are missing come in the order of their promises: many at once must not come by stratum and bucket, by which
/// those who have the content would be the first.
fn look_at_hosts(
    live: &Live,
    later: &BTreeSet<String>,
    pace: Pace,
    awake: &Awake,
    now_ms: u64,
    inputs: &mut Vec<Input>,
) {
    let thresholds = live.running.spec().rules.thresholds;
    let mut missing: Vec<(u64, String, HostIndex, Metric)> = Vec::new();
    for (number, cell) in live.cells() {
        let Some(cell) = cell else {
            live.running.observe(number, Look { is_gone: true, ..Look::default() }, inputs);
            continue;
        };
        let mut host = cell.lock();
        let seen = &host.row.seen;
        let due_ms = awake.due_ms(seen.last_seen_ms, seen.promised_ms, pace);
        let absence = host.absence(now_ms, due_ms, awake.since_ms, &thresholds);
        let content = seen.state.content.as_ref().filter(|_| host.is_state_known);
        let content = content.map_or("", |content| content.id.as_str());
        let content = if later.contains(content) { "" } else { content };
        let look = Look {
            content,
            heard_ms: live.on_clock(seen.last_seen_ms),
            missing: None,
            is_gone: host.row.revoked_ms.is_some() || absence == Some(Absence::Off),
        };
        match absence {
            Some(Absence::Silent) if !look.is_gone => {
                missing.push((due_ms, host.row.id.clone(), number, Metric::Silence));
            }
            Some(Absence::NotBack) if !look.is_gone => {
                missing.push((due_ms, host.row.id.clone(), number, Metric::NotBack));
            }
            _ => live.running.observe(number, look, inputs),
        }
        if let Some(wanted_ms) = live.running.wanted_ms(number, live.clock_ms()) {
            host.wanted_ms = now_ms.saturating_add(wanted_ms.saturating_sub(live.clock_ms()));
        }
    }
    missing.sort_unstable();
    for (_, _, number, metric) in missing {
        live.running.observe(number, Look { missing: Some(metric), ..Look::default() }, inputs);
    }
}

/// A decision of the gate, for the audit log.
pub(super) fn audit_of(id: &str, decision: &Decision, at_ms: u64) -> AuditEntry {
    let word = match decision.verdict {
        Verdict::Advance => "advance",
        Verdict::Complete => "complete",
        Verdict::Hold => "hold",
        Verdict::Replace { .. } => "replace",
        Verdict::Halt { .. } => "halt",
    };
    AuditEntry {
        at_ms,
        actor: "gate".to_owned(),
        action: format!("rollout_{word}"),
        subject: id.to_owned(),
        reason: decision.why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { interval_ms: 60_000, jitter_ms: 6_000 };

    #[test]
    fn the_document_is_compared_again_when_something_was_published_or_is_wanted_and_now_and_then() {
        let wanted = |is_under_way| Wanted { is_under_way, ..Wanted::default() };
        let compared = Compared { wanted: Some(wanted(false)), generation: 7, at_ms: 100_000 };
        assert!(compared.is_good(&wanted(false), 7, 159_999));
        assert!(!compared.is_good(&wanted(false), 8, 100_001), "somebody published something");
        assert!(!compared.is_good(&wanted(true), 7, 100_001), "something else is wanted");
        assert!(!compared.is_good(&wanted(false), 7, 160_000), "leases and timestamps run out");
        assert!(!Compared::default().is_good(&Wanted::default(), 0, 0), "it was never compared");
    }

    #[test]
    fn a_host_that_was_asked_to_come_sooner_is_no_sooner_silent() {
        let awake = Awake { since_ms: 0, noted_ms: 1_000_000 };
        assert_eq!(awake.due_ms(900_000, 966_000, PACE), 966_000);
        assert_eq!(awake.due_ms(900_000, 900_100, PACE), 966_000, "its watch ended then: that makes no difference");
        assert_eq!(awake.due_ms(900_000, 1_200_000, PACE), 1_200_000, "a longer promise is kept to");
    }

    #[test]
    fn within_a_moment_who_has_the_content_had_it_before_anybody_failed_and_nobody_left_it_before() {
        let of = |host, event| Input::Host { host, event };
        let crash = |host| of(host, Event::Failed { metric: Metric::EngineCrash, with_content: true, crash: None });
        let missing = of(5, Event::Failed { metric: Metric::Silence, with_content: false, crash: None });
        let seen = vec![of(1, Event::Left), of(2, Event::Given), missing, of(3, Event::Online), of(3, Event::Given)];
        let expected = vec![
            of(2, Event::Given),
            of(3, Event::Online),
            of(3, Event::Given),
            crash(1),
            crash(4),
            of(1, Event::Left),
            missing,
        ];
        assert_eq!(in_order(vec![crash(1), crash(4)], seen), expected);
    }

    #[test]
    fn hosts_have_the_longest_time_between_two_check_ins_to_be_heard_after_a_start() {
        let mut awake = Awake::new(1_000);
        assert_eq!([66_999, 67_000].map(|now_ms| awake.has_heard_all(PACE, now_ms)), [false, true]);
        awake.note(500_000);
        assert!(!awake.has_heard_all(PACE, 500_000), "it stood still");
    }

    #[test]
    fn time_in_which_the_server_was_away_makes_nobody_silent() {
        assert_eq!(Awake::new(2_000_000).due_ms(900_000, 966_000, PACE), 2_066_000);
        let mut awake = Awake::new(0);
        awake.note(9_000);
        assert_eq!(awake.due_ms(1, 1, PACE), 66_001);
        awake.note(500_000);
        assert_eq!(awake.due_ms(1, 1, PACE), 566_000, "it stood still, or its clock was set forward");
        assert_eq!(
            awake.due_ms(500_100, 566_100, PACE),
            566_100,
            "a host that came a moment later is not of another clock"
        );
        awake.note(400_000);
        assert_eq!(awake.due_ms(450_000, 516_000, PACE), 466_000, "its clock was set back");
    }
}
