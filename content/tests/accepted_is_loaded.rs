//! What the compiler accepts, the engine opens and a host's loader takes: random rules in Sigma's own words become a pack whose canaries
//! are what a plain reading of those words says, and the pack opens, tests itself and agrees.

use std::collections::BTreeSet;

use proptest::prelude::*;
use regex_automata::meta::Regex;
use watertight_content::pack::{build, parse_release, BuildError, Sources};
use watertight_content::sigma::{load_texts, Source};
use watertight_content_pack::{Pack, PackError};
use watertight_engine::Image;

/// Fields of a started program, all texts.
const FIELDS: [&str; 4] = ["Image", "CommandLine", "User", "ParentImage"];

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Whole,
    Contains,
    Starts,
    Ends,
    All,
    Cased,
    Regex,
    Exists(bool),
    Null,
}

/// One line of a selection.
#[derive(Clone, Debug)]
struct Item {
    field: usize,
    how: How,
    values: Vec<String>,
}

/// A condition over the selections by their positions.
#[derive(Clone, Debug)]
enum Condition {
    Is(usize),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    OneOfThem,
    AllOfThem,
}

/// A rule: selections of alternatives of items, all of which must hold.
#[derive(Clone, Debug)]
struct Rule {
    selections: Vec<Vec<Vec<Item>>>,
    condition: Condition,
}

/// Texts over few letters, so that they meet; with wildcards in them now and then.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[aAbB/ -]{1,4}", 1 => "[ab]{0,2}[*?][ab]{1,2}"]
}

const EXPRESSIONS: [&str; 5] = ["a+b", "^/?a", "b$", "[ab]{2}", "(a|b) "];

fn item() -> impl Strategy<Value = Item> {
    let how = prop_oneof![
        4 => prop_oneof![
            Just(How::Whole), Just(How::Contains), Just(How::Starts), Just(How::Ends), Just(How::All), Just(How::Cased)
        ],
        1 => Just(How::Regex),
        1 => prop_oneof![Just(How::Null), any::<bool>().prop_map(How::Exists)],
    ];
    (0..FIELDS.len(), how, prop::collection::vec(value(), 1..4), 0..EXPRESSIONS.len()).prop_map(
        |(field, how, values, expression)| {
            let values = if how == How::Regex { vec![EXPRESSIONS[expression].to_owned()] } else { values };
            Item { field, how, values }
        },
    )
}

fn condition(selections: usize) -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        4 => (0..selections).prop_map(Condition::Is),
        1 => Just(Condition::OneOfThem),
        1 => Just(Condition::AllOfThem),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|part| Condition::Not(Box::new(part))),
            (inner.clone(), inner.clone()).prop_map(|(one, two)| Condition::And(Box::new(one), Box::new(two))),
            (inner.clone(), inner).prop_map(|(one, two)| Condition::Or(Box::new(one), Box::new(two))),
        ]
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    // A key is there once.
    let alternative = prop::collection::vec(item(), 1..3).prop_map(|mut items: Vec<Item>| {
        let mut keys = BTreeSet::new();
        items.retain(|item| keys.insert((item.field, modifiers(item.how))));
        items
    });
    let selection = prop::collection::vec(alternative, 1..3);
    prop::collection::vec(selection, 1..4)
        .prop_flat_map(|selections| (condition(selections.len()), Just(selections)))
        .prop_map(|(condition, selections)| Rule { selections, condition })
}

fn event() -> impl Strategy<Value = Vec<Option<String>>> {
    prop::collection::vec(prop::option::weighted(0.8, "[aAbB/ -]{0,5}"), FIELDS.len()..=FIELDS.len())
}

fn id(number: usize) -> String {
    format!("20000000-0000-4000-8000-{number:012}")
}

/// The rule in Sigma's words.
fn in_words(rule: &Rule, number: usize) -> String {
    let mut text = format!(
        "title: Rule {number}\nid: {}\nlogsource: {{category: process_creation, product: linux}}\ndetection:\n",
        id(number)
    );
    for (number, alternatives) in rule.selections.iter().enumerate() {
        text.push_str(&format!("  s{number}:\n"));
        for items in alternatives {
            for (place, item) in items.iter().enumerate() {
                let lead = if place == 0 { "    - " } else { "      " };
                text.push_str(&format!("{lead}{}\n", item_in_words(item)));
            }
        }
    }
    text.push_str(&format!("  condition: {}\n", condition_in_words(&rule.condition)));
    text
}

fn item_in_words(item: &Item) -> String {
    let quoted: Vec<String> = item.values.iter().map(|value| format!("'{value}'")).collect();
    let values = format!("[{}]", quoted.join(", "));
    let values = match item.how {
        How::Exists(there) => there.to_string(),
        How::Null => "null".to_owned(),
        _ => values,
    };
    format!("{}{}: {values}", FIELDS[item.field], modifiers(item.how))
}

fn modifiers(how: How) -> &'static str {
    match how {
        How::Whole | How::Null => "",
        How::Contains => "|contains",
        How::Starts => "|startswith",
        How::Ends => "|endswith",
        How::All => "|contains|all",
        How::Cased => "|contains|cased",
        How::Regex => "|re",
        How::Exists(_) => "|exists",
    }
}

fn condition_in_words(condition: &Condition) -> String {
    match condition {
        Condition::Is(selection) => format!("s{selection}"),
        Condition::Not(part) => format!("not ({})", condition_in_words(part)),
        Condition::And(one, two) => format!("({}) and ({})", condition_in_words(one), condition_in_words(two)),
        Condition::Or(one, two) => format!("({}) or ({})", condition_in_words(one), condition_in_words(two)),
        Condition::OneOfThem => "1 of them".to_owned(),
        Condition::AllOfThem => "all of s*".to_owned(),
    }
}

