//! The Sigma, ECS and OCSF views of an event, all read off the table.

use serde_json::{json, Map, Value as Json};

use crate::json::value_to_json;
use crate::line::write_rfc3339;
use crate::table::{SigmaLogsource, TRUNCATED};
use crate::{Class, Event, Field, Kind, Outcome, Value};

/// A form in which events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Our own, complete form.
    Native,
    /// Sigma field names with their log source.
    Sigma,
    /// Elastic Common Schema 8.
    Ecs,
    /// Open Cybersecurity Schema Framework 1.8.
    Ocsf,
}

/// What the sensor can supply for one Sigma log source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigmaSupply {
    /// The category; the product is `linux`.
    pub category: &'static str,
    /// Names of the fields that an event of this category can carry.
    pub fields: Vec<&'static str>,
}

/// The Sigma log sources that this sensor's events answer to, with the fields of each.
#[must_use]
pub fn sigma_supply() -> Vec<SigmaSupply> {
    let mut supplies: Vec<SigmaSupply> = Vec::new();
    for kind in Kind::ALL {
        let Some(logsource) = kind.sigma_logsource() else { continue };
        let of_process = Field::ALL.iter().filter(|field| field.is_of_process());
        let names =
            of_process.chain(kind.fields()).map(|field| kind.sigma_name(*field)).filter(|name| !name.is_empty());
        match supplies.iter_mut().find(|supply| supply.category == logsource.category) {
            Some(supply) => supply.fields.extend(names),
            None => supplies.push(SigmaSupply { category: logsource.category, fields: names.collect() }),
        }
    }
    for supply in &mut supplies {
        supply.fields.sort_unstable();
        supply.fields.dedup();
    }
    supplies
}

/// The types (`Type::bit`) that a field may have in events of a Sigma category, or of any where none is named: 0 where none of them
/// has it, `None` where there are no such events.
#[must_use]
pub fn sigma_types(category: Option<&str>, field: &str) -> Option<u32> {
    let is_of = |kind: &Kind| {
        kind.sigma_logsource().is_some_and(|logsource| category.is_none_or(|category| category == logsource.category))
    };
    let mut kinds = Kind::ALL.iter().filter(|kind| is_of(kind)).peekable();
    kinds.peek()?;
    let types_in = |kind: &Kind| {
        let fields = Field::ALL.iter().filter(|known| known.is_of_process() || kind.fields().contains(known));
        let named = fields.filter(|known| !field.is_empty() && kind.sigma_name(**known) == field);
        named.fold(0, |types, known| types | known.value_type().bit())
    };
    Some(kinds.fold(0, |types, kind| types | types_in(kind)))
}

/// The fields of an event under their Sigma names.
pub fn sigma_fields(event: &Event) -> impl Iterator<Item = (&'static str, &Value)> {
    event.fields().filter_map(|(field, value)| {
        let name = event.kind.sigma_name(field);
        (!name.is_empty()).then_some((name, value))
    })
}

impl View {
    /// The view with this name on the command line.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "native" => Some(Self::Native),
            "sigma" => Some(Self::Sigma),
            "ecs" => Some(Self::Ecs),
            "ocsf" => Some(Self::Ocsf),
            _ => None,
        }
    }

    /// The event in this view.
    #[must_use]
    pub fn render(self, event: &Event) -> Json {
        match self {
            Self::Native => event.to_json(),
            Self::Sigma => sigma(event),
            Self::Ecs => crate::ecs::render(event),
            Self::Ocsf => crate::ocsf::render(event),
        }
    }
}

fn sigma(event: &Event) -> Json {
    let fields: Map<String, Json> =
        sigma_fields(event).map(|(name, value)| (name.to_owned(), as_rules_see(value))).collect();
    let cut = sigma_fields(event).filter(|(_, value)| value.is_truncated()).map(|(name, _)| name.into()).collect();
    let mut line = Map::new();
    line.insert("time".into(), rfc3339(event.unix_ns).into());
    line.insert("kind".into(), event.kind.native().into());
    if let Some(SigmaLogsource { category }) = event.kind.sigma_logsource() {
        line.insert("logsource".into(), json!({ "category": category, "product": "linux" }));
    }
    line.insert("event".into(), fields.into());
    tell_cuts(&mut line, TRUNCATED.sigma, cut);
    line.into()
}

/// Names what was cut, if anything was.
pub(crate) fn tell_cuts(object: &mut Map<String, Json>, name: &str, cut: Vec<Json>) {
    if !cut.is_empty() {
        nest(object, name, cut.into());
    }
}

