//! Logs whose lines are JSON: Docker's `json-file` keeps what a container printed as `{"log":"text\n","stream":"stdout","time":"..."}`.
//!
//! Each text is put in place of its own line, in the line's length, so that a report's span is that of the file.

use memchr::memmem::Finder;

/// How such a line begins.
const FRONT: &[u8] = b"{\"log\":\"";

/// Where the first such line must begin in a log of them: what rotates a log may have put some lines before it. Other logs cost nothing then.
const HEAD_BYTES: usize = 64 << 10;

/// What is put behind a text: readers of lines pass over it at their end.
const FILLER: u8 = b'\r';

/// Puts the texts in place of their lines.
pub(crate) fn unpack(bytes: &mut [u8]) {
    let front = Finder::new(FRONT);
    let head = bytes.get(..HEAD_BYTES.min(bytes.len())).unwrap_or_default();
    let Some(mut from) = front.find(head) else { return };
    while let Some(at) = bytes.get(from..).and_then(|rest| front.find(rest)) {
        let start = from.saturating_add(at);
        let begins = start.checked_sub(1).is_none_or(|before| bytes.get(before) == Some(&b'\n'));
        let Some(rest) = bytes.get_mut(start..) else { return };
        let length = if begins { memchr::memchr(b'\n', rest).unwrap_or(rest.len()) } else { FRONT.len() };
        if let (true, Some(line)) = (begins, rest.get_mut(..length)) {
            unpack_line(line);
        }
        from = start.saturating_add(length);
    }
}

/// A line: never longer than before, because an escape is longer than what it stands for.
fn unpack_line(line: &mut [u8]) {
    let (mut read, mut written) = (FRONT.len(), 0_usize);
    while let Some(byte) = line.get(read).copied().filter(|byte| *byte != b'"') {
        read = read.saturating_add(1);
        let mut letter = [0_u8; 4];
        let decoded = if byte == b'\\' {
            let (decoded, behind) = escaped(line, read);
            read = behind;
            decoded.encode_utf8(&mut letter).as_bytes()
        } else {
            std::slice::from_ref(&byte)
        };
        for byte in decoded {
            if let Some(place) = line.get_mut(written) {
                *place = *byte;
            }
            written = written.saturating_add(1);
        }
    }
    line.iter_mut().skip(written).for_each(|byte| *byte = FILLER);
}

/// The letter that stands behind a backslash, and where the next one is. Ends of lines become filler.
fn escaped(line: &[u8], at: usize) -> (char, usize) {
    let behind = at.saturating_add(1);
    let letter = match line.get(at) {
        Some(b'u') => {
            let end = behind.saturating_add(4);
            let digits = line.get(behind..end).and_then(|digits| std::str::from_utf8(digits).ok());
            let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            // Half of a letter beyond 16 bits is no letter.
            return (code.and_then(char::from_u32).unwrap_or('?'), end);
        }
        Some(b't') => '\t',
        Some(b'n' | b'r') => char::from(FILLER),
        Some(byte) if byte.is_ascii() => char::from(*byte),
        _ => '?',
    };
    (letter, behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        unpack(&mut bytes);
        assert_eq!(bytes.len(), text.len(), "every byte stays at its place");
        String::from_utf8(bytes)
            .expect("text")
            .lines()
            .map(|line| format!("{}\n", line.trim_end_matches('\r')))
            .collect()
    }

    #[test]
    fn a_line_of_json_becomes_its_text() {
        let line =
            |text: &str| format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T10:00:00Z\"}}\n");
        assert_eq!(
            unpacked(&[line("[    1.0]  \\u003cTASK\\u003e"), line("a \\\"b\\\" \\\\ \\t\\u00e9")].concat()),
            "[    1.0]  <TASK>\na \"b\" \\ \té\n"
        );
        // One that was cut, and one that stands in another line.
        assert_eq!(unpacked("{\"log\":\"a\\u00"), "a?\n");
        assert_eq!(unpacked("x {\"log\":\"a\"}\n"), "x {\"log\":\"a\"}\n");
        assert_eq!(unpacked("{\"log\":\"\\ud83d\\ude00\\"), "???\n");
    }
}
