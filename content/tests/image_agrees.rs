//! Compiling may only save time: a compiled rule fires where the rule as it was written is true, found by asking each question
//! in the plainest way there is, and its explanation says the same.

#![allow(clippy::panic)] // a question that the plain evaluation does not know is a mistake in the test

use std::collections::BTreeSet;

use proptest::prelude::*;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use watertight_content::image::{compile, CompileError, Source};
use watertight_content::rule::{
    Comparison, Expr, LogSource, Number, Op, Part, Pattern, Place, Predicate, RegexFlags, Response, Rule, Selection,
};
use watertight_content::sigma::exception::{apply, Exception, Targets};
use watertight_content::sigma::{Library, Loaded, LoadedException};
use watertight_engine::{fold_text, Field, Fields, Image, Scratch, Value, DASHES};

const FIELDS: [&str; 3] = ["Image", "CommandLine", "User"];

/// An event whose fields answer by slot.
#[derive(Clone, Debug)]
struct Event {
    values: Vec<(&'static str, String)>,
    slots: Vec<String>,
}

impl Fields for Event {
    fn get<'e>(&'e self, field: Field<'_>, each: &mut dyn FnMut(Value<'e>)) {
        for (name, value) in &self.values {
            if *name == field.name {
                each(Value::Text(value.as_bytes()));
            }
        }
    }

    fn all<'e>(&'e self, each: &mut dyn FnMut(Option<u16>, &'e str, Value<'e>)) {
        for (name, value) in &self.values {
            let slot = self.slots.iter().position(|known| known == name);
            each(slot.and_then(|slot| u16::try_from(slot).ok()), name, Value::Text(value.as_bytes()));
        }
    }
}

/// Texts over a small alphabet, so that they meet often; with letters whose case families are awkward.
fn text() -> impl Strategy<Value = String> {
    "[aAbBkK\u{212a}é/ -]{0,6}"
}

fn op() -> impl Strategy<Value = Op> {
    let place = prop_oneof![Just(Place::Whole), Just(Place::Start), Just(Place::End), Just(Place::Anywhere)];
    let part = prop_oneof![
        3 => text().prop_map(|text| Part::Literal(text.into_bytes())),
        1 => Just(Part::AnyMany),
        1 => Just(Part::AnyOne),
        1 => Just(Part::Dash),
    ];
    let pattern = (prop::collection::vec(part, 1..4), place, any::<bool>())
        .prop_map(|(parts, place, is_cased)| Op::Text(Pattern::new(parts, place, is_cased)));
    let regex = (
        prop_oneof![
            Just("a+b"),
            Just("(?:ab|K)\\s"),
            Just("[kK]"),
            Just("^b"),
            Just("a?b*"),
            Just("(a|b)k"),
            Just("[[:word:]]{2}")
        ],
        any::<bool>(),
    )
        .prop_map(|(pattern, ignores_case)| Op::Regex {
            pattern: pattern.to_owned(),
            flags: RegexFlags { ignores_case, ..RegexFlags::default() },
        });
    prop_oneof![
        6 => pattern,
        2 => regex,
        1 => any::<bool>().prop_map(Op::Exists),
        1 => Just(Op::Null),
        1 => Just(Op::Compare { by: Comparison::Less, than: Number::Int(5) }),
        1 => (0..FIELDS.len()).prop_map(|field| Op::SameAs {
            field: FIELDS[field].to_owned(),
            place: Place::Anywhere,
            is_cased: false,
        }),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    let predicate = (prop::option::weighted(0.8, 0..FIELDS.len()), op()).prop_map(|(field, op)| {
        Expr::Is(Predicate { field: field.map(|field| FIELDS[field].to_owned()), op, source: String::new() })
    });
    predicate.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::Any),
            inner.prop_map(|part| Expr::Not(Box::new(part))),
        ]
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    (expr(), expr(), any::<bool>(), any::<bool>()).prop_map(|(body, beside, is_any, has_category)| {
        let parts = vec![Expr::Selection(0), beside];
        Rule {
            id: "id".to_owned(),
            title: "title".to_owned(),
            level: None,
            tags: Vec::new(),
            author: None,
            logsource: LogSource {
                category: has_category.then(|| "process_creation".to_owned()),
                product: Some("linux".to_owned()),
                service: None,
            },
            selections: vec![Selection { name: "selection".to_owned(), body }],
            condition: if is_any { Expr::Any(parts) } else { Expr::All(parts) },
            response: Response::default(),
            uses: Vec::new(),
        }
    })
}

