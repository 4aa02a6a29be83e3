//! Rings whose turn comes after a rollout of the content is complete: each gets it by a rollout of its own, on the same terms, which
//! nobody has to begin. What holds it is what holds any rollout: the signed schedule, the ring's policy, a halt, one of the name at a time.
//!
//! To see whose turn it is the repository is read and verified, which costs more than a moment has. So it is remembered what each release
//! waits for, and looked at when that has come, or when something was published, said of a ring, begun or ended.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use watertight_content_repo::release::ContentId;
use watertight_fleet::plan::Schedule;
use watertight_fleet::rollout::State;

use super::carry::Awake;
use super::start::Terms;
use super::turn::asked;
use super::{Held, RolloutError, Rollouts};
use crate::server::Server;
use crate::store::AuditEntry;

/// Hosts are looked for so often, where a ring that may begin has none online. It reads nothing from disk.
const HOSTS_EVERY_MS: u64 = 5_000;
/// All is looked at so often, whatever is remembered: what another server said of a ring, or files that were changed by hand.
const SLOW_MS: u64 = 600_000;
/// After a look that the store cut short.
const FAILED_MS: u64 = 5_000;
/// The actor in the audit log.
const ACTOR: &str = "schedule";

/// What a release waits for that no ring may begin now. With neither it is a word of somebody's: a publication, or of a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Until {
    /// When that may be otherwise, by the signed schedule or by what was said of a ring; milliseconds since 1970.
    pub(super) again_ms: Option<u64>,
    /// Hosts that may begin it, once one of them is online.
    pub(super) hosts: Option<HostsOf>,
}

/// Hosts of rings that may begin a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostsOf {
    pub(super) content: ContentId,
    pub(super) rings: BTreeMap<String, Schedule>,
}

impl HostsOf {
    fn are_there(&self, server: &Server) -> bool {
        !asked(server, &self.rings, self.content).kin.is_empty()
    }
}

/// What the answers are of: the generation that was published, and how each rollout stands, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    generation: u64,
    rollouts: Vec<(u64, Stands)>,
}

/// How a rollout stands, as far as another waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    UnderWay,
    Complete,
    Halted,
}

impl Standing {
    fn of(generation: u64, held: &Held) -> Self {
        let stands = |state: State| match state {
            State::Halted => Stands::Halted,
            State::Complete | State::Open => Stands::Complete,
            State::Running | State::Holding | State::Paused => Stands::UnderWay,
        };
        let rollouts = held.rollouts.iter().map(|(number, live)| (*number, stands(live.running.state()))).collect();
        Self { generation, rollouts }
    }
}

/// What was found when it was looked last.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Nothing if all is to be looked at.
    of: Option<Standing>,
    looked_ms: u64,
    hosts_ms: u64,
    /// By content.
    waits: BTreeMap<String, Until>,
}

impl Looks {
    /// Has all looked at: something was said that may let a ring begin.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Forgets what was found, if that was of something else or long ago.
    fn note(&mut self, of: Standing, now_ms: u64) {
        if self.of.as_ref() != Some(&of) || now_ms.abs_diff(self.looked_ms) >= SLOW_MS {
            *self = Self { of: Some(of), looked_ms: now_ms, ..Self::default() };
        }
    }

    /// Whether hosts are to be looked for now.
    fn takes_hosts(&mut self, now_ms: u64) -> bool {
        let takes = now_ms.abs_diff(self.hosts_ms) >= HOSTS_EVERY_MS;
        if takes {
            self.hosts_ms = now_ms;
        }
        takes
    }

    /// Whether what a content waits for has come.
    fn is_due(&self, content: &str, now_ms: u64, are_there: impl FnOnce(&HostsOf) -> bool) -> bool {
        let Some(until) = self.waits.get(content) else { return true };
        until.again_ms.is_some_and(|again_ms| now_ms >= again_ms) || until.hosts.as_ref().is_some_and(are_there)
    }
}

/// A rollout that goes on.
struct Next {
    id: String,
    content: String,
    terms: Terms,
}

