//! What one event may cost: beyond that it is read in part, which is counted, and what stands at the end of a long value is still
//! found.

use serde_json::{json, Value as Json};
use watertight_content::image::{compile_within, Source as Compiled, Target};
use watertight_content::sigma::{load_texts, JsonEvent, Slots, Source};
use watertight_engine::{Budget, Image, Limits, LogSource, Scratch, FIELD_BYTES_MAX, VALUE_BYTES_MAX};

fn evaluate(detection: &str, event: &Json) -> (bool, Limits) {
    evaluate_within(Budget::default(), detection, event)
}

fn evaluate_within(budget: Budget, detection: &str, event: &Json) -> (bool, Limits) {
    let text = format!(
        "title: T\nid: 00000000-0000-4000-8000-000000000001\nlogsource: {{category: c}}\ndetection: {detection}\n"
    );
    let library = load_texts([Source { file: "a.yml", text: &text }]);
    assert!(library.rejections.is_empty(), "{}", library.rejections[0]);
    let sources =
        library.rules.iter().map(|loaded| Compiled { rule: &loaded.rule, file: &loaded.file, line: loaded.line });
    let image = compile_within(budget, Target::Foreign, sources, &[]).expect("one rule");
    let image = Image::open(&image).expect("compiled here");
    let event = JsonEvent::new(event, &Slots::of(&image));
    let plan = image.plan(&LogSource { category: Some("c"), ..LogSource::default() });
    let mut hits = 0;
    let limits = plan.evaluate(&event, &mut Scratch::new(), &mut |_| hits += 1);
    (hits == 1, limits)
}

#[test]
fn a_long_value_is_read_at_both_ends_and_the_cut_is_counted() {
    let value = format!("begin {} middle {} end", "x".repeat(VALUE_BYTES_MAX), "y".repeat(VALUE_BYTES_MAX));
    let event = json!({ "f": value });
    for (selection, expected) in [
        ("f|startswith: begin", true),
        ("f|endswith: ' end'", true),
        ("f|contains: 'begin x'", true),
        ("f|contains: middle", false),
        ("f|re: '^begin'", true),
        ("f|re: middle", false),
        ("f: 'begin*end'", false),
    ] {
        let (fires, limits) = evaluate(&format!("{{s: {{{selection}}}, condition: s}}"), &event);
        assert_eq!(fires, expected, "{selection}");
        assert!(limits.cut_values > 0 && limits.undecided_rules == 0, "{selection}: {limits:?}");
    }
}

#[test]
fn values_beyond_a_fields_share_are_not_read_and_are_counted() {
    let values: Vec<String> = (0..20_000).map(|number| format!("value {number}")).collect();
    let (fires, limits) = evaluate("{s: {f: 'value 3'}, condition: s}", &json!({ "f": values }));
    assert!(fires && limits.cut_values > 0, "{limits:?}");
    let read = values.len() - usize::try_from(limits.cut_values).expect("few");
    assert!(read * "value 0".len() < FIELD_BYTES_MAX, "{read} values were read");
}

#[test]
fn a_rule_that_costs_too_much_is_given_up_and_counted_and_the_others_go_on() {
    // Too many states for a table, and no literal that announces it: it is tried on every event.
    let costly = "{s: {f|re: '[a-y]{0,200}[b-z]{0,200}[a-x]{200}0'}, other: {f|contains: aaa}, condition: s}";
    let event = json!({ "f": "a".repeat(VALUE_BYTES_MAX) });
    let (fires, limits) = evaluate(costly, &event);
    assert!(!fires);
    assert_eq!((limits.undecided_rules, limits.first_undecided), (1, Some(0)), "{limits:?}");
    let (fires, limits) = evaluate("{s: {f|contains: aaa}, condition: s}", &event);
    assert!(fires && limits == Limits::default(), "{limits:?}");
}

