//! What correlations mean here: Sigma's own, one test per point on which readers of the specification differ, and what is refused.

use serde_json::{json, Value as Json};
use watertight_content::rule::LogSource;
use watertight_content::sigma::detect::{Detector, Hit};
use watertight_content::sigma::verdict::{rows, Supplied, Supply, Verdict};
use watertight_content::sigma::{load_texts, Kind, Library, Source};
use watertight_engine::{Image, Moment};

const SECOND_NS: u64 = 1_000_000_000;

/// When the first event of a test happens.
const START_NS: u64 = 1_000 * SECOND_NS;

/// The rule `name`, which fires on events whose field `kind` is that name.
fn rule(name: &str) -> String {
    format!(
        "title: {name}\nname: {name}\nid: id-{name}\nlogsource: {{category: c}}\n\
         detection: {{s: {{kind: {name}}}, condition: s}}\n---\n"
    )
}

/// Rules `a`, `b` and `c`, and a correlation with these lines.
fn document(correlation: &str) -> String {
    format!("{}title: C\nid: corr\ncorrelation: {correlation}\n", ["a", "b", "c"].map(rule).concat())
}

fn library(text: &str) -> Library {
    load_texts([Source { file: "test.yml", text }])
}

fn compiled(text: &str) -> Vec<u8> {
    let mut library = library(text);
    let image = library.image().expect("few rules");
    assert!(library.rejections.is_empty(), "{}", library.rejections[0]);
    image
}

/// The line and the words with which a document is refused; its rules are not.
fn refusal(text: &str) -> (usize, String) {
    let mut library = library(text);
    library.image().expect("few rules");
    assert_eq!(library.rejections.len(), 1, "{text}: {:?}", library.rejections);
    let reason = &library.rejections[0].reason;
    (library.rejections[0].line, format!("{reason}: {}", reason.mend()))
}

/// Runs events `(second, event)` and gives `(rule, number of the event)` of each hit, the numbers from 0.
fn hits(text: &str, events: &[(f64, Json)]) -> Vec<(String, u64)> {
    told(text, events).into_iter().map(|hit| (hit.rule, hit.event)).collect()
}

fn told(text: &str, events: &[(f64, Json)]) -> Vec<Hit> {
    let image = compiled(text);
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    let mut told = Vec::new();
    for (number, (second, event)) in (0..).zip(events) {
        told.extend(at(&mut detector, *second, number, event));
    }
    told.extend(detector.end());
    told
}

fn at(detector: &mut Detector<'_>, second: f64, number: u64, event: &Json) -> Vec<Hit> {
    let source = LogSource { category: Some("c".into()), product: None, service: None };
    let time_ns = START_NS + (second * SECOND_NS as f64) as u64;
    detector.at(source, event, Moment { time_ns, number }, false)
}

/// The events at which the correlation `corr` fired.
fn fired(correlation: &str, events: &[(f64, Json)]) -> Vec<u64> {
    hits(&document(correlation), events)
        .into_iter()
        .filter(|(rule, _)| rule == "corr")
        .map(|(_, event)| event)
        .collect()
}

/// Events of one kind at these seconds.
fn events(kinds: &str, seconds: &[f64]) -> Vec<(f64, Json)> {
    kinds.chars().zip(seconds).map(|(kind, second)| (*second, json!({"kind": kind.to_string()}))).collect()
}

#[test]
fn a_count_fires_with_the_event_that_completes_it_and_begins_anew() {
    let count = "{type: event_count, rules: a, timespan: 10s, condition: {gte: 3}}";
    assert_eq!(fired(count, &events("aaaaaaa", &[0., 1., 2., 3., 4., 5., 6.])), [2, 5]);
    let above = "{type: event_count, rules: [a, b], timespan: 10s, condition: {gt: 2}}";
    assert_eq!(fired(above, &events("abca", &[0., 1., 2., 3.])), [3], "c is not among the rules");
}

#[test]
fn a_window_slides_and_events_exactly_a_timespan_apart_are_within_it() {
    let count = "{type: event_count, rules: a, timespan: 10s, condition: {gte: 3}}";
    assert_eq!(fired(count, &events("aaaa", &[0., 5., 10., 16.])), [2]);
    assert_eq!(fired(count, &events("aaaa", &[0., 5., 10.001, 15.])), [3], "5, 10 and 15");
    assert_eq!(fired(count, &events("aaaa", &[0., 9., 18., 27.])), Vec::<u64>::new());
}

