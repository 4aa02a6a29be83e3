//! Every field that rules may ask for, with every operator, on values that match, that do not, that are empty, too long to be read
//! whole, and not there: the compiled engine answers as a few lines of plain code do.
//!
//! The table of events is the only source of the fields: one that is added is tried without a change here. An update once took
//! millions of machines down because a field was only ever tried with a wildcard.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use watertight_content::sigma::host::types_here;
use watertight_content::sigma::{load_texts, Source};
use watertight_engine::{Image, VALUE_BYTES_MAX};
use watertight_event::{sigma_types, Event, Field, Kind, Outcome, Source as EventSource, Text, Type, Value};
use watertight_host::worker::rules::Rules;

/// What is read of the end of a value that is too long, for what must stand at its end: see `engine/src/scratch.rs`.
const TAIL_BYTES: usize = 8 << 10;

/// 2026-11-22T05:06:07Z, a Sunday of week 47.
const UNIX_TIME: u64 = 1_795_323_967;
const TIME: &str = "2026-11-22T05:06:07Z";

/// An operator: what stands behind the field's name, the value, and what it means.
struct Operator {
    modifiers: &'static str,
    value: &'static str,
    meaning: fn(&Seen) -> bool,
}

/// What an event has in the field.
struct Seen {
    values: Vec<Plain>,
    /// In the field that `fieldref` names.
    others: Vec<String>,
}

/// A value as the plain code sees it.
#[derive(Clone, Debug)]
enum Plain {
    Bool(bool),
    Int(i64),
    Text(String),
}

impl Plain {
    fn text(&self) -> String {
        match self {
            Self::Bool(truth) => truth.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    fn head(&self) -> String {
        self.text().chars().take(VALUE_BYTES_MAX).collect()
    }

    /// The end of a value that is not read whole.
    fn tail(&self) -> Option<String> {
        let text = self.text();
        (text.len() > VALUE_BYTES_MAX).then(|| text[text.len() - TAIL_BYTES..].to_owned())
    }

    fn end(&self) -> String {
        self.tail().unwrap_or_else(|| self.head())
    }

    /// What stands anywhere is looked for at the beginning alone where a value is not read whole.
    fn has(&self, part: &str) -> bool {
        self.head().contains(part)
    }

    fn is_last_but_one(&self, letter: char) -> bool {
        self.text().chars().rev().nth(1) == Some(letter)
    }

    fn folded(&self) -> Self {
        Self::Text(self.text().to_lowercase())
    }

    fn is(&self, text: &str) -> bool {
        self.text() == text
    }

    fn number(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Bool(_) => None,
        }
    }

    fn is_time(&self) -> bool {
        matches!(self, Self::Int(1_795_323_967)) || self.is(TIME)
    }

    fn address(&self) -> Option<IpAddr> {
        self.text().parse().ok()
    }
}

impl Seen {
    fn any(&self, holds: impl Fn(&Plain) -> bool) -> bool {
        self.values.iter().any(holds)
    }

    fn any_folded(&self, holds: impl Fn(&Plain) -> bool) -> bool {
        self.any(|value| holds(&value.folded()))
    }

    fn beside(&self, holds: impl Fn(&Plain, &str) -> bool) -> bool {
        self.any_folded(|value| self.others.iter().any(|other| holds(value, &other.to_lowercase())))
    }

    fn compares(&self, holds: impl Fn(i64) -> bool) -> bool {
        self.any(|value| value.number().is_some_and(&holds))
    }

