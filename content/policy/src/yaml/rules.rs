//! The tree to the policy: keys, types, ids, operations.

use std::collections::HashMap;

use super::problem::{quoted, Place, Problems};
use super::target::target;
use super::tree::{Content, Entry, Node};
use crate::check::is_id;
use crate::{Action, Mode, Operation, Policy, Rule, Target, ID_CHARACTERS_MAX, RULES_MAX, VERSION};

const POLICY_KEYS: [&str; 3] = ["version", "fallback_deny", "rules"];
const RULE_KEYS: [&str; 5] = ["id", "action", "on", "match", "mode"];
const OPERATIONS: &str = "use exec, write, unlink, rename, module or connect";

/// The policy, or `None` after its problems were told.
pub(super) fn policy(root: &Node, problems: &mut Problems) -> Option<Policy> {
    let map = Map::of(root, "a policy", &POLICY_KEYS, problems)?;
    let version = map.need("version", "add `version: 1`", problems).and_then(|node| version(node, problems));
    let fallback_deny = map.get("fallback_deny").map_or(Some(false), |node| truth("fallback_deny", node, problems));
    let rules = map
        .need("rules", "add `rules:` and a rule, or `rules: []` to deny nothing", problems)
        .and_then(|node| rules(node, problems));
    Some(Policy { version: version?, fallback_deny: fallback_deny?, rules: rules? })
}

fn version(node: &Node, problems: &mut Problems) -> Option<u32> {
    let text = scalar("version", "a number", node, problems)?;
    if text == VERSION.to_string() {
        return Some(VERSION);
    }
    problems.add(
        node.place,
        format!("version {} is not known", quoted(text)),
        "must be 1",
        "write `version: 1`; a newer policy needs a newer watertight",
    );
    None
}

fn truth(key: &str, node: &Node, problems: &mut Problems) -> Option<bool> {
    match &node.content {
        Content::Scalar { text, is_plain: true } if text == "true" => Some(true),
        Content::Scalar { text, is_plain: true } if text == "false" => Some(false),
        _ => {
            wrong_type(key, "true or false", node, problems);
            None
        }
    }
}

fn rules(node: &Node, problems: &mut Problems) -> Option<Vec<Rule>> {
    let Content::List(items) = &node.content else {
        wrong_type("rules", "a list", node, problems);
        return None;
    };
    if let Some(first_too_many) = items.get(RULES_MAX) {
        problems.add(
            first_too_many.place,
            format!("the policy has {} rules, more than the {RULES_MAX} that it may have", items.len()),
            "the first one too many",
            "name folders (under) instead of files, or ranges instead of addresses",
        );
    }
    let mut line_of_id = HashMap::new();
    let rules: Vec<Option<Rule>> =
        items.iter().enumerate().map(|(at, item)| rule(at, item, &mut line_of_id, problems)).collect();
    problems.in_rule(None);
    rules.into_iter().collect()
}

fn rule(at: usize, node: &Node, line_of_id: &mut HashMap<String, usize>, problems: &mut Problems) -> Option<Rule> {
    problems.in_rule(Some(name_in_problems(at, node)));
    let map = Map::of(node, "a rule", &RULE_KEYS, problems)?;
    let id = map.need("id", "add `id:` and a name for this rule", problems).and_then(|node| id(node, problems));
    if let (Some(id), Some(node)) = (&id, map.get("id")) {
        if let Some(line) = line_of_id.insert(id.clone(), node.place.line) {
            let what = format!("the id {} is that of the rule in line {line} already", quoted(id));
            problems.add(node.place, what, "the second time", "give this rule another id: events name rules by it");
        }
    }
    let action = map.need("action", "add `action: deny`", problems).and_then(|node| action(node, problems));
    let on = map.need("on", OPERATIONS, problems).and_then(|node| operations(node, problems));
    let target = map
        .need("match", "add `match: { file: /path }`, or under, sha256, address", problems)
        .and_then(|node| target(node, problems));
    let mode = map
        .need("mode", "add `mode: audit` to only count, or `mode: enforce` to deny", problems)
        .and_then(|node| mode(node, problems));
    if let (Some(on), Some(target), Some(node)) = (&on, &target, map.get("on")) {
        refuse_unfit(on, target, node.place, problems);
    }
    Some(Rule { id: id?, action: action?, on: on?, target: target?, mode: mode? })
}

/// Where the rule at this position says what it matches.
pub(super) fn place_of_match(root: &Node, at: usize) -> Option<Place> {
    let value = |node: &'_ Node, key: &str| match &node.content {
        Content::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.clone()),
        _ => None,
    };
    let Content::List(rules) = value(root, "rules")?.content else { return None };
    let found = value(rules.get(at)?, "match")?;
    match &found.content {
        Content::Map(entries) => entries.first().map(|entry| entry.value.place),
        _ => Some(found.place),
    }
}

/// What a person finds the rule by: its id where it has one.
fn name_in_problems(at: usize, node: &Node) -> String {
    let id = match &node.content {
        Content::Map(entries) => entries.iter().find(|entry| entry.key == "id"),
        _ => None,
    };
    match id.map(|entry| &entry.value.content) {
        Some(Content::Scalar { text, .. }) if is_id(text) => text.clone(),
        _ => format!("number {}", at.saturating_add(1)),
    }
}

fn id(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = scalar("id", "text", node, problems)?;
    if is_id(text) {
        return Some(text.to_owned());
    }
    problems.add(
        node.place,
        format!("{} is no id", quoted(text)),
        "not an id",
        format!("use 1 to {ID_CHARACTERS_MAX} of the letters a to z, digits and `-`"),
    );
    None
}