#[test]
fn each_group_is_counted_by_itself_and_an_event_without_the_field_belongs_to_none() {
    let count = "{type: event_count, rules: a, group-by: [host, user], timespan: 10s, condition: {gte: 2}}";
    let event = |host: Json, user: Json| (0., json!({"kind": "a", "host": host, "user": user}));
    let all = [
        event("x".into(), 1.into()),
        event("x".into(), 2.into()),
        event("y".into(), 1.into()),
        event("x".into(), Json::Null),
        event("x".into(), Json::Null),
        event("x".into(), "1".into()),
        event("X".into(), 2.into()),
    ];
    assert_eq!(fired(count, &all), [5], "numbers are compared by their text, and case matters");
}

#[test]
fn distinct_values_are_counted_once_each_and_a_value_seen_again_stays_longer() {
    let count = "{type: value_count, rules: a, timespan: 10s, condition: {gte: 3, field: port}}";
    let ports = |all: &[(f64, i64)]| -> Vec<(f64, Json)> {
        all.iter().map(|(second, port)| (*second, json!({"kind": "a", "port": port}))).collect()
    };
    assert_eq!(fired(count, &ports(&[(0., 1), (1., 1), (2., 2), (3., 2), (4., 3), (5., 1)])), [4]);
    assert_eq!(fired(count, &ports(&[(0., 1), (5., 2), (9., 1), (14., 3)])), [3], "1 was there again at 9");
    assert_eq!(fired(count, &ports(&[(0., 1), (5., 2), (14., 3)])), Vec::<u64>::new());
}

#[test]
fn sums_are_exact_over_the_window_and_numbers_in_texts_count() {
    let sum = "{type: value_sum, rules: a, timespan: 10s, condition: {gt: 10, field: bytes}}";
    let of = |all: &[(f64, Json)]| -> Vec<(f64, Json)> {
        all.iter().map(|(second, bytes)| (*second, json!({"kind": "a", "bytes": bytes}))).collect()
    };
    assert_eq!(fired(sum, &of(&[(0., 5.into()), (1., "5".into()), (2., json!(0.001))])), [2]);
    assert_eq!(fired(sum, &of(&[(0., 8.into()), (11., 8.into()), (12., "x".into()), (13., 3.into())])), [3]);
    assert_eq!(fired(sum, &of(&[(0., 8.into()), (1., (-4).into()), (2., 6.into())])), Vec::<u64>::new());
}

#[test]
fn what_more_events_could_undo_is_judged_when_the_timespan_is_over() {
    let few = "{type: event_count, rules: a, timespan: 10s, condition: {lt: 3}}";
    assert_eq!(fired(few, &events("aab", &[0., 1., 10.])), Vec::<u64>::new(), "it may still come");
    let by_clock = told(&document(few), &events("aacaaa", &[0., 1., 11., 12., 13., 14.]));
    let by_clock: Vec<_> = by_clock.iter().filter(|hit| hit.rule == "corr").collect();
    let [hit] = by_clock.as_slice() else { unreachable!("{by_clock:?}") };
    let led = hit.led.as_ref().expect("a correlation");
    assert_eq!((hit.event, led.is_by_clock, led.time_ns), (1, true, START_NS + 10 * SECOND_NS));
}

#[test]
fn a_mean_a_least_and_a_greatest_are_judged_over_the_timespan_that_the_first_event_begins() {
    let of = |kind: &str, bound: &str| {
        let text = format!("{{type: {kind}, rules: a, timespan: 10s, condition: {{{bound}, field: n}}}}");
        let all: Vec<(f64, Json)> =
            [(0., 2), (1., 4), (9., 9), (20.5, 100)].map(|(at, n)| (at, json!({"kind": "a", "n": n}))).into();
        fired(&text, &all)
    };
    assert_eq!(of("value_avg", "gte: 5"), [2]);
    assert_eq!(of("value_avg", "gt: 5"), Vec::<u64>::new());
    assert_eq!(of("value_avg", "lt: 5.001"), [2]);
    assert_eq!(of("value_min", "lte: 2"), [2]);
    assert_eq!(of("value_min", "lt: 2"), Vec::<u64>::new());
    assert_eq!(of("value_max", "eq: 9"), [2]);
}