    fn times(&self, holds: bool) -> bool {
        holds && self.any(Plain::is_time)
    }
}

const fn op(modifiers: &'static str, value: &'static str, meaning: fn(&Seen) -> bool) -> Operator {
    Operator { modifiers, value, meaning }
}

/// Every operator. Those of times hold on the one time among the values.
const OPERATORS: [Operator; 33] = [
    op("", "needle", |seen| seen.any_folded(|value| value.is("needle"))),
    op("|cased", "needle", |seen| seen.any(|value| value.is("needle"))),
    op("|neq", "needle", |seen| !seen.any_folded(|value| value.is("needle"))),
    op("", "''", |seen| seen.any(|value| value.is(""))),
    op("", "'true'", |seen| seen.any(|value| value.is("true"))),
    op("", "4242", |seen| seen.any(|value| value.is("4242"))),
    op("", "4242.0", |seen| seen.compares(|number| number == 4242)),
    op("|startswith", "needle", |seen| seen.any_folded(|value| value.head().starts_with("needle"))),
    op("|endswith", "needle", |seen| seen.any_folded(|value| value.end().ends_with("needle"))),
    op("|contains", "needle", |seen| seen.any_folded(|value| value.has("needle"))),
    op("|contains|cased", "needle", |seen| seen.any(|value| value.has("needle"))),
    op("|contains|windash", "' -enc'", |seen| seen.any_folded(|value| value.has(" -enc") || value.has(" /enc"))),
    op("", "'nee*l?'", |seen| {
        seen.any_folded(|value| value.tail().is_none() && value.head().starts_with("nee") && value.is_last_but_one('l'))
    }),
    op("|re", "'^need.e'", |seen| seen.any(|value| value.head().starts_with("needle"))),
    op("|re|i", "'eed.e$'", |seen| seen.any_folded(|value| value.tail().is_none() && value.head().ends_with("eedle"))),
    op("|lt", "4242", |seen| seen.compares(|number| number < 4242)),
    op("|lte", "4242", |seen| seen.compares(|number| number <= 4242)),
    op("|gt", "4242", |seen| seen.compares(|number| number > 4242)),
    op("|gte", "4242", |seen| seen.compares(|number| number >= 4242)),
    op("|minute", "6", |seen| seen.times(true)),
    op("|hour|lt", "6", |seen| {
        seen.any(|value| value.is_time() || matches!(value, Plain::Int(number) if (0..21_600).contains(number)))
    }),
    op("|day", "22", |seen| seen.times(true)),
    op("|week", "47", |seen| seen.times(true)),
    op("|month", "11", |seen| seen.times(true)),
    op("|year", "2026", |seen| seen.times(true)),
    op("|cidr", "10.0.0.0/8", |seen| {
        seen.any(|value| matches!(value.address(), Some(IpAddr::V4(four)) if four.octets()[0] == 10))
    }),
    op("|exists", "true", |seen| !seen.values.is_empty()),
    op("|exists", "false", |seen| seen.values.is_empty()),
    op("", "null", |seen| seen.values.is_empty()),
    op("|fieldref", "OTHER", |seen| seen.beside(|value, other| value.is(other))),
    op("|fieldref|startswith", "OTHER", |seen| seen.beside(|value, other| value.head().starts_with(other))),
    op("|fieldref|endswith", "OTHER", |seen| seen.beside(|value, other| value.end().ends_with(other))),
    op("|fieldref|contains", "OTHER", |seen| seen.beside(|value, other| value.head().contains(other))),
];

/// Texts that match some operator or just miss it, and the empty one.
const TEXTS: [&str; 13] = [
    "needle",
    "NEEDLE",
    "xneedlex",
    "needlx",
    "needle /enc",
    "4242",
    "4241",
    " 4243 ",
    "10.1.2.3",
    "192.0.2.1",
    TIME,
    "true",
    "",
];

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| Text::from(*item)).collect())
}

/// Values of a field, the way that the sensor types them.
fn values(field: Field) -> Vec<Value> {
    match field.value_type() {
        Type::Text => TEXTS.iter().map(|text| Value::Text(Text::from(*text))).collect(),
        Type::List => {
            let mut lists: Vec<Value> = TEXTS.iter().map(|text| list(&["first", text])).collect();
            lists.extend([list(&[]), list(&[""]), list(&["needle"])]);
            lists
        }
        Type::Number => [0, 4241, 4242, 4243, UNIX_TIME].map(Value::Number).to_vec(),
        Type::Signed => [-1, 0, 4241, 4242, 4243].map(Value::Signed).to_vec(),
        Type::Bool => [true, false].map(Value::Bool).to_vec(),
        Type::Address => ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8::1"]
            .map(|text| Value::Address(text.parse().expect("an address")))
            .to_vec(),
    }
}

