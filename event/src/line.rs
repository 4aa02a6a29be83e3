//! The native JSON form written straight into memory, as `watertight run -o json` prints it for every event.
//!
//! `Event::to_json` says the same as a tree of values, which costs ten times as much to make: good enough for an alert, not for a
//! hundred thousand events a second. A test holds both to the same answer.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::LazyLock;

use crate::view::civil_date;
use crate::{Event, Field, Text, Value};

/// Room for a piece of the frame. Copying all of it costs less than asking how much of it there is.
const PIECE_BYTES: usize = 40;

/// A short text that lines are put together from.
#[derive(Clone, Copy)]
struct Piece {
    length: usize,
    bytes: [u8; PIECE_BYTES],
}

impl Piece {
    /// A text that is too long would be cut; the tests see every piece.
    fn new(text: &[u8]) -> Self {
        let length = text.len().min(PIECE_BYTES);
        let mut bytes = [0; PIECE_BYTES];
        bytes.iter_mut().zip(text).for_each(|(place, byte)| *place = *byte);
        Self { length, bytes }
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        let end = out.len().saturating_add(self.length);
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}

/// Everything of a line that is not a value, made once.
struct Frame {
    /// By field.
    keys: Vec<Key>,
    /// By folder that is open and folder that comes: what closes the one and opens the other.
    changes: Vec<Vec<Piece>>,
}

struct Key {
    /// As the first in its folder.
    first: Piece,
    /// As one that comes behind another: with a comma.
    next: Piece,
    /// The folder that it lies in, counted in the order of the table; 0 is none.
    folder: usize,
}

static FRAME: LazyLock<Frame> = LazyLock::new(|| {
    let mut folders = vec![""];
    let key = |field: &Field| {
        let (name, leaf) = field.native().rsplit_once('.').unwrap_or(("", field.native()));
        let folder = folders.iter().position(|known| *known == name).unwrap_or(folders.len());
        if folder == folders.len() {
            folders.push(name);
        }
        let [first, next] = [format!("\"{leaf}\":"), format!(",\"{leaf}\":")].map(|key| Piece::new(key.as_bytes()));
        Key { first, next, folder }
    };
    let keys = Field::ALL.iter().map(key).collect();
    let changes = |from: &&str| folders.iter().map(|to| Piece::new(&change_folder(from, to))).collect();
    Frame { keys, changes: folders.iter().map(changes).collect() }
});

impl Frame {
    fn change_folder(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        if let Some(change) = self.changes.get(from).and_then(|changes| changes.get(to)) {
            change.write(out);
        }
    }
}

/// How a line stands behind the fields that it has so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    /// The folder that is open.
    folder: usize,
    /// Something was cut, or changed to make it UTF-8.
    is_odd: bool,
}

impl Line {
    #[inline]
    pub(crate) fn write(&mut self, field: Field, value: &Value, out: &mut Vec<u8>) {
        let frame = &*FRAME;
        let Some(key) = frame.keys.get(field as usize) else { return };
        if key.folder == self.folder {
            key.next.write(out);
        } else {
            frame.change_folder(self.folder, key.folder, out);
            self.folder = key.folder;
            key.first.write(out);
        }
        self.is_odd |= write_value(out, value);
    }
}

impl Event {
    /// Appends the event as native JSON, without the end of the line. The table keeps the fields of a folder together, so
    /// each folder is opened once.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write_head(out);
        let mut line = Line::default();
        self.fields_of_process().for_each(|(field, value)| line.write(field, value, out));
        self.write_behind_process(line, out);
    }

    /// Everything behind the fields of the process that acted, which come first in the table.
    pub(crate) fn write_behind_process(&self, mut line: Line, out: &mut Vec<u8>) {
        self.fields_behind_process().for_each(|(field, value)| line.write(field, value, out));
        FRAME.change_folder(line.folder, 0, out);
        out.pop(); // the comma before a field that does not come
        if line.is_odd {
            self.write_oddities(out);
        }
        out.push(b'}');
    }

    pub(crate) fn write_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"kind\":\"");
        out.extend_from_slice(self.kind.native().as_bytes());
        out.extend_from_slice(b"\",\"class\":\"");
        out.extend_from_slice(self.kind.class().name().as_bytes());
        if self.unix_ns > 0 {
            out.extend_from_slice(b"\",\"time\":\"");
            write_rfc3339(out, self.unix_ns);
        }
        out.extend_from_slice(b"\",\"outcome\":\"");
        out.extend_from_slice(self.outcome.name().as_bytes());
        out.extend_from_slice(b"\",\"source\":\"");
        out.extend_from_slice(self.source.name().as_bytes());
        out.extend_from_slice(b"\",\"boot_ns\":");
        write_number(out, self.boot_ns);
        if let Some((cpu, number)) = self.sequence {
            out.extend_from_slice(b",\"cpu\":");
            write_number(out, u64::from(cpu));
            out.extend_from_slice(b",\"sequence\":");
            write_number(out, number);
        }
    }

    /// What was cut, and the bytes that are not UTF-8: rare, so it may cost.
    fn write_oddities(&self, out: &mut Vec<u8>) {
        if let serde_json::Value::Object(object) = self.to_json() {
            for name in ["truncated", "not_utf8"] {
                if let Some(value) = object.get(name) {
                    let _ = write!(out, ",\"{name}\":{value}"); // writing to memory can't fail
                }
            }
        }
    }
}