#[test]
fn rules_fire_together_in_any_order_and_in_order_only_if_asked() {
    let any = "{type: temporal, rules: [a, b], timespan: 10s}";
    assert_eq!(fired(any, &events("abba", &[0., 1., 2., 3.])), [1, 3]);
    assert_eq!(fired(any, &events("ba", &[0., 10.])), [1]);
    assert_eq!(fired(any, &events("ba", &[0., 10.1])), Vec::<u64>::new());
    let ordered = "{type: temporal_ordered, rules: [a, b, c], timespan: 10s}";
    assert_eq!(fired(ordered, &events("abc", &[0., 5., 10.])), [2]);
    assert_eq!(fired(ordered, &events("bacbc", &[0., 1., 2., 3., 4.])), [4]);
    assert_eq!(fired(ordered, &events("abc", &[0., 5., 10.1])), Vec::<u64>::new());
    assert_eq!(fired(ordered, &events("aabc", &[0., 5., 6., 11.])), [3], "the later beginning counts");
    assert_eq!(fired(ordered, &events("abcbc", &[0., 1., 2., 3., 4.])), [2], "what has fired begins anew");
}

#[test]
fn a_condition_says_which_rules_must_and_must_not_have_fired() {
    let of = |condition: &str, kinds: &str| {
        let text = format!("{{type: temporal, rules: [a, b, c], timespan: 10s, condition: {condition}}}");
        fired(&text, &events(kinds, &[0., 1., 2., 3., 14.]))
    };
    assert_eq!(of("a and not b", "a"), [0]);
    assert_eq!(of("a and not b", "ba"), Vec::<u64>::new());
    assert_eq!(of("c and (a or b)", "bc"), [1]);
    assert_eq!(of("a and not b", "bcc-a"), [4], "b has left the window");
    assert_eq!(of("1 of *", "c"), [0]);
    let (_, words) = refusal(&document("{type: temporal, rules: [a, b], timespan: 1s, condition: not a}"));
    assert!(words.contains("without any event"), "{words}");
}

#[test]
fn aliases_join_rules_whose_fields_have_other_names() {
    let text = "{type: temporal, rules: [id-a, b], group-by: [ip], timespan: 1m, \
                aliases: {ip: {a: source, id-b: destination}}}";
    let a = |ip: &str| (0., json!({"kind": "a", "source": ip, "destination": "9.9.9.9"}));
    let b = |ip: &str| (1., json!({"kind": "b", "destination": ip, "source": "9.9.9.9"}));
    assert_eq!(fired(text, &[a("1.1.1.1"), b("2.2.2.2"), b("1.1.1.1")]), [2]);
    let (line, words) =
        refusal(&document("{type: temporal, rules: [a, b], group-by: [ip], timespan: 1m, aliases: {ip: {a: source}}}"));
    assert!(line > 12 && words.contains("no field for rule"), "{line} {words}");
}

#[test]
fn rules_that_a_correlation_listens_to_are_no_alerts_unless_it_generates() {
    let silent = "{type: event_count, rules: a, timespan: 1m, condition: {gte: 2}}";
    let pair = |rule: &str, event| (rule.to_owned(), event);
    assert_eq!(hits(&document(silent), &events("aba", &[0., 1., 2.])), [pair("id-b", 1), pair("corr", 2)]);
    let both = [pair("id-a", 0), pair("id-a", 1), pair("corr", 1)];
    let inside = silent.replace("rules", "generate: true, rules");
    assert_eq!(hits(&document(&inside), &events("aa", &[0., 1.])), both);
    assert_eq!(hits(&format!("{}generate: true\n", document(silent)), &events("aa", &[0., 1.])), both);
    let other = format!("{}---\ntitle: D\nid: D\ncorrelation: {inside}\n", document(silent));
    assert_eq!(hits(&other, &events("a", &[0.])), [pair("id-a", 0)], "one that generates is enough");
}

