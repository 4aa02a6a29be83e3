//! A SHA-256 digest as 64 hexadecimal digits, as `sha256sum` prints it.

use serde::{de::Error as _, Deserialize as _, Deserializer, Serializer};

/// Bytes of a digest.
pub(crate) const BYTES: usize = 32;

/// Lower-case hexadecimal digits.
pub(crate) fn to_hex(digest: &[u8; BYTES]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest that these 64 digits stand for, or `None`.
pub(crate) fn from_hex(text: &str) -> Option<[u8; BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != BYTES.saturating_mul(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut digest = [0; BYTES];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

pub(crate) fn serialize<S: Serializer>(digest: &[u8; BYTES], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_hex(digest))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; BYTES], D::Error> {
    let text = String::deserialize(deserializer)?;
    from_hex(&text).ok_or_else(|| D::Error::custom("a SHA-256 has 64 hexadecimal digits"))
}
