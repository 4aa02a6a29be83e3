//! The native JSON form: one object a line, field names nested at their dots. What was cut is listed in `truncated`; bytes
//! that are not UTF-8 are kept whole in `not_utf8` as hexadecimal, so nothing is lost on the way through JSON.

use std::net::IpAddr;

use serde_json::{json, Map, Value as Json};

use crate::table::TRUNCATED;
use crate::view::{nest, rfc3339};
use crate::{Event, Field, Kind, Outcome, Source, Text, Type, Value};

/// Why a line is not an event in native form.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not JSON at all.
    #[error("the line is not a JSON object: {0}")]
    NotJson(#[from] serde_json::Error),
    /// A header member is missing or has a value that this version does not know.
    #[error("{member:?} is missing or unknown: was the line written by `watertight run -o json`?")]
    Header {
        /// The member's name.
        member: &'static str,
    },
    /// A field's value is of another type than the table says.
    #[error("field {field:?} should be of type {expected:?}")]
    FieldType {
        /// Native name of the field.
        field: &'static str,
        /// Type by the table.
        expected: Type,
    },
}

impl Event {
    /// The event as native JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut object = Map::new();
        object.insert("kind".into(), self.kind.native().into());
        object.insert("class".into(), self.kind.class().name().into());
        if self.unix_ns > 0 {
            object.insert("time".into(), rfc3339(self.unix_ns).into());
        }
        object.insert("boot_ns".into(), self.boot_ns.into());
        object.insert("outcome".into(), self.outcome.name().into());
        object.insert("source".into(), self.source.name().into());
        if let Some((cpu, number)) = self.sequence {
            object.insert("cpu".into(), cpu.into());
            object.insert("sequence".into(), number.into());
        }
        let mut truncated = Vec::new();
        let mut not_utf8 = NotUtf8::new();
        for (field, value) in self.fields() {
            if value.is_truncated() {
                truncated.push(Json::from(field.native()));
            }
            if let Some(hex) = bytes_beyond_utf8(value) {
                not_utf8.insert(field.native().into(), hex);
            }
            nest(&mut object, field.native(), value_to_json(value));
        }
        if !truncated.is_empty() {
            object.insert(TRUNCATED.native.into(), truncated.into());
        }
        if !not_utf8.is_empty() {
            object.insert("not_utf8".into(), not_utf8.into());
        }
        Json::Object(object)
    }

    /// Reads an event from its native JSON.
    ///
    /// # Errors
    /// The line is no JSON, its header is not one of ours, or a field has a value of another type.
    pub fn from_json(line: &str) -> Result<Self, ReadError> {
        Self::from_object(&serde_json::from_str(line)?)
    }

    /// Reads an event from its native JSON that was parsed already.
    ///
    /// # Errors
    /// The header is not one of ours, or a field has a value of another type.
    pub fn from_object(object: &Map<String, Json>) -> Result<Self, ReadError> {
        let text = |member: &'static str| object.get(member).and_then(Json::as_str).ok_or(ReadError::Header { member });
        let kind = Kind::from_native(text("kind")?).ok_or(ReadError::Header { member: "kind" })?;
        let outcome = Outcome::from_name(text("outcome")?).ok_or(ReadError::Header { member: "outcome" })?;
        let source = Source::from_name(text("source")?).ok_or(ReadError::Header { member: "source" })?;
        let boot_ns = object.get("boot_ns").and_then(Json::as_u64).ok_or(ReadError::Header { member: "boot_ns" })?;
        let mut event = Self::new(kind, outcome, source, boot_ns);
        event.unix_ns = object.get("time").and_then(Json::as_str).and_then(crate::view::unix_ns).unwrap_or(0);
        if let (Some(cpu), Some(number)) =
            (object.get("cpu").and_then(Json::as_u64), object.get("sequence").and_then(Json::as_u64))
        {
            event.sequence = Some((u32::try_from(cpu).unwrap_or(u32::MAX), number));
        }
        let cut: Vec<&str> = match object.get(TRUNCATED.native) {
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        let raw = object.get("not_utf8").and_then(Json::as_object);
        for field in Field::ALL.iter().copied() {
            let Some(json) = find(object, field.native()) else { continue };
            let raw = raw.and_then(|raw| raw.get(field.native()));
            let value = value_from_json(field, json, raw, cut.contains(&field.native()))
                .ok_or(ReadError::FieldType { field: field.native(), expected: field.value_type() })?;
            event.set(field, value);
        }
        Ok(event)
    }
}

