//! What filters and exceptions leave out, what they never touch, and which of them are named as dangling, unused or over-broad.

use serde_json::{json, Value as Json};
use watertight_content::rule::LogSource;
use watertight_content::sigma::detect::Detector;
use watertight_content::sigma::exception::{apply, Usage};
use watertight_content::sigma::verdict::{rows, Row, Supplied, Supply, Verdict};
use watertight_content::sigma::{load_texts, Kind, Library, Source};
use watertight_engine::Image;

const RULE: &str = "title: A tool sends files away
id: rule-one
logsource: {category: c, product: p}
detection:
  selection: {Image|endswith: /tar, CommandLine|contains: ssh}
  condition: selection
";

const OTHER: &str = "title: Another
id: rule-two
logsource: {category: other, product: p}
detection:
  selection: {Image: /bin/other}
  condition: selection
";

fn filter(rules: &str, selections: &str, condition: &str) -> String {
    format!(
        "title: Backup\nid: backup\nlogsource: {{category: c, product: p}}\nfilter:\n  rules: {rules}\n  {selections}\n  \
         condition: {condition}\n"
    )
}

fn exception(rules: &str, selections: &str, condition: &str) -> String {
    format!("title: Backup\nid: backup\nexception:\n  rules: {rules}\n  {selections}\n  condition: {condition}\n")
}

fn library(documents: &[&str]) -> Library {
    let text = documents.join("---\n");
    let library = load_texts([Source { file: "test.yml", text: &text }]);
    assert!(library.rejections.is_empty(), "{}", library.rejections[0]);
    library
}

fn source() -> LogSource {
    LogSource { category: Some("c".into()), product: Some("p".into()), service: None }
}

fn fired(library: &mut Library, event: &Json) -> Vec<String> {
    let image = library.image().expect("few rules");
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    detector.event(source(), event, false).into_iter().map(|hit| hit.rule).collect()
}

fn by(user: &str) -> Json {
    json!({"Image": "/usr/bin/tar", "CommandLine": "tar c / | ssh away", "User": user})
}

#[test]
fn a_filter_leaves_out_what_it_names_whether_its_condition_says_what_goes_or_what_stays() {
    for condition in ["selection", "not selection", "1 of selection*", "not 1 of selection*"] {
        for rules in ["[rule-one]", "rule-one", "any", "[RULE-ONE]"] {
            let filter = filter(rules, "selection: {User: backup}", condition);
            let mut library = library(&[RULE, &filter]);
            assert_eq!(fired(&mut library, &by("backup")), Vec::<String>::new(), "{rules} {condition}");
            assert_eq!(fired(&mut library, &by("mallory")), ["rule-one"], "{rules} {condition}");
            assert_eq!(fired(&mut library, &json!({"Image": "/bin/ls", "User": "backup"})), Vec::<String>::new());
        }
    }
}

#[test]
fn a_filter_of_another_log_source_leaves_a_rule_alone_and_one_of_a_wider_does_not() {
    let narrow = filter("any", "selection: {User: backup}", "selection");
    for (logsource, is_out) in [("{product: p}", true), ("{category: c}", true), ("{category: c, product: q}", false)] {
        let text = narrow.replace("{category: c, product: p}", logsource);
        assert_eq!(fired(&mut library(&[RULE, &text]), &by("backup")).is_empty(), is_out, "{logsource}");
    }
}

#[test]
fn an_exception_names_rules_and_touches_no_other() {
    let exception = exception("[rule-one]", "selection: {User: backup}", "selection");
    let copy = RULE.replace("rule-one", "rule-copy");
    let mut library = library(&[&exception, RULE, &copy]);
    assert_eq!(fired(&mut library, &by("backup")), ["rule-copy"]);
    assert_eq!(fired(&mut library, &by("mallory")), ["rule-copy", "rule-one"]);
}