/// Values of which the middle is never read: needles at the beginning, in the middle, at the end.
fn long_values() -> Vec<Value> {
    let filler = "-".repeat(VALUE_BYTES_MAX);
    let more = "-".repeat(TAIL_BYTES * 2);
    [format!("needle{filler}{more}"), format!("{filler}--needle{more}"), format!("{filler}{more}needle")]
        .map(|text| Value::Text(Text::from(text.as_str())))
        .to_vec()
}

fn plain(value: &Value) -> Vec<Plain> {
    let text = |text: &Text| Plain::Text(String::from_utf8(text.bytes.to_vec()).expect("written above"));
    match value {
        Value::Bool(truth) => vec![Plain::Bool(*truth)],
        Value::Number(number) => vec![Plain::Int(i64::try_from(*number).expect("small"))],
        Value::Signed(number) => vec![Plain::Int(*number)],
        Value::Text(value) => vec![text(value)],
        Value::List(items) | Value::CutList(items) => items.iter().map(text).collect(),
        Value::Address(address) => vec![Plain::Text(address.to_canonical().to_string())],
    }
}

/// Values as a failure shows them.
fn shown(values: &[Plain]) -> String {
    values.iter().map(|value| value.text().chars().take(40).collect::<String>()).collect::<Vec<_>>().join(", ")
}

/// A field of a kind of events, and another one for `fieldref`.
struct Cell {
    kind: Kind,
    category: &'static str,
    field: Field,
    name: &'static str,
    other: Field,
    other_name: &'static str,
}

/// Each pair of a log source and a field's name, once.
fn cells() -> Vec<Cell> {
    let mut known = BTreeSet::new();
    let mut cells = Vec::new();
    for kind in Kind::ALL {
        let Some(logsource) = kind.sigma_logsource() else { continue };
        let fields =
            || Field::ALL.iter().copied().filter(|field| field.is_of_process() || kind.fields().contains(field));
        for field in fields() {
            let name = kind.sigma_name(field);
            if name.is_empty() || !known.insert((logsource.category, name)) {
                continue;
            }
            let is_other = |other: &Field| {
                *other != field && other.value_type() == Type::Text && !["", name].contains(&kind.sigma_name(*other))
            };
            let other = fields().find(is_other).expect("every event has the texts of its process");
            let (category, other_name) = (logsource.category, kind.sigma_name(other));
            cells.push(Cell { kind: *kind, category, field, name, other, other_name });
        }
    }
    cells
}

/// The rules on a field: one for each operator, its number as its id.
fn rules_of(cell: &Cell) -> String {
    let rule = |(number, operator): (usize, &Operator)| {
        let value = operator.value.replace("OTHER", cell.other_name);
        let (category, name, modifiers) = (cell.category, cell.name, operator.modifiers);
        format!(
            "title: T\nid: '{number}'\nlogsource: {{category: {category}, product: linux}}\ndetection:\n  s:\n    \
             {name}{modifiers}: {value}\n  condition: s\n"
        )
    };
    OPERATORS.iter().enumerate().map(rule).collect::<Vec<_>>().join("---\n")
}

/// Which operators have held on something and failed on something, by type.
type Tried = BTreeMap<(String, usize), BTreeSet<bool>>;

fn try_cell(cell: &Cell, values: &[Value], tried: &mut Tried) {
    let text = rules_of(cell);
    let mut library = load_texts([Source { file: "matrix.yml", text: &text }]);
    assert!(library.rejections.is_empty(), "{}: {}", cell.name, library.rejections[0]);
    let image = library.image().expect("few rules");
    let mut rules = Rules::of(Image::open(&image).expect("compiled here"));
    let mut try_event = |value: Option<&Value>, other: Option<&str>| {
        let mut event = Event::new(cell.kind, Outcome::Done, EventSource::BpfLsm, 7);
        if let Some(value) = value {
            event.set(cell.field, value.clone());
        }
        if let Some(other) = other {
            event.set(cell.other, Value::Text(Text::from(other)));
        }
        let seen = Seen {
            values: value.map(plain).unwrap_or_default(),
            others: other.iter().map(|other| (*other).to_owned()).collect(),
        };
        let mut fired = BTreeSet::new();
        rules.evaluate(&event, &mut |alert| {
            fired.insert(alert.rule.id().parse::<usize>().expect("a number"));
        });
        for (number, operator) in OPERATORS.iter().enumerate() {
            let expected = (operator.meaning)(&seen);
            let (modifiers, wanted) = (operator.modifiers, operator.value);
            assert_eq!(
                fired.contains(&number),
                expected,
                "{} {}{modifiers}: {wanted} on {} beside {other:?}",
                cell.category,
                cell.name,
                shown(&seen.values)
            );
            let kind = format!("{:?}", cell.field.value_type());
            tried.entry((kind, number)).or_default().insert(expected);
        }
    };
    try_event(None, None);
    try_event(None, Some("needle"));
    for value in values {
        for other in [None, Some("needle"), Some("4242"), Some("true"), Some("10.1.2.3")] {
            try_event(Some(value), other);
        }
    }
}

