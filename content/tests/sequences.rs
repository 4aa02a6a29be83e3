//! What sequences with their stages in the document mean, and what is refused.

use serde_json::{json, Value as Json};
use watertight_content::rule::LogSource;
use watertight_content::sigma::detect::{Detector, Hit};
use watertight_content::sigma::{load_texts, Source};
use watertight_engine::{Image, Moment};

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1_000 * SECOND_NS;

/// A stage that fires on events of this kind, with more lines of its own.
fn stage(name: &str, more: &str) -> String {
    format!(
        "    - name: {name}\n      logsource: {{category: c}}\n      detection: {{s: {{kind: {name}}}, condition: s}}\n{more}"
    )
}

fn sequence(head: &str, stages: &[String]) -> String {
    format!(
        "title: S\nid: S\ncorrelation:\n  type: temporal_ordered\n  timespan: 10s\n{head}  stages:\n{}",
        stages.concat()
    )
}

fn told(text: &str, events: &[(f64, Json)]) -> Vec<Hit> {
    let mut library = load_texts([Source { file: "test.yml", text }]);
    let image = library.image().expect("one sequence");
    assert!(library.rejections.is_empty(), "{text}\n{}", library.rejections[0]);
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    let mut told = Vec::new();
    for (number, (second, event)) in (0..).zip(events) {
        let source = LogSource { category: Some("c".into()), product: None, service: None };
        let time_ns = START_NS + (second * SECOND_NS as f64) as u64;
        told.extend(detector.at(source, event, Moment { time_ns, number }, false));
    }
    told.extend(detector.end());
    told
}

fn fired(text: &str, events: &[(f64, Json)]) -> Vec<u64> {
    told(text, events).iter().map(|hit| hit.event).collect()
}

fn refusal(text: &str) -> (usize, String) {
    let mut library = load_texts([Source { file: "test.yml", text }]);
    library.image().expect("nothing");
    assert_eq!(library.rejections.len(), 1, "{text}: {:?}", library.rejections);
    let reason = &library.rejections[0].reason;
    (library.rejections[0].line, format!("{reason}: {}", reason.mend()))
}

fn process(kind: &str, id: &str, parent: &str) -> Json {
    json!({"kind": kind, "ProcessGuid": id, "ParentProcessGuid": parent, "ProcessId": 7})
}

#[test]
fn stages_of_one_process_in_their_order_fire_with_the_last() {
    let text = sequence("  join: process\n", &[stage("a", ""), stage("b", "")]);
    let all = [
        (0., process("a", "p1", "x")),
        (1., process("b", "p2", "x")),
        (2., process("b", "p1", "x")),
        (3., process("b", "p1", "x")),
    ];
    assert_eq!(fired(&text, &all), [2], "a pid that is used again is another process, and one beginning fires once");
    let hit = told(&text, &all).remove(0);
    let led: Vec<_> = hit.led.expect("a sequence").events.into_iter().map(|led| (led.input, led.event)).collect();
    assert_eq!(led, [("a".to_owned(), 0), ("b".to_owned(), 2)]);
    assert_eq!(fired(&text, &[(0., process("a", "p", "x")), (10.1, process("b", "p", "x"))]), Vec::<u64>::new());
    assert_eq!(
        fired(&text, &[(0., json!({"kind": "a"})), (1., json!({"kind": "b"}))]),
        Vec::<u64>::new(),
        "no identity"
    );
}

#[test]
fn a_stage_of_a_child_is_joined_by_its_parent_and_one_that_is_acted_on_by_its_target() {
    let text = sequence(
        "  join: process\n",
        &[stage("a", ""), stage("b", "      by: parent\n"), stage("c", "      by: target\n")],
    );
    let target = |id: &str| json!({"kind": "c", "ProcessGuid": "q", "TargetProcessGuid": id});
    let all =
        [(0., process("a", "p", "x")), (1., process("b", "child", "p")), (2., target("child")), (3., target("p"))];
    assert_eq!(fired(&text, &all), [3]);
}

#[test]
fn a_stage_may_refer_to_a_field_of_an_earlier_one_and_each_value_is_kept() {
    let refers = "      where:\n        Image|fieldref: a.File\n";
    let text = sequence("", &[stage("a", ""), stage("b", refers)]);
    let a = |file: &str| json!({"kind": "a", "File": file});
    let b = |image: &str| json!({"kind": "b", "Image": image});
    let all = [(0., a("/x")), (1., a("/y")), (2., b("/z")), (3., b("/X")), (4., b("/y")), (5., b("/y"))];
    assert_eq!(fired(&text, &all), [3, 4], "case does not matter unless it is asked for");
    let cased = text.replace("fieldref", "fieldref|cased");
    assert_eq!(fired(&cased, &all), [4]);
    let differs = text.replace("fieldref", "fieldref|neq");
    assert_eq!(fired(&differs, &[(0., a("/x")), (1., b("/x")), (2., b("/y"))]), [2]);
}

