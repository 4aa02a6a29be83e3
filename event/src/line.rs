//! The native JSON form written straight into memory, as `watertight run -o json` prints it for every event.
//!
//! `Event::to_json` says the same as a tree of values, which costs ten times as much to make: good enough for an alert, not for a
//! hundred thousand events a second. A test holds both to the same answer.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::LazyLock;

use crate::view::civil_date;
use crate::{Event, Field, Text, Value};

/// By field: where the last part of its dotted name begins.
const LEAF_AT: [usize; Field::ALL.len()] = {
    let mut places = [0; Field::ALL.len()];
    let mut at = 0;
    while at < places.len() {
        let name = Field::ALL[at].native().as_bytes();
        let mut letter = 0;
        while letter < name.len() {
            if name[letter] == b'.' {
                places[at] = letter + 1;
            }
            letter += 1;
        }
        at += 1;
    }
    places
};

/// By field: its key as it is written, with what stands around it.
static KEYS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let key = |field: &Field| {
        let leaf = field.native().rsplit('.').next().unwrap_or_default();
        format!(",\"{leaf}\":").into_bytes()
    };
    Field::ALL.iter().map(key).collect()
});

impl Event {
    /// Appends the event as native JSON, without the end of the line. The table keeps the fields of a folder together, so
    /// each folder is opened once.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write_head(out);
        let keys = &**KEYS;
        let mut open = "";
        let mut is_odd = false;
        for (field, value) in self.fields() {
            let (Some(key), Some(leaf_at)) = (keys.get(field as usize), LEAF_AT.get(field as usize)) else { continue };
            let folder = field.native().get(..*leaf_at).unwrap_or_default();
            if folder == open {
                out.extend_from_slice(key);
            } else {
                change_folder(out, open, folder);
                open = folder;
                out.extend_from_slice(key.get(1..).unwrap_or_default()); // the comma is there
            }
            is_odd |= write_value(out, value);
        }
        change_folder(out, open, "");
        out.pop(); // the comma before a field that does not come
        if is_odd {
            self.write_oddities(out);
        }
        out.push(b'}');
    }

    fn write_head(&self, out: &mut Vec<u8>) {
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

/// Closes the folders of `from` that `to` is not in and opens those of `to`, with the comma before what comes next. Both are
/// names that end in a dot, or empty.
fn change_folder(out: &mut Vec<u8>, from: &str, to: &str) {
    let mut common = 0;
    for (at, (left, right)) in from.bytes().zip(to.bytes()).enumerate() {
        if left != right {
            break;
        }
        if left == b'.' {
            common = at.saturating_add(1);
        }
    }
    let closed = from.get(common..).unwrap_or_default().bytes().filter(|letter| *letter == b'.').count();
    out.resize(out.len().saturating_add(closed), b'}');
    out.push(b',');
    for folder in to.get(common..).unwrap_or_default().split_terminator('.') {
        out.push(b'"');
        out.extend_from_slice(folder.as_bytes());
        out.extend_from_slice(b"\":{");
    }
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
    let is_truncated = text.is_truncated;
    match std::str::from_utf8(&text.bytes) {
        Ok(text) => {
            write_escaped(out, text.as_bytes());
            is_truncated
        }
        Err(_) => {
            write_escaped(out, text.lossy().as_bytes());
            true
        }
    }
}

/// A string of JSON: control characters, quotes and backslashes are escaped.
fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = first_escaped(rest) {
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

/// Where the first byte lies that a string of JSON must escape. Eight bytes at a time: nearly no text has any.
fn first_escaped(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let is_escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let mut start = 0_usize;
    let mut rest = text;
    while let Some((eight, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        // A byte's top bit is set if it is below a limit, or equal to a byte (the difference is 0, so below 1).
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & TOPS;
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        if below(word, 0x20) | equal(b'"') | equal(b'\\') != 0 {
            break; // perhaps: a borrow can set a neighbour's bit too, so look at each
        }
        start += eight.len();
        rest = tail;
    }
    rest.iter().position(is_escaped).map(|at| start + at)
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    /// 2^64 has so many digits.
    const DIGITS_MAX: usize = 20;
    if number < 10 {
        out.push(digit(number));
        return;
    }
    let mut digits = [0_u8; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    let mut left = number;
    for (at, place) in digits.iter_mut().enumerate().rev() {
        *place = digit(left);
        first = at;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

/// The last digit of the number.
fn digit(number: u64) -> u8 {
    #[allow(clippy::cast_possible_truncation)] // below 10
    let last = (number % 10) as u8;
    b'0'.saturating_add(last)
}

/// With leading zeroes.
fn write_padded<const DIGITS: usize>(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; DIGITS];
    let mut left = number;
    for place in digits.iter_mut().rev() {
        *place = digit(left);
        left /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub(crate) fn write_rfc3339(out: &mut Vec<u8>, unix_ns: u64) {
    let seconds = unix_ns / 1_000_000_000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    write_padded::<4>(out, year);
    out.push(b'-');
    write_padded::<2>(out, month);
    out.push(b'-');
    write_padded::<2>(out, day);
    out.push(b'T');
    write_padded::<2>(out, of_day / 3_600);
    out.push(b':');
    write_padded::<2>(out, of_day / 60 % 60);
    out.push(b':');
    write_padded::<2>(out, of_day % 60);
    out.push(b'.');
    write_padded::<9>(out, unix_ns % 1_000_000_000);
    out.push(b'Z');
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
            .with(Field::Executable, Value::Text(Text { bytes: b"/tmp/\xfe".to_vec(), is_truncated: true }))
            .with(Field::LocalAddress, Value::Address(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])));
        assert_eq!(line(&event), event.to_json());
    }
}
