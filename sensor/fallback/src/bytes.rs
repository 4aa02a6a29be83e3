//! Reads fields out of kernel records by checked offsets, so that no record, however malformed, can make a parser panic.
//!
//! Kernel records are in the machine's own byte order and their inner offsets are not always aligned: fields are copied
//! out, never cast.

/// `N` bytes at `offset`, or `None` when the record ends before them.
fn array<const N: usize>(record: &[u8], offset: usize) -> Option<[u8; N]> {
    record.get(offset..)?.first_chunk::<N>().copied()
}

/// One byte at `offset`.
pub(crate) fn u8_at(record: &[u8], offset: usize) -> Option<u8> {
    record.get(offset).copied()
}

/// A 16-bit number in the machine's byte order.
pub(crate) fn u16_at(record: &[u8], offset: usize) -> Option<u16> {
    array(record, offset).map(u16::from_ne_bytes)
}

/// A 16-bit number in network byte order (ports).
pub(crate) fn u16_be_at(record: &[u8], offset: usize) -> Option<u16> {
    array(record, offset).map(u16::from_be_bytes)
}

/// A 32-bit number in the machine's byte order.
pub(crate) fn u32_at(record: &[u8], offset: usize) -> Option<u32> {
    array(record, offset).map(u32::from_ne_bytes)
}

/// A signed 32-bit number in the machine's byte order.
pub(crate) fn i32_at(record: &[u8], offset: usize) -> Option<i32> {
    array(record, offset).map(i32::from_ne_bytes)
}

/// A 64-bit number in the machine's byte order.
pub(crate) fn u64_at(record: &[u8], offset: usize) -> Option<u64> {
    array(record, offset).map(u64::from_ne_bytes)
}

/// `length` bytes at `offset`.
pub(crate) fn slice_at(record: &[u8], offset: usize, length: usize) -> Option<&[u8]> {
    record.get(offset..offset.checked_add(length)?)
}

/// The bytes before the first NUL, or all of them when there is none.
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// `length` rounded up to a multiple of four, as netlink pads its messages. `None` when that would overflow.
pub(crate) fn padded_to_4(length: usize) -> Option<usize> {
    length.checked_add(3).map(|padded| padded & !3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_past_the_end_is_none_and_not_a_panic() {
        let record = [1, 2, 3];
        assert_eq!(u32_at(&record, 0), None);
        assert_eq!(u16_at(&record, 2), None);
        assert_eq!(u64_at(&record, usize::MAX), None);
        assert_eq!(slice_at(&record, 1, usize::MAX), None);
        assert_eq!(padded_to_4(usize::MAX), None);
    }

    #[test]
    fn a_name_without_its_nul_is_taken_whole() {
        assert_eq!(until_nul(b"comm\0rest"), b"comm");
        assert_eq!(until_nul(b"comm"), b"comm");
        assert_eq!(until_nul(b""), b"");
    }
}
