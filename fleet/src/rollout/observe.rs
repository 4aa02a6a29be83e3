//! What the server sees of a host, as inputs: only what is new.
//!
//! A host's own word comes with its check-in: it has the content, it has left it, it still has it after the watch. That it gives no word
//! is seen by the clock. One event a host and metric; the gate takes the first.

use super::running::{Input, Running, State};
use crate::gate::{Event, Metric};
use crate::plan::{Cohort, LISTED_MAX};
use crate::{HostIndex, Ms};

/// A host that fetches is heard so often while it may.
const LOOKS_IN_PICKUP: u64 = 6;
const LOOK_MS_MIN: Ms = 500;
/// A host that has what was recalled is heard so often, or so many of them in a millisecond.
const RECALLED_LOOK_MS: Ms = 5_000;
const RECALLED_PER_MS: Ms = 2;

/// A host, as it is known now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look<'a> {
    /// The content that it last said it runs; empty if it did not say.
    pub content: &'a str,
    /// When it said so, on the rollout's clock.
    pub heard_ms: Ms,
    /// What it failed in by not being heard of: silence, or it is not back after a reboot.
    pub missing: Option<Metric>,
    /// It was revoked, or shut down in good order: nobody waits for it.
    pub is_gone: bool,
}

impl Running {
    /// Adds to `inputs` what is new of a host.
    pub fn observe(&self, host: HostIndex, look: Look<'_>, inputs: &mut Vec<Input>) {
        let Some(track) = self.track(host) else { return };
        let mut tell = |event| inputs.push(Input::Host { host, event });
        let with_content = track.runs_it();
        let absent = match look.missing {
            _ if look.is_gone => Some(Event::Offline),
            Some(metric) => Some(Event::Failed { metric, with_content, crash: None }),
            None => None,
        };
        if let Some(event) = absent {
            if !track.is_away {
                tell(event);
            }
            return;
        }
        if track.is_away {
            tell(Event::Online);
        }
        if look.content.is_empty() {
            return; // an agent that has just begun does not know yet: that is no word about the content
        }
        let runs_it = look.content == self.spec().content;
        let watch_ms = self.spec().plan.policy.lane.watch_ms;
        let is_watched = |given_ms: Ms| look.heard_ms >= given_ms.saturating_add(watch_ms);
        let may_be_healthy = !track.is_healthy && !track.has_left;
        match track.given_ms {
            None if runs_it => tell(Event::Given),
            Some(given_ms) if runs_it && may_be_healthy && is_watched(given_ms) => tell(Event::Healthy),
            // What it said before it was given the content says nothing about it.
            Some(given_ms) if !runs_it && !track.has_left && look.heard_ms > given_ms => tell(Event::Left),
            _ => {}
        }
    }

    /// When the host's word is wanted, on the rollout's clock: at the end of its watch; soon, where it has what was recalled; and soon, as
    /// long as it was given the content in a small stage and has not said that it runs it.
    #[must_use]
    pub fn wanted_ms(&self, host: HostIndex, at_ms: Ms) -> Option<Ms> {
        let lane = &self.spec().plan.policy.lane;
        let track = self.track(host).filter(|track| !track.is_away && !track.has_left)?;
        if self.state() == State::Halted {
            // Its word that it left what was recalled; of many hosts no sooner than they can be heard.
            let soon_ms = RECALLED_LOOK_MS.max(self.hosts() as Ms / RECALLED_PER_MS);
            return track.given_ms.map(|_| at_ms.saturating_add(soon_ms));
        }
        match track.given_ms.filter(|_| !track.is_healthy) {
            Some(given_ms) => Some(given_ms.saturating_add(lane.watch_ms)),
            None if !track.is_healthy && track.stage > 0 && track.stage == self.stage() && self.is_small_stage() => {
                Some(at_ms.saturating_add((lane.pickup_ms / LOOKS_IN_PICKUP).max(LOOK_MS_MIN)))
            }
            None => None,
        }
    }

    /// Whether the stage's hosts are so few that it costs nothing to hear each of them often.
    fn is_small_stage(&self) -> bool {
        let is_named = matches!(self.cohorts().last(), Some(Cohort::Hosts(_)));
        is_named || self.hosts() <= LISTED_MAX
    }
}
