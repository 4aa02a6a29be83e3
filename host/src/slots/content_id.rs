//! What content is called on a host: the SHA-256 of all its bytes. Two packs of one name and version are two contents, and bytes that
//! are not what was installed are no content at all.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Digits that people are shown: enough to tell any two packs apart that one host ever has.
const SHOWN_DIGITS: usize = 12;
const SIZE_BYTES: usize = 32;

/// The digest of a pack, or of an image that was compiled here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId([u8; SIZE_BYTES]);

/// Why a text is no content id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no content id: 64 hexadecimal digits, as `watertight status` prints them")]
pub struct IdError {
    text: String,
}

impl ContentId {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// One that was counted elsewhere.
    #[must_use]
    pub fn counted(digest: [u8; SIZE_BYTES]) -> Self {
        Self(digest)
    }

    /// Its first digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(SHOWN_DIGITS).collect()
    }

    /// Its first 64 bits: where a whole id has no room.
    #[must_use]
    pub fn word(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ContentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError { text: text.to_owned() };
        // Only one spelling: the id is part of file names.
        let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if text.len() != SIZE_BYTES * 2 || !text.bytes().all(is_digit) {
            return Err(wrong());
        }
        let mut id = [0; SIZE_BYTES];
        for (at, byte) in id.iter_mut().enumerate() {
            let digits = text.get(at * 2..at * 2 + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_is_written_and_in_no_other_spelling() {
        let id = ContentId::of(b"rules");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<ContentId>().is_err());
        for wrong in ["", "12", "../../../etc/passwd", &"g".repeat(64), &"é".repeat(32)] {
            assert!(wrong.parse::<ContentId>().is_err(), "{wrong}");
        }
    }
}