/// IPv4 in IPv6 clothes is IPv4 to a rule: a recorded event must match what it matched live.
fn as_rules_see(value: &Value) -> Json {
    match value {
        Value::Address(address) => address.to_canonical().to_string().into(),
        other => value_to_json(other),
    }
}

/// Whether it went well for who asked for it; `None` where that can't be said. What is told of the sensor itself is no success of
/// anybody, whatever it is.
pub(crate) fn is_success(event: &Event) -> Option<bool> {
    match (event.kind, event.outcome) {
        (kind, _) if kind.class() == Class::Sensor => None,
        (Kind::NetworkFailed, _) | (_, Outcome::Denied) => Some(false),
        (Kind::ProcessExit, _) if ending_signal(event).is_some() => Some(false),
        (Kind::ProcessExit, _) => event.number(Field::ExitCode).map(|code| code == 0),
        (_, Outcome::Done) => Some(true),
        (_, Outcome::Attempted | Outcome::Unknown) => None,
    }
}

/// The signal that ended the process: what it has as an exit code is then none.
pub(crate) fn ending_signal(event: &Event) -> Option<u64> {
    event.number(Field::ExitSignal).filter(|signal| event.kind == Kind::ProcessExit && *signal != 0)
}

/// Whether this machine opened the connection, as far as the source says.
pub(crate) fn is_initiated(event: &Event) -> Option<bool> {
    match event.get(Field::IsInitiated) {
        Some(Value::Bool(is)) => Some(*is),
        _ => None,
    }
}

/// Puts a value at a dotted name, making the objects on the way. A value that stands where an object is needed is kept and
/// the new one left out: the table's test shows that no name is both.
pub(crate) fn nest(object: &mut Map<String, Json>, dotted: &str, value: Json) {
    let mut place = object;
    let mut names = dotted.split('.').peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            place.insert(name.to_owned(), value);
            return;
        }
        let next = place.entry(name.to_owned()).or_insert_with(|| Json::Object(Map::new()));
        match next {
            Json::Object(inner) => place = inner,
            _ => return,
        }
    }
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub(crate) fn rfc3339(unix_ns: u64) -> String {
    let mut text = Vec::with_capacity(30);
    write_rfc3339(&mut text, unix_ns);
    String::from_utf8(text).unwrap_or_default() // digits and signs only
}

