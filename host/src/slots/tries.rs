//! How often content may still be tried, kept in its file's name: `...+1-1` has one try left and one used.
//!
//! The name, not a side file, because a rename is the one change that a power cut can't tear: after any crash the folder has either
//! the old count or the new one. The idea is systemd's automatic boot assessment.

use std::fmt;
use std::str::FromStr;

/// Tries that content gets. Two, so that a death that was not the content's fault gets a second chance, and content that kills
/// costs at most two restarts.
pub const TRIES_MAX: u8 = 2;

/// Tries left and used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tries {
    left: u8,
    used: u8,
}

/// Why a text is no count of tries.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TriesError {
    /// Not in the form.
    #[error("{text:?} counts no tries: expected <left>-<used>")]
    NoCount {
        /// What was read.
        text: String,
    },
    /// More than there are.
    #[error("{text:?} counts more than the {TRIES_MAX} tries that exist: renamed by hand?")]
    TooMany {
        /// What was read.
        text: String,
    },
}

impl Tries {
    /// None used.
    #[must_use]
    pub fn fresh() -> Self {
        Self { left: TRIES_MAX, used: 0 }
    }

    /// How many are left.
    #[must_use]
    pub fn left(self) -> u8 {
        self.left
    }

    /// How many were used.
    #[must_use]
    pub fn used(self) -> u8 {
        self.used
    }

    /// One fewer; `None` where none is left.
    #[must_use]
    pub fn spend(self) -> Option<Self> {
        Some(Self { left: self.left.checked_sub(1)?, used: self.used.saturating_add(1) })
    }

    /// One more: it was begun and came to an end that says nothing against the content. `None` where none was used.
    #[must_use]
    pub fn give_back(self) -> Option<Self> {
        Some(Self { used: self.used.checked_sub(1)?, left: self.left.saturating_add(1) })
    }
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.left, self.used)
    }
}

impl FromStr for Tries {
    type Err = TriesError;

    fn from_str(text: &str) -> Result<Self, TriesError> {
        let count = |digits: &str| {
            let is_plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
            let is_shortest = digits == "0" || !digits.starts_with('0');
            if is_plain && is_shortest {
                Some(digits.parse::<u8>().unwrap_or(u8::MAX))
            } else {
                None
            }
        };
        let counts = text.split_once('-').and_then(|(left, used)| Some((count(left)?, count(used)?)));
        let (left, used) = counts.ok_or_else(|| TriesError::NoCount { text: text.to_owned() })?;
        if left > TRIES_MAX || used > TRIES_MAX {
            return Err(TriesError::TooMany { text: text.to_owned() });
        }
        Ok(Self { left, used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_was_tried_twice_has_no_try_left() {
        let once = Tries::fresh().spend().expect("two left");
        assert_eq!(once.to_string(), "1-1");
        let twice = once.spend().expect("one left");
        assert_eq!((twice.left(), twice.spend()), (0, None));
        assert_eq!(once.give_back(), Some(Tries::fresh()));
        assert_eq!(Tries::fresh().give_back(), None);
    }

    #[test]
    fn a_name_edited_to_give_more_tries_is_refused() {
        for text in ["200-0", "3-0", "0-3", "99999-1"] {
            assert!(matches!(text.parse::<Tries>(), Err(TriesError::TooMany { .. })), "{text}");
        }
        for text in ["", "1", "+1-1", "01-1", "1-", "-1-1", "1-1-1", " 1-1"] {
            assert!(matches!(text.parse::<Tries>(), Err(TriesError::NoCount { .. })), "{text}");
        }
    }
}
