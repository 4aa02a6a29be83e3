//! What terminals and serial lines put between the words of a log: colours (`dmesg --color=always`, a terminal's capture), NULs of a line
//! that is being set up, the mark by which some editors begin a text.
//!
//! It is taken out line by line, in the line's length, so that a report's span is that of the file.

/// What is put behind a line that became shorter: readers of lines pass over it at their end.
const FILLER: u8 = b'\r';

/// Begins a sequence that tells a terminal something.
const ESCAPE: u8 = 0x1b;

/// The mark of UTF-8 at the start of a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// How a text of two bytes a letter begins, by the order of the bytes: what Windows' shells write by `>`.
const WIDE: [([u8; 2], ByteOrder); 2] = [([0xff, 0xfe], ByteOrder::Little), ([0xfe, 0xff], ByteOrder::Big)];

/// Order of a letter's two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

/// Whether a text of these first bytes has two bytes a letter, and in which order.
pub(crate) fn wide(head: &[u8]) -> Option<ByteOrder> {
    WIDE.iter().find(|(mark, _)| head.starts_with(mark)).map(|(_, order)| *order)
}

/// Makes one byte a letter of two, line by line in the line's length. What is not ASCII becomes `?`.
pub(crate) fn narrow(bytes: &mut [u8], order: ByteOrder) {
    let mut written = 0_usize;
    let mut put = |bytes: &mut [u8], end: usize, letter: u8| {
        let Some(place) = bytes.get_mut(written..end) else { return };
        if letter == b'\n' {
            place.fill(FILLER);
            if let Some(last) = place.last_mut() {
                *last = letter;
            }
            written = end;
        } else if let Some(first) = place.first_mut() {
            *first = letter;
            written = written.saturating_add(1);
        }
    };
    for end in (2..=bytes.len()).step_by(2) {
        let Some(&[one, other]) = bytes.get(end.saturating_sub(2)..end) else { break };
        let unit = match order {
            ByteOrder::Little => u16::from_le_bytes([one, other]),
            ByteOrder::Big => u16::from_be_bytes([one, other]),
        };
        let letter = match unit {
            0xfeff => FILLER, // the mark itself
            _ => u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(b'?'),
        };
        put(bytes, end, letter);
    }
    bytes.iter_mut().skip(written).for_each(|byte| *byte = FILLER);
}

/// Takes it out.
pub(crate) fn clean(bytes: &mut [u8]) {
    if let Some(mark) = bytes.get_mut(..MARK.len()).filter(|mark| *mark == MARK) {
        mark.fill(FILLER);
    }
    let mut from = 0_usize;
    while let Some(at) = bytes.get(from..).and_then(|rest| memchr::memchr2(ESCAPE, 0, rest)) {
        // What stands before it in its line stays as it is.
        let start = from.saturating_add(at);
        let Some(rest) = bytes.get_mut(start..) else { return };
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        if let Some(line) = rest.get_mut(..length) {
            clean_line(line);
        }
        from = start.saturating_add(length);
    }
}

/// The rest of a line, from the first such byte on.
fn clean_line(line: &mut [u8]) {
    let (mut read, mut written) = (0_usize, 0_usize);
    while let Some(byte) = line.get(read).copied() {
        match byte {
            0 => read = read.saturating_add(1),
            ESCAPE => read = read.saturating_add(sequence_bytes(line.get(read..).unwrap_or_default())),
            _ => {
                if let Some(place) = line.get_mut(written) {
                    *place = byte;
                }
                (read, written) = (read.saturating_add(1), written.saturating_add(1));
            }
        }
    }
    line.iter_mut().skip(written).for_each(|byte| *byte = FILLER);
}

/// How long a sequence is: `ESC [ 0 1 m` up to its letter; one of another kind is two bytes.
fn sequence_bytes(text: &[u8]) -> usize {
    if text.get(1) != Some(&b'[') {
        return text.len().min(2);
    }
    let parameters = text.iter().skip(2).take_while(|byte| (0x20..=0x3f).contains(*byte)).count();
    text.len().min(parameters.saturating_add(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        clean(&mut bytes);
        assert_eq!(bytes.len(), text.len(), "every byte stays at its place");
        String::from_utf8(bytes).expect("text").lines().map(|line| format!("{}\n", line.trim_matches('\r'))).collect()
    }

    #[test]
    fn a_text_of_two_bytes_a_letter_is_read_and_its_lines_end_where_they_ended() {
        let text = "\u{feff}[    1.0] a\u{e9}\r\nnext\nlast";
        for (order, bytes) in [
            (ByteOrder::Little, text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
            (ByteOrder::Big, text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ] {
            assert_eq!(wide(&bytes), Some(order));
            let mut narrowed = bytes.clone();
            narrow(&mut narrowed, order);
            assert_eq!(narrowed.len(), bytes.len());
            let narrowed = String::from_utf8(narrowed).expect("ASCII");
            let lines: Vec<_> = narrowed.lines().map(|line| line.trim_matches('\r')).collect();
            assert_eq!(lines, ["[    1.0] a?", "next", "last"]);
            assert_eq!(narrowed.find("next"), Some(2 * text.find("next").expect("there") - 2 * 3));
        }
        assert_eq!(wide(b"[    1.0] a"), None);
    }

    #[test]
    fn colours_and_marks_are_taken_out_and_letters_stay() {
        assert_eq!(
            cleaned("\x1b[32m[    1.0] \x1b[0m\x1b[1;31mfrob\u{e9}\x1b[0m\nnext\n"),
            "[    1.0] frob\u{e9}\nnext\n"
        );
        assert_eq!(cleaned("\0\0[    1.0] a\0b\n"), "[    1.0] ab\n");
        assert_eq!(cleaned("\u{feff}[    1.0] a\n"), "[    1.0] a\n");
        // Sequences that are cut, or of another kind.
        assert_eq!(cleaned("a\x1b[3"), "a\n");
        assert_eq!(cleaned("a\x1b"), "a\n");
        assert_eq!(cleaned("a\x1bMb\n"), "ab\n");
    }
}