/// The plainest evaluation of a rule.
struct Plain<'p> {
    rule: &'p Rule,
    event: &'p Event,
}

impl Plain<'_> {
    fn is_true(&self, expr: &Expr) -> bool {
        match expr {
            Expr::All(parts) => parts.iter().all(|part| self.is_true(part)),
            Expr::Any(parts) => parts.iter().any(|part| self.is_true(part)),
            Expr::Not(part) => !self.is_true(part),
            Expr::Selection(index) => self.is_true(&self.rule.selections[*index].body),
            Expr::Is(predicate) => self.holds(predicate),
        }
    }

    fn values(&self, field: Option<&str>) -> Vec<&str> {
        let values = self.event.values.iter().filter(|(name, _)| field.is_none_or(|field| field == *name));
        values.map(|(_, value)| value.as_str()).collect()
    }

    fn holds(&self, predicate: &Predicate) -> bool {
        let values = self.values(predicate.field.as_deref());
        match &predicate.op {
            Op::Exists(wanted) => predicate.field.is_some() && values.is_empty() != *wanted,
            Op::Null => predicate.field.is_some() && values.is_empty(),
            Op::SameAs { field, .. } => {
                let others = self.values(Some(field));
                let has = |value: &str, other: &str| {
                    let (value, other) = (fold_text(value.as_bytes()), fold_text(other.as_bytes()));
                    other.is_empty() || value.windows(other.len()).any(|window| window == other)
                };
                predicate.field.is_some() && values.iter().any(|value| others.iter().any(|other| has(value, other)))
            }
            op => values.iter().any(|value| fits(op, value)),
        }
    }
}

fn fits(op: &Op, value: &str) -> bool {
    match op {
        Op::Text(pattern) => {
            let text = if pattern.is_cased() { value.as_bytes().to_vec() } else { fold_text(value.as_bytes()) };
            fits_parts(pattern.parts(), std::str::from_utf8(&text).expect("folded text is text"))
        }
        Op::Regex { pattern, flags } => {
            let syntax = syntax::Config::new().case_insensitive(flags.ignores_case);
            Regex::builder().syntax(syntax).build(pattern).expect("an expression").is_match(value)
        }
        Op::Compare { by: Comparison::Less, than: Number::Int(than) } => {
            value.trim().parse::<i64>().is_ok_and(|number| number < *than)
        }
        other => panic!("{other:?} is not among those that are tried"),
    }
}

fn fits_parts(parts: &[Part], value: &str) -> bool {
    let Some((part, rest)) = parts.split_first() else { return value.is_empty() };
    let mut characters = value.chars();
    match part {
        Part::Literal(text) => {
            let text = std::str::from_utf8(text).expect("text");
            value.strip_prefix(text).is_some_and(|value| fits_parts(rest, value))
        }
        Part::AnyOne => characters.next().is_some() && fits_parts(rest, characters.as_str()),
        Part::AnyMany => {
            fits_parts(rest, value) || characters.next().is_some() && fits_parts(parts, characters.as_str())
        }
        Part::Dash => DASHES.iter().any(|dash| value.strip_prefix(dash).is_some_and(|value| fits_parts(rest, value))),
    }
}

