//! What Sigma rules mean here, one test per point on which engines are known to differ, and what is refused.

use serde_json::{json, Value as Json};
use watertight_content::rule::LogSource;
use watertight_content::sigma::detect::Detector;
use watertight_content::sigma::verdict::{judge, Supplied, Supply, Verdict};
use watertight_content::sigma::{load_texts, Library, Source};
use watertight_engine::image::layout::TYPE_NUMBER;
use watertight_engine::Image;

const ID: &str = "0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f001";

/// A rule file around a detection, written in flow style so that a test reads in one line.
fn rule(detection: &str) -> String {
    format!("title: T\nid: {ID}\nlogsource: {{category: c, product: p}}\ndetection: {detection}\n")
}

fn library(text: &str) -> Library {
    load_texts([Source { file: "test.yml", text }])
}

fn source() -> LogSource {
    LogSource { category: Some("c".into()), product: Some("p".into()), service: None }
}

fn fires(detection: &str, event: &Json) -> bool {
    let mut library = library(&rule(detection));
    assert!(library.rejections.is_empty(), "{detection}: {}", library.rejections[0]);
    let image = library.image().expect("few rules");
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    !detector.event(source(), event, false).is_empty()
}

/// Whether `{s: {<selection>}, condition: s}` fires.
fn selects(selection: &str, event: Json) -> bool {
    fires(&format!("{{s: {{{selection}}}, condition: s}}"), &event)
}

fn refusal(text: &str) -> (usize, String) {
    let library = library(text);
    assert_eq!((library.rules.len(), library.rejections.len()), (0, 1), "{text}");
    let reason = &library.rejections[0].reason;
    (library.rejections[0].line, format!("{reason}: {}", reason.mend()))
}

#[test]
fn null_is_absent_or_null_and_nothing_else() {
    assert!(selects("f: null", json!({})));
    assert!(selects("f: null", json!({"f": null})));
    assert!(!selects("f: null", json!({"f": ""})));
    assert!(!selects("f: null", json!({"f": "null"})));
    assert!(!selects("f: null", json!({"f": 0})));
}

#[test]
fn the_empty_text_is_present_and_empty() {
    assert!(selects("f: ''", json!({"f": ""})));
    assert!(!selects("f: ''", json!({})));
    assert!(!selects("f: ''", json!({"f": null})));
    assert!(!selects("f: ''", json!({"f": "x"})));
}

#[test]
fn a_filter_on_an_absent_field_does_not_exclude() {
    let detection = "{s: {a: x}, filter_one: {f: y}, condition: s and not 1 of filter_*}";
    assert!(fires(detection, &json!({"a": "x"})));
    assert!(!fires(detection, &json!({"a": "x", "f": "Y"})));
}

#[test]
fn every_dash_in_a_windash_value_stands_for_all_five() {
    for dash in ["-", "/", "–", "—", "―"] {
        let command = json!({"f": format!("procdump.exe {dash}accepteula x")});
        assert!(selects("f|contains|windash: ' -accepteula'", command.clone()), "{dash}");
        assert!(selects("f|contains|windash: ' /accepteula'", command.clone()), "{dash}");
        assert_eq!(selects("f|contains: ' -accepteula'", command), dash == "-");
    }
    assert!(selects("f|endswith|windash: ' -a –b'", json!({"f": "x /a ―b"})));
}

#[test]
fn numbers_and_texts_that_read_the_same_are_equal() {
    assert!(selects("f: 9389", json!({"f": "9389"})));
    assert!(selects("f: '9389'", json!({"f": 9389})));
    assert!(selects("f: 9389", json!({"f": 9389})));
    assert!(!selects("f: 9389", json!({"f": 93890})));
    assert!(selects("f|startswith: 93", json!({"f": 9389})));
    assert!(selects("f: true", json!({"f": "True"})));
    assert!(selects("f: 'true'", json!({"f": true})));
    assert!(selects("f: 1.5", json!({"f": "1.50"})));
}