impl Rollouts {
    /// Begins what is due. Not before every host that is there had time to be heard: a plan for those that came first would be for few.
    pub(super) async fn go_on(
        &self,
        server: &Server,
        held: &mut Held,
        awake: &Awake,
        now_ms: u64,
    ) -> Result<(), RolloutError> {
        if self.keys.is_none() || !awake.has_heard_all(server.pace(), now_ms) {
            return Ok(());
        }
        held.looks.note(Standing::of(server.generation(), held), now_ms);
        let takes_hosts = held.looks.takes_hosts(now_ms);
        for Next { id, content, terms } in next(held) {
            if !held.looks.is_due(&content, now_ms, |hosts| takes_hosts && hosts.are_there(server)) {
                continue;
            }
            let audit = AuditEntry {
                at_ms: now_ms,
                actor: ACTOR.to_owned(),
                action: "rollout_start".to_owned(),
                subject: String::new(),
                reason: format!("rollout {id} of it is complete, and the turn of another ring has come"),
            };
            let until = match self.begin(server, held, &content, terms, audit).await {
                // Nothing else of the name goes on now: the next moment sees what does.
                Ok(_) => return Ok(()),
                Err(RolloutError::NotYet { until, .. }) => *until,
                Err(RolloutError::Conflict(_) | RolloutError::NotFound(_)) => Until::default(),
                Err(error) => {
                    let again_ms = Some(now_ms.saturating_add(FAILED_MS));
                    held.looks.waits.insert(content, Until { again_ms, hosts: None });
                    return Err(error);
                }
            };
            held.looks.waits.insert(content, until);
        }
        Ok(())
    }
}

/// What of each name is complete and goes on, the newest version first: a ring that follows the release before the newest has its turn with
/// that one. Where what was begun last was halted, or is under way, nothing of the name goes on; after a halt a person decides.
fn next(held: &Held) -> Vec<Next> {
    let (mut last, mut contents, mut next) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for live in held.rollouts.values().rev() {
        let spec = live.running.spec();
        let is_complete = matches!(live.running.state(), State::Complete | State::Open);
        let goes_on = *last.entry(spec.name.as_str()).or_insert(is_complete) && is_complete && spec.goes_on;
        if goes_on && contents.insert(spec.content.as_str()) {
            let terms = Terms { policy: spec.plan.policy, goes_on: true };
            next.push((spec.version, Next { id: live.id(), content: spec.content.clone(), terms }));
        }
    }
    next.sort_by_key(|(version, _)| Reverse(*version));
    next.into_iter().map(|(_, next)| next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000_000;

    fn standing(generation: u64, rollouts: &[(u64, Stands)]) -> Standing {
        Standing { generation, rollouts: rollouts.to_vec() }
    }

    fn before() -> Standing {
        standing(7, &[(1, Stands::Complete), (2, Stands::UnderWay)])
    }

    /// What is remembered of a content that waits.
    fn waiting(until: Until) -> Looks {
        let mut looks = Looks::default();
        looks.note(before(), NOW);
        assert!(looks.is_due("of r1", NOW, |_| false), "it was never looked at");
        looks.waits.insert("of r1".to_owned(), until);
        looks
    }

    #[test]
    fn a_release_that_waits_for_nothing_is_not_looked_at_until_something_happens() {
        let is_due = |of: Standing, now_ms| {
            let mut looks = waiting(Until::default());
            looks.note(of, now_ms);
            looks.is_due("of r1", now_ms, |_| true)
        };
        let one = (1, Stands::Complete);
        assert!(!is_due(before(), NOW + SLOW_MS - 1), "nothing has happened");
        assert!(is_due(standing(8, &before().rollouts), NOW + 1), "something was published");
        assert!(is_due(standing(7, &[one, (2, Stands::Complete)]), NOW + 1), "a rollout is complete");
        assert!(is_due(standing(7, &[one, (2, Stands::Halted)]), NOW + 1), "or halted: its rings are another name's");
        assert!(is_due(before(), NOW + SLOW_MS), "it was looked long ago");
        assert!(is_due(before(), NOW - SLOW_MS), "or the clock was set");
        let mut looks = waiting(Until::default());
        looks.forget();
        looks.note(before(), NOW + 1);
        assert!(looks.is_due("of r1", NOW + 1, |_| false), "something was said of a ring");
    }

    #[test]
    fn a_release_that_waits_for_a_time_or_for_hosts_is_looked_at_when_that_has_come() {
        let looks = waiting(Until { again_ms: Some(NOW + 9), hosts: None });
        assert_eq!([NOW + 8, NOW + 9].map(|now_ms| looks.is_due("of r1", now_ms, |_| true)), [false, true]);
        let content = "a".repeat(64).parse().expect("an id");
        let rings = [("early".to_owned(), Schedule::open())].into();
        let looks = waiting(Until { again_ms: None, hosts: Some(HostsOf { content, rings }) });
        assert_eq!([false, true].map(|are_there| looks.is_due("of r1", NOW, |_| are_there)), [false, true]);
    }

    #[test]
    fn hosts_are_looked_for_now_and_then() {
        let mut looks = waiting(Until::default());
        let times = [NOW, NOW + HOSTS_EVERY_MS - 1, NOW + HOSTS_EVERY_MS];
        assert_eq!(times.map(|now_ms| looks.takes_hosts(now_ms)), [true, false, true]);
    }
}
