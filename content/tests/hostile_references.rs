//! Packs that are sealed with right digests and lie about what is inside: sizes like those of a bomb, tables that lead in circles, offsets
//! beyond the end, ids that are there twice, counts of 2^32, names in disguise. Each is refused by name.

#![allow(clippy::panic)] // a test's panic is its verdict

#[path = "support/mutants.rs"]
#[allow(dead_code)] // the other tests use the rest
mod mutants;
#[allow(dead_code)]
mod support;

use mutants::{parts, sealed};
use support::{built, pack, policy, release};
use watertight_content_pack::layout::{
    CanariesRecord, CanaryRecord, DocumentRecord, EventRecord, FieldRecord as CanaryField, Header, ManifestRecord,
    PolicyRecord, PolicyRuleRecord, Range, SectionRecord, ValueRecord,
};
use watertight_content_pack::{Pack, PackError};
use watertight_engine::image::layout::{
    self as image, AutomatonRecord, CodeRecord, CorrelationRecord, ExpressionRecord, FieldRecord, GroupRecord,
    InputRecord, NodeRecord, OutputRecord, PredicateRecord, QuestionRecord, RuleRecord, Section as Table,
    AUTOMATON_ANYWHERE, AUTOMATON_FROM_END, AUTOMATON_FROM_START, AUTOMATON_SHIFT, CODE_FOUND, NODE_NOT, OUTPUT_ONLY,
    STATE_COUNT_MASK, STATE_DENSE, STATE_OUTPUT, STATE_PLACE_MASK, USE_ANNOUNCES, USE_PREDICATE_MASK,
};
use watertight_engine::ImageError;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const MANIFEST: usize = 0;
const IMAGE: usize = 1;
const CANARIES: usize = 2;
const POLICY: usize = 3;

/// The pack with one section changed, and right digests again.
fn with(pack: &[u8], section: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut parts = parts(pack);
    change(&mut parts[section]);
    sealed(&parts)
}

/// The pack with the records of one table of its image changed.
fn with_table<T>(pack: &[u8], table: Table, change: impl FnOnce(&mut [T])) -> Vec<u8>
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout,
{
    with(pack, IMAGE, |bytes| {
        let (_, rest) = image::Header::ref_from_prefix(bytes).expect("an image");
        let (directory, _) =
            <[image::SectionRecord]>::ref_from_prefix_with_elems(rest, Table::ALL.len()).expect("an image");
        let record = directory.iter().find(|record| record.kind.get() == table as u32).expect("every image has it");
        let number = |wide: u64| usize::try_from(wide).expect("a small image");
        let (first, size) = (number(record.offset.get()), number(record.size_bytes.get()));
        let records = <[T]>::mut_from_bytes(&mut bytes[first..first + size]).expect("whole records");
        assert!(!records.is_empty(), "the pack has none of these to change");
        change(records);
    })
}

/// Refused by the engine for what this table says.
fn refused_table(pack: &[u8], table: &str) {
    match Pack::open(pack) {
        Err(PackError::Image(ImageError::Record { table: found, .. })) => assert_eq!(found, table),
        other => panic!("{table}: {:?}", other.map(|_| "opened")),
    }
}

fn refused(pack: &[u8], section: &str) {
    let refused = Pack::open(pack).expect_err(section);
    let named = match &refused {
        PackError::Section { section, .. } | PackError::Record { section, .. } => *section,
        PackError::TooMany { what, .. } => what,
        _ => "",
    };
    assert!(named.contains(section), "{section}: {refused}");
}

/// A pack with a sequence and a correlation beside its rules.
fn correlated() -> Vec<u8> {
    const RULES: &str = "title: One\nname: one\nid: 00000000-0000-4000-8000-000000000001\nlogsource: {category: c}\n\
        detection: {s: {A: a}, condition: s}\n---\n\
        title: Many\nname: many\nid: 00000000-0000-4000-8000-000000000002\ncorrelation: {type: event_count, rules: one, \
        group-by: [B], timespan: 10s, condition: {gte: 2}, generate: true}\n---\n\
        title: More\nname: more\nid: 00000000-0000-4000-8000-000000000003\ncorrelation: {type: event_count, rules: many, \
        group-by: [B], timespan: 10s, condition: {gte: 2}, generate: true}\n";
    let tests = "fires: [{rule: 00000000-0000-4000-8000-000000000001, category: c, event: {A: a}}]";
    built(&release(), RULES, tests, None).expect("good sources").bytes
}