/// The plain reading: straight from the words' meaning, without anything of the compiler's.
fn fires(rule: &Rule, event: &[Option<String>]) -> bool {
    let is_true = |selection: &Vec<Vec<Item>>| {
        selection.iter().any(|items| items.iter().all(|item| holds(item, event[item.field].as_deref())))
    };
    judge(&rule.condition, &rule.selections.iter().map(is_true).collect::<Vec<_>>())
}

fn judge(condition: &Condition, selections: &[bool]) -> bool {
    match condition {
        Condition::Is(selection) => selections[*selection],
        Condition::Not(part) => !judge(part, selections),
        Condition::And(one, two) => judge(one, selections) && judge(two, selections),
        Condition::Or(one, two) => judge(one, selections) || judge(two, selections),
        Condition::OneOfThem => selections.contains(&true),
        Condition::AllOfThem => !selections.contains(&false),
    }
}

fn holds(item: &Item, value: Option<&str>) -> bool {
    match (item.how, value) {
        (How::Exists(there), _) => value.is_some() == there,
        (How::Null, _) => value.is_none(),
        (_, None) => false,
        (How::Regex, Some(value)) => {
            item.values.iter().any(|pattern| Regex::new(pattern).expect("one of ours").is_match(value))
        }
        (How::All, Some(value)) => item.values.iter().all(|pattern| is_like(item.how, pattern, value)),
        (_, Some(value)) => item.values.iter().any(|pattern| is_like(item.how, pattern, value)),
    }
}

fn is_like(how: How, pattern: &str, value: &str) -> bool {
    let pattern = match how {
        How::Starts => format!("{pattern}*"),
        How::Ends => format!("*{pattern}"),
        How::Contains | How::All | How::Cased => format!("*{pattern}*"),
        _ => pattern.to_owned(),
    };
    match how {
        How::Cased => is_wild(pattern.as_bytes(), value.as_bytes()),
        _ => is_wild(pattern.to_ascii_lowercase().as_bytes(), value.to_ascii_lowercase().as_bytes()),
    }
}

/// `*` is any letters, `?` one.
fn is_wild(pattern: &[u8], value: &[u8]) -> bool {
    match (pattern.split_first(), value.split_first()) {
        (None, _) => value.is_empty(),
        (Some((b'*', rest)), _) => (0..=value.len()).any(|at| is_wild(rest, &value[at..])),
        (Some((b'?', rest)), Some((_, left))) => is_wild(rest, left),
        (Some((letter, rest)), Some((first, left))) => letter == first && is_wild(rest, left),
        (Some(_), None) => false,
    }
}

/// The events as cases, by what the plain reading says of each rule on each.
fn cases(rules: &[Rule], events: &[Vec<Option<String>>]) -> String {
    let (mut must, mut must_not) = (String::new(), String::new());
    for event in events {
        let fields: Vec<String> = FIELDS
            .iter()
            .zip(event)
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}: '{value}'")))
            .collect();
        for (number, rule) in rules.iter().enumerate() {
            let list = if fires(rule, event) { &mut must } else { &mut must_not };
            list.push_str(&format!(
                "  - {{rule: {}, category: process_creation, event: {{{}}}}}\n",
                id(number),
                fields.join(", ")
            ));
        }
    }
    let silent = if must_not.is_empty() { String::new() } else { format!("silent:\n{must_not}") };
    format!("fires:\n{must}{silent}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_global_rejects: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_compiler_accepts_every_engine_opens_every_loader_takes_and_both_say_what_the_words_mean(
        rules in prop::collection::vec(rule(), 1..5),
        events in prop::collection::vec(event(), 1..6),
    ) {
        let text: Vec<String> = rules.iter().enumerate().map(|(number, rule)| in_words(rule, number)).collect();
        let text = text.join("---\n");
        let mut library = load_texts([Source { file: "rules.yml", text: &text }]);
        let image = library.host_image();
        prop_assert!(library.rejections.is_empty(), "{}\n{text}", library.rejections[0]);
        let image = image.expect("accepted");
        let opened = Image::open(&image);
        prop_assert!(opened.is_ok_and(|image| image.rules().len() == rules.len()), "accepted and not opened:\n{text}");

        // A rule that does not come out both ways on some event is in no pack: nothing would prove that it works.
        let has = |rule: &Rule, wanted: bool| events.iter().any(|event| fires(rule, event) == wanted);
        let rules: Vec<Rule> = rules.into_iter().filter(|rule| has(rule, true) && has(rule, false)).collect();
        prop_assume!(!rules.is_empty());
        let text: Vec<String> = rules.iter().enumerate().map(|(number, rule)| in_words(rule, number)).collect();
        let text = text.join("---\n");
        let release = parse_release(Source { file: "pack.yml", text: "name: random\nversion: 1\n" }).expect("a release");
        let tests = cases(&rules, &events);
        let sources = Sources {
            release: &release,
            rules: vec![Source { file: "rules.yml", text: &text }],
            tests: vec![Source { file: "rules.tests.yml", text: &tests }],
            policy: None,
        };
        let built = match build(&sources) {
            Ok(built) => built,
            Err(BuildError::Pack(error @ (PackError::DidNotFire { .. } | PackError::Fired { .. }))) => {
                return Err(TestCaseError::fail(format!("the engine and the words differ: {error}\n{text}{tests}")));
            }
            Err(error) => return Err(TestCaseError::fail(format!("accepted and not built: {error}\n{text}{tests}"))),
        };
        let pack = Pack::open(&built.bytes).expect("built");
        let told = pack.self_test().expect("tried when it was built");
        prop_assert_eq!(told.fired + told.silent, (rules.len() * events.len()) as u64);
    }
}