/// Year, month and day of a day since 1970, counted by Howard Hinnant's days-from-civil method.
pub(crate) fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The reverse of [`rfc3339`] for the form that it writes.
pub(crate) fn unix_ns(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    let days = year.div_euclid(400) * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - 719_468;
    let seconds = days * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(number(20, 29)?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, Text, Type};

    #[test]
    fn times_are_written_and_read_to_the_nanosecond() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        for ns in [0, 951_782_400_000_000_001, 1_763_726_400_123_456_789] {
            assert_eq!(unix_ns(&rfc3339(ns)), Some(ns));
        }
    }

    #[test]
    fn an_exec_reads_as_sysmon_process_creation() {
        let event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 1)
            .with(Field::Executable, "/bin/sh")
            .with(Field::ParentExecutable, "/usr/sbin/sshd");
        let view = View::Sigma.render(&event);
        assert_eq!(view["logsource"]["category"], "process_creation");
        assert_eq!(view["event"]["Image"], "/bin/sh");
        assert_eq!(view["event"]["ParentImage"], "/usr/sbin/sshd");
    }

    #[test]
    fn the_types_of_a_field_are_those_of_the_table_for_every_category() {
        assert_eq!(sigma_types(Some("process_creation"), "Image"), Some(Type::Text.bit()));
        assert_eq!(sigma_types(Some("process_creation"), "ProcessId"), Some(Type::Number.bit()));
        assert_eq!(sigma_types(Some("network_connection"), "DestinationIp"), Some(Type::Address.bit()));
        assert_eq!(sigma_types(Some("process_creation"), "DestinationIp"), Some(0));
        assert_eq!(sigma_types(None, "DestinationIp"), Some(Type::Address.bit()));
        assert_eq!(sigma_types(Some("registry_set"), "Image"), None);
        for supply in sigma_supply() {
            for field in supply.fields {
                assert!(sigma_types(Some(supply.category), field).is_some_and(|types| types != 0), "{field}");
            }
        }
    }

    #[test]
    fn a_named_pipe_keeps_its_path_as_pipe_name() {
        let event = Event::new(Kind::FileFifo, Outcome::Attempted, Source::BpfLsm, 1).with(Field::Path, "/tmp/p");
        assert_eq!(View::Sigma.render(&event)["event"], json!({ "PipeName": "/tmp/p" }));
        assert_eq!(View::Ocsf.render(&event)["file"], json!({ "path": "/tmp/p", "name": "p", "type_id": 6 }));
    }

    /// The types of event that ECS 8 expects of each category that we use.
    const ECS_TYPES: [(&str, &[&str]); 7] = [
        ("driver", &["change", "end", "info", "start"]),
        ("file", &["access", "change", "creation", "deletion", "info"]),
        ("host", &["access", "change", "end", "info", "start"]),
        ("intrusion_detection", &["allowed", "denied", "info"]),
        ("library", &["start"]),
        ("network", &["access", "allowed", "connection", "denied", "end", "info", "protocol", "start"]),
        ("process", &["access", "change", "end", "info", "start"]),
    ];

    #[test]
    fn every_kind_has_a_category_and_a_type_that_ecs_expects_together() {
        for kind in Kind::ALL {
            let (category, of_kind) = kind.ecs();
            let expected = ECS_TYPES.iter().find(|(name, _)| *name == category).map(|(_, types)| *types);
            let expected = expected.expect("a category that ECS has and this list names");
            assert!(expected.contains(&of_kind), "{}: {category} has no type {of_kind}", kind.native());
        }
    }

    /// Dotted places of all values that hold this text, alone or in a list.
    fn places_of(json: &Json, place: &str, text: &str, found: &mut Vec<String>) {
        match json {
            Json::Object(object) => {
                for (key, inner) in object {
                    places_of(inner, &format!("{place}.{key}"), text, found);
                }
            }
            Json::Array(items) if items.iter().any(|item| item == text) => found.push(place.into()),
            other if other == text => found.push(place.into()),
            _ => {}
        }
    }

    #[test]
    fn every_value_that_was_cut_is_named_in_every_view_and_no_other_is() {
        const PART: &str = "/a/part";
        let cut = || Text { bytes: PART.as_bytes().into(), is_truncated: true };
        for kind in Kind::ALL {
            let whole = Event::new(*kind, Outcome::Done, Source::BpfLsm, 1).with(Field::Comm, "whole");
            let mut event = whole.clone();
            let of_process = Field::ALL.iter().filter(|field| field.is_of_process() && **field != Field::Comm);
            for field in of_process.chain(kind.fields()) {
                match field.value_type() {
                    Type::Text => event.set(*field, cut()),
                    Type::List => event.set(*field, Value::CutList(vec![PART.into()])),
                    _ => {}
                }
            }
            let views = [
                (View::Native, "", TRUNCATED.native),
                (View::Sigma, ".event", TRUNCATED.sigma),
                (View::Ecs, "", TRUNCATED.ecs),
                (View::Ocsf, "", TRUNCATED.ocsf),
            ];
            for (view, root, name) in views {
                let pointer = format!("/{}", name.replace('.', "/"));
                assert_eq!(view.render(&whole).pointer(&pointer), None, "{view:?} {}", kind.native());
                let line = view.render(&event);
                let mut expected = Vec::new();
                places_of(&line, "", PART, &mut expected);
                let told = line.pointer(&pointer).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
                let mut told: Vec<String> =
                    told.iter().map(|name| format!("{root}.{}", name.as_str().expect("a name"))).collect();
                told.sort();
                expected.sort();
                assert_eq!(told, expected, "{view:?} {}", kind.native());
                assert!(!told.is_empty(), "{view:?} {}", kind.native());
            }
        }
    }

    #[test]
    fn merged_operations_and_the_size_of_cut_arguments_are_told_in_ecs_and_ocsf() {
        let operations = Value::List(vec!["create".into(), "close_write".into()]);
        let event = Event::new(Kind::FileCreate, Outcome::Done, Source::Fanotify, 1)
            .with(Field::ArgvBytes, 100_000_u64)
            .with(Field::IsMerged, true)
            .with(Field::Operations, operations);
        assert_eq!(View::Ecs.render(&event)["event"]["action"], "file.create");
        for own in [&View::Ecs.render(&event)["watertight"], &View::Ocsf.render(&event)["unmapped"]] {
            assert_eq!(own["argv_bytes"], 100_000);
            assert_eq!(own["is_merged"], true);
            assert_eq!(own["operations"], json!(["create", "close_write"]));
        }
    }

    #[test]
    fn no_category_names_a_field_twice_in_one_kind() {
        for kind in Kind::ALL {
            let of_process = Field::ALL.iter().filter(|field| field.is_of_process());
            let mut names: Vec<_> = of_process
                .chain(kind.fields())
                .map(|field| kind.sigma_name(*field))
                .filter(|name| !name.is_empty())
                .collect();
            names.sort_unstable();
            let before = names.len();
            names.dedup();
            assert_eq!(before, names.len(), "{} has a Sigma name twice", kind.native());
        }
    }
}
