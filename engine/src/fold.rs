//! Case folding: what "case-insensitive" means here.
//!
//! Unicode simple folding: every character becomes one character, so that matching stays a byte comparison and no text grows
//! without bound. `ſ` equals `s`, the Kelvin sign equals `k`, `ς` equals `σ`; `ß` does not equal `ss`, and the Turkish dotted
//! and dotless i equal only themselves. Bytes that are not UTF-8 stay as they are.

/// Appends the folded form of `text` to `folded`.
pub(crate) fn fold_into(text: &[u8], folded: &mut Vec<u8>) {
    if text.is_ascii() {
        folded.extend(text.iter().map(u8::to_ascii_lowercase));
        return;
    }
    for chunk in text.utf8_chunks() {
        let mut encoded = [0_u8; 4];
        // Most of what is not ASCII is a sign or two among much that is.
        for part in chunk.valid().split_inclusive(|character: char| !character.is_ascii()) {
            let mut characters = part.chars();
            let last = characters.next_back();
            folded.extend(characters.as_str().bytes().map(|byte| byte.to_ascii_lowercase()));
            if let Some(last) = last {
                folded.extend_from_slice(fold_char(last).encode_utf8(&mut encoded).as_bytes());
            }
        }
        folded.extend_from_slice(chunk.invalid());
    }
}

/// Bytes that are looked at together.
const SOME_BYTES: usize = 32;

/// Whether folding changes no more of the text than capitals in ASCII: what else is in it are signs, as `®` and dashes, that every
/// second product has in its name.
pub(crate) fn folds_as_ascii(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        // Many at once: mostly they are all in ASCII.
        while let Some((_, behind)) = rest.split_first_chunk::<SOME_BYTES>().filter(|(some, _)| some.is_ascii()) {
            rest = behind;
        }
        let Some(at) = rest.iter().position(|byte| !byte.is_ascii()) else { return true };
        rest = match rest.get(at..) {
            // U+0080 to U+00BF but the micro sign, which is a Greek letter; U+2000 to U+203F.
            Some([0xC2, 0x80..=0xB4 | 0xB6..=0xBF, rest @ ..] | [0xE2, 0x80, 0x80..=0xBF, rest @ ..]) => rest,
            _ => return false,
        };
    }
}

/// The folded form of `text`.
#[must_use]
pub fn fold_text(text: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(text.len());
    fold_into(text, &mut folded);
    folded
}

/// The folded form of one character: lower case of its upper case, so that all members of a case family meet.
#[must_use]
pub fn fold_char(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    if matches!(character, '\u{130}' | '\u{131}') {
        return character;
    }
    let upper = single(character.to_uppercase()).unwrap_or(character);
    single(upper.to_lowercase()).unwrap_or(upper)
}

/// The only character of a mapping that has exactly one.
fn single(mut mapping: impl Iterator<Item = char>) -> Option<char> {
    let first = mapping.next()?;
    mapping.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_case_family_fold_to_the_same_character() {
        for family in ["Ää", "Ss\u{17f}", "Kk\u{212a}", "Σσς", "Жж", "ẞß", "µμ"] {
            let folded: Vec<char> = family.chars().map(fold_char).collect();
            assert!(folded.windows(2).all(|pair| pair[0] == pair[1]), "{family}: {folded:?}");
        }
    }

    #[test]
    fn the_turkish_i_equals_only_itself_and_sharp_s_is_not_two_letters() {
        assert_eq!(fold_char('İ'), 'İ');
        assert_eq!(fold_char('ı'), 'ı');
        assert_eq!(fold_text("straße".as_bytes()), "straße".as_bytes());
    }

    #[test]
    fn what_is_said_to_fold_as_ascii_does_so() {
        let all = (char::MIN..=char::MAX)
            .filter(|character| folds_as_ascii(character.to_string().as_bytes()) && !character.is_ascii());
        let signs: Vec<char> = all.collect();
        assert_eq!(signs.len(), 63 + 64);
        assert!(signs.iter().all(|sign| fold_char(*sign) == *sign));
        assert!(folds_as_ascii("Microsoft® Windows® – A".as_bytes()) && folds_as_ascii(b""));
        for text in ["µ", "®É", "a\u{212a}", "ſ"] {
            assert!(!folds_as_ascii(text.as_bytes()), "{text}");
        }
        assert!(!folds_as_ascii(b"\xC2") && !folds_as_ascii(b"\xE2\x80") && !folds_as_ascii(b"a\xff"));
    }

    #[test]
    fn bytes_that_are_not_utf8_survive_folding() {
        assert_eq!(fold_text(b"A\xffB\xc3"), b"a\xffb\xc3");
    }
}
