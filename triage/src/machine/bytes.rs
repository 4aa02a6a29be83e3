//! Numbers and names out of bytes. Every read is checked: an offset from a dump is whatever its writer wanted it to be.

use crate::printable::is_unsafe;

/// `N` bytes at an offset.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A little-endian 16-bit number.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

/// A little-endian 32-bit number.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

/// A little-endian 64-bit number.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

/// A name in UTF-16, up to its NUL. A name is shown on a terminal, so characters that steer one become `?`.
pub(crate) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).filter_map(|unit| u16_at(unit, 0)).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|decoded| decoded.ok().filter(|letter| !is_unsafe(*letter)).unwrap_or('?')).collect()
}

/// A name in ASCII, up to its NUL; `None` if it holds anything else.
pub(crate) fn ascii(bytes: &[u8]) -> Option<String> {
    let name: Vec<u8> = bytes.iter().copied().take_while(|byte| *byte != 0).collect();
    let is_plain = name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    is_plain.then(|| name.iter().map(|byte| char::from(*byte)).collect())
}

/// Bytes in hexadecimal without spaces.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_past_the_end_is_none_and_not_a_panic() {
        assert_eq!(u32_at(&[1, 0, 0, 0], 0), Some(1));
        assert_eq!(u32_at(&[1, 0, 0, 0], 1), None);
        assert_eq!(u64_at(&[0; 8], usize::MAX), None);
    }

    #[test]
    fn a_name_that_steers_a_terminal_is_made_harmless() {
        let name: Vec<u8> = "a\u{1b}[2J\u{202e}b\0c".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(utf16(&name), "a?[2J?b");
        assert_eq!(utf16(&[0x00, 0xd8]), "?");
        assert_eq!(ascii(b"System\0\x01"), Some("System".to_owned()));
        assert_eq!(ascii(b"\x01"), None);
    }
}