#[test]
fn correlations_stand_on_correlations_wherever_they_are_written() {
    let many = "title: M\nname: many\nid: M\ncorrelation: {type: event_count, rules: [a], group-by: [host, user], \
                timespan: 10s, condition: {gte: 3}}\n";
    let then =
        "title: T\nid: T\ncorrelation: {type: temporal_ordered, rules: [many, b], group-by: [user], timespan: 1m}\n";
    let event = |kind: &str, user: &str, second: f64| (second, json!({"kind": kind, "user": user, "host": "h"}));
    let all = [
        event("a", "x", 0.),
        event("a", "y", 0.),
        event("a", "x", 1.),
        event("b", "x", 2.),
        event("a", "x", 3.),
        event("b", "y", 4.),
        event("b", "x", 5.),
    ];
    let rules = ["a", "b"].map(rule).concat();
    for text in [
        format!("{rules}{many}---\n{then}"),
        format!("{then}---\n{many}---\n{rules}").trim_end_matches("---\n").to_owned(),
    ] {
        assert_eq!(hits(&text, &all), [("T".to_owned(), 6)], "{text}");
    }
    let wrong = format!("{rules}{many}---\n{}", then.replace("[user]", "[port]"));
    let (_, words) = refusal(&wrong);
    assert!(words.contains("host, user"), "{words}");
}

#[test]
fn a_correlation_of_what_is_not_there_is_refused_by_line_with_the_mend() {
    let (line, words) = refusal(&document("\n  type: temporal\n  rules:\n    - a\n    - nobody\n  timespan: 1m"));
    assert_eq!(line, 25, "{words}");
    assert!(words.contains("\"nobody\"") && words.contains("load the folder"), "{words}");
    let rejected = document("{type: temporal, rules: [a, d], timespan: 1m}")
        + "---\ntitle: d\nname: d\nid: id-d\nlogsource: {category: c}\ndetection: {s: {f|nonsense: 1}, condition: s}\n";
    let mut library = library(&rejected);
    library.image().expect("the others");
    let ids: Vec<_> = library.rejections.iter().map(|rejection| rejection.rule.as_deref()).collect();
    assert_eq!(ids, [Some("id-d"), Some("corr")]);
    let circle = "title: P\nid: P\ncorrelation: {type: temporal, rules: [Q, a], timespan: 1m}\n---\n\
                  title: Q\nid: Q\ncorrelation: {type: temporal, rules: [P, a], timespan: 1m}\n";
    let mut library = self::library(&format!("{}{circle}", rule("a")));
    library.image().expect("one rule");
    assert!(library.rejections.iter().all(|one| one.reason.to_string().contains("circle")), "{:?}", library.rejections);
    assert_eq!(library.rejections.len(), 2);
}

#[test]
fn what_is_not_understood_is_refused_and_never_skipped() {
    for (correlation, expected) in [
        ("{type: event_counts, rules: a, timespan: 1m, condition: {gte: 2}}", "event_count"),
        ("{type: value_percentile, rules: a, timespan: 1m, condition: {gte: 2, field: f}}", "memory"),
        ("{type: event_count, rules: a, timespan: 1m}", "condition"),
        ("{type: event_count, rules: a, timespan: 1m, condition: {gte: 0}}", "nothing at all"),
        ("{type: event_count, rules: a, timespan: 1m, condition: {neq: 2}}", "neq"),
        ("{type: event_count, rules: a, timespan: 1m, condition: {gte: 5, lte: 4}}", "no group"),
        ("{type: event_count, rules: a, timespan: 1m, condition: {gte: 2, field: f}}", "value_count"),
        ("{type: value_count, rules: a, timespan: 1m, condition: {gte: 2}}", "add field"),
        ("{type: event_count, rules: a, timespan: 1w, condition: {gte: 2}}", "timespan"),
        ("{type: event_count, rules: a, timespan: 0s, condition: {gte: 2}}", "timespan"),
        ("{type: event_count, rules: [a, a], timespan: 1m, condition: {gte: 2}}", "twice"),
        ("{type: event_count, rules: a, timespan: 1m, condition: {gte: 2}, group_by: [x]}", "group_by"),
        ("{type: event_count, rules: a, timespan: 1m, condition: {gte: 2}, aliases: {x: {a: f}}}", "in no group-by"),
        ("{type: event_count, rules: a, timespan: 1m, condition: {gte: 900000}}", "raise state"),
        ("{type: event_count, rules: a, timespan: 1m, condition: {gte: 2}, state: 900MB}", "64MB"),
        ("{type: temporal_ordered, rules: [a, b], timespan: 1m, condition: a and b}", "no condition"),
        ("{type: temporal, rules: [a, b], timespan: 1m, condition: {gte: 1}}", "text over the names"),
        ("{type: temporal, rules: [a, b], timespan: 1m, join: process}", "stages"),
    ] {
        let (line, words) = refusal(&document(correlation));
        assert!(words.contains(expected) && line >= 18, "{correlation}: {line}: {words}");
    }
}