#[test]
fn text_ignores_case_unless_cased_and_unicode_counts() {
    assert!(selects("f: 'ÄPFEL'", json!({"f": "äpfel"})));
    assert!(selects("f|contains: '\u{212a}elvin'", json!({"f": "zero KELVIN"})));
    assert!(selects("f|cased: Whoami", json!({"f": "Whoami"})));
    assert!(!selects("f|cased: Whoami", json!({"f": "whoami"})));
    assert!(!selects("f|contains|cased: A", json!({"f": "a"})));
}

#[test]
fn regular_expressions_mind_case_unless_told_and_need_not_cover_the_value() {
    assert!(selects("f|re: 'b+c'", json!({"f": "abbcd"})));
    assert!(!selects("f|re: 'B'", json!({"f": "abc"})));
    assert!(selects("f|re|i: 'B'", json!({"f": "abc"})));
    assert!(selects("f|re|m: '^b'", json!({"f": "a\nb"})));
    assert!(!selects("f|re: '^b'", json!({"f": "a\nb"})));
    assert!(selects("f|re|s: 'a.b'", json!({"f": "a\nb"})));
    assert!(!selects("f|re|i|m: 'a.b'", json!({"f": "A\nB"})));
    assert!(selects("f|re: '^\\d{4}$'", json!({"f": 4104})));
}

#[test]
fn all_needs_every_value_and_keywords_too() {
    assert!(selects("f|contains|all: [a, b]", json!({"f": "bxa"})));
    assert!(!selects("f|contains|all: [a, b]", json!({"f": "a"})));
    assert!(selects("'|all': [alpha, beta]", json!({"x": "an ALPHA", "y": "beta"})));
    assert!(!selects("'|all': [alpha, beta]", json!({"x": "alpha"})));
}

#[test]
fn keywords_are_found_inside_any_value_but_a_number_must_be_a_whole_one() {
    let detection = "{s: [needle, 'a*z'], condition: s}";
    assert!(fires(detection, &json!({"x": {"y": ["hay", "a NEEDLE in it"]}})));
    assert!(fires(detection, &json!({"x": "..abcz.."})));
    assert!(!fires(detection, &json!({"needle": "hay"})));
    assert!(fires("{s: [6], condition: s}", &json!({"x": 6})));
    assert!(!fires("{s: [6], condition: s}", &json!({"x": 1685})));
    assert!(selects("'|re': 'n.{2}dle'", json!({"x": "needle"})));
}

#[test]
fn a_list_of_mappings_is_an_or_and_a_list_of_conditions_too() {
    let either = "{s: [{a: x, b: y}, {c: z}], condition: s}";
    assert!(fires(either, &json!({"c": "z"})));
    assert!(fires(either, &json!({"a": "x", "b": "y"})));
    assert!(!fires(either, &json!({"a": "x"})));
    let conditions = "{s: {a: x}, t: {b: y}, condition: [s, t]}";
    assert!(fires(conditions, &json!({"b": "y"})));
}

#[test]
fn them_leaves_out_names_with_an_underscore() {
    let detection = "{s: {a: x}, _t: {b: y}, condition: 1 of them}";
    assert!(fires(detection, &json!({"a": "x"})));
    assert!(!fires(detection, &json!({"b": "y"})));
    assert!(fires("{s_a: {a: x}, _s: {b: y}, condition: all of s_* and _s}", &json!({"a": "x", "b": "y"})));
}

#[test]
fn escapes_make_wildcards_plain_and_a_doubled_backslash_leaves_them_wild() {
    assert!(selects(r"f: 'a\*c'", json!({"f": "a*c"})));
    assert!(!selects(r"f: 'a\*c'", json!({"f": "abc"})));
    assert!(selects(r"f: 'a\?c'", json!({"f": "a?c"})));
    assert!(selects(r"f: 'C:\\*'", json!({"f": r"c:\users"})));
    assert!(selects(r"f: '\\host\x'", json!({"f": r"\host\x"})));
    assert!(selects(r"f: '\\\\host\x'", json!({"f": r"\\host\x"})));
    assert!(selects(r"f|endswith: '\cmd.exe'", json!({"f": r"C:\cmd.exe"})));
    assert!(selects("f: 'a?c*'", json!({"f": "abcd"})));
    assert!(!selects("f: 'a?c'", json!({"f": "ac"})));
}

