//! The events beside a rule, as canaries: `NAME.tests.yml`.
//!
//! ```yaml
//! fires:
//!   - category: process_creation
//!     event: {Image: /usr/bin/xmrig}
//! silent:
//!   - why: the same name elsewhere
//!     category: process_creation
//!     event: {Image: /usr/bin/xmrig-doc}
//! ```
//!
//! A case may name the `rule` that it is for, where the file beside it has several or an exception, and have several `events`, each with `after_ms` since the one before.

use std::collections::BTreeMap;

use watertight_content_pack::{Canary, Event, Named, Value};

use super::Wrong;
use crate::sigma::reason::did_you_mean;
use crate::sigma::rejection::At;
use crate::sigma::yaml::{read, Content, Key, Node};
use crate::sigma::{same_id, Reason, Source, Span};

/// What stands before the ending of a file with tests.
const TESTS: &str = ".tests";

/// Deepest nesting of an event's fields; the reader of YAML has a limit of its own.
const DEPTH_MAX: usize = 32;

const CASE_KEYS: [&str; 8] = ["why", "rule", "category", "product", "service", "event", "events", "after_ms"];

/// The product that a case has where it names none.
const PRODUCT: &str = "linux";

/// What it holds, in words.
const HOLDS: &str = "fires and silent";

/// The canaries of a file; `ids` are those of the documents of every rule file.
pub(super) fn canaries(tests: Source<'_>, ids: &BTreeMap<String, Vec<String>>) -> Result<Vec<Canary>, Box<Wrong>> {
    let file = File { name: tests.file, ids: ids_beside(tests.file, ids), all: ids };
    file.canaries(tests.text).map_err(|at| Wrong::of(tests, at))
}

fn name_of(file: &str, list: &str, number: usize) -> String {
    format!("{file} {list} {number}")
}

/// Where the case stands that a canary was made of; of it, the field of this name, if it is one of its own.
pub(super) fn place_of(tests: Source<'_>, canary: &str, field: Option<&Named>) -> Option<Span> {
    let documents = read(tests.text).ok()?;
    let document = documents.first()?;
    let case = ["fires", "silent"].into_iter().find_map(|list| {
        let Content::List(cases) = &document.get(list)?.content else { return None };
        let mut numbered = (1..).zip(cases);
        numbered.find(|(number, _)| name_of(tests.file, list, *number) == canary).map(|(_, case)| case)
    })?;
    let several = match case.get("events").map(|events| &events.content) {
        Some(Content::List(events)) => events.as_slice(),
        _ => &[],
    };
    let events = several.iter().chain([case]).filter_map(|event| event.get("event").and_then(Node::map));
    let key = field.and_then(|field| events.flatten().find(|(key, _)| Named::of(&key.text) == *field));
    Some(key.map_or(case.span, |(key, _)| key.span))
}

/// The ids of the rule file that lies beside a file with tests.
fn ids_beside<'i>(tests: &str, ids: &'i BTreeMap<String, Vec<String>>) -> &'i [String] {
    let Some((stem, _)) = tests.rsplit_once('.') else { return &[] };
    let Some(stem) = stem.len().checked_sub(TESTS.len()).and_then(|at| stem.get(..at)) else { return &[] };
    let beside = ids.iter().find(|(file, _)| file.rsplit_once('.').is_some_and(|(rule, _)| rule == stem));
    beside.map(|(_, ids)| ids.as_slice()).unwrap_or_default()
}

struct File<'f> {
    name: &'f str,
    ids: &'f [String],
    /// Of every file.
    all: &'f BTreeMap<String, Vec<String>>,
}

