//! Looks for many words at once. Most lines of a log hold none of them, and one pass says so.

use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

/// Words that lines are asked for.
#[derive(Debug)]
pub(super) struct Words {
    words: &'static [&'static str],
    search: OnceLock<Option<AhoCorasick>>,
}

impl Words {
    pub(super) const fn of(words: &'static [&'static str]) -> Self {
        Self { words, search: OnceLock::new() }
    }

    /// Where the first of them begins.
    pub(super) fn first(&self, text: &str) -> Option<usize> {
        match self.search.get_or_init(|| AhoCorasick::new(self.words).ok()) {
            Some(search) => search.find(text.as_bytes()).map(|found| found.start()),
            None => self.words.iter().filter_map(|word| text.find(word)).min(),
        }
    }

    /// Whether the text has any of them.
    pub(super) fn are_in(&self, text: &str) -> bool {
        self.first(text).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_wherever_they_stand() {
        static WORDS: Words = Words::of(&["frob", "quux:"]);
        assert_eq!(WORDS.first("a quux: frob"), Some(2));
        assert!(WORDS.are_in("frob") && !WORDS.are_in("quux") && !WORDS.are_in(""));
    }
}
