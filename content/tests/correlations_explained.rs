//! What an account of a correlation says is what the engine did: the same hits at the same events, by two ways of judging that share no
//! state; and the reasons that it gives are the ones that there are.

use proptest::prelude::*;
use serde_json::{json, Value as Json};
use watertight_content::rule::LogSource;
use watertight_content::sigma::detect::{Detector, Hit};
use watertight_content::sigma::{load_texts, Source};
use watertight_engine::{CorrelationAccount, Image, Moment, Verdict};

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1_000 * SECOND_NS;

/// How much later than others an event may come.
const SLACK_NS: u64 = 2 * SECOND_NS;

const RULES: &str = "
title: a
name: a
id: ia
logsource: {category: c}
detection: {s: {kind: a}, condition: s}
---
title: b
name: b
id: ib
logsource: {category: c}
detection: {s: {kind: b}, condition: s}
---
title: c
name: c
id: ic
logsource: {category: c}
detection: {s: {kind: c}, condition: s}
---
title: inner
name: inner
id: inner
correlation: {type: temporal_ordered, rules: [a, b], group-by: [group], timespan: 5s}
---
";

/// Correlations of every kind; `TIME` is the timespan.
const CORRELATIONS: [&str; 14] = [
    "{type: event_count, rules: [a, b], group-by: [group], timespan: TIME, condition: {gte: 3}}",
    "{type: event_count, rules: a, timespan: TIME, condition: {lt: 3}}",
    "{type: value_count, rules: a, group-by: [group], timespan: TIME, condition: {gte: 2, field: value}}",
    "{type: value_count, rules: a, group-by: [group], timespan: TIME, condition: {eq: 2, field: value}}",
    "{type: value_sum, rules: [a, b], group-by: [group], timespan: TIME, condition: {gt: 4, field: value}}",
    "{type: value_avg, rules: a, group-by: [group], timespan: TIME, condition: {gte: 1.5, field: value}}",
    "{type: value_max, rules: a, group-by: [group], timespan: TIME, condition: {lte: 2, field: value}}",
    "{type: temporal, rules: [a, b, c], group-by: [group], timespan: TIME, condition: a and (b or c)}",
    "{type: temporal, rules: [a, b, c], group-by: [group], timespan: TIME, condition: a and b and not c}",
    "{type: temporal_ordered, rules: [a, b, c], group-by: [group], timespan: TIME}",
    "{type: event_count, rules: inner, group-by: [group], timespan: TIME, condition: {gte: 2}}",
    "{type: temporal_ordered, timespan: TIME, group-by: [group], stages: [{name: x, logsource: {category: c}, detection: {s: {kind: a}, condition: s}}, {name: y, logsource: {category: c}, detection: {s: {kind: b}, condition: s}, absent: 3s}]}",
    "{type: temporal_ordered, timespan: TIME, stages: [{name: x, logsource: {category: c}, detection: {s: {kind: a}, condition: s}}, {name: y, logsource: {category: c}, detection: {s: {kind: b}, condition: s}, where: {value|fieldref: x.value}}, {name: z, logsource: {category: c}, detection: {s: {kind: '*'}, condition: s}, where: {group|fieldref|neq: y.group}}]}",
    "{type: temporal_ordered, timespan: TIME, group-by: [group], stages: [{name: x, logsource: {category: c}, detection: {s: {kind: '*'}, condition: s}}, {name: y, logsource: {category: c}, detection: {s: {kind: '*'}, condition: s}}]}",
];

fn compiled(correlation: &str) -> Vec<u8> {
    let text = format!("{RULES}title: C\nid: corr\ncorrelation: {correlation}\n");
    let mut library = load_texts([Source { file: "a.yml", text: &text }]);
    let image = library.image().expect("few rules");
    assert!(library.rejections.is_empty(), "{correlation}: {}", library.rejections[0]);
    image
}

/// The engine's hits and the account, of events that say in which second they were.
fn both(correlation: &str, events: &[(u64, Json)]) -> (Vec<Hit>, CorrelationAccount) {
    let image = compiled(correlation);
    let image = Image::open(&image).expect("compiled here");
    let position = image.rules().position(|rule| rule.id() == "corr").expect("it is there");
    let position = u32::try_from(position).expect("few rules");
    let mut detector = Detector::with_slack(image, SLACK_NS).explaining(position);
    let mut hits = Vec::new();
    for (number, (second, event)) in (1..).zip(events) {
        let source = LogSource { category: Some("c".into()), product: None, service: None };
        let moment = Moment { time_ns: START_NS + second * SECOND_NS, number };
        hits.extend(detector.at(source, event, moment, false));
    }
    hits.extend(detector.end());
    hits.retain(|hit| hit.rule == "corr");
    let account = detector.account().expect("a correlation");
    (hits, account)
}

