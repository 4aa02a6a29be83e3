//! Text cut to the columns of a terminal.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The beginning of a text that fits, with `…` where something is missing. Control characters never pass.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    let printable: String = text.chars().filter(|letter| !letter.is_control()).collect();
    if printable.width() <= columns {
        return printable;
    }
    let room = columns.saturating_sub(1);
    let mut kept = String::new();
    let mut used = 0_usize;
    for letter in printable.chars() {
        used = used.saturating_add(letter.width().unwrap_or(0));
        if used > room {
            break;
        }
        kept.push(letter);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_fits_stays_and_a_longer_one_says_that_it_was_cut() {
        assert_eq!(cut("12345", 5), "12345");
        assert_eq!(cut("123456", 5), "1234…");
        assert_eq!(cut("123456", 0), "");
    }

    #[test]
    fn wide_letters_count_two_columns_and_never_cross_the_edge() {
        assert_eq!(cut("漢字漢字", 8), "漢字漢字");
        assert_eq!(cut("漢字漢字", 6), "漢字…");
    }

    #[test]
    fn an_escape_that_came_this_far_is_left_out() {
        assert_eq!(cut("a\u{1b}[2Jb\n\u{9b}", 20), "a[2Jb");
    }
}
