//! The native JSON form as bytes, written straight from the event: the same line as `to_json().to_string()`, without the tree
//! of objects between, which costs several times what the event itself does.
//!
//! Members come in the order of their names at every level, as a JSON object of this workspace has them. So the table is
//! sorted once, objects open and close as the names' folders change, and what an event does not carry is passed over.

use std::sync::LazyLock;

use crate::json::{bytes_beyond_utf8, NotUtf8};
use crate::{Event, Field, Text, Value};

/// One member of the line.
struct Member {
    what: What,
    /// The objects around it, outermost first.
    folders: Vec<&'static str>,
    /// Its name as JSON, with the colon.
    name: Vec<u8>,
}

#[derive(Clone, Copy)]
enum What {
    Field(Field),
    BootNs,
    Class,
    Cpu,
    Kind,
    NotUtf8,
    Outcome,
    Sequence,
    Source,
    Time,
    Truncated,
}

/// Members beside the table's fields.
const HEADER: [(&str, What); 10] = [
    ("boot_ns", What::BootNs),
    ("class", What::Class),
    ("cpu", What::Cpu),
    ("kind", What::Kind),
    ("not_utf8", What::NotUtf8),
    ("outcome", What::Outcome),
    ("sequence", What::Sequence),
    ("source", What::Source),
    ("time", What::Time),
    ("truncated", What::Truncated),
];

/// All members in the order of the line.
static MEMBERS: LazyLock<Vec<Member>> = LazyLock::new(|| {
    let fields = Field::ALL.iter().map(|field| (field.native(), What::Field(*field)));
    let mut members: Vec<(Vec<&'static str>, What)> =
        HEADER.into_iter().chain(fields).map(|(name, what)| (name.split('.').collect(), what)).collect();
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    let member = |(mut folders, what): (Vec<&'static str>, What)| {
        let name = format!("\"{}\":", folders.pop().unwrap_or_default()).into_bytes();
        Member { what, folders, name }
    };
    members.into_iter().map(member).collect()
});

/// Places for every field of the table.
const FIELDS_MAX: usize = Field::ALL.len();

impl Event {
    /// Appends the event as native JSON, without an end of line.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut by_field: [Option<&Value>; FIELDS_MAX] = [None; FIELDS_MAX];
        let mut truncated: Vec<Field> = Vec::new();
        let mut not_utf8 = NotUtf8::new();
        for (field, value) in self.fields() {
            if let Some(place) = by_field.get_mut(field as usize) {
                *place = Some(value);
            }
            if value.is_truncated() {
                truncated.push(field);
            }
            if let Some(hex) = bytes_beyond_utf8(value) {
                not_utf8.insert(field.native().into(), hex);
            }
        }
        let mut writer = Writer { out, open: &[], is_first: true };
        writer.out.push(b'{');
        for member in MEMBERS.iter() {
            match member.what {
                What::Field(field) => {
                    if let Some(Some(value)) = by_field.get(field as usize) {
                        writer.name(member);
                        writer.value(value);
                    }
                }
                What::Truncated if truncated.is_empty() => {}
                What::NotUtf8 if not_utf8.is_empty() => {}
                What::Time if self.unix_ns == 0 => {}
                What::Cpu | What::Sequence if self.sequence.is_none() => {}
                What::Truncated => {
                    writer.name(member);
                    writer.list(truncated.iter(), |writer, field| writer.text(field.native()));
                }
                What::NotUtf8 => {
                    writer.name(member);
                    writer.out.extend_from_slice(
                        serde_json::Value::Object(std::mem::take(&mut not_utf8)).to_string().as_bytes(),
                    );
                }
                header => {
                    writer.name(member);
                    self.write_header(header, &mut writer);
                }
            }
        }
        writer.close(0);
        writer.out.push(b'}');
    }

    fn write_header(&self, what: What, writer: &mut Writer<'_>) {
        let (cpu, sequence) = self.sequence.unwrap_or_default();
        match what {
            What::BootNs => writer.number(self.boot_ns),
            What::Class => writer.text(self.kind.class().name()),
            What::Cpu => writer.number(u64::from(cpu)),
            What::Kind => writer.text(self.kind.native()),
            What::Outcome => writer.text(self.outcome.name()),
            What::Sequence => writer.number(sequence),
            What::Source => writer.text(self.source.name()),
            What::Time => writer.text(&crate::view::rfc3339(self.unix_ns)),
            What::Field(_) | What::Truncated | What::NotUtf8 => {}
        }
    }
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Folders of the last member: these objects are open.
    open: &'static [&'static str],
    /// Nothing stands in the innermost object yet.
    is_first: bool,
}

