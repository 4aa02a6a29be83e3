//! The bytes of a text. An event has a dozen texts, and nearly all of them are short, part of the program, or told of the same
//! process in thousands of events: none of these takes memory of its own.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Bytes that lie in the value itself: a thread's name has no more.
const SHORT_BYTES_MAX: usize = 15;

/// Bytes that are cheap to clone. What is made once stays with its maker; a clone of it is shared by all further clones.
#[derive(Debug)]
pub struct Bytes(Place);

#[derive(Debug)]
enum Place {
    Owned(Vec<u8>),
    Fixed(&'static [u8]),
    Short { length: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Shared(Arc<[u8]>),
}

impl Bytes {
    /// Bytes that are part of the program.
    #[must_use]
    pub const fn fixed(bytes: &'static [u8]) -> Self {
        Self(Place::Fixed(bytes))
    }

    fn short(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self(Place::Short { length: u8::try_from(from.len()).ok()?, bytes }))
    }

    fn shared(from: &[u8]) -> Self {
        Self::short(from).unwrap_or_else(|| Self(Place::Shared(from.into())))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Owned(bytes) => bytes,
            Place::Fixed(bytes) => bytes,
            Place::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Place::Shared(bytes) => bytes,
        }
    }
}

impl Clone for Bytes {
    fn clone(&self) -> Self {
        match &self.0 {
            Place::Owned(bytes) => Self::shared(bytes),
            Place::Fixed(bytes) => Self(Place::Fixed(bytes)),
            Place::Short { length, bytes } => Self(Place::Short { length: *length, bytes: *bytes }),
            Place::Shared(bytes) => Self(Place::Shared(Arc::clone(bytes))),
        }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::fixed(b"")
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        let (left, right) = (&**self, &**other);
        std::ptr::eq(left, right) || left == right // what is shared needs no look
    }
}

impl Eq for Bytes {}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Place::Owned(bytes))
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self::short(bytes).unwrap_or_else(|| bytes.to_vec().into())
    }
}

impl<const COUNT: usize> From<[u8; COUNT]> for Bytes {
    fn from(bytes: [u8; COUNT]) -> Self {
        bytes.as_slice().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_every_length_are_the_same_wherever_they_lie() {
        const ALL: &[u8] = b"0123456789abcdef0123456789";
        for length in 0..=ALL.len() {
            let text = &ALL[..length];
            for bytes in [Bytes::fixed(text), Bytes::from(text), Bytes::from(text.to_vec())] {
                let clone = bytes.clone();
                assert_eq!((&*bytes, &*clone, &*clone.clone()), (text, text, text));
                assert_eq!(bytes, clone);
            }
        }
    }

    #[test]
    fn a_value_with_text_takes_no_more_room_than_a_vector_with_a_flag() {
        assert_eq!(size_of::<Bytes>(), size_of::<Vec<u8>>());
        assert_eq!(size_of::<Option<crate::Value>>(), 32);
    }
}