/// What closes the folders of `from` that `to` is not in and opens those of `to`, with the comma before what comes next. Both
/// are dotted names, or empty.
fn change_folder(from: &str, to: &str) -> Vec<u8> {
    let from: Vec<&str> = from.split_terminator('.').collect();
    let to: Vec<&str> = to.split_terminator('.').collect();
    let common = from.iter().zip(&to).take_while(|(left, right)| left == right).count();
    let mut change = vec![b'}'; from.len().saturating_sub(common)];
    change.push(b',');
    for folder in to.iter().skip(common) {
        change.extend_from_slice(format!("\"{folder}\":{{").as_bytes());
    }
    change
}

/// Says whether something of the value was cut, or changed to make it UTF-8.
fn write_value(out: &mut Vec<u8>, value: &Value) -> bool {
    match value {
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, *number),
        Value::Signed(number) => {
            if *number < 0 {
                out.push(b'-');
            }
            write_number(out, number.unsigned_abs());
        }
        Value::Text(text) => return write_text(out, text),
        Value::List(items) | Value::CutList(items) => {
            let mut is_changed = value.is_truncated();
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                is_changed |= write_text(out, item);
            }
            out.push(b']');
            return is_changed;
        }
        Value::Address(IpAddr::V4(address)) => {
            out.push(b'"');
            for (at, byte) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                write_number(out, u64::from(byte));
            }
            out.push(b'"');
        }
        Value::Address(IpAddr::V6(address)) => {
            let _ = write!(out, "\"{address}\""); // writing to memory can't fail
        }
    }
    false
}

fn write_text(out: &mut Vec<u8>, text: &Text) -> bool {
    let bytes = &*text.bytes;
    if is_plain(bytes) {
        out.reserve(bytes.len().saturating_add(2));
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return text.is_truncated;
    }
    match std::str::from_utf8(bytes) {
        Ok(utf8) => {
            write_escaped(out, utf8.as_bytes());
            text.is_truncated
        }
        Err(_) => {
            write_escaped(out, text.lossy().as_bytes());
            true
        }
    }
}

/// Whether the text is ASCII and none of it must be escaped, as nearly all is. Sixteen bytes at a time, the last ones perhaps
/// twice.
fn is_plain(text: &[u8]) -> bool {
    const AT_ONCE: usize = 16;
    let is_odd = |byte: u8| !(0x20..=0x7e).contains(&byte) | (byte == b'"') | (byte == b'\\');
    let Some(last) = text.last_chunk::<AT_ONCE>() else { return !text.iter().any(|byte| is_odd(*byte)) };
    let (chunks, _) = text.as_chunks::<AT_ONCE>();
    let mut odd = [0_u8; AT_ONCE];
    for chunk in chunks.iter().chain([last]) {
        for (odd, byte) in odd.iter_mut().zip(chunk) {
            *odd |= u8::from(is_odd(*byte));
        }
    }
    odd.iter().fold(0, |any, odd| any | odd) == 0
}