fn action(node: &Node, problems: &mut Problems) -> Option<Action> {
    let text = scalar("action", "text", node, problems)?;
    if text == "deny" {
        return Some(Action::Deny);
    }
    let mend = "write `action: deny`; to only count, add `mode: audit`. What no rule names is allowed";
    problems.add(node.place, format!("action {} is not known", quoted(text)), "must be deny", mend);
    None
}

fn mode(node: &Node, problems: &mut Problems) -> Option<Mode> {
    match scalar("mode", "text", node, problems)? {
        "audit" => Some(Mode::Audit),
        "enforce" => Some(Mode::Enforce),
        other => {
            let mend = "write audit to only count, or enforce to deny";
            problems.add(node.place, format!("mode {} is not known", quoted(other)), "not a mode", mend);
            None
        }
    }
}

/// One operation, or a list of them.
fn operations(node: &Node, problems: &mut Problems) -> Option<Vec<Operation>> {
    let items = match &node.content {
        Content::List(items) if items.is_empty() => {
            problems.add(node.place, "the rule is on nothing", "an empty list", OPERATIONS);
            return None;
        }
        Content::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut seen: Vec<Operation> = Vec::new();
    let mut is_whole = true;
    for item in items {
        match operation(item, problems) {
            Some(operation) if seen.contains(&operation) => {
                let what = format!("{operation} is there twice");
                problems.add(item.place, what, "the second time", "remove one of them");
            }
            Some(operation) => seen.push(operation),
            None => is_whole = false,
        }
    }
    is_whole.then_some(seen)
}

fn operation(node: &Node, problems: &mut Problems) -> Option<Operation> {
    let text = scalar("on", "an operation or a list of them", node, problems)?;
    let found = Operation::ALL.into_iter().find(|operation| operation.name() == text);
    if found.is_none() {
        let what = format!("operation {} is not known", quoted(text));
        problems.add(node.place, what, "not an operation", OPERATIONS);
    }
    found
}

fn refuse_unfit(on: &[Operation], target: &Target, place: Place, problems: &mut Problems) {
    let fit = target.operations();
    for operation in on.iter().filter(|operation| !fit.contains(operation)) {
        let fitting = fit.iter().map(|operation| operation.name()).collect::<Vec<_>>().join(", ");
        let (key, mend) = match (operation, target) {
            (Operation::Connect, target) => (target.key(), "connect needs `match: { address: ... }`".to_owned()),
            (_, Target::Address { .. }) => ("address", "an address is met only on connect".to_owned()),
            (_, target) => (target.key(), format!("{} can be met on: {fitting}", target.key())),
        };
        problems.add(place, format!("{operation} does not fit a match by {key}"), "does not fit the match", mend);
    }
}

/// The text of a scalar; anything else, and nothing at all, is told and gives `None`.
pub(super) fn scalar<'n>(key: &str, wanted: &str, node: &'n Node, problems: &mut Problems) -> Option<&'n str> {
    match &node.content {
        Content::Scalar { text, .. } if !node.is_null() => Some(text),
        _ => {
            wrong_type(key, wanted, node, problems);
            None
        }
    }
}

fn wrong_type(key: &str, wanted: &str, node: &Node, problems: &mut Problems) {
    if !node.is_refused() {
        let what = format!("{key} must be {wanted}, not {}", node.kind());
        problems.add(node.place, what, format!("{} is here", node.kind()), format!("write {wanted}"));
    }
}

/// A mapping with known keys.
pub(super) struct Map<'n> {
    entries: &'n [Entry],
    place: Place,
    what: &'static str,
}

impl<'n> Map<'n> {
    /// The mapping; unknown keys are told.
    pub(super) fn of(node: &'n Node, what: &'static str, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let Content::Map(entries) = &node.content else {
            wrong_type(what, &format!("a mapping with {}", known.join(", ")), node, problems);
            return None;
        };
        for entry in entries.iter().filter(|entry| !entry.key.is_empty() && !known.contains(&entry.key.as_str())) {
            let near = known.iter().find(|name| is_near(name, &entry.key));
            let mend = match near {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("{what} has {}", known.join(", ")),
            };
            problems.add(entry.place, format!("{what} has no key {}", quoted(&entry.key)), "unknown key", mend);
        }
        Some(Self { entries, place: node.place, what })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    fn need(&self, key: &str, mend: &str, problems: &mut Problems) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            let place = Place { width: 1, ..self.place };
            problems.add(place, format!("{} is missing", quoted(key)), format!("{} begins here", self.what), mend);
        }
        found
    }

    pub(super) fn entries(&self) -> &'n [Entry] {
        self.entries
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }
}

/// Whether a key looks like a mistyped one: in other case, or with one letter more, less or different, or
/// with its letters in another order.
fn is_near(known: &str, typed: &str) -> bool {
    let typed = typed.to_lowercase();
    let (shorter, longer) = if known.len() <= typed.len() { (known, typed.as_str()) } else { (typed.as_str(), known) };
    let start = shorter.bytes().zip(longer.bytes()).take_while(|(a, b)| a == b).count();
    let rest = |text: &str, from: usize| text.as_bytes().get(from..).unwrap_or_default().to_vec();
    let sorted = |text: &str| {
        let mut letters = text.as_bytes().to_vec();
        letters.sort_unstable();
        letters
    };
    let skipped = start.saturating_add(1);
    match longer.len().saturating_sub(shorter.len()) {
        0 => rest(shorter, skipped) == rest(longer, skipped) || sorted(known) == sorted(&typed),
        1 => rest(shorter, start) == rest(longer, skipped),
        _ => false,
    }
}
