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

/// Whether a letter has no shape of its own: all that is unsafe, marks that are drawn over the letter before, spaces of other widths, and
/// letters that are blank.
#[must_use]
pub fn is_shapeless(letter: char) -> bool {
    // Blank by their names (Unicode: Hangul fillers, Braille pattern blank, musical null note head), though no category says so.
    let is_blank = matches!(letter, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{1d159}');
    let is_plain = matches!(letter, '"' | '\'' | '\\');
    // The library's own table: what has no shape, and what extends a grapheme.
    is_blank || is_unsafe(letter) || (!is_plain && letter.escape_debug().len() > 1)
}

/// A word of a stranger's that is to be told from others: each of its letters can be seen, and so can the spaces at its ends and those
/// behind another. In sentences, whose writer has a language, use `printable`.
#[must_use]
pub fn distinct(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    let mut is_after_word = false;
    while let Some(letter) = letters.next() {
        let is_between = letter == ' ' && is_after_word && letters.peek().is_some_and(|next| *next != ' ');
        if is_shapeless(letter) || (letter == ' ' && !is_between) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
        is_after_word = letter != ' ';
    }
    shown
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

    #[test]
    fn a_name_is_told_by_what_is_seen_of_it() {
        for name in ["web-1", "Größe 漢字 Ж", "a \"b\" 'c' \\ <d>", "x²"] {
            assert_eq!(distinct(name), name);
        }
        for (unseen, shown) in [
            ("e\u{301}\u{301}", "e\\u{301}\\u{301}"),
            ("\u{3164}\u{115f}\u{1160}\u{ffa0}\u{2800}", "\\u{3164}\\u{115f}\\u{1160}\\u{ffa0}\\u{2800}"),
            (
                "\u{a0}\u{3000}\u{200b}\u{202e}\u{fe0f}\u{e0100}",
                "\\u{a0}\\u{3000}\\u{200b}\\u{202e}\\u{fe0f}\\u{e0100}",
            ),
            ("  ", "\\u{20}\\u{20}"),
            (" a  b ", "\\u{20}a\\u{20}\\u{20}b\\u{20}"),
            ("\u{e000}\u{378}", "\\u{e000}\\u{378}"),
        ] {
            assert_eq!(distinct(unseen), shown);
        }
    }
}
