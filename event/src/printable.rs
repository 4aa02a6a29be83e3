//! Which letters of others may not reach a terminal or a page as they are: names in events, dumps and logs are whatever their writers wanted.

/// Whether a terminal obeys the letter, does not show it, or shows others differently because of it: control characters, the soft hyphen,
/// marks of direction, spaces and joiners without width, ends of lines and paragraphs, annotations, tags (Unicode, general categories
/// Cc, Cf, Zl and Zp).
#[must_use]
pub fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with such letters made visible. It stays one line.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|letter| push(&mut shown, letter));
    shown
}

/// Appends a letter, made visible if it is such a one.
pub fn push(shown: &mut String, letter: char) {
    if is_unsafe(letter) {
        shown.extend(letter.escape_default());
    } else {
        shown.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_or_hides_passes() {
        let evil = "a\u{1b}]0;owned\u{7}\r\n\u{9b}2J\u{202e}\u{200b}\u{ad}\u{feff}\u{e0041}b";
        let shown = printable(evil);
        assert!(!shown.chars().any(is_unsafe), "{shown:?}");
        assert!(shown.contains("\\u{1b}") && shown.contains("\\u{e0041}"), "{shown}");
        assert_eq!(printable("frob é 漢 [x]"), "frob é 漢 [x]");
    }
}
