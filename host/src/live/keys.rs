//! Bytes of a terminal as keys. Sequences of keys that we do not use (arrows, mouse) are skipped whole, so that their letters
//! are not taken for commands.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A letter, digit, sign or space.
    Letter(char),
    /// Enter.
    Enter,
    /// Escape alone.
    Escape,
    /// Backspace.
    Backspace,
}

/// The keys in one read. A terminal sends a key's sequence in one piece, so an escape with nothing after it is the key.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(bytes);
    let mut letters = text.chars().peekable();
    let mut keys = Vec::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => match letters.peek() {
                Some('[') => {
                    letters.next();
                    while letters.next().is_some_and(|letter| !('@'..='~').contains(&letter)) {}
                }
                Some('O') => {
                    letters.nth(1);
                }
                _ => keys.push(Key::Escape),
            },
            '\r' | '\n' => keys.push(Key::Enter),
            '\u{8}' | '\u{7f}' => keys.push(Key::Backspace),
            letter if letter.is_control() || letter == char::REPLACEMENT_CHARACTER => {}
            letter => keys.push(Key::Letter(letter)),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_key_is_no_command_and_no_escape() {
        assert_eq!(decode(b"\x1b[A"), []);
        assert_eq!(decode(b"\x1b[1;5Cq"), [Key::Letter('q')]);
        assert_eq!(decode(b"\x1bOPp"), [Key::Letter('p')]);
        assert_eq!(decode(b"\x1b[<0;12;"), [], "a sequence that was cut");
    }

    #[test]
    fn escape_alone_is_the_key() {
        assert_eq!(
            decode(b"ab\x7f\r\x1b"),
            [Key::Letter('a'), Key::Letter('b'), Key::Backspace, Key::Enter, Key::Escape]
        );
    }

    #[test]
    fn letters_beyond_ascii_come_whole_and_broken_ones_not_at_all() {
        assert_eq!(decode("ß".as_bytes()), [Key::Letter('ß')]);
        assert_eq!(decode(b"\xff\x01"), []);
    }
}