#[test]
fn an_explanation_names_the_exception_that_left_an_event_out() {
    let mut library = library(&[RULE, &exception("[rule-one]", "selection: {User: backup}", "selection")]);
    let image = library.image().expect("few rules");
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    let hit = detector.event(source(), &by("mallory"), true).remove(0);
    assert_eq!(hit.explanation.expect("asked for").excluded, ["exception Backup: selection"]);
}

#[test]
fn exceptions_of_one_rule_add_up_however_many_they_are() {
    let mut documents = vec![RULE.to_owned()];
    for number in 0..400 {
        let one = exception("[rule-one]", &format!("selection: {{User: user{number}}}"), "selection");
        documents.push(one.replace("id: backup", &format!("id: backup{number}")));
    }
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let mut library = library(&documents);
    assert_eq!(library.exceptions.len(), 400);
    for (user, is_out) in [("user0", true), ("user399", true), ("user400", false)] {
        assert_eq!(fired(&mut library, &by(user)).is_empty(), is_out, "{user}");
    }
    assert!(library.rejections.is_empty(), "{}", library.rejections[0]);
}

#[test]
fn an_exception_that_is_true_of_what_nobody_named_is_refused() {
    let text = exception("[rule-one]", "selection: {User: backup}", "not selection");
    let refused = load_texts([Source { file: "test.yml", text: &text }]);
    assert_eq!((refused.rejections[0].kind, refused.rejections[0].reason.code()), (Kind::Exception, "WT0402"));
    let whole = exception("[]", "selection: {User: backup}", "selection");
    for (text, code) in [
        (whole.clone(), "WT0401"),
        (whole.replace("rules: []\n", "\n"), "WT0102"),
        (
            filter("any", "selection: {User: a}", "selection").replace("logsource: {category: c, product: p}\n", ""),
            "WT0102",
        ),
        (whole.replace("[]", "any"), "WT0401"),
        (whole.replace("[]", "{a: b}"), "WT0103"),
        ("title: T\nid: i\nexception: 1\n".to_owned(), "WT0103"),
    ] {
        let refused = load_texts([Source { file: "test.yml", text: &text }]);
        assert_eq!(refused.rejections.first().map(|refused| refused.reason.code()), Some(code), "{text}");
    }
}

fn supply() -> Supply {
    let fields = ["Image", "CommandLine", "User"].map(str::to_owned).into();
    let entry = Supplied {
        category: Some("c".into()),
        product: Some("p".into()),
        services: Vec::new(),
        fields,
        types: Default::default(),
    };
    Supply { entries: vec![entry] }
}

fn row_of(documents: &[&str], id: &str) -> Row {
    let rows = rows(&library(documents), &supply());
    rows.into_iter().find(|row| row.rule == id).expect("every document has a row")
}

#[test]
fn an_exception_has_a_row_of_its_own_with_what_is_wrong_with_it() {
    let cases = [
        ("[rule-one]", "selection: {User: backup}", Verdict::CanFire, ""),
        (
            "[rule-oen]",
            "selection: {User: backup}",
            Verdict::Never,
            "dangling: there is no rule rule-oen: did you mean `rule-one`?",
        ),
        ("[rule-one, gone]", "selection: {User: backup}", Verdict::Degraded, "dangling: there is no rule gone"),
        ("[rule-two]", "selection: {User: backup}", Verdict::Never, "category other"),
        ("[rule-one]", "selection: {Missing: backup}", Verdict::Never, "unused"),
        (
            "[rule-one]",
            "selection: [{Usr: backup}, {User: backup}]",
            Verdict::Degraded,
            "does not supply Usr (line 20; did you mean `User`?): a host refuses the filter",
        ),
        ("[rule-one]", "selection: {User: '*'}", Verdict::Degraded, "over-broad"),
        ("[rule-one]", "selection: {User|exists: true}", Verdict::Degraded, "over-broad"),
        ("[rule-one]", "selection: {Image|contains: '/'}", Verdict::Degraded, "over-broad"),
        ("[rule-one]", "selection: [{User: backup}, {CommandLine|re: '.*'}]", Verdict::Degraded, "over-broad"),
        ("[rule-one]", "selection: {CommandLine|re: '(foo|[^f]|f)'}", Verdict::Degraded, "over-broad"),
    ];
    for (rules, selection, verdict, reason) in cases {
        let row = row_of(&[RULE, OTHER, &filter(rules, selection, "selection")], "backup");
        assert_eq!((row.kind, row.verdict), (Kind::Exception, verdict), "{rules} {selection}: {}", row.reason);
        assert!(row.reason.contains(reason) && row.reason.is_empty() == reason.is_empty(), "{}", row.reason);
    }
}

