//! Makes a title: fills a format's words in, and takes out what is different in every report of the same bug.

use std::sync::LazyLock;

use regex::Regex;

/// Longest title. Lines that are mixed with others can be much longer.
const TITLE_BYTES_MAX: usize = 120;

/// Values that touch each other share a letter: one pass takes every other of them, the second the rest. One more, to be sure.
const PASSES_MAX: usize = 3;

/// Letters of the shortest address; the table says the same.
const ADDRESS_LETTERS_MIN: usize = 6;

/// Words that a title is made of; what is longer is cut before anything is looked for in it.
const WORDS_BYTES_MAX: usize = 8 * TITLE_BYTES_MAX;

/// A value that differs from report to report, and the word that stands for it.
struct Value {
    found: Regex,
    word: &'static str,
}

/// In this order: an address is more than a number.
static VALUES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    [
        // A process of the kernel's fuzzer, by number.
        (r"syz-executor\.?[0-9]+(?:[/:][0-9]+)?", "syz-executor"),
        (r"syzkaller[0-9]+(?:[/:][0-9]+)?", "syzkaller"),
        (r"([^a-zA-Z0-9])(?:0x)?[0-9a-f]{6,}", "${1}ADDR"),
        (r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", "IP"),
        (r"(\.[0-9A-Za-z_]+)(?::[0-9]+)+", "${1}:LINE"),
        (r"([a-zA-Z][a-zA-Z0-9_.]+)\+0x[0-9a-z]+/0x[0-9a-z]+", "${1}"),
        (r"CPU#[0-9]+", "CPU"),
        (r"([^0-9A-Za-z_])[0-9]+([^0-9A-Za-z_]|$)", "${1}NUM${2}"),
        // Names of functions have numbers in them (nl802154); so many digits are none.
        (r"[0-9]{7,}", "NUM"),
    ]
    .into_iter()
    .filter_map(|(found, word)| Some(Value { found: Regex::new(found).ok()?, word }))
    .collect()
});

/// The title with a word in place of each value, of printable letters, and not too long.
pub(super) fn steady(title: &str) -> String {
    let mut title: String = title.chars().take(WORDS_BYTES_MAX).collect();
    let values = if may_have_values(&title) { VALUES.as_slice() } else { &[] };
    for value in values {
        for _ in 0..PASSES_MAX {
            let replaced = value.found.replace_all(&title, value.word);
            if replaced == title {
                break;
            }
            title = replaced.into_owned();
        }
    }
    let mut steady = String::new();
    for letter in title.bytes().take(TITLE_BYTES_MAX).map(|byte| if byte == b'\t' { b' ' } else { byte }) {
        let is_second_space = letter == b' ' && (steady.is_empty() || steady.ends_with(' '));
        if (0x20..0x7f).contains(&letter) && !is_second_space {
            steady.push(char::from(letter));
        }
    }
    steady.trim().to_owned()
}

/// Whether it has a digit, or as many letters in a row as the shortest address, all of which digits of one may be. Most titles have neither.
fn may_have_values(title: &str) -> bool {
    let mut row = 0_usize;
    title.bytes().any(|byte| {
        row = if matches!(byte, b'a'..=b'f') { row.saturating_add(1) } else { 0 };
        byte.is_ascii_digit() || row >= ADDRESS_LETTERS_MIN
    })
}

/// A format's words with `{name}` filled in; a name that has no value is left out.
pub(super) fn filled(words: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut title = String::new();
    let mut rest = words;
    while let Some((before, after)) = rest.split_once('{') {
        title.push_str(before);
        let Some((name, after)) = after.split_once('}') else { break };
        title.push_str(&value(name).unwrap_or_default());
        rest = after;
    }
    title.push_str(rest);
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_words() {
        assert_eq!(VALUES.len(), 9);
        for (title, expected) in [
            ("kernel panic: frob at 0xffff888012345678", "kernel panic: frob at ADDR"),
            ("kernel panic: frob 10.0.0.1 said 17", "kernel panic: frob IP said NUM"),
            ("kernel BUG drivers/frob.c:123!", "kernel BUG drivers/frob.c:LINE!"),
            ("x in frob_open+0x12/0x34 0,1,2", "x in frob_open NUM,NUM,NUM"),
            ("CPU#3 frob802154_open", "CPU frob802154_open"),
            ("a\tb   c\u{7}", "a b c"),
            ("x at deadbe in frob", "x at ADDR in frob"),
            ("x at deadb in frob", "x at deadb in frob"),
        ] {
            assert_eq!(steady(title), expected);
        }
        assert!(steady(&"x ".repeat(500)).len() <= TITLE_BYTES_MAX);
    }

    #[test]
    fn words_are_filled_in() {
        assert_eq!(filled("{a} in {b}{c}", |name| (name != "c").then(|| name.to_uppercase())), "A in B");
        assert_eq!(filled("{open", |_| None), "{open");
    }
}