impl Writer<'_> {
    /// Closes and opens objects up to the member's, and writes its name.
    fn name(&mut self, member: &'static Member) {
        let folders = member.folders.as_slice();
        if !std::ptr::eq(self.open, folders) {
            let shared = self.open.iter().zip(folders).take_while(|(a, b)| a == b).count();
            self.close(shared);
            for folder in folders.iter().skip(shared) {
                self.comma();
                self.out.push(b'"');
                self.out.extend_from_slice(folder.as_bytes());
                self.out.extend_from_slice(b"\":{");
                self.is_first = true;
            }
            self.open = folders;
        }
        self.comma();
        self.out.extend_from_slice(&member.name);
    }

    fn close(&mut self, down_to: usize) {
        for _ in down_to..self.open.len() {
            self.out.push(b'}');
            self.is_first = false;
        }
    }

    fn comma(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(true) => self.out.extend_from_slice(b"true"),
            Value::Bool(false) => self.out.extend_from_slice(b"false"),
            Value::Number(number) => self.number(*number),
            Value::Signed(number) => {
                if *number < 0 {
                    self.out.push(b'-');
                }
                self.number(number.unsigned_abs());
            }
            Value::Text(text) => self.bytes(text),
            Value::List(items) | Value::CutList(items) => self.list(items.iter(), Self::bytes),
            Value::Address(address) => self.text(&address.to_string()),
        }
    }

    fn list<T>(&mut self, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.out.push(b'[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            write(self, item);
        }
        self.out.push(b']');
    }

    fn bytes(&mut self, text: &Text) {
        match std::str::from_utf8(&text.bytes) {
            Ok(text) => self.text(text),
            Err(_) => self.text(&text.lossy()),
        }
    }

    fn text(&mut self, text: &str) {
        let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
        if text.as_bytes().iter().all(is_plain) {
            self.out.push(b'"');
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(b'"');
        } else {
            let escaped = serde_json::Value::from(text).to_string();
            self.out.extend_from_slice(escaped.as_bytes());
        }
    }

    fn number(&mut self, number: u64) {
        /// Digits of the largest.
        const DIGITS_MAX: usize = 20;
        let mut digits = [0_u8; DIGITS_MAX];
        let mut left = number;
        let mut from = DIGITS_MAX;
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
            from = at;
            if left == 0 {
                break;
            }
        }
        self.out.extend_from_slice(digits.get(from..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{Kind, Outcome, Source, Type};

    fn line(event: &Event) -> String {
        let mut out = Vec::new();
        event.write_json(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn sample(field: Field, number: u64) -> Value {
        match field.value_type() {
            Type::Bool => Value::Bool(number.is_multiple_of(2)),
            Type::Number => Value::Number(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            Type::Signed => Value::Signed(-(number as i64)),
            Type::Text => Value::Text(Text {
                bytes: vec![b'a', b'"', b'\n', number as u8],
                is_truncated: number.is_multiple_of(3),
            }),
            Type::List => Value::CutList(vec!["a\\b".into(), Text::whole(vec![number as u8, 0xff]), "\u{1}é".into()]),
            Type::Address => Value::Address(IpAddr::from([10, 0, 0, number as u8])),
        }
    }

    #[test]
    fn every_choice_of_fields_is_written_as_the_tree_is() {
        for kind in Kind::ALL {
            // Each residue leaves out other fields, so that every folder is once the first, the last and the only one.
            for leave in 0..7 {
                let mut event = Event::new(*kind, Outcome::Done, Source::TpBtf, u64::MAX);
                event.sequence = leave.is_multiple_of(2).then_some((3, 0));
                event.unix_ns = if leave.is_multiple_of(3) { 0 } else { 1_700_000_000_123_456_789 };
                for (at, field) in Field::ALL.iter().enumerate().filter(|(at, _)| leave == 0 || at % 7 == leave) {
                    event.set(*field, sample(*field, at as u64));
                }
                assert_eq!(line(&event), event.to_json().to_string());
            }
        }
    }

    #[test]
    fn an_event_without_fields_is_whole() {
        let event = Event::new(Kind::SensorGap, Outcome::Unknown, Source::Sensor, 0);
        assert_eq!(line(&event), event.to_json().to_string());
    }

    #[test]
    fn a_name_full_of_control_bytes_stays_on_its_line() {
        let event = Event::new(Kind::FileCreate, Outcome::Done, Source::Fanotify, 1)
            .with(Field::Path, Text::whole((0..=255).collect::<Vec<u8>>()));
        assert!(!line(&event).contains(|letter| letter < ' '));
        assert_eq!(Event::from_json(&line(&event)).expect("our own line"), event);
    }
}
