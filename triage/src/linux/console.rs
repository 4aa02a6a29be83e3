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
