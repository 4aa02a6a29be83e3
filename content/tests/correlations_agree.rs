//! State may only save time: a correlation fires where one fires that keeps every event for ever and goes through all of them
//! again with each.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{json, Value as Json};
use watertight_content::rule::LogSource;
use watertight_content::sigma::detect::Detector;
use watertight_content::sigma::{load_texts, Source};
use watertight_engine::{Image, Moment};

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1_000 * SECOND_NS;

/// How many groups there are, and kinds of events: few, so that they meet.
const GROUPS: u64 = 3;

/// An event: when (in seconds), its kind, group and value.
#[derive(Clone, Debug)]
struct Event {
    second: u64,
    kind: usize,
    group: u64,
    value: u64,
}

const KINDS: [&str; 3] = ["a", "b", "c"];

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (0_u64..6, 0..KINDS.len(), 0..GROUPS, 0_u64..4);
    prop::collection::vec(event, 0..60).prop_map(|all| {
        let mut second = 0;
        all.into_iter()
            .map(|(later, kind, group, value)| {
                second += later;
                Event { second, kind, group, value }
            })
            .collect()
    })
}

/// What the engine says: the positions of the events at which the correlation fired.
fn engine(correlation: &str, events: &[Event]) -> Vec<u64> {
    let rules = KINDS.map(|kind| {
        format!(
            "title: {kind}\nname: {kind}\nid: id-{kind}\nlogsource: {{category: c}}\n\
             detection: {{s: {{kind: {kind}}}, condition: s}}\n---\n"
        )
    });
    let text = format!("{}title: C\nid: corr\ncorrelation: {correlation}\n", rules.concat());
    let mut library = load_texts([Source { file: "a.yml", text: &text }]);
    let image = library.image().expect("few rules");
    assert!(library.rejections.is_empty(), "{}", library.rejections[0]);
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    let mut hits = Vec::new();
    for (number, event) in (0..).zip(events) {
        let source = LogSource { category: Some("c".into()), product: None, service: None };
        let (kind, group, value) = (KINDS[event.kind], event.group, event.value);
        let moment = Moment { time_ns: START_NS + event.second * SECOND_NS, number };
        let event: Json = json!({"kind": kind, "group": group, "value": value, "other": value});
        hits.extend(detector.at(source, &event, moment, false));
    }
    hits.into_iter().filter(|hit| hit.rule == "corr").map(|hit| hit.event).collect()
}

/// Goes through all events of each group with every event: `fires` says whether those since the last hit, the newest last, make
/// one.
fn rescan(events: &[Event], is_input: &dyn Fn(&Event) -> bool, fires: &dyn Fn(&[&Event]) -> bool) -> Vec<u64> {
    let mut since: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
    let mut hits = Vec::new();
    for (number, event) in (0..).zip(events) {
        if !is_input(event) {
            continue;
        }
        let group = since.entry(event.group).or_default();
        group.push(event);
        if fires(group) {
            group.clear();
            hits.push(number);
        }
    }
    hits
}

/// Those of the timespan that ends with the last.
fn window<'e>(group: &[&'e Event], seconds: u64) -> Vec<&'e Event> {
    let now = group.last().map_or(0, |event| event.second);
    group.iter().copied().filter(|event| event.second + seconds >= now).collect()
}

/// Whether some events of these kinds lie in this order within the timespan, the last event being the last of them.
fn has_order(group: &[&Event], kinds: &[usize], seconds: u64) -> bool {
    let Some((last, before)) = group.split_last() else { return false };
    if last.kind != kinds[kinds.len() - 1] {
        return false;
    }
    // From each event that could be the first, the others as early as they come.
    (0..before.len()).any(|first| {
        let mut wanted = kinds[..kinds.len() - 1].iter();
        let mut next = wanted.next();
        if before[first].second + seconds < last.second {
            return false;
        }
        for event in &before[first..] {
            if next == Some(&event.kind) {
                next = wanted.next();
            }
        }
        next.is_none() && before[first].kind == kinds[0]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_count_is_that_of_the_window(events in events(), least in 1_usize..5, seconds in 1_u64..20) {
        let text = format!("{{type: event_count, rules: [a, b], group-by: [group], timespan: {seconds}s, condition: {{gte: {least}}}}}");
        let expected = rescan(&events, &|event| event.kind < 2, &|group| window(group, seconds).len() >= least);
        prop_assert_eq!(engine(&text, &events), expected);
    }

    #[test]
    fn distinct_values_are_those_of_the_window(events in events(), least in 1_usize..4, seconds in 1_u64..20) {
        let text = format!(
            "{{type: value_count, rules: [a], group-by: [group], timespan: {seconds}s, condition: {{gte: {least}, field: value}}}}"
        );
        let distinct = |group: &[&Event]| {
            let mut values: Vec<u64> = window(group, seconds).iter().map(|event| event.value).collect();
            values.sort_unstable();
            values.dedup();
            values.len()
        };
        let expected = rescan(&events, &|event| event.kind == 0, &|group| distinct(group) >= least);
        prop_assert_eq!(engine(&text, &events), expected);
    }

    #[test]
    fn a_sum_is_that_of_the_window(events in events(), above in 0_u64..9, seconds in 1_u64..20) {
        let text = format!(
            "{{type: value_sum, rules: [a], group-by: [group], timespan: {seconds}s, condition: {{gt: {above}, field: value}}}}"
        );
        let sum = |group: &[&Event]| window(group, seconds).iter().map(|event| event.value).sum::<u64>();
        let expected = rescan(&events, &|event| event.kind == 0, &|group| sum(group) > above);
        prop_assert_eq!(engine(&text, &events), expected);
    }

    #[test]
    fn together_is_all_kinds_in_the_window(events in events(), seconds in 1_u64..20) {
        let text = format!("{{type: temporal, rules: [a, b, c], group-by: [group], timespan: {seconds}s, condition: a and (b or c)}}");
        let has = |group: &[&Event], kind: usize| window(group, seconds).iter().any(|event| event.kind == kind);
        let expected =
            rescan(&events, &|_| true, &|group| has(group, 0) && (has(group, 1) || has(group, 2)));
        prop_assert_eq!(engine(&text, &events), expected);
    }

    #[test]
    fn an_order_fires_exactly_where_one_is_there(events in events(), seconds in 1_u64..20) {
        let text = format!("{{type: temporal_ordered, rules: [a, b], group-by: [group], timespan: {seconds}s}}");
        let expected = rescan(&events, &|event| event.kind < 2, &|group| has_order(group, &[0, 1], seconds));
        prop_assert_eq!(engine(&text, &events), expected);
    }

    #[test]
    fn the_first_of_each_group_that_an_order_of_three_fires_on_is_the_first_that_there_is(
        events in events(),
        seconds in 1_u64..20,
    ) {
        // What a hit uses up is a choice once there are several; where the first one comes is not.
        let text = format!("{{type: temporal_ordered, rules: [a, b, c], group-by: [group], timespan: {seconds}s}}");
        let first = |hits: Vec<u64>| {
            let mut first: BTreeMap<u64, u64> = BTreeMap::new();
            for hit in hits {
                first.entry(events[usize::try_from(hit).expect("few")].group).or_insert(hit);
            }
            first
        };
        let expected = rescan(&events, &|_| true, &|group| has_order(group, &[0, 1, 2], seconds));
        prop_assert_eq!(first(engine(&text, &events)), first(expected));
    }
}
