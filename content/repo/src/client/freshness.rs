//! How old what is trusted is: somebody who holds updates back shows here first, long before anything expires.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::ClientError;
use crate::store::Store;
use crate::time::Moment;

/// When the repository was last heard, and until when its word holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// The last refresh that went through, if there was one.
    pub refreshed: Option<Moment>,
    /// When the trusted timestamp expires, if there is one.
    pub expires: Option<Moment>,
    /// How long the trusted timestamp had to live when it was heard first: how often its publisher means to be heard.
    pub life_s: Option<i64>,
}

/// What a freshness is worth at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// No refresh ever went through.
    Never,
    /// Refreshed lately.
    Fresh {
        /// How long ago.
        age_s: i64,
    },
    /// Not refreshed for longer than it should be.
    Stale {
        /// How long ago.
        age_s: i64,
    },
    /// What is trusted has expired: new content can't be told from old.
    Expired {
        /// How long ago.
        since_s: i64,
    },
    /// The last refresh lies in the future: the clock was set back, and with it every expiry.
    ClockWentBack {
        /// By how much at least.
        by_s: i64,
    },
}

/// Clocks that are set by the network differ by less.
const CLOCK_TOLERANCE_S: i64 = 300;
/// Unheard for this part of a timestamp's life it is stale: early enough to look after it before it has expired.
const STALE_AFTER_LIFE_PARTS: i64 = 2;

impl Freshness {
    /// What it is worth at `now`.
    #[must_use]
    pub fn health(&self, now: Moment) -> Health {
        let (Some(refreshed), Some(expires)) = (self.refreshed, self.expires) else { return Health::Never };
        let age_s = now.since_s(refreshed);
        if age_s < -CLOCK_TOLERANCE_S {
            return Health::ClockWentBack { by_s: refreshed.since_s(now) };
        }
        if expires < now {
            return Health::Expired { since_s: now.since_s(expires) };
        }
        // A store of before knows no life: what was left of it at the last refresh is at most that.
        let life_s = self.life_s.unwrap_or_else(|| expires.since_s(refreshed));
        if age_s > life_s / STALE_AFTER_LIFE_PARTS {
            return Health::Stale { age_s };
        }
        Health::Fresh { age_s: age_s.max(0) }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => write!(f, "never refreshed"),
            Self::Fresh { age_s } => write!(f, "fresh, refreshed {age_s} s ago"),
            Self::Stale { age_s } => write!(f, "stale, refreshed {age_s} s ago"),
            Self::Expired { since_s } => write!(f, "expired {since_s} s ago"),
            Self::ClockWentBack { by_s } => write!(f, "unknown: the clock went back by {by_s} s or more"),
        }
    }
}

impl Health {
    /// Whether nothing of it needs anybody's attention.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh { .. })
    }
}

/// The moment of the last refresh that went through and the life of its timestamp, in a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refreshed {
    pub(super) at: Moment,
    /// See [`Freshness::life_s`].
    pub(super) life_s: Option<i64>,
}

const FILE: &str = "refreshed";
const SIZE_BYTES_MAX: u64 = 64;

impl Refreshed {
    /// A file that is not ours counts as none: it only tells of health.
    pub(super) fn read(store: &Store) -> Result<Option<Self>, ClientError> {
        let text = store.get(FILE, SIZE_BYTES_MAX).ok().flatten();
        Ok(text.and_then(|text| Self::parse(&String::from_utf8(text).ok()?)))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let at = words.next()?.parse().ok()?;
        Some(Self { at, life_s: words.next().and_then(|life| life.parse().ok()) })
    }

    /// None went through.
    pub(super) fn forget(store: &Store) -> Result<(), ClientError> {
        Ok(store.put(FILE, b"")?)
    }

    pub(super) fn write(self, store: &Store) -> Result<(), ClientError> {
        let life = self.life_s.map(|life| format!(" {life}")).unwrap_or_default();
        Ok(store.put(FILE, format!("{}{life}\n", self.at).as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryDisk;

    const DAY_S: i64 = 86_400;

    #[test]
    fn what_was_not_heard_lately_is_never_called_fresh() {
        let at = Moment::from_unix_s(1_000_000);
        let freshness = Freshness { refreshed: Some(at), expires: Some(at.plus_s(DAY_S)), life_s: Some(DAY_S) };
        assert_eq!(freshness.health(at.plus_s(60)), Health::Fresh { age_s: 60 });
        assert_eq!(freshness.health(at.plus_s(DAY_S / 2)), Health::Fresh { age_s: DAY_S / 2 });
        assert_eq!(freshness.health(at.plus_s(DAY_S / 2 + 1)), Health::Stale { age_s: DAY_S / 2 + 1 });
        assert_eq!(freshness.health(at.plus_s(DAY_S)), Health::Stale { age_s: DAY_S });
        assert_eq!(freshness.health(at.plus_s(DAY_S + 10)), Health::Expired { since_s: 10 });
        assert_eq!(freshness.health(at.plus_s(-4000)), Health::ClockWentBack { by_s: 4000 });
        assert_eq!(Freshness::default().health(at), Health::Never);
    }

    #[test]
    fn the_same_timestamp_heard_late_in_its_life_is_judged_by_the_whole_of_it() {
        let at = Moment::from_unix_s(1_000_000);
        let late = Freshness { refreshed: Some(at), expires: Some(at.plus_s(3_600)), life_s: Some(DAY_S) };
        assert_eq!(late.health(at.plus_s(3_000)), Health::Fresh { age_s: 3_000 });
        let unknown = Freshness { life_s: None, ..late };
        assert_eq!(unknown.health(at.plus_s(3_000)), Health::Stale { age_s: 3_000 });
    }

    #[test]
    fn the_file_of_a_store_of_before_has_no_life_and_is_read() {
        let store = Store::new(MemoryDisk::default());
        let at = Moment::from_unix_s(1_000_000);
        for life_s in [None, Some(DAY_S)] {
            Refreshed { at, life_s }.write(&store).expect("memory");
            assert_eq!(Refreshed::read(&store).expect("memory"), Some(Refreshed { at, life_s }));
        }
    }
}
