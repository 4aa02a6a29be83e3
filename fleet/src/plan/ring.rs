//! A customer's ring: which release its hosts run, and from when on. The gate's stages go on inside of that.
//!
//! Rings have an order. A later one does not begin before the one before it is done, and no policy makes a host run an older release
//! than it has: staying is always possible, going back is for a recall.

use serde::{Deserialize, Serialize};

use crate::Ms;

const MINUTE_MS: Ms = 60_000;
const HOUR_MS: Ms = 60 * MINUTE_MS;
/// Minutes of a day.
const DAY_MINUTES: u32 = 24 * 60;

/// Which of the releases a ring follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The newest.
    #[default]
    Newest,
    /// The one before it: it moves along, always one behind.
    OneBehind,
}

/// An exception says why, and ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Why.
    pub note: String,
    /// Until when; afterwards the ring goes on by itself.
    pub until_ms: Ms,
}

/// A release that is kept to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Its version.
    pub version: u64,
    /// Why, and until when.
    pub exception: Exception,
}

/// The part of each day, in UTC, in which hosts may begin something new. It may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// First minute of the day.
    pub from_minute: u32,
    /// First minute after it.
    pub to_minute: u32,
}

/// What a customer said about a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RingPolicy {
    /// Hours after its publication before a release is begun.
    pub delay_h: u32,
    /// The releases that it follows.
    pub channel: Channel,
    /// Nothing new.
    pub pause: Option<Exception>,
    /// One release.
    pub pin: Option<Pin>,
    /// Only then.
    pub window: Option<Window>,
    /// What denies is only counted at first.
    pub audit_first: bool,
}

/// Bytes of a note.
const NOTE_BYTES_MAX: usize = 1024;
/// A delay is at most 30 days: whoever wants more pauses, and says why.
const DELAY_H_MAX: u32 = 30 * 24;
/// An exception that ends later than in a year has no end.
const EXCEPTION_MS_MAX: Ms = 366 * 24 * HOUR_MS;

impl RingPolicy {
    /// Bounds, where it is set.
    ///
    /// # Errors
    /// What can't be followed, and the mend.
    pub fn check(&self, now_ms: Ms) -> Result<(), String> {
        if self.delay_h > DELAY_H_MAX {
            return Err(format!(
                "delay_h {}: at most {DELAY_H_MAX}; for longer pause the ring, with a note",
                self.delay_h
            ));
        }
        if let Some(pause) = &self.pause {
            pause.check("pause", now_ms)?;
        }
        if let Some(pin) = &self.pin {
            pin.exception.check("pin", now_ms)?;
        }
        match self.window {
            Some(Window { from_minute, to_minute }) if from_minute >= DAY_MINUTES || to_minute >= DAY_MINUTES => {
                Err(format!("window: minutes of a day are 0 to {}", DAY_MINUTES - 1))
            }
            _ => Ok(()),
        }
    }

    /// The next time at which it says something else by itself and may let a release begin: an exception ends, or the window opens.
    #[must_use]
    pub fn changes_ms(&self, now_ms: Ms) -> Option<Ms> {
        let exceptions = self.pause.iter().chain(self.pin.iter().map(|pin| &pin.exception));
        let ends = exceptions.filter(|exception| exception.holds(now_ms)).map(|exception| exception.until_ms);
        ends.chain(self.window.and_then(|window| window.opens_ms(now_ms))).min()
    }

    /// Why hosts of the ring begin nothing now, whatever it is.
    #[must_use]
    pub fn closed(&self, now_ms: Ms) -> Option<String> {
        if let Some(pause) = self.pause.as_ref().filter(|pause| pause.holds(now_ms)) {
            return Some(format!("the ring is paused: {}", pause.note));
        }
        self.window.and_then(|window| window.opens_ms(now_ms)).map(|_| "the ring's maintenance window is closed".into())
    }