#[test]
fn events_out_of_order_are_judged_in_order_within_the_slack_and_counted_beyond_it() {
    let text = document("{type: temporal_ordered, rules: [a, b], timespan: 10s}");
    let image = compiled(&text);
    let image = Image::open(&image).expect("compiled here");
    let mut detector = Detector::with_slack(image, 2 * SECOND_NS);
    let mut told = Vec::new();
    for (number, (second, kind)) in [(1., "b"), (0., "a"), (5., "c")].into_iter().enumerate() {
        told.extend(at(&mut detector, second, number as u64, &json!({"kind": kind})));
    }
    let rules: Vec<_> = told.iter().map(|hit| (hit.rule.as_str(), hit.event)).collect();
    assert_eq!(rules, [("id-c", 2), ("corr", 0)], "b came first and happened second");
    assert_eq!(detector.limits().late_events, 0);
    told = at(&mut detector, 2., 3, &json!({"kind": "a"}));
    told.extend(at(&mut detector, 6., 4, &json!({"kind": "b"})));
    told.extend(detector.end());
    assert_eq!(told.len(), 1, "a late event counts as of when it came: {told:?}");
    assert_eq!(detector.limits().late_events, 1);
}

#[test]
fn a_full_table_lets_the_oldest_group_go_and_says_so() {
    let text =
        document("{type: event_count, rules: a, group-by: [user], timespan: 1h, condition: {gte: 2}, state: 1KB}");
    let image = compiled(&text);
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    let mut told = Vec::new();
    for number in 0..100 {
        told.extend(at(&mut detector, number as f64, number, &json!({"kind": "a", "user": number})));
    }
    let evicted = detector.limits().evicted_groups;
    assert!((80..100).contains(&evicted), "{evicted}");
    told.extend(at(&mut detector, 100., 100, &json!({"kind": "a", "user": 99})));
    assert_eq!(told.len(), 1, "the newest is still there: {told:?}");
    assert!(at(&mut detector, 101., 101, &json!({"kind": "a", "user": 0})).is_empty(), "the oldest is not");
}

#[test]
fn a_hit_names_the_events_that_led_to_it() {
    let told = told(&document("{type: temporal_ordered, rules: [a, b], timespan: 10s}"), &events("acb", &[0., 1., 2.]));
    let led = told.last().and_then(|hit| hit.led.clone()).expect("a correlation");
    let events: Vec<_> = led.events.iter().map(|event| (event.input.as_str(), event.event)).collect();
    assert_eq!((events, led.count, led.is_by_clock), (vec![("a", 0), ("b", 2)], 2, false));
}

#[test]
fn a_correlation_is_worth_no_more_than_what_it_listens_to() {
    let of = |correlation: &str, fields: &[&str]| {
        let mut library = library(&document(correlation));
        library.image().expect("few rules");
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        let entry = Supplied { category: Some("c".into()), fields, ..Supplied::default() };
        let rows = rows(&library, &Supply { entries: vec![entry] });
        let row = rows.iter().find(|row| row.kind == Kind::Correlation).expect("a row of its own");
        (row.verdict, row.reason.clone())
    };
    let count = "{type: event_count, rules: [a, b], group-by: [user], timespan: 1m, condition: {gte: 2}}";
    assert_eq!(of(count, &["kind", "user"]), (Verdict::CanFire, String::new()));
    let (verdict, reason) = of(count, &["kind"]);
    assert!(verdict == Verdict::Never && reason.contains("user"), "{reason}");
    let (verdict, reason) = of("{type: temporal_ordered, rules: [a, b], timespan: 1m}", &["user"]);
    assert!(verdict == Verdict::Never && reason.contains("kind"), "{reason}");
}
