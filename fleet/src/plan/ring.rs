//! A customer's ring: which release its hosts run, and from when on. The gate's stages go on inside of that.
//!
//! Rings have an order. A later one does not begin before the one before it is done, and no policy makes a host run an older release
//! than it has: staying is always possible, going back is for a recall.
//!
//! All that a ring does otherwise is an exception, which says why and ends: a pause and a pin always, the others where that was said of them
//! in `exceptions`. One that is over is as none, and what begins is what would begin without it.

mod begin;
mod words;

use serde::{Deserialize, Serialize};

pub use begin::{admission, next_ring, Admission, Release};

use crate::Ms;

const MINUTE_MS: Ms = 60_000;
const HOUR_MS: Ms = 60 * MINUTE_MS;
/// Minutes of a day.
const DAY_MINUTES: u32 = 24 * 60;

/// Which of the releases a ring follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Why.
    pub note: String,
    /// Until when; afterwards the ring goes on by itself.
    #[cfg_attr(feature = "schema", schema(value_type = u64))]
    pub until_ms: Ms,
}

/// An exception that may last: why, and until when if it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Why.
    pub note: String,
    /// Until when; afterwards it is as if it had not been said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<u64>))]
    pub until_ms: Option<Ms>,
}

/// Why, and until when, of what has no note and end of its own. Nothing of one means that it holds until another word, and nobody said why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Exceptions {
    /// Of `delay_h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Standing>,
    /// Of the channel `one_behind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_behind: Option<Standing>,
    /// Of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Standing>,
    /// Of `audit_first`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_first: Option<Standing>,
}

/// A release that is kept to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Its version.
    pub version: u64,
    /// Why, and until when.
    pub exception: Exception,
}

/// The part of each day, in UTC, in which hosts may begin something new. It may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// First minute of the day.
    pub from_minute: u32,
    /// First minute after it.
    pub to_minute: u32,
}

/// What a customer said about a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
    /// Why, and until when. Not written where nothing is said: a server of the version before reads the policy then.
    #[serde(skip_serializing_if = "Exceptions::are_none")]
    pub exceptions: Exceptions,
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
            _ => self.check_exceptions(now_ms),
        }
    }

    fn check_exceptions(&self, now_ms: Ms) -> Result<(), String> {
        let Exceptions { delay, one_behind, window, audit_first } = &self.exceptions;
        for (what, is_said, standing) in [
            ("delay", self.delay_h > 0, delay),
            ("one_behind", self.channel == Channel::OneBehind, one_behind),
            ("window", self.window.is_some(), window),
            ("audit_first", self.audit_first, audit_first),
        ] {
            let Some(standing) = standing else { continue };
            if !is_said {
                return Err(format!("exceptions.{what}: the policy has nothing that this is the note of"));
            }
            check_note(what, &standing.note)?;
            standing.until_ms.map_or(Ok(()), |until_ms| check_end(what, until_ms, now_ms))?;
        }
        Ok(())
    }

    /// Hours after its publication before a release is begun now.
    fn delay_h_at(&self, now_ms: Ms) -> u32 {
        if holds(self.exceptions.delay.as_ref(), now_ms) {
            self.delay_h
        } else {
            0
        }
    }

    fn channel_at(&self, now_ms: Ms) -> Channel {
        if holds(self.exceptions.one_behind.as_ref(), now_ms) {
            self.channel
        } else {
            Channel::Newest
        }
    }

    fn window_at(&self, now_ms: Ms) -> Option<Window> {
        self.window.filter(|_| holds(self.exceptions.window.as_ref(), now_ms))
    }

    fn is_audited_first_at(&self, now_ms: Ms) -> bool {
        self.audit_first && holds(self.exceptions.audit_first.as_ref(), now_ms)
    }

    /// Why the window keeps the ring from beginning anything now, and until when.
    fn shut(&self, now_ms: Ms) -> Option<(String, Ms)> {
        let opens_ms = self.window_at(now_ms)?.opens_ms(now_ms)?;
        Some((noted("the ring's maintenance window is closed", self.exceptions.window.as_ref()), opens_ms))
    }

    /// The next time at which it says something else by itself and may let a release begin: an exception ends, or the window opens.
    #[must_use]
    pub fn changes_ms(&self, now_ms: Ms) -> Option<Ms> {
        let ending =
            self.pause.iter().chain(self.pin.iter().map(|pin| &pin.exception)).map(|exception| exception.until_ms);
        let Exceptions { delay, one_behind, window, audit_first } = &self.exceptions;
        let standing =
            [delay, one_behind, window, audit_first].into_iter().flatten().filter_map(|standing| standing.until_ms);
        let ends = ending.chain(standing).filter(|until_ms| now_ms < *until_ms);
        ends.chain(self.shut(now_ms).map(|(_, opens_ms)| opens_ms)).min()
    }

    /// Why hosts of the ring begin nothing now, whatever it is.
    #[must_use]
    pub fn closed(&self, now_ms: Ms) -> Option<String> {
        if let Some(pause) = self.pause.as_ref().filter(|pause| pause.holds(now_ms)) {
            return Some(format!("the ring is paused: {}", pause.note));
        }
        self.shut(now_ms).map(|(why, _)| why)
    }

    /// The same for a release that is under way.
    #[must_use]
    pub fn closed_for(&self, version: u64, now_ms: Ms) -> Option<String> {
        let pin = self.pin.as_ref().filter(|pin| pin.version != version && pin.exception.holds(now_ms));
        let pinned = || pin.map(|pin| format!("the ring is pinned to version {}: {}", pin.version, pin.exception.note));
        self.closed(now_ms).or_else(pinned)
    }
}

impl Exceptions {
    fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether what was said holds, with these words of its end.
fn holds(standing: Option<&Standing>, now_ms: Ms) -> bool {
    standing.and_then(|standing| standing.until_ms).is_none_or(|until_ms| now_ms < until_ms)
}

/// A sentence, and why it is so where that was said.
fn noted(what: &str, standing: Option<&Standing>) -> String {
    standing.map_or_else(|| what.to_owned(), |standing| format!("{what}: {}", standing.note))
}

fn check_note(what: &str, note: &str) -> Result<(), String> {
    if note.trim().is_empty() || note.len() > NOTE_BYTES_MAX || note.contains(char::is_control) {
        return Err(format!("{what}: a note of 1 to {NOTE_BYTES_MAX} bytes in one line says why"));
    }
    Ok(())
}

fn check_end(what: &str, until_ms: Ms, now_ms: Ms) -> Result<(), String> {
    if until_ms <= now_ms || until_ms - now_ms > EXCEPTION_MS_MAX {
        return Err(format!("{what}: its end is still to come, and within a year"));
    }
    Ok(())
}

impl Exception {
    fn check(&self, what: &str, now_ms: Ms) -> Result<(), String> {
        check_note(what, &self.note)?;
        check_end(what, self.until_ms, now_ms)
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
mod tests;