#[test]
fn a_wildcard_inside_keeps_the_anchor_at_its_end() {
    assert!(selects("f|startswith: 'a*b'", json!({"f": "axxbyy"})));
    assert!(!selects("f|startswith: 'a*b'", json!({"f": "zaxb"})));
    assert!(selects("f|endswith: 'a*b'", json!({"f": "zaxb"})));
    assert!(!selects("f|endswith: 'a*b'", json!({"f": "axbz"})));
}

#[test]
fn base64_is_found_at_every_offset_and_wide_text_too() {
    // "foobar!" behind one, two and three bytes; then "ping" as UTF-16.
    for encoded in ["eGZvb2JhciF5", "eHhmb29iYXIheQ==", "eHh4Zm9vYmFyIXk="] {
        assert!(selects("f|base64offset|contains: 'foobar!'", json!({"f": encoded})), "{encoded}");
    }
    assert!(selects("f|base64: foo", json!({"f": "Zm9v"})));
    assert!(selects("f|base64|contains: foobar", json!({"f": "x Zm9vYmFy x"})));
    for modifier in ["wide", "utf16le"] {
        assert!(selects(&format!("f|{modifier}|base64offset|contains: ping"), json!({"f": "xxcABpAG4AZwBy"})));
    }
    assert!(selects("f|utf16be|base64: a", json!({"f": "AGE="})));
    assert!(selects("f|utf16|base64: a", json!({"f": "//5hAA=="})));
    assert!(selects("f|wide|contains: ab", json!({"f": "xa\u{0}b\u{0}"})));
}

#[test]
fn networks_hold_addresses_of_both_versions() {
    assert!(selects("f|cidr: 192.168.0.0/16", json!({"f": "192.168.7.7"})));
    assert!(!selects("f|cidr: 192.168.0.0/16", json!({"f": "192.169.0.1"})));
    assert!(selects("f|cidr: ['10.0.0.0/8', 'fe80::/10']", json!({"f": "fe80::1"})));
    assert!(!selects("f|cidr: ::/0", json!({"f": "no address"})));
}

#[test]
fn a_field_reference_compares_two_fields_and_is_false_when_one_is_absent() {
    assert!(selects("f|fieldref: g", json!({"f": "A", "g": "a"})));
    assert!(!selects("f|fieldref: g", json!({"f": "a"})));
    assert!(!selects("f|fieldref: g", json!({"g": "a"})));
    assert!(!selects("f|fieldref: g", json!({})));
    assert!(selects("f|fieldref|neq: g", json!({"f": "a", "g": "b"})));
    assert!(!selects("f|neq|fieldref: g", json!({"f": "a", "g": "a"})));
    assert!(selects("f|fieldref|endswith: g", json!({"f": "/bin/sh", "g": "/sh"})));
    assert!(selects("f|fieldref|startswith: g", json!({"f": "/bin/sh", "g": "/bin"})));
    assert!(selects("f|fieldref|contains: g", json!({"f": "/bin/sh", "g": "in"})));
}

#[test]
fn one_of_several_values_is_enough() {
    assert!(selects("f: b", json!({"f": ["a", "b"]})));
    assert!(!selects("f: c", json!({"f": ["a", "b"]})));
    assert!(selects("f|contains|all: [a, b]", json!({"f": ["xa", "xb"]})));
    assert!(selects("f.g: 1", json!({"f": [{"g": 2}, {"g": 1}]})));
}

#[test]
fn exists_asks_for_the_field_and_neq_for_a_difference() {
    assert!(selects("f|exists: true", json!({"f": ""})));
    assert!(!selects("f|exists: true", json!({})));
    assert!(selects("f|exists: false", json!({})));
    assert!(!selects("f|exists: false", json!({"f": 1})));
    assert!(selects("f|neq: a", json!({"f": "b"})));
    assert!(!selects("f|neq: [a, b]", json!({"f": "b"})));
    assert!(!selects("f|contains|neq: a", json!({"f": "bab"})));
}