/// A string of JSON: control characters, quotes and backslashes are escaped.
fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\') {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, tail)) = from.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            other => {
                out.extend_from_slice(b"\\u00");
                for half in [other >> 4, other & 0xf] {
                    out.push(HEX.get(usize::from(half)).copied().unwrap_or(b'0'));
                }
            }
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    /// 2^64 has so many digits.
    const DIGITS_MAX: usize = 20;
    if number < 10 {
        out.push(two_digits(number)[1]);
        return;
    }
    let mut digits = [0; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    let mut left = number;
    for pair in digits.as_chunks_mut::<2>().0.iter_mut().rev() {
        *pair = two_digits(left % 100);
        first = first.saturating_sub(2);
        left /= 100;
        if left == 0 {
            break;
        }
    }
    let digits = digits.get(first..).unwrap_or_default();
    out.extend_from_slice(digits.strip_prefix(b"0").unwrap_or(digits));
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number][0] += (number / 10) as u8;
        pairs[number][1] += (number % 10) as u8;
        number += 1;
    }
    pairs
};

/// The last two digits of the number.
fn two_digits(number: u64) -> [u8; 2] {
    PAIRS[(number % 100) as usize]
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub(crate) fn write_rfc3339(out: &mut Vec<u8>, unix_ns: u64) {
    let (seconds, ns) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let pairs = [
        (0, year / 100),
        (2, year),
        (5, month),
        (8, day),
        (11, of_day / 3_600),
        (14, of_day / 60 % 60),
        (17, of_day % 60),
        (20, ns / 10_000_000),
        (22, ns / 100_000),
        (24, ns / 1_000),
        (26, ns / 10),
        (27, ns),
    ];
    for (at, number) in pairs {
        text[at..at + 2].copy_from_slice(&two_digits(number));
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Outcome, Source, Type};

    fn line(event: &Event) -> serde_json::Value {
        let mut out = Vec::new();
        event.write_json(&mut out);
        serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
    }

    fn sample(field: Field) -> Value {
        match field.value_type() {
            Type::Bool => true.into(),
            Type::Number => Value::Number(u64::MAX - field as u64),
            Type::Signed => Value::Signed(i64::MIN),
            Type::Text => "a \"b\"\\\n\r\t\u{1}\u{7f}\u{1b} ü".into(),
            Type::List => Value::List(vec!["x".into(), "".into()]),
            Type::Address => Value::Address(IpAddr::from([10, 0, 200, 7])),
        }
    }

    #[test]
    fn no_piece_of_the_frame_is_cut() {
        let pieces = FRAME.keys.iter().flat_map(|key| [&key.first, &key.next]).chain(FRAME.changes.iter().flatten());
        assert!(pieces.into_iter().all(|piece| piece.length < PIECE_BYTES));
    }

    #[test]
    fn texts_and_numbers_of_every_length_are_written_as_their_json_tree_says() {
        let odd = ["", "\"", "\\", "\u{1f}", "\u{7f}", "ü", "\n"];
        for length in 0..50 {
            for (at, odd) in odd.iter().enumerate() {
                let (left, right) = ("x".repeat(length * at % (length + 1)), "y".repeat(length));
                let event =
                    Event::new(Kind::FileOpenWrite, Outcome::Done, Source::BpfLsm, 10_u64.pow(length as u32 % 20))
                        .with(Field::Path, format!("{left}{odd}{right}").as_str())
                        .with(Field::Inode, u64::MAX >> length);
                assert_eq!(line(&event), event.to_json());
            }
        }
    }

    #[test]
    fn an_event_with_every_field_is_written_as_its_json_tree_says() {
        let mut event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 77);
        event.unix_ns = 951_782_400_000_000_001;
        event.sequence = Some((3, 10));
        assert_eq!(line(&event), event.to_json());
        for field in Field::ALL {
            event.set(*field, sample(*field));
            assert_eq!(line(&event), event.to_json(), "once {} is there", field.native());
        }
    }

    #[test]
    fn each_field_alone_is_written_as_its_json_tree_says() {
        for field in Field::ALL {
            let event =
                Event::new(Kind::FileOpenWrite, Outcome::Attempted, Source::BpfLsm, 0).with(*field, sample(*field));
            assert_eq!(line(&event), event.to_json());
        }
    }

    #[test]
    fn cuts_and_odd_bytes_are_named_in_the_line_too() {
        let event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 1)
            .with(Field::Argv, Value::CutList(vec!["a".into(), Text::whole(vec![0xff, b'b'])]))
            .with(Field::Executable, Value::Text(Text { bytes: b"/tmp/\xfe".to_vec().into(), is_truncated: true }))
            .with(Field::LocalAddress, Value::Address(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])));
        assert_eq!(line(&event), event.to_json());
    }
}