    /// The same for a release that is under way.
    #[must_use]
    pub fn closed_for(&self, version: u64, now_ms: Ms) -> Option<String> {
        let pin = self.pin.as_ref().filter(|pin| pin.version != version && pin.exception.holds(now_ms));
        let pinned = || pin.map(|pin| format!("the ring is pinned to version {}: {}", pin.version, pin.exception.note));
        self.closed(now_ms).or_else(pinned)
    }
}

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
#[must_use]
pub fn admission(policy: &RingPolicy, releases: &[Release], runs: Option<u64>, now_ms: Ms) -> Admission {
    let stay = |why: String, again_ms| Admission::Stay { why, again_ms };
    if let Some(pause) = policy.pause.as_ref().filter(|pause| pause.holds(now_ms)) {
        return stay(format!("the ring is paused: {}", pause.note), Some(pause.until_ms));
    }
    let pin = policy.pin.as_ref().filter(|pin| pin.exception.holds(now_ms));
    let wanted = match pin {
        Some(pin) => match releases.iter().find(|release| release.version == pin.version) {
            Some(release) => *release,
            None => {
                return stay(format!("the ring is pinned to version {}, which is not to be had", pin.version), None)
            }
        },
        None => match newest(releases, policy.channel) {
            Some(release) => release,
            None => return stay("the ring's channel has no release yet".into(), None),
        },
    };
    let version = wanted.version;
    if runs.is_some_and(|runs| runs >= version) {
        let why = pin.map_or_else(
            || format!("version {version} is what the ring's channel has"),
            |pin| format!("the ring is pinned to version {version}: {}", pin.exception.note),
        );
        return stay(why, pin.map(|pin| pin.exception.until_ms));
    }
    let from_ms = wanted.published_ms.saturating_add(u64::from(policy.delay_h).saturating_mul(HOUR_MS));
    if now_ms < from_ms {
        return stay(format!("the ring waits {} h after a release", policy.delay_h), Some(from_ms));
    }
    if let Some(opens_ms) = policy.window.and_then(|window| window.opens_ms(now_ms)) {
        return stay("the ring's maintenance window is closed".into(), Some(opens_ms));
    }
    Admission::Begin { version, audit_first: policy.audit_first }
}

/// The ring that may begin or go on: the first that is not done. One that was halted or is held lets none after it begin.
#[must_use]
pub fn next_ring(is_done: &[bool]) -> Option<usize> {
    is_done.iter().position(|is_done| !is_done)
}

fn newest(releases: &[Release], channel: Channel) -> Option<Release> {
    let mut newest: Vec<Release> = releases.to_vec();
    newest.sort_unstable_by_key(|release| std::cmp::Reverse(release.version));
    newest.dedup_by_key(|release| release.version);
    newest.get(usize::from(channel == Channel::OneBehind)).copied()
}

impl Exception {
    fn check(&self, what: &str, now_ms: Ms) -> Result<(), String> {
        if self.note.trim().is_empty() || self.note.len() > NOTE_BYTES_MAX || self.note.contains(char::is_control) {
            return Err(format!("{what}: a note of 1 to {NOTE_BYTES_MAX} bytes in one line says why"));
        }
        if self.until_ms <= now_ms || self.until_ms - now_ms > EXCEPTION_MS_MAX {
            return Err(format!("{what}: its end is still to come, and within a year"));
        }
        Ok(())
    }

    fn holds(&self, now_ms: Ms) -> bool {
        now_ms < self.until_ms
    }
}