#[test]
fn a_rule_of_which_nothing_is_left_can_never_fire_and_says_by_whom() {
    for selection in
        ["{Image|endswith: /tar}", "{Image|endswith: tar, CommandLine|contains: ss}", "{Image|exists: true}"]
    {
        let exception = exception("[rule-one]", &format!("selection: {selection}"), "selection");
        let row = row_of(&[RULE, &exception], "rule-one");
        assert_eq!(
            (row.verdict, row.reason.as_str()),
            (Verdict::Never, "every hit is excluded by exception backup"),
            "{selection}"
        );
        let own = row_of(&[RULE, &exception], "backup");
        assert!(own.reason.contains("leaves out every hit of rule rule-one"), "{}", own.reason);
    }
    for selection in ["{Image|startswith: /tar}", "{Image|endswith: /bin/tar}", "{User: backup}"] {
        let exception = exception("[rule-one]", &format!("selection: {selection}"), "selection");
        assert_eq!(row_of(&[RULE, &exception], "rule-one").verdict, Verdict::CanFire, "{selection}");
    }
}

#[test]
fn an_exception_that_is_over_broad_is_so_beside_another_that_leaves_nothing_over() {
    let first = exception("[rule-one]", "selection: {CommandLine|contains: ssh}", "selection");
    let second = exception("[rule-one]", "selection: {CommandLine|contains: ss}", "selection");
    let second = second.replace("id: backup", "id: second");
    for id in ["backup", "second"] {
        let row = row_of(&[RULE, &first, &second], id);
        assert!(row.reason.contains("leaves out every hit of rule rule-one"), "{id}: {}", row.reason);
    }
}

#[test]
fn what_is_not_supplied_to_an_exception_makes_no_rule_worth_less() {
    let exception = exception("[rule-one]", "selection: {Missing: backup}", "selection");
    assert_eq!(row_of(&[RULE, &exception], "rule-one").verdict, Verdict::CanFire);
}

#[test]
fn what_exceptions_leave_out_of_a_run_is_counted_and_told_if_it_is_more_than_half_or_nothing() {
    let named = |id: &str, user: &str| {
        exception("[rule-one]", &format!("selection: {{User: {user}}}"), "selection")
            .replace("id: backup", &format!("id: {id}"))
    };
    let library = library(&[RULE, &named("often", "backup"), &named("rarely", "admin"), &named("idle", "nobody")]);
    let mut usage = Usage::of(&library).expect("few rules").expect("they apply");
    let image = usage.image.clone();
    let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
    for user in ["backup", "backup", "backup", "admin", "mallory"] {
        for hit in detector.event(source(), &by(user), false) {
            usage.count(&hit.rule);
        }
    }
    let counts: Vec<_> = usage.rows().iter().map(|row| (row.exception.as_str(), row.left_out, row.hits)).collect();
    assert_eq!(counts, [("often", 3, 5), ("rarely", 1, 5), ("idle", 0, 5)]);
    let told = usage.findings();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("exception often is over-broad: it left out 3 of 5 hits of rule rule-one"), "{}", told[0]);
    assert!(told[1].contains("exception idle was never used"), "{}", told[1]);
    assert!(Usage::of(&load_texts([Source { file: "a.yml", text: RULE }])).expect("few").is_none());
}

