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

use watertight_content_pack::{Canary, Event, Value};

use super::BuildError;
use crate::sigma::yaml::{read, Content, Node};
use crate::sigma::{same_id, Source};

/// What stands before the ending of a file with tests.
const TESTS: &str = ".tests";

/// Deepest nesting of an event's fields; the reader of YAML has a limit of its own.
const DEPTH_MAX: usize = 32;

const CASE_KEYS: [&str; 8] = ["why", "rule", "category", "product", "service", "event", "events", "after_ms"];

/// The product that a case has where it names none.
const PRODUCT: &str = "linux";

/// The canaries of a file; `ids` are those of the documents of every rule file.
pub(super) fn canaries(tests: Source<'_>, ids: &BTreeMap<String, Vec<String>>) -> Result<Vec<Canary>, BuildError> {
    let file = File { name: tests.file, ids: ids_beside(tests.file, ids), all: ids };
    let documents = read(tests.text).map_err(|at| file.refuse(at.span.line, at.reason.to_string()))?;
    let [document] = documents.as_slice() else {
        return Err(file.refuse(1, "one document is needed, with fires and silent".to_owned()));
    };
    let entries = document.map().unwrap_or_default();
    if let Some((key, _)) = entries.iter().find(|(key, _)| !matches!(key.text.as_str(), "fires" | "silent")) {
        return Err(file.refuse(key.line, format!("key {:?} is unknown: use fires and silent", key.text)));
    }
    let mut canaries = Vec::new();
    for (list, must_fire) in [("fires", true), ("silent", false)] {
        let Some(node) = document.get(list) else {
            if must_fire {
                return Err(
                    file.refuse(document.line, "fires is missing: add an event that must fire the rule".to_owned())
                );
            }
            continue;
        };
        let Content::List(cases) = &node.content else {
            return Err(file.refuse(node.line, format!("{list} must be a list of events, not {}", node.kind())));
        };
        if must_fire && cases.is_empty() {
            return Err(file.refuse(node.line, "fires is empty: add an event that must fire the rule".to_owned()));
        }
        for (number, case) in (1..).zip(cases) {
            canaries.push(file.case(&name_of(tests.file, list, number), case, must_fire)?);
        }
    }
    Ok(canaries)
}

fn name_of(file: &str, list: &str, number: usize) -> String {
    format!("{file} {list} {number}")
}

/// Where the case stands that a canary was made of.
pub(super) fn line_of(tests: Source<'_>, canary: &str) -> Option<usize> {
    let documents = read(tests.text).ok()?;
    let document = documents.first()?;
    ["fires", "silent"].into_iter().find_map(|list| {
        let Content::List(cases) = &document.get(list)?.content else { return None };
        let mut numbered = (1..).zip(cases);
        numbered.find(|(number, _)| name_of(tests.file, list, *number) == canary).map(|(_, case)| case.line)
    })
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
    fn refuse(&self, line: usize, what: String) -> BuildError {
        BuildError::File { file: self.name.to_owned(), line, what }
    }

    fn case(&self, name: &str, case: &Node, must_fire: bool) -> Result<Canary, BuildError> {
        let Some(entries) = case.map() else {
            return Err(
                self.refuse(case.line, format!("a case is a mapping with category and event, not {}", case.kind()))
            );
        };
        self.known_keys(entries)?;
        let rule = self.rule(case)?;
        let mut events = Vec::new();
        match (case.get("event"), case.get("events")) {
            (Some(_), None) => events.push(self.event(case, case)?),
            (None, Some(Node { content: Content::List(items), .. })) if !items.is_empty() => {
                for item in items {
                    self.known_keys(item.map().unwrap_or_default())?;
                    events.push(self.event(item, case)?);
                }
            }
            _ => return Err(self.refuse(case.line, "a case has one event, or a list of events".to_owned())),
        }
        let mut at_ms = 0_u64;
        for event in &mut events {
            at_ms = at_ms.saturating_add(event.at_ms);
            event.at_ms = at_ms;
        }
        let (fires, silent) = if must_fire { (vec![rule], Vec::new()) } else { (Vec::new(), vec![rule]) };
        Ok(Canary { name: name.to_owned(), events, fires, silent })
    }

    fn known_keys(&self, entries: &[(crate::sigma::yaml::Key, Node)]) -> Result<(), BuildError> {
        let unknown = entries.iter().find(|(key, _)| !CASE_KEYS.contains(&key.text.as_str()));
        unknown.map_or(Ok(()), |(key, _)| {
            Err(self.refuse(key.line, format!("key {:?} is unknown: use {}", key.text, CASE_KEYS.join(", "))))
        })
    }

    /// The rule that the case names, or the only one of the file.
    fn rule(&self, case: &Node) -> Result<String, BuildError> {
        if let Some(node) = case.get("rule") {
            let id = self.text("rule", node)?;
            let known = self.all.values().flatten().find(|known| same_id(known) == same_id(&id));
            return known.cloned().ok_or_else(|| self.refuse(node.line, format!("rule {id:?} is not in the pack")));
        }
        match self.ids {
            [only] => Ok(only.clone()),
            [] => Err(self.refuse(1, "there is no rule in the file beside it".to_owned())),
            _ => Err(self.refuse(case.line, "the file beside it has several rules: say which, `rule: ID`".to_owned())),
        }
    }

    /// An event; what it does not say of its log source, its case says.
    fn event(&self, node: &Node, case: &Node) -> Result<Event, BuildError> {
        let fields = node.get("event").filter(|event| event.map().is_some());
        let fields = fields.ok_or_else(|| self.refuse(node.line, "event must be a mapping of fields".to_owned()))?;
        let part = |key: &str| node.get(key).or_else(|| case.get(key)).map(|part| self.text(key, part)).transpose();
        let mut flat = Vec::new();
        for (key, value) in fields.map().unwrap_or_default() {
            collect(&key.text, value, &mut flat, 0);
        }
        let after_ms = match node.get("after_ms") {
            None => 0,
            Some(Node { content: Content::Int(number), line, .. }) => u64::try_from(*number)
                .map_err(|_| self.refuse(*line, "after_ms must be a whole number from 0".to_owned()))?,
            Some(other) => return Err(self.refuse(other.line, "after_ms must be a whole number from 0".to_owned())),
        };
        Ok(Event {
            at_ms: after_ms,
            category: part("category")?,
            product: Some(part("product")?.unwrap_or_else(|| PRODUCT.to_owned())),
            service: part("service")?,
            fields: flat,
        })
    }

    fn text(&self, key: &str, node: &Node) -> Result<String, BuildError> {
        let text = node.text().filter(|text| !text.is_empty());
        text.map(str::to_owned)
            .ok_or_else(|| self.refuse(node.line, format!("{key} must be text, not {}", node.kind())))
    }
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
            ("fires:\n  - {category: c, event: 1}\n", "x.tests.yml:2: event must be a mapping"),
            ("fires:\n  - {category: c}\n", "x.tests.yml:2: a case has one event"),
            ("fires:\n  - {category: c, evnt: {A: 1}}\n", "x.tests.yml:2: key \"evnt\" is unknown"),
            ("fires:\n  - {category: 1, event: {A: 1}}\n", "x.tests.yml:2: category must be text"),
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