impl File<'_> {
    fn canaries(&self, text: &str) -> Result<Vec<Canary>, At> {
        let documents = read(text)?;
        let [document] = documents.as_slice() else {
            return Err(Reason::OneDocument { found: documents.len(), holds: HOLDS }.at(1));
        };
        known_keys(document, &["fires", "silent"])?;
        let mut canaries = Vec::new();
        for (list, must_fire) in [("fires", true), ("silent", false)] {
            let Some(node) = document.get(list) else {
                if must_fire {
                    return Err(nothing_fires("missing", document));
                }
                continue;
            };
            let Content::List(cases) = &node.content else {
                return Err(bad_value(list, "a list of events", node));
            };
            if must_fire && cases.is_empty() {
                return Err(nothing_fires("empty", node));
            }
            for (number, case) in (1..).zip(cases) {
                canaries.push(self.case(&name_of(self.name, list, number), case, must_fire)?);
            }
        }
        Ok(canaries)
    }

    fn case(&self, name: &str, case: &Node, must_fire: bool) -> Result<Canary, At> {
        if case.map().is_none() {
            return Err(bad_value("a case", "a mapping with category and event", case));
        }
        known_keys(case, &CASE_KEYS)?;
        let rule = self.rule(case)?;
        let mut events = Vec::new();
        match (case.get("event"), case.get("events")) {
            (Some(_), None) => events.push(event(case, case)?),
            (None, Some(Node { content: Content::List(items), .. })) if !items.is_empty() => {
                for item in items {
                    known_keys(item, &CASE_KEYS)?;
                    events.push(event(item, case)?);
                }
            }
            _ => {
                let what = "a case has one event, or a list of events".to_owned();
                let mend = "write `event: {...}`, or `events:` with one or more".to_owned();
                return Err(case.at(Reason::TestCase { what, label: "this case", mend }));
            }
        }
        let mut at_ms = 0_u64;
        for event in &mut events {
            at_ms = at_ms.saturating_add(event.at_ms);
            event.at_ms = at_ms;
        }
        let (fires, silent) = if must_fire { (vec![rule], Vec::new()) } else { (Vec::new(), vec![rule]) };
        Ok(Canary { name: name.to_owned(), events, fires, silent })
    }

    /// The rule that the case names, or the only one of the file.
    fn rule(&self, case: &Node) -> Result<String, At> {
        if let Some(node) = case.get("rule") {
            let id = text("rule", node)?;
            let mut known = self.all.values().flatten();
            return known.find(|known| same_id(known) == same_id(&id)).cloned().ok_or_else(|| {
                let known = self.all.values().flatten().map(String::as_str);
                let mend = did_you_mean(&id, known, "write the id of a rule of this pack");
                let what = format!("rule {id:?} is not in the pack");
                node.at(Reason::TestCase { what, label: "no such rule", mend })
            });
        }
        let (what, mend) = match self.ids {
            [only] => return Ok(only.clone()),
            [] => (
                "there is no rule in the file beside it",
                "name this file like that of its rule, or say which: `rule: ID`",
            ),
            _ => ("the file beside it has several rules", "say which, `rule: ID`"),
        };
        let (what, mend) = (what.to_owned(), mend.to_owned());
        Err(case.at(Reason::TestCase { what, label: "of which rule?", mend }))
    }
}

fn known_keys(node: &Node, known: &[&'static str]) -> Result<(), At> {
    let entries: &[(Key, Node)] = node.map().unwrap_or_default();
    let unknown = entries.iter().find(|(key, _)| !known.contains(&key.text.as_str()));
    unknown.map_or(Ok(()), |(key, _)| {
        let mend = did_you_mean(&key.text, known.iter().copied(), format!("use {}", known.join(", ")));
        Err(key.at(Reason::UnknownKey { key: key.text.clone(), mend }))
    })
}

/// Without an event that must fire, a file with tests proves nothing.
fn nothing_fires(how: &str, at: &Node) -> At {
    let mend = "add an event that must fire the rule".to_owned();
    at.at(Reason::TestCase { what: format!("fires is {how}"), label: "no event that must fire", mend })
}

fn bad_value(field: &str, wanted: &'static str, node: &Node) -> At {
    node.at(Reason::BadValue { field: field.to_owned(), wanted, found: node.kind().to_owned() })
}

/// An event; what it does not say of its log source, its case says.
fn event(node: &Node, case: &Node) -> Result<Event, At> {
    let told = node.get("event").unwrap_or(node);
    let fields = node.get("event").and_then(Node::map);
    let fields = fields.ok_or_else(|| bad_value("event", "a mapping of fields", told))?;
    let part = |key: &str| node.get(key).or_else(|| case.get(key)).map(|part| text(key, part)).transpose();
    let mut flat = Vec::new();
    for (key, value) in fields {
        collect(&key.text, value, &mut flat, 0);
    }
    let after_ms = match node.get("after_ms") {
        None => 0,
        Some(given) => {
            let number = if let Content::Int(number) = given.content { u64::try_from(number).ok() } else { None };
            number.ok_or_else(|| bad_value("after_ms", "a whole number from 0", given))?
        }
    };
    Ok(Event {
        at_ms: after_ms,
        category: part("category")?,
        product: Some(part("product")?.unwrap_or_else(|| PRODUCT.to_owned())),
        service: part("service")?,
        fields: flat,
    })
}

fn text(key: &str, node: &Node) -> Result<String, At> {
    let text = node.text().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| bad_value(key, "text", node))
}