#[test]
fn a_reference_over_a_stage_between_holds_for_every_value_that_was_seen() {
    let text = sequence(
        "  join: process\n",
        &[stage("a", ""), stage("b", ""), stage("c", "      where:\n        Image|fieldref: a.File\n")],
    );
    let of = |kind: &str, field: &str, value: &str| json!({"kind": kind, "ProcessGuid": "p", field: value});
    let all = [
        (0., of("a", "File", "/x")),
        (1., of("a", "File", "/y")),
        (2., of("b", "Any", "")),
        (3., of("c", "Image", "/x")),
        (4., of("c", "Image", "/y")),
        (5., of("c", "Image", "/y")),
    ];
    assert_eq!(fired(&text, &all), [3, 4]);
}

#[test]
fn a_stage_in_the_middle_may_tell_a_value_that_a_later_one_refers_to() {
    let text = sequence(
        "  join: process\n",
        &[stage("a", ""), stage("b", ""), stage("c", "      where:\n        Image|fieldref: b.File\n")],
    );
    let of = |kind: &str, field: &str, value: &str| json!({"kind": kind, "ProcessGuid": "p", field: value});
    let all = [
        (0., of("a", "Any", "")),
        (1., of("b", "File", "/x")),
        (2., of("b", "File", "/y")),
        (3., of("c", "Image", "/x")),
        (4., of("c", "Image", "/y")),
    ];
    assert_eq!(fired(&text, &all), [3, 4]);
}

#[test]
fn an_absent_last_stage_fires_when_its_time_has_run_out_and_not_if_it_comes() {
    let text = sequence("  join: process\n", &[stage("a", ""), stage("b", "      absent: 5s\n")]);
    let (a, b) = (|id: &str| process("a", id, "x"), |id: &str| process("b", id, "x"));
    let all = [(0., a("p")), (1., a("q")), (3., b("q")), (7., a("late")), (8., b("p"))];
    let hits = told(&text, &all);
    let [hit] = hits.as_slice() else { unreachable!("{hits:?}") };
    let led = hit.led.as_ref().expect("a sequence");
    assert_eq!((hit.event, led.is_by_clock, led.time_ns), (0, true, START_NS + 5 * SECOND_NS));
    assert_eq!(fired(&text, &[(0., a("p")), (5., b("p")), (9., b("p"))]), Vec::<u64>::new(), "just in time");
    assert_eq!(fired(&text, &[(0., a("p")), (4., a("p")), (5.5, a("q"))]), [0], "a beginning again delays nothing");
    assert_eq!(fired(&text, &[(0., a("p"))]), Vec::<u64>::new(), "time ends with the last event");
}

#[test]
fn an_event_is_never_two_stages_of_one_sequence() {
    let both =
        "    - name: any\n      logsource: {category: c}\n      detection: {s: {kind: '*'}, condition: s}\n".to_owned();
    let text = sequence("", &[both.clone(), both.replace("any", "other")]);
    let event = |second: f64| (second, json!({"kind": "a"}));
    assert_eq!(fired(&text, &[event(0.), event(1.), event(2.), event(3.)]), [1, 2, 3]);
    assert_eq!(fired(&text, &[event(0.)]), Vec::<u64>::new());
}

#[test]
fn stages_share_the_fields_of_the_grouping() {
    let text = sequence("  group-by: [User]\n", &[stage("a", ""), stage("b", "")]);
    let of = |kind: &str, user: &str| json!({"kind": kind, "User": user});
    assert_eq!(fired(&text, &[(0., of("a", "x")), (1., of("b", "y")), (2., of("b", "x"))]), [2]);
}

#[test]
fn what_stages_do_not_understand_is_refused_by_line_with_the_mend() {
    let two = |head: &str, first: &str, second: &str| sequence(head, &[stage("a", first), stage("b", second)]);
    for (text, line, expected) in [
        (sequence("", &[stage("a", "")]), 7, "two at least"),
        (two("", "", "      sort: x\n"), 13, "sort"),
        (two("", "", "      by: parent\n"), 13, "join: process"),
        (two("  join: process\n", "", "      by: ancestor\n"), 14, "process, parent or target"),
        (two("  join: user\n", "", ""), 6, "group-by"),
        (two("", "      absent: 5s\n", ""), 10, "last stage"),
        (two("", "", "      where: {Image: a.File}\n"), 13, "fieldref"),
        (two("", "", "      where: {Image|fieldref|contains: a.File}\n"), 13, "contains"),
        (two("", "", "      where: {Image|fieldref: File}\n"), 13, "with its name and a dot"),
        (two("", "", "      where: {Image|fieldref: b.File}\n"), 13, "no stage before"),
        (two("", "", "").replace("temporal_ordered", "temporal"), 7, "temporal_ordered"),
        (two("  rules: [x]\n", "", ""), 6, "stages"),
        (two("", "", "").replace("name: b", "name: a"), 10, "two stages"),
        (two("", "", "").replace("name: b", "name: 'a b'"), 10, "letters"),
        (two("", "", "").replace("kind: b", "kind|nonsense: b"), 12, "nonsense"),
    ] {
        let (found, words) = refusal(&text);
        assert!(words.contains(expected) && found == line, "{text}\n{found}: {words}");
    }
}
