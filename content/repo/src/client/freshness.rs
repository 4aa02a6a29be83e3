//! How old what is trusted is: somebody who holds updates back shows here first, long before anything expires.

use std::fmt;

use serde::Serialize;

use super::error::ClientError;
use crate::store::Store;
use crate::time::Moment;

/// When the repository was last heard, and until when its word holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Freshness {
    /// The last refresh that went through, if there was one.
    pub refreshed: Option<Moment>,
    /// When the trusted timestamp expires, if there is one.
    pub expires: Option<Moment>,
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

impl Freshness {
    /// What it is worth at `now`, when a refresh should go through every `stale_after_s` seconds at least.
    #[must_use]
    pub fn health(&self, now: Moment, stale_after_s: i64) -> Health {
        let (Some(refreshed), Some(expires)) = (self.refreshed, self.expires) else { return Health::Never };
        let age_s = now.since_s(refreshed);
        if age_s < -CLOCK_TOLERANCE_S {
            return Health::ClockWentBack { by_s: refreshed.since_s(now) };
        }
        if expires < now {
            return Health::Expired { since_s: now.since_s(expires) };
        }
        if age_s > stale_after_s {
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

/// The moment of the last refresh that went through, in a file of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refreshed {
    pub(super) at: Moment,
}

const FILE: &str = "refreshed";
const SIZE_BYTES_MAX: u64 = 64;

impl Refreshed {
    /// A file that is not ours counts as none: it only tells of health.
    pub(super) fn read(store: &Store) -> Result<Option<Self>, ClientError> {
        let text = store.get(FILE, SIZE_BYTES_MAX).ok().flatten();
        let at = text.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
        Ok(at.map(|at| Self { at }))
    }

    pub(super) fn write(self, store: &Store) -> Result<(), ClientError> {
        Ok(store.put(FILE, format!("{}\n", self.at).as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_heard_lately_is_never_called_fresh() {
        let at = Moment::from_unix_s(1_000_000);
        let freshness = Freshness { refreshed: Some(at), expires: Some(at.plus_s(86_400)) };
        assert_eq!(freshness.health(at.plus_s(60), 3600), Health::Fresh { age_s: 60 });
        assert_eq!(freshness.health(at.plus_s(3601), 3600), Health::Stale { age_s: 3601 });
        assert_eq!(freshness.health(at.plus_s(86_410), 3600), Health::Expired { since_s: 10 });
        assert_eq!(freshness.health(at.plus_s(-4000), 3600), Health::ClockWentBack { by_s: 4000 });
        assert_eq!(Freshness { refreshed: None, expires: None }.health(at, 3600), Health::Never);
    }
}