#[test]
fn every_field_answers_every_operator_as_plain_code_does() {
    let cells = cells();
    assert!(cells.len() > 200, "{} pairs of log source and field", cells.len());
    let mut tried = Tried::new();
    for cell in &cells {
        try_cell(cell, &values(cell.field), &mut tried);
    }
    // On text, each operator has been seen to hold and to fail; else this would prove little.
    for (number, operator) in OPERATORS.iter().enumerate() {
        let outcomes = tried.get(&("Text".to_owned(), number)).map_or(0, BTreeSet::len);
        assert_eq!(outcomes, 2, "{}: {}", operator.modifiers, operator.value);
    }
    let types: BTreeSet<String> = cells.iter().map(|cell| format!("{:?}", cell.field.value_type())).collect();
    let seen: BTreeSet<String> = tried.keys().map(|(kind, _)| kind.clone()).collect();
    assert_eq!(seen, types);
}

#[test]
fn a_value_that_is_not_read_whole_is_found_at_its_ends_and_nowhere_else() {
    let mut known = BTreeSet::new();
    let mut tried = Tried::new();
    for cell in cells().iter().filter(|cell| cell.field.value_type() == Type::Text) {
        if known.insert(cell.field) {
            try_cell(cell, &long_values(), &mut tried);
        }
    }
    assert!(known.len() > 5, "{} fields", known.len());
}

/// The ids of what a host refuses of a rule and correlations that group by the field, count its values and sum them up.
fn refused_together(category: &str, field: &str) -> Vec<String> {
    let mut text = format!(
        "title: B\nname: base\nid: base\nlogsource: {{category: {category}, product: linux}}\n\
         detection: {{s: [x], condition: s}}\n"
    );
    for (id, more) in [
        ("group", format!("type: event_count, group-by: [{field}], condition: {{gte: 2}}")),
        ("count", format!("type: value_count, condition: {{gte: 2, field: {field}}}")),
        ("sum", format!("type: value_sum, condition: {{gte: 2, field: {field}}}")),
    ] {
        text += &format!("---\ntitle: C\nid: {id}\ncorrelation: {{rules: [base], timespan: 1m, {more}}}\n");
    }
    let mut library = load_texts([Source { file: "matrix.yml", text: &text }]);
    let image = library.host_image().expect("what is left");
    Image::open(&image).expect("compiled here").check_supply(&types_here).expect("what is left fits");
    library.rejections.iter().map(|rejection| rejection.rule.clone().expect("an id")).collect()
}

#[test]
fn correlations_take_every_field_of_their_class_numbers_alone_to_sum_up_and_no_field_of_another() {
    let cells = cells();
    let mut foreign = 0;
    let categories: BTreeSet<&str> = cells.iter().map(|cell| cell.category).collect();
    for cell in &cells {
        let is_number = matches!(cell.field.value_type(), Type::Number | Type::Signed);
        let expected: &[&str] = if is_number { &[] } else { &["sum"] };
        assert_eq!(refused_together(cell.category, cell.name), expected, "{} {}", cell.category, cell.name);
    }
    let names: BTreeSet<&str> = cells.iter().map(|cell| cell.name).collect();
    for category in categories {
        let others = names.iter().filter(|name| sigma_types(Some(category), name) == Some(0));
        for name in others.take(5) {
            let mut refused = refused_together(category, name);
            refused.sort();
            assert_eq!(refused, ["count", "group", "sum"], "{category} {name}");
            foreign += 1;
        }
    }
    assert!(foreign > 10, "{foreign} fields of other classes");
}