/// Takes nested values apart as events in JSON are: scalars by their dotted names.
fn collect(name: &str, node: &Node, fields: &mut Vec<(String, Vec<Value>)>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let deeper = depth.saturating_add(1);
    let value = match &node.content {
        Content::Map(entries) => {
            for (inner, value) in entries {
                collect(&format!("{name}.{}", inner.text), value, fields, deeper);
            }
            return;
        }
        Content::List(items) => return items.iter().for_each(|item| collect(name, item, fields, deeper)),
        Content::Null => Value::Null,
        Content::Bool(truth) => Value::Bool(*truth),
        Content::Int(number) => Value::Int(*number),
        Content::Real(number, _) => Value::Real(*number),
        Content::Text(text) => Value::Text(text.clone().into_bytes()),
    };
    match fields.iter_mut().find(|(known, _)| known == name) {
        Some((_, values)) => values.push(value),
        None => fields.push((name.to_owned(), vec![value])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Canary>, String> {
        let ids = BTreeMap::from([("a/x.yml".to_owned(), vec!["one".to_owned()])]);
        canaries(Source { file: "a/x.tests.yml", text }, &ids).map_err(|error| error.to_string())
    }

    #[test]
    fn cases_become_canaries_of_the_rule_beside_them() {
        let text = "fires:\n  - {category: c, event: {A: [1, x], B: {C: null}}}\nsilent:\n  - why: another\n    category: c\n    \
                    product: p\n    events:\n      - {event: {A: 1}}\n      - {category: d, after_ms: 7, event: {A: 2}}\n";
        let found = read(text).expect("two cases");
        let [fires, silent] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            (fires.name.as_str(), fires.fires.as_slice()),
            ("a/x.tests.yml fires 1", ["one".to_owned()].as_slice())
        );
        let fields = &fires.events[0].fields;
        assert_eq!(fields[0], ("A".to_owned(), vec![Value::Int(1), Value::Text(b"x".to_vec())]));
        assert_eq!(fields[1], ("B.C".to_owned(), vec![Value::Null]));
        assert_eq!((silent.silent.len(), silent.events.len(), silent.events[1].at_ms), (1, 2, 7));
        assert_eq!(fires.events[0].product.as_deref(), Some("linux"));
    }

    #[test]
    fn a_case_that_is_none_is_refused_by_line_and_mend() {
        for (text, words) in [
            ("silent: []\n", "x.tests.yml:1: fires is missing"),
            ("fires: []\n", "x.tests.yml:1: fires is empty"),
            (
                "fires:\n  - {category: c, event: 1}\n",
                "x.tests.yml:2: \"event\" has a number as value, where a mapping of fields",
            ),
            ("fires:\n  - {category: c}\n", "x.tests.yml:2: a case has one event"),
            ("fires:\n  - {category: c, evnt: {A: 1}}\n", "x.tests.yml:2: key \"evnt\" is unknown"),
            (
                "fires:\n  - {category: 1, event: {A: 1}}\n",
                "x.tests.yml:2: \"category\" has a number as value, where text",
            ),
            ("fires:\n  - {category: c, rule: two, event: {A: 1}}\n", "x.tests.yml:2: rule \"two\" is not in the pack"),
            ("fire: []\n", "x.tests.yml:1: key \"fire\" is unknown"),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.contains(words), "{text:?}: {refused}");
        }
        let none = canaries(Source { file: "y.tests.yml", text: "fires: [{event: {A: 1}}]" }, &BTreeMap::new());
        assert!(none.is_err_and(|error| error.to_string().contains("no rule in the file beside it")));
    }
}
