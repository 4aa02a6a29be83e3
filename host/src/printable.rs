//! Text of others made safe for a terminal: names of files, programs and rules may hold escapes that move the cursor, change
//! the title or hide what stands beside them.

pub use watertight_event::printable::printable;
use watertight_event::printable::push;

/// The same, cut after so many characters, with `…` where something is missing.
#[must_use]
pub fn printable_start(text: &str, chars_max: usize) -> String {
    let mut shown = String::new();
    for (count, letter) in text.chars().enumerate() {
        if count >= chars_max {
            shown.push('…');
            break;
        }
        push(&mut shown, letter);
    }
    shown
}

/// The same for text of several lines, such as a table of ours with names of others in it.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_passes() {
        let evil = "a\u{1b}]0;owned\u{7}\r\n\u{9b}2J\u{202e}b";
        let shown = printable(evil);
        assert!(shown.chars().all(|letter| !letter.is_control() && letter != '\u{202e}'), "{shown:?}");
        assert_eq!(printable_lines("a\nb\u{1b}"), "a\nb\\u{1b}");
        for unseen in ['\u{61c}', '\u{200b}', '\u{2028}', '\u{2029}', '\u{2066}', '\u{feff}', '\u{e0041}'] {
            assert_eq!(printable(&unseen.to_string()), unseen.escape_default().to_string());
        }
    }

    #[test]
    fn a_path_of_4096_bytes_is_cut_where_a_line_has_to_fit() {
        let long = "/\n\u{1b}[2J".repeat(683);
        let shown = printable_start(&long, 160);
        assert!(shown.ends_with('…') && !shown.contains('\u{1b}') && !shown.contains('\n'));
        assert_eq!(printable_start("/tmp/é", 160), "/tmp/é");
    }
}
