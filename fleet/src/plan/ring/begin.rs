//! Which release a ring may begin now: what was said of it, and what there is.

use serde::{Deserialize, Serialize};

use super::{noted, Channel, RingPolicy, HOUR_MS};
use crate::Ms;

/// A release as far as the planner needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Grows.
    pub version: u64,
    /// When it was published.
    pub published_ms: Ms,
}

/// What a ring does now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ring", rename_all = "snake_case")]
pub enum Admission {
    /// It may begin this release.
    Begin {
        /// Which.
        version: u64,
        /// In audit at first.
        audit_first: bool,
    },
    /// It stays with what it has; `again_ms` is when to ask again, if that is known.
    Stay {
        /// Why, for "why is this host on this version".
        why: String,
        /// When.
        again_ms: Option<Ms>,
    },
}

/// What a ring that runs `runs` may begin at `now_ms`. `releases` are those that are not recalled, in any order.
///
/// A ring that stays is asked again at the latest when an exception ends, which may let it begin another release.
#[must_use]
pub fn admission(policy: &RingPolicy, releases: &[Release], runs: Option<u64>, now_ms: Ms) -> Admission {
    let stay = |why: String, again_ms: Option<Ms>| {
        let again_ms = again_ms.into_iter().chain(policy.changes_ms(now_ms)).min();
        Admission::Stay { why, again_ms }
    };
    if let Some(pause) = policy.pause.as_ref().filter(|pause| pause.holds(now_ms)) {
        return stay(format!("the ring is paused: {}", pause.note), None);
    }
    let pin = policy.pin.as_ref().filter(|pin| pin.exception.holds(now_ms));
    let wanted = match pin {
        Some(pin) => match releases.iter().find(|release| release.version == pin.version) {
            Some(release) => *release,
            None => {
                return stay(format!("the ring is pinned to version {}, which is not to be had", pin.version), None)
            }
        },
        None => match newest(releases, policy.channel_at(now_ms)) {
            Some(release) => release,
            None => return stay(on_channel(policy, now_ms, "the ring's channel has no release yet"), None),
        },
    };
    let version = wanted.version;
    if runs.is_some_and(|runs| runs >= version) {
        let why = pin.map_or_else(
            || on_channel(policy, now_ms, &format!("version {version} is what the ring's channel has")),
            |pin| format!("the ring is pinned to version {version}: {}", pin.exception.note),
        );
        return stay(why, None);
    }
    let delay_h = policy.delay_h_at(now_ms);
    let from_ms = wanted.published_ms.saturating_add(u64::from(delay_h).saturating_mul(HOUR_MS));
    if now_ms < from_ms {
        let why = match delay_h {
            0 => format!("the time of version {version} has not come"),
            _ => noted(&format!("the ring waits {delay_h} h after a release"), policy.exceptions.delay.as_ref()),
        };
        return stay(why, Some(from_ms));
    }
    if let Some((why, _)) = policy.shut(now_ms) {
        return stay(why, None);
    }
    Admission::Begin { version, audit_first: policy.is_audited_first_at(now_ms) }
}

/// The ring that may begin or go on: the first that is not done. One that was halted or is held lets none after it begin.
#[must_use]
pub fn next_ring(is_done: &[bool]) -> Option<usize> {
    is_done.iter().position(|is_done| !is_done)
}

/// The same with the note, where the channel is an exception.
fn on_channel(policy: &RingPolicy, now_ms: Ms, what: &str) -> String {
    let is_behind = policy.channel_at(now_ms) == Channel::OneBehind;
    noted(what, policy.exceptions.one_behind.as_ref().filter(|_| is_behind))
}

fn newest(releases: &[Release], channel: Channel) -> Option<Release> {
    let mut newest: Vec<Release> = releases.to_vec();
    newest.sort_unstable_by_key(|release| std::cmp::Reverse(release.version));
    newest.dedup_by_key(|release| release.version);
    newest.get(usize::from(channel == Channel::OneBehind)).copied()
}