/// A value in its JSON type; text is made UTF-8.
pub(crate) fn value_to_json(value: &Value) -> Json {
    match value {
        Value::Bool(is) => json!(is),
        Value::Number(number) => json!(number),
        Value::Signed(number) => json!(number),
        Value::Text(text) => json!(text.lossy()),
        Value::List(items) | Value::CutList(items) => items.iter().map(|item| json!(item.lossy())).collect(),
        Value::Address(address) => json!(address.to_string()),
    }
}

fn value_from_json(field: Field, json: &Json, raw: Option<&Json>, is_cut: bool) -> Option<Value> {
    let text = |json: &Json, raw: Option<&Json>, is_truncated: bool| -> Option<Text> {
        let bytes = match raw.and_then(Json::as_str).and_then(from_hex) {
            Some(bytes) => bytes.into(),
            None => json.as_str()?.as_bytes().into(),
        };
        Some(Text { bytes, is_truncated })
    };
    Some(match field.value_type() {
        Type::Bool => Value::Bool(json.as_bool()?),
        Type::Number => Value::Number(json.as_u64()?),
        Type::Signed => Value::Signed(json.as_i64()?),
        Type::Text => Value::Text(text(json, raw, is_cut)?),
        Type::List => {
            let raws = raw.and_then(Json::as_array);
            let items = json.as_array()?.iter().enumerate();
            let items: Option<Vec<Text>> =
                items.map(|(at, item)| text(item, raws.and_then(|raws| raws.get(at)), false)).collect();
            if is_cut {
                Value::CutList(items?)
            } else {
                Value::List(items?)
            }
        }
        Type::Address => Value::Address(json.as_str()?.parse::<IpAddr>().ok()?),
    })
}

/// Native names and bytes of what is not UTF-8.
pub(crate) type NotUtf8 = Map<String, Json>;

/// The bytes of a text that is not UTF-8, as hexadecimal; `None` where JSON holds it whole.
pub(crate) fn bytes_beyond_utf8(value: &Value) -> Option<Json> {
    let hex = |text: &Text| match std::str::from_utf8(&text.bytes) {
        Ok(_) => Json::Null,
        Err(_) => to_hex(&text.bytes).into(),
    };
    match value {
        Value::Text(text) => Some(hex(text)).filter(|json| !json.is_null()),
        Value::List(items) | Value::CutList(items) => {
            let items: Vec<Json> = items.iter().map(hex).collect();
            items.iter().any(|item| !item.is_null()).then_some(Json::Array(items))
        }
        _ => None,
    }
}

fn find<'a>(object: &'a Map<String, Json>, dotted: &str) -> Option<&'a Json> {
    let (last, folders) = match dotted.rsplit_once('.') {
        Some((folders, last)) => (last, folders.split('.').collect()),
        None => (dotted, Vec::new()),
    };
    let mut place = object;
    for folder in folders {
        place = place.get(folder)?.as_object()?;
    }
    place.get(last)
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String can't fail
        hex
    })
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd() -> Event {
        let mut event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 77)
            .with(Field::Pid, 41_u64)
            .with(Field::Argv, Value::CutList(vec!["a".into(), Text::whole(vec![0xff, b'b'])]))
            .with(Field::Executable, Value::Text(Text { bytes: b"/tmp/\xfe".to_vec().into(), is_truncated: true }));
        event.unix_ns = 1_700_000_000_123_456_789;
        event.sequence = Some((1, 9));
        event
    }

    #[test]
    fn an_event_survives_the_way_through_json_with_cuts_and_odd_bytes() {
        let event = odd();
        let back = Event::from_json(&event.to_json().to_string()).expect("our own line");
        assert_eq!(back, event);
    }

    #[test]
    fn what_was_cut_is_named() {
        let json = odd().to_json();
        assert_eq!(json["truncated"], json!(["process.executable", "process.argv"]));
    }

    #[test]
    fn a_field_of_the_wrong_type_is_refused_by_name() {
        let line = r#"{"kind":"process.exec","outcome":"done","source":"tp_btf","boot_ns":1,"process":{"pid":"x"}}"#;
        assert!(matches!(Event::from_json(line), Err(ReadError::FieldType { field: "process.pid", .. })));
    }

    #[test]
    fn every_field_has_one_native_name_and_no_name_is_both_value_and_folder() {
        for field in Field::ALL {
            assert_eq!(Field::from_native(field.native()), Some(*field), "{} twice", field.native());
            let folder = format!("{}.", field.native());
            assert!(!Field::ALL.iter().any(|other| other.native().starts_with(&folder)), "{folder} is a value too");
        }
    }
}