impl Window {
    /// When it opens next, if it is closed. A window without length is always open: nobody means "never" by it.
    fn opens_ms(self, now_ms: Ms) -> Option<Ms> {
        let minute = u32::try_from(now_ms / MINUTE_MS % Ms::from(DAY_MINUTES)).unwrap_or(0);
        let (from, to) = (self.from_minute % DAY_MINUTES, self.to_minute % DAY_MINUTES);
        let is_open = match from.cmp(&to) {
            std::cmp::Ordering::Less => (from..to).contains(&minute),
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Greater => minute >= from || minute < to,
        };
        let wait = (from + DAY_MINUTES - minute) % DAY_MINUTES;
        (!is_open).then(|| (now_ms / MINUTE_MS).saturating_add(wait.into()).saturating_mul(MINUTE_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: Ms = 24 * HOUR_MS;

    fn releases() -> Vec<Release> {
        [1, 2, 3].map(|version| Release { version, published_ms: version * DAY_MS }).into()
    }

    fn begins(policy: &RingPolicy, runs: Option<u64>, now_ms: Ms) -> Option<u64> {
        match admission(policy, &releases(), runs, now_ms) {
            Admission::Begin { version, .. } => Some(version),
            Admission::Stay { .. } => None,
        }
    }

    fn again_ms(policy: &RingPolicy, now_ms: Ms) -> Option<Ms> {
        match admission(policy, &releases(), Some(1), now_ms) {
            Admission::Begin { version, .. } => panic!("begins {version}"),
            Admission::Stay { again_ms, why } => again_ms.filter(|_| !why.is_empty()),
        }
    }

    fn exception(until_ms: Ms) -> Exception {
        Exception { note: "an audit".into(), until_ms }
    }

    #[test]
    fn a_ring_takes_the_newest_or_the_one_before_it_and_never_goes_back() {
        let behind = RingPolicy { channel: Channel::OneBehind, ..RingPolicy::default() };
        assert_eq!(begins(&RingPolicy::default(), Some(1), 9 * DAY_MS), Some(3));
        assert_eq!(begins(&behind, Some(1), 9 * DAY_MS), Some(2));
        assert_eq!(begins(&behind, Some(3), 9 * DAY_MS), None, "changing the channel downgrades nobody");
        assert_eq!(begins(&behind, None, 9 * DAY_MS), Some(2));
    }

    #[test]
    fn a_delay_counts_from_the_publication() {
        let delayed = RingPolicy { delay_h: 48, ..RingPolicy::default() };
        assert_eq!(again_ms(&delayed, 4 * DAY_MS), Some(5 * DAY_MS));
        assert_eq!(begins(&delayed, Some(1), 5 * DAY_MS), Some(3));
    }

    #[test]
    fn a_pause_and_a_pin_say_why_and_end_by_themselves() {
        let paused = RingPolicy { pause: Some(exception(9 * DAY_MS)), ..RingPolicy::default() };
        assert_eq!(again_ms(&paused, 9 * DAY_MS - 1), Some(9 * DAY_MS));
        assert_eq!(begins(&paused, Some(1), 9 * DAY_MS), Some(3));
        let pin = |version| Some(Pin { version, exception: exception(9 * DAY_MS) });
        let pinned = RingPolicy { pin: pin(2), ..RingPolicy::default() };
        assert_eq!(begins(&pinned, Some(1), 8 * DAY_MS), Some(2));
        assert_eq!(begins(&pinned, Some(2), 8 * DAY_MS), None);
        assert_eq!(begins(&pinned, Some(3), 8 * DAY_MS), None, "a pin takes nobody back");
        assert_eq!(begins(&pinned, Some(2), 9 * DAY_MS), Some(3));
        assert_eq!(begins(&RingPolicy { pin: pin(7), ..RingPolicy::default() }, Some(1), 8 * DAY_MS), None);
    }

    #[test]
    fn a_window_over_midnight_is_open_on_both_sides_of_it() {
        let window = Some(Window { from_minute: 23 * 60, to_minute: 60 });
        let policy = RingPolicy { window, ..RingPolicy::default() };
        let day = 9 * DAY_MS;
        assert_eq!(begins(&policy, Some(1), day), Some(3));
        assert_eq!(begins(&policy, Some(1), day + 23 * HOUR_MS), Some(3));
        for closed in [day + HOUR_MS, day + 12 * HOUR_MS, day + 23 * HOUR_MS - 1] {
            assert_eq!(again_ms(&policy, closed), Some(day + 23 * HOUR_MS));
        }
    }

    #[test]
    fn content_that_denies_is_in_audit_first_where_that_is_asked_for() {
        let policy = RingPolicy { audit_first: true, ..RingPolicy::default() };
        let admitted = admission(&policy, &releases(), None, 9 * DAY_MS);
        assert_eq!(admitted, Admission::Begin { version: 3, audit_first: true });
    }

    #[test]
    fn an_exception_without_a_note_or_an_end_is_refused() {
        let paused = |note: &str, until_ms| {
            let policy = RingPolicy { pause: Some(Exception { note: note.into(), until_ms }), ..RingPolicy::default() };
            policy.check(DAY_MS).is_ok()
        };
        assert!(paused("an audit", 2 * DAY_MS));
        assert!(!paused(" ", 2 * DAY_MS) && !paused("a\nb", 2 * DAY_MS));
        assert!(!paused("an audit", DAY_MS) && !paused("an audit", 999 * DAY_MS));
        let pin = |note: &str| RingPolicy {
            pin: Some(Pin { version: 1, exception: Exception { note: note.into(), until_ms: 2 * DAY_MS } }),
            ..RingPolicy::default()
        };
        assert!(pin("a bug in 2").check(DAY_MS).is_ok() && pin("").check(DAY_MS).is_err());
        let window =
            |to_minute| RingPolicy { window: Some(Window { from_minute: 0, to_minute }), ..RingPolicy::default() };
        assert!(window(1_439).check(0).is_ok() && window(1_440).check(0).is_err());
        assert!(RingPolicy { delay_h: 721, ..RingPolicy::default() }.check(0).is_err());
    }

    #[test]
    fn a_release_that_is_under_way_stops_for_a_pause_a_closed_window_and_a_pin_to_another() {
        let until_ms = 9 * DAY_MS;
        let pin = Some(Pin { version: 2, exception: exception(until_ms) });
        let paused = RingPolicy { pause: Some(exception(until_ms)), ..RingPolicy::default() };
        let pinned = RingPolicy { pin, ..RingPolicy::default() };
        let window = Some(Window { from_minute: 60, to_minute: 120 });
        let window = RingPolicy { window, ..RingPolicy::default() };
        assert!(paused.closed_for(2, until_ms - 1).is_some_and(|why| why.contains("an audit")));
        assert_eq!(paused.closed_for(2, until_ms), None, "it ends by itself");
        assert_eq!(pinned.closed_for(2, until_ms - 1), None);
        assert!(pinned.closed_for(3, until_ms - 1).is_some_and(|why| why.contains("version 2")));
        assert!(window.closed_for(2, DAY_MS).is_some());
        assert_eq!(window.closed_for(2, DAY_MS + HOUR_MS), None);
    }

    #[test]
    fn no_ring_is_skipped() {
        assert_eq!(next_ring(&[true, false, true]), Some(1));
        assert_eq!(next_ring(&[false, true, true]), Some(0));
        assert_eq!(next_ring(&[true, true]), None);
    }
}