fn compiled(rules: &[Rule]) -> Result<Vec<u8>, CompileError> {
    compile(rules.iter().map(|rule| Source { rule, file: "a.yml", line: 1 }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_compiled_rule_fires_where_it_is_true_and_its_explanation_says_the_same(
        mut rules in prop::collection::vec(rule(), 1..6),
        events in prop::collection::vec(prop::collection::vec((0..FIELDS.len(), text()), 0..5), 1..4),
    ) {
        for (number, rule) in rules.iter_mut().enumerate() {
            rule.id = number.to_string();
        }
        let image = compiled(&rules).expect("rules that can be compiled");
        let image = Image::open(&image).expect("compiled here");
        let logsource = watertight_engine::LogSource {
            category: Some("process_creation"),
            product: Some("linux"),
            service: None,
        };
        let plan = image.plan(&logsource);
        let mut scratch = Scratch::new();
        for values in events {
            let values = values.into_iter().map(|(field, text)| (FIELDS[field], text)).collect();
            let event = Event { values, slots: image.fields().map(str::to_owned).collect() };
            let mut fired = BTreeSet::new();
            let limits = plan.evaluate(&event, &mut scratch, &mut |rule| assert!(fired.insert(rule), "a hit came twice"));
            prop_assert_eq!(limits, watertight_engine::Limits::default());
            for (position, compiled) in (0_u32..).zip(image.rules()) {
                let rule = rules.iter().find(|rule| rule.id == compiled.id()).expect("it was given");
                let is_true = Plain { rule, event: &event }.is_true(&rule.condition);
                prop_assert_eq!(fired.contains(&position), is_true, "{:#?} on {:?}", rule, event);
                let explanation = plan.explain(position, &event, &mut scratch).expect("it applies");
                prop_assert_eq!(explanation.is_hit, is_true);
                // Where there is more to say than nothing: an empty list of alternatives has no culprit.
                prop_assert!(is_true || explanation.selections.is_empty());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_rule_with_exceptions_fires_where_it_is_true_and_none_of_them_is(
        mut rules in prop::collection::vec(rule(), 1..4),
        excluded in prop::collection::vec(expr(), 1..4),
        events in prop::collection::vec(prop::collection::vec((0..FIELDS.len(), text()), 0..5), 1..4),
    ) {
        for (number, rule) in rules.iter_mut().enumerate() {
            rule.id = number.to_string();
        }
        let loaded: Vec<Loaded> =
            rules.iter().map(|rule| Loaded { rule: rule.clone(), file: "a.yml".to_owned(), line: 1, name: None }).collect();
        // Their conditions refer to their selections, which become further ones of the rule.
        let exceptions: Vec<LoadedException> = excluded.iter().map(|body| LoadedException {
            exception: Exception {
                id: "e".to_owned(),
                title: "e".to_owned(),
                word: "filter",
                targets: Targets::Any,
                logsource: None,
                selections: vec![Selection { name: "s".to_owned(), body: body.clone() }],
                excluded: Expr::Selection(0),
                uses: Vec::new(),
            },
            file: "a.yml".to_owned(),
            line: 1,
        }).collect();
        let library = Library { rules: loaded, exceptions, ..Library::default() };
        let applied = apply(&library);
        let image = compiled(&applied.rules).expect("rules that can be compiled");
        let image = Image::open(&image).expect("compiled here");
        let plan = image.plan(&watertight_engine::LogSource {
            category: Some("process_creation"),
            product: Some("linux"),
            service: None,
        });
        let mut scratch = Scratch::new();
        for values in events {
            let values = values.into_iter().map(|(field, text)| (FIELDS[field], text)).collect();
            let event = Event { values, slots: image.fields().map(str::to_owned).collect() };
            let mut fired = BTreeSet::new();
            plan.evaluate(&event, &mut scratch, &mut |rule| assert!(fired.insert(rule), "a hit came twice"));
            for (position, compiled) in (0_u32..).zip(image.rules()) {
                let number = rules.iter().position(|rule| rule.id == compiled.id()).expect("it was given");
                let rule = &rules[number];
                let plain = Plain { rule, event: &event };
                let is_left = plain.is_true(&rule.condition) && !excluded.iter().any(|body| plain.is_true(body));
                prop_assert_eq!(fired.contains(&position), is_left, "{:#?} on {:?}", rule, event);
                let explanation = plan.explain(position, &event, &mut scratch).expect("it applies");
                prop_assert_eq!(explanation.is_hit, is_left);
                // What was said without an event holds of every event.
                prop_assert!(!is_left || applied.emptied_by[number].is_none(), "{:#?} on {:?}", rule, event);
            }
        }
    }
}

#[test]
fn a_rule_that_refers_to_no_selection_or_nests_without_end_is_refused() {
    let rule = |condition: Expr| Rule {
        id: "id".to_owned(),
        title: "title".to_owned(),
        level: None,
        tags: Vec::new(),
        author: None,
        logsource: LogSource::default(),
        selections: vec![Selection { name: "s".to_owned(), body: Expr::Any(Vec::new()) }],
        condition,
        response: Response::default(),
        uses: Vec::new(),
    };
    assert!(compiled(&[rule(Expr::Selection(0))]).is_ok());
    assert!(compiled(&[rule(Expr::Selection(7))]).is_err());
    let circle = Rule {
        selections: vec![Selection { name: "s".to_owned(), body: Expr::Selection(0) }],
        ..rule(Expr::Selection(0))
    };
    assert!(compiled(&[circle]).is_err(), "a selection that refers to itself");
    let deep = (0..300).fold(Expr::Any(Vec::new()), |inner, _| Expr::Not(Box::new(inner)));
    assert!(compiled(&[rule(deep)]).is_err());
}
