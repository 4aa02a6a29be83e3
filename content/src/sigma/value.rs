//! Texts in rules: wildcards and their escapes.
//!
//! `*` and `?` are wildcards; `\*`, `\?` and `\\` stand for the character itself; a backslash before anything else is a
//! backslash. So `\\*` is a backslash and a wildcard, and `C:\Windows` needs no doubling.

use crate::rule::Part;

/// The parts of a text in which wildcards count.
pub(crate) fn parts(text: &str) -> Vec<Part> {
    let (mut parts, mut literal) = (Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let wildcard = match character {
            '\\' => {
                let escaped = characters.next_if(|next| matches!(next, '*' | '?' | '\\'));
                literal.push(escaped.unwrap_or('\\'));
                continue;
            }
            '*' => Part::AnyMany,
            '?' => Part::AnyOne,
            other => {
                literal.push(other);
                continue;
            }
        };
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into_bytes()));
        }
        parts.push(wildcard);
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into_bytes()));
    }
    parts
}

/// The parts with every dash character in them standing for all five.
pub(crate) fn with_any_dash(parts: Vec<Part>) -> Vec<Part> {
    let mut widened = Vec::new();
    for part in parts {
        let Part::Literal(bytes) = part else {
            widened.push(part);
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        for piece in text.split_inclusive(is_dash) {
            let without = piece.trim_end_matches(is_dash);
            widened.push(Part::Literal(without.as_bytes().to_vec()));
            if without.len() < piece.len() {
                widened.push(Part::Dash);
            }
        }
    }
    widened
}

fn is_dash(character: char) -> bool {
    matches!(character, '-' | '/' | '–' | '—' | '―')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Part {
        Part::Literal(text.as_bytes().to_vec())
    }

    #[test]
    fn a_backslash_escapes_wildcards_and_itself_and_nothing_else() {
        assert_eq!(parts(r"a\*b"), [literal("a*b")]);
        assert_eq!(parts(r"a\?b"), [literal("a?b")]);
        assert_eq!(parts(r"a\\*b"), [literal(r"a\"), Part::AnyMany, literal("b")]);
        assert_eq!(parts(r"a\\\*b"), [literal(r"a\*b")]);
        assert_eq!(parts(r"C:\Windows\\System32\"), [literal(r"C:\Windows\System32\")]);
        assert_eq!(parts("?*"), [Part::AnyOne, Part::AnyMany]);
        assert!(parts("").is_empty());
    }

    #[test]
    fn every_dash_stands_for_all_five() {
        let widened = with_any_dash(parts(" /a–b"));
        assert_eq!(widened, [literal(" "), Part::Dash, literal("a"), Part::Dash, literal("b")]);
    }
}