#[test]
fn numbers_are_compared_as_numbers() {
    assert!(selects("f|lt: 10", json!({"f": 9})));
    assert!(selects("f|lt: 10", json!({"f": "9"})));
    assert!(!selects("f|lt: 10", json!({"f": "10"})));
    assert!(selects("f|lte: 10", json!({"f": 10})));
    assert!(selects("f|gt: 1.5", json!({"f": 2})));
    assert!(selects("f|gte: 2", json!({"f": "2.0"})));
    assert!(!selects("f|gt: 1", json!({"f": "many"})));
    assert!(!selects("f|gt: 1", json!({})));
}

#[test]
fn parts_of_timestamps_are_compared() {
    let event = json!({"f": "2024-02-29T23:59:58Z"});
    for wanted in ["minute: 59", "hour: 23", "day: 29", "week: 9", "month: 2", "year: 2024", "hour|gte: 22"] {
        assert!(selects(&format!("f|{wanted}"), event.clone()), "{wanted}");
    }
    assert!(!selects("f|hour: 22", event));
}

#[test]
fn a_rule_applies_where_every_part_of_its_log_source_equals_the_events() {
    let mut library = library(&rule("{s: {f: a}, condition: s}"));
    let image = library.image().expect("few rules");
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    let event = json!({"f": "a"});
    let with_service = LogSource { service: Some("x".into()), ..source() };
    assert_eq!(detector.event(with_service, &event, false).len(), 1);
    let other = LogSource { product: Some("q".into()), ..source() };
    assert!(detector.event(other, &event, false).is_empty());
    assert!(detector.event(LogSource::default(), &event, false).is_empty());
}

#[test]
fn a_hit_explains_itself() {
    let mut library = library(&rule("{s: {f|contains: ['x', 'bc']}, filter: {g: 1}, condition: s and not filter}"));
    let image = library.image().expect("few rules");
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    let hits = detector.event(source(), &json!({"f": "ABCD"}), true);
    let why = hits[0].explanation.as_ref().expect("an explanation");
    assert_eq!(why.excluded, ["filter"]);
    assert_eq!(why.selections.len(), 1);
    assert_eq!(why.selections[0].name, "s");
    let found = &why.selections[0].matches;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].field.as_str(), found[0].value.as_deref()), ("f", Some("ABCD")));
    assert_eq!(found[0].pattern, "contains 'bc'");
}

#[test]
fn what_is_not_understood_is_refused_with_its_line_and_the_mend() {
    let cases = [
        ("{s: {f|contians: a}, condition: s}", "contians"),
        ("{s: {f|expand: '%admins%'}, condition: s}", "%admins%"),
        ("{s: {f|re: '(?=a)b'}, condition: s}", "look-around"),
        ("{s: {f|re: '(a)\\1'}, condition: s}", "backreference"),
        ("{s: {f|cidr: ten}, condition: s}", "network"),
        ("{s: {f|lt: many}, condition: s}", "a number"),
        ("{s: {f|exists: maybe}, condition: s}", "true or false"),
        ("{s: {f|base64: 'a*'}, condition: s}", "wildcards"),
        ("{s: {f: {g: 1}}, condition: s}", "mapping"),
        ("{s: {f: []}, condition: s}", "no values"),
        ("{s: {}, condition: s}", "empty"),
        ("{s: [[a]], condition: s}", "list"),
        ("{s: {f|contains: null}, condition: s}", "text"),
        ("{s: {f: a}, condition: t}", "\"t\""),
        ("{s: {f: a}, condition: s | count() > 3}", "correlation"),
        ("{s: {f: a}, timeframe: 5m, condition: s}", "timeframe"),
        ("{s: {f: a}}", "condition"),
    ];
    for (detection, named) in cases {
        let (line, reason) = refusal(&rule(detection));
        assert_eq!(line, 4, "{detection}: {reason}");
        assert!(reason.contains(named), "{detection}: {reason}");
    }
}