fn events() -> impl Strategy<Value = Vec<(u64, Json)>> {
    // Seconds that go back a little now and then, and values that are sometimes not there.
    let event = (0_u64..6, 0_u64..4, 0_usize..3, 0_u64..3, 0_u64..4, 0..12);
    prop::collection::vec(event, 0..70).prop_map(|all| {
        let mut second = 10;
        let make = |(later, earlier, kind, group, value, lacks): (u64, u64, usize, u64, u64, i32)| {
            second += later;
            let kind = ["a", "b", "c"][kind];
            let event = match lacks {
                0 => json!({"kind": kind, "value": value}),
                1 => json!({"kind": kind, "group": group}),
                _ => json!({"kind": kind, "group": group, "value": value}),
            };
            (second - earlier, event)
        };
        all.into_iter().map(make).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn an_account_has_the_hits_that_the_engine_has(
        events in events(),
        correlation in 0..CORRELATIONS.len(),
        seconds in 1_u64..20,
    ) {
        let text = CORRELATIONS[correlation].replace("TIME", &format!("{seconds}s"));
        let (hits, account) = both(&text, &events);
        prop_assert_eq!(account.fired, hits.len() as u64, "{}", text);
        for (hit, told) in hits.iter().zip(&account.told) {
            let led = hit.led.as_ref().expect("a correlation");
            let engine = (hit.event, led.time_ns, led.count, led.is_by_clock);
            prop_assert_eq!(engine, (told.moment.number, told.moment.time_ns, told.count, told.is_by_clock), "{}", text);
        }
    }
}

fn last(account: &CorrelationAccount) -> (&Verdict, Vec<(String, String)>) {
    let (step, group) = account.steps.last().expect("a step");
    (&step.verdict, group.clone())
}

fn event(kind: &str, group: &str) -> Json {
    json!({"kind": kind, "group": group})
}

const ORDER: &str = "{type: temporal_ordered, rules: [a, b], group-by: [group], timespan: 10s}";

#[test]
fn a_count_that_is_too_small_says_how_many_there_were_and_of_what() {
    let count = "{type: event_count, rules: a, group-by: [group], timespan: 10s, condition: {gte: 3}}";
    let (hits, account) = both(count, &[(0, event("a", "x")), (1, event("a", "y")), (2, event("a", "x"))]);
    assert_eq!((hits.len(), account.wanted.as_deref()), (0, Some(">= 3")));
    let of_x = vec![("group".to_owned(), "x".to_owned())];
    assert_eq!(last(&account), (&Verdict::Measures { measured: 2.0, events: 2 }, of_x));
    assert_eq!(account.under_way.len(), 2);
}

#[test]
fn a_stage_that_comes_too_late_says_by_how_much_and_after_what() {
    let (_, account) = both(ORDER, &[(0, event("a", "x")), (13, event("b", "x"))]);
    let began = Moment { time_ns: START_NS, number: 1 };
    assert_eq!(last(&account).0, &Verdict::TooLate { began, by_ns: 3 * SECOND_NS });
}

#[test]
fn a_stage_of_another_group_names_where_the_one_before_was() {
    let (_, account) = both(ORDER, &[(0, event("a", "x")), (1, event("b", "y"))]);
    let elsewhere = Some(Moment { time_ns: START_NS, number: 1 });
    assert_eq!(last(&account).0, &Verdict::NothingBefore { elsewhere });
    let [open] = account.under_way.as_slice() else { unreachable!("{account:?}") };
    assert_eq!((open.reached, open.group.as_slice()), (Some(0), [("group".to_owned(), "x".to_owned())].as_slice()));
}

#[test]
fn a_hit_without_the_field_of_the_group_names_the_field() {
    let (_, account) = both(ORDER, &[(0, json!({"kind": "a"})), (1, event("b", "x"))]);
    assert_eq!(account.steps[0].0.verdict, Verdict::Lacks { field: "group".to_owned() });
    let seen: Vec<_> = account.inputs.iter().map(|input| (input.name.as_str(), input.hits, input.lacking)).collect();
    assert_eq!(seen, [("a", 1, 1), ("b", 1, 0)]);
}
