//! The index may only save time: with it and without it, the same rules fire and every hit can be explained.

use std::collections::BTreeSet;

use proptest::prelude::*;
use watertight_engine::rule::{Comparison, Expr, LogSource, Number, Op, Place, Predicate, Rule, Selection};
use watertight_engine::{Field, Fields, Part, Pattern, RegexFlags, Ruleset, Scratch, Value};

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
            Just("\\w{2}")
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
            title: String::new(),
            level: None,
            tags: Vec::new(),
            logsource: LogSource {
                category: has_category.then(|| "process_creation".to_owned()),
                product: Some("linux".to_owned()),
                service: None,
            },
            selections: vec![Selection { name: "selection".to_owned(), body }],
            condition: if is_any { Expr::Any(parts) } else { Expr::All(parts) },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_same_rules_fire_with_and_without_the_index_and_every_hit_explains_itself(
        rules in prop::collection::vec(rule(), 1..6),
        events in prop::collection::vec(prop::collection::vec((0..FIELDS.len(), text()), 0..5), 1..4),
    ) {
        let ruleset = Ruleset::build(rules).expect("rules the engine accepts");
        let logsource = LogSource {
            category: Some("process_creation".to_owned()),
            product: Some("linux".to_owned()),
            service: None,
        };
        let plan = ruleset.plan(&logsource);
        let mut scratch = Scratch::new();
        for values in events {
            let values = values.into_iter().map(|(field, text)| (FIELDS[field], text)).collect();
            let event = Event { values, slots: ruleset.fields().to_vec() };
            let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
            plan.evaluate(&event, &mut scratch, &mut |rule| assert!(with.insert(rule), "a hit came twice"));
            plan.evaluate_without_index(&event, &mut scratch, &mut |rule| { without.insert(rule); });
            prop_assert_eq!(&with, &without);
            for rule in 0..u32::try_from(ruleset.rules().len()).expect("few rules") {
                let explanation = plan.explain(rule, &event, &mut scratch);
                prop_assert_eq!(explanation.is_some(), with.contains(&rule));
            }
        }
    }
}

#[test]
fn a_rule_that_refers_to_no_selection_or_nests_without_end_is_refused() {
    let rule = |condition: Expr| Rule {
        id: "id".to_owned(),
        title: String::new(),
        level: None,
        tags: Vec::new(),
        logsource: LogSource::default(),
        selections: vec![Selection { name: "s".to_owned(), body: Expr::Selection(0) }],
        condition,
    };
    assert!(Ruleset::build([rule(Expr::Selection(7))]).is_err());
    assert!(Ruleset::build([rule(Expr::Selection(0))]).is_err(), "a selection that refers to itself");
    let deep = (0..100).fold(Expr::Any(Vec::new()), |inner, _| Expr::Not(Box::new(inner)));
    assert!(Ruleset::build([rule(deep)]).is_err());
}