#[test]
fn documents_that_are_not_rules_are_refused_by_name() {
    let correlation = format!("title: T\nid: {ID}\ncorrelation: {{type: event_count}}\n");
    assert!(refusal(&correlation).1.contains("timespan is missing"));
    assert!(refusal(&format!("title: T\nid: {ID}\naction: global\n")).1.contains("old Sigma"));
    assert!(refusal("- just\n- a list\n").1.contains("a list"));
    assert!(refusal("# nothing\n").1.contains("no rule"));
    assert!(refusal("a: [1\n").1.contains("not YAML"));
}

#[test]
fn one_bad_document_does_not_take_its_neighbours_with_it() {
    let good = rule("{s: {f: a}, condition: s}");
    let bad = good.replace(ID, "other").replace("f: a", "f|bad: a");
    let third = good.replace(ID, "third");
    let library = library(&format!("{good}---\n{bad}---\n{third}"));
    assert_eq!(library.rules.len(), 2);
    assert_eq!(library.rejections[0].rule.as_deref(), Some("other"));
    assert_eq!(library.rejections[0].line, 9);
}

#[test]
fn an_id_given_twice_is_refused() {
    let good = rule("{s: {f: a}, condition: s}");
    let library = load_texts([Source { file: "a.yml", text: &good }, Source { file: "b.yml", text: &good }]);
    assert_eq!(library.rules.len(), 1);
    assert!(library.rejections[0].reason.to_string().contains("a.yml"));
}

fn verdict(detection: &str) -> (Verdict, String) {
    let fields = ["a", "b", "number"].map(str::to_owned).into();
    let types = [("number".to_owned(), TYPE_NUMBER)].into();
    let entry =
        Supplied { category: Some("c".into()), product: Some("p".into()), services: vec!["s*".into()], fields, types };
    let library = library(&rule(detection));
    judge(&library.rules[0].rule, &Supply { entries: vec![entry] })
}

#[test]
fn a_rule_that_cannot_fire_here_says_which_field_it_waits_for() {
    assert_eq!(verdict("{s: {a: x}, condition: s}").0, Verdict::CanFire);
    let (_, reason) = verdict("{s: {a: x, numbr: y}, condition: s}");
    assert!(reason.contains("numbr (line 4; did you mean `number`?)"), "{reason}");
    let (found, reason) = verdict("{s: {a: x, missing: y}, condition: s}");
    assert_eq!(found, Verdict::Never);
    assert!(reason.contains("missing"), "{reason}");
    assert_eq!(verdict("{s: [{a: x}, {missing: y}], condition: s}").0, Verdict::Degraded);
    assert_eq!(verdict("{s: {a: x}, f: {missing: y}, condition: s and not f}").0, Verdict::Degraded);
    assert_eq!(verdict("{s: {a: x, missing: null}, condition: s}").0, Verdict::Degraded);
    assert_eq!(verdict("{s: {a|fieldref: missing}, condition: s}").0, Verdict::Never);
    assert_eq!(verdict("{s: [keyword], condition: s}").0, Verdict::CanFire);
    assert_eq!(verdict("{s: {number: 5}, condition: s}").0, Verdict::CanFire);
    let (found, reason) = verdict("{s: {number|contains: x}, condition: s}");
    assert!(found == Verdict::Never && reason.contains("number (line 4; which is of another type there)"), "{reason}");
    assert_eq!(verdict("{s: {a: x}, t: {b: y}, condition: s}").0, Verdict::Degraded);
}

#[test]
fn a_rule_of_negations_is_marked_for_it_fires_where_fields_are_absent() {
    let (found, reason) = verdict("{f: {missing: y}, condition: not f}");
    assert_eq!(found, Verdict::Degraded);
    assert!(reason.contains("fires where fields are absent"), "{reason}");
}

#[test]
fn a_log_source_that_is_not_supplied_makes_a_rule_never_fire() {
    let library = library(&rule("{s: {a: x}, condition: s}"));
    let (found, reason) = judge(&library.rules[0].rule, &Supply::default());
    assert_eq!(found, Verdict::Never);
    assert!(reason.contains("category c, product p"), "{reason}");
}
