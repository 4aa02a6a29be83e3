//! Addresses and offsets: 64-bit numbers that JSON carries as text with `0x`, because many a reader of JSON holds numbers as
//! floating point and would round an address.

use std::fmt;

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};

/// A number that is shown in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl From<u64> for Hex {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(Self).ok_or_else(|| {
            de::Error::custom(format_args!("{text:?} is no address: expected 0x and hexadecimal digits"))
        })
    }
}
