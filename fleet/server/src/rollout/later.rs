//! Rings whose turn comes after a rollout of the content is complete: each gets it by a rollout of its own, on the same terms, which
//! nobody has to begin. What holds it is what holds any rollout: the signed schedule, the ring's policy, a halt, one of the name at a time.

use std::collections::BTreeSet;

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

/// Of each name the rollout that was begun last, if it is complete and goes on. After one that was halted a person decides.
fn next(held: &Held) -> Vec<Next> {
    let (mut names, mut next) = (BTreeSet::new(), Vec::new());
    for live in held.rollouts.values().rev() {
        let spec = live.running.spec();
        let is_last = names.insert(spec.name.as_str());
        if is_last && spec.goes_on && matches!(live.running.state(), State::Complete | State::Open) {
            let terms = Terms { policy: spec.plan.policy, goes_on: true };
            next.push(Next { id: live.id(), content: spec.content.clone(), terms });
        }
    }
    next
}