#[test]
fn rules_with_exceptions_keep_their_order_and_their_own_conditions() {
    let library = library(&[RULE, OTHER, &exception("[rule-one]", "selection: {User: backup}", "selection")]);
    let applied = apply(&library);
    assert_eq!(applied.exceptions[0].rules, [0]);
    assert_eq!(applied.rules[1], library.rules[1].rule);
    assert_ne!(applied.rules[0].condition, library.rules[0].rule.condition);
}

#[test]
fn an_exception_names_a_rule_by_its_name_as_well_and_a_name_that_two_have_names_none() {
    let named = RULE.replace("id: rule-one", "name: tool_sends\nid: rule-one");
    for target in ["tool_sends", "rule-one", "RULE-ONE"] {
        let mut both = library(&[&named, &exception(target, "selection: {User: backup}", "selection")]);
        assert_eq!(fired(&mut both, &by("backup")), Vec::<String>::new(), "{target}");
        assert_eq!(fired(&mut both, &by("mallory")), ["rule-one"], "{target}");
    }
    let other = OTHER.replace("id: rule-two", "name: tool_sends\nid: rule-two");
    let mut twice = library(&[&named, &other, &exception("tool_sends", "selection: {User: backup}", "selection")]);
    assert_eq!(fired(&mut twice, &by("backup")), ["rule-one"], "nobody knows which of them is meant");
    let found = apply(&twice).exceptions.remove(0);
    let words: Vec<String> = found.findings.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["dangling: 2 rules are called tool_sends: name the id of one"]);
}

const SEQUENCE: &str = "title: Twice
id: twice
correlation:
  type: temporal_ordered
  timespan: 10s
  stages:
    - name: one
      logsource: {category: c, product: p}
      detection: {selection: {Image: /bin/one}, condition: selection}
    - name: two
      logsource: {category: c, product: p}
      detection: {selection: {Image: /bin/two}, condition: selection}
";

#[test]
fn an_exception_of_a_sequence_leaves_out_its_events_and_no_other_rules() {
    let one = "title: One\nid: alone\nlogsource: {category: c, product: p}\ndetection:\n  selection: {Image: /bin/one}\n  condition: selection\n";
    let fired = |documents: &[&str], user: &str| {
        let mut library = library(documents);
        let image = library.image().expect("few rules");
        let mut detector = Detector::new(Image::open(&image).expect("compiled here"));
        let events = ["/bin/one", "/bin/two"].map(|path| json!({"Image": path, "User": user}));
        let hits = events.iter().flat_map(|event| detector.event(source(), event, false)).collect::<Vec<_>>();
        let mut fired: Vec<String> = hits.into_iter().chain(detector.end()).map(|hit| hit.rule).collect();
        fired.sort();
        fired
    };
    let excepted = exception("[twice]", "selection: {User: backup}", "selection");
    assert_eq!(fired(&[one, SEQUENCE], "backup"), ["alone", "twice"]);
    assert_eq!(fired(&[one, SEQUENCE, &excepted], "backup"), ["alone"]);
    assert_eq!(fired(&[one, SEQUENCE, &excepted], "eve"), ["alone", "twice"]);
    let row = row_of(&[SEQUENCE, &excepted], "backup");
    assert_eq!((row.verdict, row.reason.as_str()), (Verdict::CanFire, ""));
}

#[test]
fn an_exception_of_a_correlation_that_listens_to_rules_by_name_says_which_to_name() {
    let many = "title: Many\nid: many\ncorrelation:\n  type: event_count\n  rules: [rule-one]\n  group-by: [User]\n  timespan: 5m\n  condition: {gte: 2}\n";
    let row = row_of(&[RULE, many, &exception("[many]", "selection: {User: backup}", "selection")], "backup");
    assert_eq!(row.verdict, Verdict::Never);
    assert!(row.reason.contains("listens to rules by name: name those, rule-one"), "{}", row.reason);
    let row = row_of(&[SEQUENCE, &exception("[twicc]", "selection: {User: backup}", "selection")], "backup");
    assert!(row.reason.contains("dangling") && row.reason.contains("twice"), "{}", row.reason);
}
