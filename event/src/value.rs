//! The values that fields hold. Text is bytes: paths and arguments on Linux need not be UTF-8, and losing the difference
//! would let two files look like one.

use std::net::IpAddr;

use crate::Bytes;

/// A string as the kernel gave it, and whether its end was cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Text {
    /// The bytes, without a terminating NUL.
    pub bytes: Bytes,
    /// The real string was longer than what the sensor could take.
    pub is_truncated: bool,
}

impl Text {
    /// A complete text.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), is_truncated: false }
    }

    /// A complete text that is part of the program: it is not copied.
    #[must_use]
    pub const fn fixed(text: &'static str) -> Self {
        Self { bytes: Bytes::fixed(text.as_bytes()), is_truncated: false }
    }

    /// The text for display and matching: bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::whole(text.as_bytes())
    }
}

/// What a field of an event holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A number: ids, sizes, flags, nanoseconds.
    Number(u64),
    /// A number that can be below zero.
    Signed(i64),
    /// A string.
    Text(Text),
    /// Strings in order, such as the arguments of a process.
    List(Vec<Text>),
    /// A list that was cut: the rest was not taken by the sensor.
    CutList(Vec<Text>),
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
}

impl Value {
    /// Whether something of the value was cut off.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        match self {
            Self::Text(text) => text.is_truncated,
            Self::List(items) => items.iter().any(|item| item.is_truncated),
            Self::CutList(_) => true,
            Self::Bool(_) | Self::Number(_) | Self::Signed(_) | Self::Address(_) => false,
        }
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(u64::from(number))
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}