#[test]
fn what_is_made_to_cost_much_for_each_byte_is_given_up_and_counted() {
    let any = format!("f: '*{}b*'", "?".repeat(200));
    let begins_everywhere = format!("f: '*a{}b*'", "?a".repeat(100));
    for (selection, value) in [
        // 8 KiB, of which each letter moves a hundred threads.
        ("f|re: '(fo|of|oo){1,20}[a-z]{50,90}x[fo]{3,20}z'", "fo".repeat(4 << 10)),
        ("f|re: '(a|aa|aaa){10,60}[a-m]{30,70}[a-n]{30,70}b'", "a".repeat(8 << 10)),
        (any.as_str(), "a".repeat(VALUE_BYTES_MAX)),
        // What it can't be without is there, at the wrong place.
        (begins_everywhere.as_str(), format!("ab{}", "a".repeat(VALUE_BYTES_MAX - 2))),
    ] {
        let (fires, limits) = evaluate(&format!("{{s: {{{selection}}}, condition: s}}"), &json!({ "f": value }));
        assert!(!fires && (limits.undecided_rules, limits.first_undecided) == (1, Some(0)), "{selection}: {limits:?}");
        // What people type is far below.
        let (_, limits) = evaluate(&format!("{{s: {{{selection}}}, condition: s}}"), &json!({ "f": "fo".repeat(100) }));
        assert_eq!(limits, Limits::default(), "{selection}");
    }
}

#[test]
fn a_question_costs_by_what_it_compares_and_not_by_its_kind() {
    // Sixty rules, each of which asks about the whole value.
    let selections: Vec<String> = (0..60).map(|number| format!("s{number}: {{f|gt: {number}9e300}}")).collect();
    let asked = format!("{{{}, condition: 1 of s*}}", selections.join(", "));
    let (fires, limits) = evaluate(&asked, &json!({ "f": format!("-{}", "1".repeat(VALUE_BYTES_MAX - 1)) }));
    assert!(!fires && limits.undecided_rules == 1, "{limits:?}");
    let (fires, limits) = evaluate(&asked, &json!({ "f": "-1" }));
    assert!(!fires && limits == Limits::default(), "{limits:?}");
}

#[test]
fn content_may_lower_each_limit_and_what_is_beyond_is_counted() {
    let all = Budget::default();
    // Patterns with a letter inside that may be any are asked for one by one.
    let asked = "{s: {f: ['a?c*x', 'b?d*x', '?*z']}, condition: s}";
    let event = json!({ "f": "abcz" });
    assert_eq!(evaluate_within(all, asked, &event), (true, Limits::default()));
    let (fires, limits) = evaluate_within(
        Budget { questions_max: 1, ..all },
        "{s: {f: '?*y'}, t: {f: '?*z'}, condition: s or t}",
        &event,
    );
    assert!(!fires && limits.undecided_rules == 1, "{limits:?}");
    let (fires, limits) = evaluate_within(Budget { work_bytes_max: 3, ..all }, asked, &event);
    assert!(!fires && limits.undecided_rules == 1, "{limits:?}");
    let (fires, limits) =
        evaluate_within(Budget { field_bytes_max: 8, ..all }, "{s: {f|contains: bc}, condition: s}", &event);
    assert!(!fires && limits.cut_values == 1, "{limits:?}");
    let program = "{s: {f|re: '[a-y]{0,200}[b-z]{0,200}[a-x]{200}0'}, condition: s}";
    assert!(refused(Budget { program_steps_max: 10, ..all }, program).contains("has too many steps"));
}

#[test]
fn content_that_allows_itself_more_than_the_engine_does_is_refused() {
    let all = Budget::default();
    let plain = "{s: {f: a}, condition: s}";
    for budget in [
        Budget { questions_max: all.questions_max + 1, ..all },
        Budget { field_bytes_max: all.field_bytes_max + 1, ..all },
        Budget { work_bytes_max: all.work_bytes_max + 1, ..all },
        Budget { program_steps_max: all.program_steps_max + 1, ..all },
        Budget { questions_max: 0, ..all },
        Budget { field_bytes_max: 0, ..all },
        Budget { work_bytes_max: 0, ..all },
    ] {
        assert!(refused(budget, plain).contains("budget"), "{budget:?}");
    }
}

fn refused(budget: Budget, detection: &str) -> String {
    let text = format!("title: T\nid: i\nlogsource: {{category: c}}\ndetection: {detection}\n");
    let library = load_texts([Source { file: "a.yml", text: &text }]);
    let sources =
        library.rules.iter().map(|loaded| Compiled { rule: &loaded.rule, file: &loaded.file, line: loaded.line });
    compile_within(budget, Target::Foreign, sources, &[]).expect_err("more than allowed").to_string()
}