/// A pack with so many words that not every state of its automaton has a full row.
fn many_words() -> Vec<u8> {
    let mut numbers = mutants::Numbers(mutants::SEED);
    let mut word =
        || -> String { (0..30).map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz"[numbers.below(26)])).collect() };
    let words: Vec<String> = (0..300).map(|_| word()).collect();
    let rules = format!(
        "title: Words\nid: 00000000-0000-4000-8000-000000000001\nlogsource: {{category: c}}\ndetection: {{s: {{A|contains: [{}]}}, \
         condition: s}}\n",
        words.join(", ")
    );
    let tests = format!("fires: [{{category: c, event: {{A: {}}}}}]", words[7]);
    built(&release(), &rules, &tests, None).expect("good sources").bytes
}

/// A pack with a text that stands at an end.
fn ends() -> Vec<u8> {
    const RULES: &str = "title: End\nid: 00000000-0000-4000-8000-000000000001\nlogsource: {category: c}\n\
        detection: {s: {A|endswith: end}, condition: s}\n";
    built(&release(), RULES, "fires: [{category: c, event: {A: the end}}]", None).expect("good sources").bytes
}

#[test]
fn a_section_that_claims_the_size_of_a_bomb_is_refused_before_it_is_read() {
    let good = pack();
    let head = size_of::<Header>();
    for section in [MANIFEST, IMAGE, CANARIES, POLICY] {
        for size in [u64::MAX, u64::MAX - 1, 1 << 40, 1 << 32, (48 << 20) + 1] {
            let mut bytes = good.clone();
            let at = head + section * size_of::<SectionRecord>();
            let (record, _) = SectionRecord::mut_from_prefix(&mut bytes[at..]).expect("the directory");
            record.size_bytes = size.into();
            let refused = Pack::open(&bytes).expect_err("a bomb");
            assert!(matches!(refused, PackError::TooMany { found, .. } if found == size), "{section}: {refused}");
        }
        let mut bytes = good.clone();
        let at = head + section * size_of::<SectionRecord>();
        let (record, _) = SectionRecord::mut_from_prefix(&mut bytes[at..]).expect("the directory");
        record.size_bytes = (1 << 20).into();
        assert!(matches!(Pack::open(&bytes), Err(PackError::Section { .. })), "beyond the end");
    }
    let mut bytes = good;
    let (header, _) = Header::mut_from_prefix(&mut bytes).expect("a header");
    header.size_bytes = u64::MAX.into();
    assert!(matches!(Pack::open(&bytes), Err(PackError::Size { stated: u64::MAX, .. })));
}

#[test]
fn tables_that_lead_in_circles_are_refused() {
    let good = pack();
    // A condition that stands in itself: explaining it would never end.
    let circle = |nodes: &mut [NodeRecord]| {
        let last = nodes.len() - 1;
        nodes[last].kind = NODE_NOT.into();
        nodes[last].first = u32::try_from(last).expect("few").into();
    };
    refused_table(&with_table(&good, Table::Nodes, circle), "node");
    // Code that jumps to itself, and forward: evaluating it would never end.
    for target in 0..=1 {
        let jump = |code: &mut [CodeRecord]| code[0].if_true = target.into();
        refused_table(&with_table(&good, Table::Code, jump), "step of code");
    }
    // A step that says of its predicate that it is found, or that it is asked, and it is not.
    let other = |code: &mut [CodeRecord]| code[0].predicate = (code[0].predicate.get() ^ CODE_FOUND).into();
    refused_table(&with_table(&good, Table::Code, other), "step of code");
    // What was found goes on with itself.
    refused_table(
        &with_table(&good, Table::Outputs, |outputs: &mut [OutputRecord]| outputs[0].next = 0.into()),
        "output",
    );
    // A predicate that needs itself before it is asked.
    let needs = |predicates: &mut [PredicateRecord]| predicates[0].needs = 0.into();
    refused_table(&with_table(&good, Table::Predicates, needs), "predicate");
    // An automaton that falls back to itself: searching would never end.
    let large = many_words();
    assert!(Pack::open(&large).is_ok());
    let mut automata = Vec::new();
    with_table(&large, Table::Automata, |all: &mut [AutomatonRecord]| automata.extend_from_slice(all));
    let mut is_found = false;
    let back =
        |states: &mut [zerocopy::little_endian::U32]| is_found = automata.iter().any(|one| turn_back(states, one));
    let circle = with_table(&large, Table::States, back);
    assert!(is_found, "no automaton has a state that falls back");
    refused_table(&circle, "automaton");
    // A state that has found what is no predicate, or announces what its predicate does not.
    for wrong in [USE_PREDICATE_MASK, USE_ANNOUNCES] {
        let mut is_found = false;
        let other = |states: &mut [zerocopy::little_endian::U32]| {
            let only = automata.iter().find_map(|one| only_use(states, one)).expect("a text with a single use");
            (states[only], is_found) = ((states[only].get() ^ wrong).into(), true);
        };
        let changed = with_table(&large, Table::States, other);
        assert!(is_found);
        refused_table(&changed, "automaton");
    }
    // A correlation that listens to the one that listens to it.
    let good = correlated();
    assert!(Pack::open(&good).is_ok());
    let circle = |inputs: &mut [InputRecord]| {
        let last = inputs[inputs.len() - 1];
        inputs[0] = last;
    };
    assert!(Pack::open(&with_table(&good, Table::Inputs, circle)).is_err());
}

/// Where some state has its single use; `None` if none has one.
fn only_use(states: &[zerocopy::little_endian::U32], automaton: &AutomatonRecord) -> Option<usize> {
    let number = |small: u32| usize::try_from(small).expect("small");
    let mut at = number(automaton.states.first.get());
    let end = at + number(automaton.states.count.get());
    while at < end {
        let first = states[at].get();
        let (is_dense, has_output) = (first & STATE_DENSE != 0, first & STATE_OUTPUT != 0);
        let output = if is_dense { at + 1 } else { at + 2 };
        if has_output && states[output].get() & OUTPUT_ONLY != 0 {
            return Some(output);
        }
        let ways = number(first & STATE_COUNT_MASK);
        let packed = if ways > 1 { ways.div_ceil(4) } else { 0 };
        at += 2 + if is_dense { number(automaton.class_count.get()) } else { usize::from(has_output) + packed + ways };
    }
    None
}

/// Makes the first state of an automaton that can fall back do so to itself; false if there is none.
fn turn_back(states: &mut [zerocopy::little_endian::U32], automaton: &AutomatonRecord) -> bool {
    let number = |small: u32| usize::try_from(small).expect("small");
    let (first, count) = (number(automaton.states.first.get()), number(automaton.states.count.get()));
    let states = &mut states[first..first + count];
    // The states with a full row come first.
    let row = number(automaton.class_count.get()) + 2;
    let sparse = (0..count).step_by(row).find(|at| states[*at].get() & STATE_DENSE == 0);
    let Some(at) = sparse else { return false };
    let flags = states[at].get() & !STATE_PLACE_MASK;
    states[at + 1] = (u32::try_from(at).expect("small") | flags).into();
    true
}

#[test]
fn an_automaton_that_is_not_what_it_claims_is_refused() {
    let claim = |pack: &[u8], kind: u32| {
        with_table(pack, Table::Automata, |automata: &mut [AutomatonRecord]| {
            let longest = automata[0].longest_bytes.get();
            automata[0].longest_bytes = (kind << AUTOMATON_SHIFT | longest).into();
        })
    };
    let large = many_words();
    assert!(Pack::open(&claim(&large, AUTOMATON_ANYWHERE)).is_ok(), "which it is");
    // A tree falls back to nothing, so this would be searched from an end and find nothing; no other kinds are known.
    for kind in [AUTOMATON_FROM_START, AUTOMATON_FROM_END, 3] {
        refused_table(&claim(&large, kind), "automaton");
    }
    // The layout before has no trees.
    let good = ends();
    assert!(Pack::open(&good).is_ok());
    refused_table(&with(&good, IMAGE, |bytes| bytes[8] = 1), "automaton");
    // What is found would announce nothing.
    let silent =
        |predicates: &mut [PredicateRecord]| predicates.iter_mut().for_each(|one| one.rules = Range::new(0, 0));
    refused_table(&with_table(&good, Table::Predicates, silent), "output");
}

#[test]
fn an_offset_beyond_the_end_is_refused_in_every_table() {
    let good = pack();
    let beyond = Range::new(u32::MAX - 1, 1);
    refused_table(&with_table(&good, Table::Rules, |rules: &mut [RuleRecord]| rules[0].id = beyond), "rule");
    refused_table(&with_table(&good, Table::Rules, |rules: &mut [RuleRecord]| rules[0].asks = beyond), "rule");
    refused_table(&with_table(&good, Table::Fields, |fields: &mut [FieldRecord]| fields[0].name = beyond), "field");
    refused_table(&with_table(&good, Table::Groups, |groups: &mut [GroupRecord]| groups[0].rules = beyond), "group");
    let asks = |questions: &mut [QuestionRecord]| questions[0].source = beyond;
    refused_table(&with_table(&good, Table::Questions, asks), "question");
    let states = |automata: &mut [AutomatonRecord]| automata[0].states = beyond;
    refused_table(&with_table(&good, Table::Automata, states), "automaton");
    let starts = |expressions: &mut [ExpressionRecord]| expressions[0].start = u32::MAX.into();
    refused_table(&with_table(&good, Table::Expressions, starts), "expression");
    let listens = |correlations: &mut [CorrelationRecord]| correlations[0].inputs = beyond;
    assert!(Pack::open(&with_table(&correlated(), Table::Correlations, listens)).is_err());

    let manifest = with(&good, MANIFEST, |bytes| {
        let (_, rest) = ManifestRecord::mut_from_prefix(bytes.as_mut_slice()).expect("a manifest");
        DocumentRecord::mut_from_prefix(rest).expect("a document").0.id = beyond;
    });
    refused(&manifest, "manifest");
    for table in 0..4 {
        let canaries = with(&good, CANARIES, |bytes| lengthen(bytes, table, beyond));
        refused(&canaries, "canaries");
    }
    let rule = with(&good, POLICY, |bytes| {
        let (_, rest) = PolicyRecord::mut_from_prefix(bytes.as_mut_slice()).expect("a policy");
        PolicyRuleRecord::mut_from_prefix(rest).expect("a rule").0.path = beyond;
    });
    refused(&rule, "policy");
}

/// Gives the first record of a table of the canaries this range.
fn lengthen(bytes: &mut [u8], table: usize, range: Range) {
    let (head, rest) = CanariesRecord::mut_from_prefix(bytes).expect("canaries");
    let count = |number: zerocopy::little_endian::U32| usize::try_from(number.get()).expect("few");
    let (canaries, rest) = <[CanaryRecord]>::mut_from_prefix_with_elems(rest, count(head.canaries)).expect("canaries");
    let (events, rest) = <[EventRecord]>::mut_from_prefix_with_elems(rest, count(head.events)).expect("events");
    let (fields, rest) = <[CanaryField]>::mut_from_prefix_with_elems(rest, count(head.fields)).expect("fields");
    let (values, _) = <[ValueRecord]>::mut_from_prefix_with_elems(rest, count(head.values)).expect("values");
    match table {
        0 => canaries[0].name = range,
        1 => events[0].fields = range,
        2 => fields[0].name = range,
        _ => values[0].text = range,
    }
}

#[test]
fn counts_of_two_to_the_32_are_refused_in_every_range() {
    let good = pack();
    let all = Range::new(0, u32::MAX);
    refused_table(&with_table(&good, Table::Rules, |rules: &mut [RuleRecord]| rules[0].title = all), "rule");
    refused_table(&with_table(&good, Table::Rules, |rules: &mut [RuleRecord]| rules[0].fields = all), "rule");
    refused_table(&with_table(&good, Table::Groups, |groups: &mut [GroupRecord]| groups[0].automata = all), "group");
    let rules = |predicates: &mut [PredicateRecord]| predicates[0].rules = all;
    refused_table(&with_table(&good, Table::Predicates, rules), "predicate");
    for table in 0..4 {
        refused(&with(&good, CANARIES, |bytes| lengthen(bytes, table, all)), "canaries");
    }
    let rules = with(&good, POLICY, |bytes| {
        PolicyRecord::mut_from_prefix(bytes.as_mut_slice()).expect("a policy").0.rules = u32::MAX.into();
    });
    refused(&rules, "deny rules");
}

#[test]
fn a_rule_that_is_in_the_image_twice_is_refused_by_its_id() {
    let twice = with_table(&pack(), Table::Rules, |rules: &mut [RuleRecord]| rules[1].id = rules[0].id);
    let refused = Pack::open(&twice).expect_err("twice");
    assert!(matches!(refused, PackError::DuplicateId { .. }), "{refused}");
    // One that the manifest does not know is refused as such.
    let title = with_table(&pack(), Table::Rules, |rules: &mut [RuleRecord]| rules[0].id = rules[0].title);
    assert!(matches!(Pack::open(&title), Err(PackError::Unlisted { .. })));
    let mut double = policy();
    double.rules[1].id = double.rules[0].id.clone();
    assert!(matches!(
        built(&release(), support::RULES, support::TESTS, Some(&double)),
        Err(watertight_content::pack::BuildError::Pack(PackError::Policy(_)))
    ));
}

#[test]
fn a_name_with_nul_or_bidirectional_characters_is_refused_wherever_it_stands() {
    let good = pack();
    for disguise in ["\0", "\u{202e}", "\u{2066}", "\u{200f}", "\u{feff}", "\u{1b}"] {
        // Over the beginning of the text, and never longer than it.
        let over = |bytes: &mut [u8], range: Range| {
            let first = usize::try_from(range.first.get()).expect("small");
            bytes[first..first + disguise.len()].copy_from_slice(disguise.as_bytes());
        };
        for (table, named) in [(Table::Rules, "rule"), (Table::Fields, "field")] {
            let mut range = Range::default();
            let _ = match table {
                Table::Rules => with_table(&good, table, |rules: &mut [RuleRecord]| range = rules[0].title),
                _ => with_table(&good, table, |fields: &mut [FieldRecord]| range = fields[0].name),
            };
            refused_table(&with_table(&good, Table::Bytes, |bytes: &mut [u8]| over(bytes, range)), named);
        }
        let mut canaries = parts(&good)[CANARIES].clone();
        let name = b"a/rules.tests.yml fires 1";
        let at = canaries.windows(name.len()).position(|window| window == name).expect("its name");
        canaries[at..at + disguise.len()].copy_from_slice(disguise.as_bytes());
        let refused = Pack::open(&with(&good, CANARIES, |bytes| *bytes = canaries)).expect_err("a name");
        assert!(matches!(refused, PackError::Name { .. }), "{refused}");
        assert!(!refused.to_string().contains(disguise), "it is shown as what it is");
        let policy = with(&good, POLICY, |bytes| {
            let at = bytes.windows(5).position(|window| window == b"under").expect("its id");
            bytes[at..at + disguise.len()].copy_from_slice(disguise.as_bytes());
        });
        assert!(matches!(Pack::open(&policy), Err(PackError::Policy(_))));
    }
}
