//! The encodings that rules look through: UTF-16 and Base64, the latter at each of its three alignments.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A byte order mark, and which byte of a unit comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Utf16 {
    /// `utf16le`, `wide`.
    Little,
    /// `utf16be`.
    Big,
    /// `utf16`: little endian behind a byte order mark.
    Marked,
}

pub(crate) fn utf16(text: &str, order: Utf16) -> Vec<u8> {
    let mark = (order == Utf16::Marked).then_some(0xFEFF_u16);
    let units = mark.into_iter().chain(text.encode_utf16());
    units
        .flat_map(|unit| match order {
            Utf16::Big => unit.to_be_bytes(),
            Utf16::Little | Utf16::Marked => unit.to_le_bytes(),
        })
        .collect()
}

/// Base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4_usize {
            if position > chunk.len() {
                text.push('=');
                continue;
            }
            let shift = [18, 12, 6, 0].get(position).copied().unwrap_or(0);
            let index = usize::try_from(bits >> shift & 0x3F).unwrap_or(0);
            text.push(ALPHABET.get(index).map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

/// What of the Base64 form does not depend on what stands before and after, for the three ways the text can lie across the
/// groups of three bytes. A first or last letter that carries bits of a neighbour is left out.
pub(crate) fn base64_at_offsets(bytes: &[u8]) -> [String; 3] {
    [0_usize, 1, 2].map(|before| {
        let mut shifted = vec![b' '; before];
        shifted.extend_from_slice(bytes);
        let encoded = base64(&shifted);
        let from = [0_usize, 2, 3].get(before).copied().unwrap_or(0);
        let uncertain = match shifted.len() % 3 {
            0 => 0,
            1 => 3,
            _ => 2,
        };
        let to = encoded.len().saturating_sub(uncertain);
        encoded.get(from..to).unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_to_groups_of_four() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn only_letters_that_no_neighbour_changes_remain_at_each_offset() {
        let needle = b"foobar!";
        let variants = base64_at_offsets(needle);
        for before in 0..6_usize {
            for (neighbour, after) in [(b'\x00', 0_usize), (b'\xff', 1), (b'a', 2), (b'\xff', 3)] {
                let mut bytes = vec![neighbour; before];
                bytes.extend_from_slice(needle);
                bytes.extend(vec![neighbour; after]);
                let variant = &variants[before % 3];
                assert!(base64(&bytes).contains(variant.as_str()), "{variant} before {before} after {after}");
            }
        }
    }

    #[test]
    fn wide_text_is_utf16() {
        assert_eq!(utf16("aé", Utf16::Little), [0x61, 0, 0xE9, 0]);
        assert_eq!(utf16("a", Utf16::Big), [0, 0x61]);
        assert_eq!(utf16("a", Utf16::Marked), [0xFF, 0xFE, 0x61, 0]);
    }
}
