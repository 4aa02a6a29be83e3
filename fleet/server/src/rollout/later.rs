//! Rings whose turn comes after a rollout of the content is complete: each gets it by a rollout of its own, on the same terms, which
//! nobody has to begin. What holds it is what holds any rollout: the signed schedule, the ring's policy, a halt, one of the name at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use watertight_fleet::rollout::State;

use super::start::Terms;
use super::{Held, RolloutError, Rollouts};
use crate::server::Server;
use crate::store::AuditEntry;

/// The repository is read for it, so not each moment.
const EVERY_MS: u64 = 5_000;
/// The actor in the audit log.
const ACTOR: &str = "schedule";

/// A rollout that goes on.
struct Next {
    id: String,
    content: String,
    terms: Terms,
}

impl Rollouts {
    /// Begins what is due.
    pub(super) async fn go_on(&self, server: &Server, held: &mut Held, now_ms: u64) -> Result<(), RolloutError> {
        if self.keys.is_none() || now_ms.abs_diff(held.went_on_ms) < EVERY_MS {
            return Ok(());
        }
        held.went_on_ms = now_ms;
        for Next { id, content, terms } in next(held) {
            let audit = AuditEntry {
                at_ms: now_ms,
                actor: ACTOR.to_owned(),
                action: "rollout_start".to_owned(),
                subject: String::new(),
                reason: format!("rollout {id} of it is complete, and the turn of another ring has come"),
            };
            match self.begin(server, held, &content, terms, audit).await {
                // No ring's turn has come, or none of its hosts is online.
                Ok(_) | Err(RolloutError::Conflict(_) | RolloutError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
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
