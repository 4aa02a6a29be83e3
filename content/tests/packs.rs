//! Sources to a pack and back: what a pack says is what was written, and what is not right gives no pack.

#![allow(clippy::panic)] // a test's panic is its verdict

mod support;

use support::{built, pack, policy, release, RULES, TESTS};
use watertight_content::pack::{BuildError, Built, Release};
use watertight_content_pack::{Kind, Pack, PackError};

#[test]
fn a_pack_says_what_was_written() {
    let bytes = pack();
    let pack = Pack::open(&bytes).expect("built here");
    let manifest = pack.manifest();
    assert_eq!((manifest.name, manifest.version, manifest.is_urgent, manifest.rule_count), ("test", 7, false, 2));
    let documents: Vec<_> = pack.documents().map(|document| (document.id, document.kind)).collect();
    let ids = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-00000000000a"];
    assert_eq!(documents, ids.map(|id| (id, Kind::Rule)));
    assert_eq!(pack.policy(), Some(&policy()));
    let test = pack.self_test().expect("good events");
    assert_eq!((test.canaries, test.events, test.fired, test.silent, test.proven), (4, 5, 2, 2, 2));
}

#[test]
fn the_same_sources_give_the_same_bytes_and_another_word_gives_another_id() {
    let bytes = built(&release(), RULES, TESTS, Some(&policy())).expect("good sources").bytes;
    assert_eq!(pack(), bytes);
    let changed = built(&release(), &RULES.replace("curl", "wget"), &TESTS.replace("curl", "wget"), Some(&policy()));
    let changed = changed.expect("good sources").bytes;
    let (old, new) = (Pack::open(&bytes).expect("built here"), Pack::open(&changed).expect("built here"));
    assert_ne!(old.id(), new.id());
    let differ: Vec<bool> = old.documents().zip(new.documents()).map(|(old, new)| old.sha256 != new.sha256).collect();
    assert_eq!(differ, [true, false], "only the rule that was changed has another digest");
}

fn refusal(rules: &str, tests: &str) -> BuildError {
    match built(&release(), rules, tests, None) {
        Ok(_) => panic!("built"),
        Err(error) => error,
    }
}

#[test]
fn one_rule_that_is_refused_and_there_is_no_pack() {
    let error = refusal(&RULES.replace("gte", "gtee"), TESTS);
    let BuildError::Rejected(rejections) = &error else { panic!("{error}") };
    assert_eq!(rejections.len(), 1);
    assert!(error.to_string().contains("a/rules.yml:") && error.to_string().contains("gtee"), "{error}");
}

#[test]
fn a_rule_that_does_not_keep_its_word_is_named_with_the_event() {
    let misses = refusal(&RULES.replace("curl", "wget"), TESTS);
    let BuildError::File(wrong) = &misses else { panic!("{misses}") };
    let (file, line, what) = (&wrong.file, wrong.span.line, wrong.reason.to_string());
    let place = |case: &str| TESTS.lines().position(|line| line.contains(case)).map(|line| line + 1);
    assert_eq!(
        (file.as_str(), Some(line)),
        ("a/rules.tests.yml", TESTS.lines().position(|line| line == "fires:").map(|line| line + 2))
    );
    assert!(
        what.contains("rule 00000000-0000-4000-8000-000000000001 (a/rules.yml:1) does not fire on fires 1"),
        "{what}"
    );
    let hits = refusal(RULES, &TESTS.replace("why: another product", "product: p"));
    let BuildError::File(wrong) = &hits else { panic!("{hits}") };
    let what = wrong.reason.to_string();
    assert_eq!(Some(wrong.span.line + 1), place("why: another product"), "the case begins a line before");
    assert!(what.contains("fires on silent 1"), "{what}");
}

#[test]
fn a_pack_that_proves_nothing_is_no_pack_and_a_rule_that_is_not_tried_both_ways_is_refused_by_name() {
    use watertight_content::pack::{build, Sources};
    use watertight_content::sigma::Source;
    let release = release();
    let rules = vec![Source { file: "a/rules.yml", text: RULES }];
    let none = build(&Sources { release: &release, rules, tests: Vec::new(), policy: None });
    let Err(BuildError::File(wrong)) = none else { panic!("{none:?}") };
    assert_eq!((wrong.file.as_str(), wrong.span.line), ("a/rules.yml", 1), "{wrong}");
    assert!(wrong.to_string().contains("no event must fire rule"), "{wrong}");
    let (fires, silent) = TESTS.split_once("silent:").expect("both lists");
    let of_first = fires.split("  - rule: 00000000-0000-4000-8000-00000000000A").next().expect("the first case");
    for (tests, line, words) in [
        (of_first.to_owned() + "silent:" + silent, 14, "no event must fire rule 00000000-0000-4000-8000-00000000000a"),
        (fires.to_owned(), 1, "no event must not fire rule 00000000-0000-4000-8000-000000000001"),
    ] {
        let BuildError::File(wrong) = refusal(RULES, &tests) else { panic!("{words}") };
        assert_eq!((wrong.file.as_str(), wrong.span.line), ("a/rules.yml", line), "{wrong}");
        assert!(wrong.reason.to_string().starts_with(words), "{wrong}");
        assert!(wrong.reason.mend().contains("NAME.tests.yml"), "{wrong}");
    }
}

#[test]
fn a_rule_that_fires_on_everything_is_refused_though_others_have_what_must_not_fire_them() {
    let everything = "---\ntitle: All\nid: 00000000-0000-4000-8000-00000000000c\nlogsource: {category: c}\n\
        detection: {s: {Image|exists: true}, condition: s}\n";
    let case = "  - {rule: 00000000-0000-4000-8000-00000000000c, category: c, event: {Image: /x}}\n";
    let tests = TESTS.replacen("fires:\n", &format!("fires:\n{case}"), 1);
    let refused = refusal(&format!("{RULES}{everything}"), &tests).to_string();
    assert!(refused.contains("00000000000c") && refused.contains("it may fire on everything"), "{refused}");
}

/// The warnings, but that these rules are for log sources that no sensor has.
fn told(built: Built) -> Vec<String> {
    let mut warnings = built.warnings;
    let before = warnings.len();
    warnings.retain(|words| !words.contains("can never fire by this sensor's events: "));
    assert!(warnings.len() < before, "none of them is told");
    warnings
}

#[test]
fn a_correlation_that_needs_more_events_than_anybody_writes_is_told_and_not_refused() {
    let many =
        "---\ntitle: Many\nid: 00000000-0000-4000-8000-00000000000d\ncorrelation: {type: event_count, generate: true, \
        rules: [00000000-0000-4000-8000-00000000000a], timespan: 1h, condition: {gte: 5000}}\n";
    let warned = told(built(&release(), &format!("{RULES}{many}"), TESTS, None).expect("it is built"));
    assert!(matches!(warned.as_slice(), [only] if only.contains("00000000000d")), "{warned:?}");
}

#[test]
fn a_blank_field_in_a_policy_or_a_name_gives_no_pack() {
    let mut blank = policy();
    blank.rules[0].target = watertight_policy::Target::File("".into());
    assert!(matches!(built(&release(), RULES, TESTS, Some(&blank)), Err(BuildError::Pack(PackError::Policy(_)))));
    let nameless = Release { name: " ".to_owned(), ..release() };
    assert!(matches!(built(&nameless, RULES, TESTS, None), Err(BuildError::Pack(PackError::Name { .. }))));
    let long = Release { name: "x".repeat(65), ..release() };
    assert!(built(&long, RULES, TESTS, None).is_err());
}

#[test]
fn a_folder_is_a_pack_wherever_it_lies() {
    use watertight_content::pack::{build, parse_release, read_folder, Sources};
    use watertight_content::sigma::Source;
    let folder_pack = || {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("a")).expect("a folder");
        for (name, text) in
            [("pack.yml", "name: test\nversion: 7\n"), ("a/rules.yml", RULES), ("a/rules.tests.yml", TESTS)]
        {
            std::fs::write(dir.path().join(name), text).expect("a file");
        }
        let folder = read_folder(dir.path()).expect("a good folder");
        let release = parse_release(Source { file: "pack.yml", text: &folder.manifest }).expect("a release");
        let lend = |files: &'static [(String, String)]| -> Vec<Source<'static>> {
            files.iter().map(|(file, text)| Source { file, text }).collect()
        };
        let (rules, tests): (&'static [_], &'static [_]) = (folder.rules.leak(), folder.tests.leak());
        build(&Sources { release: &release, rules: lend(rules), tests: lend(tests), policy: None }).expect("good").bytes
    };
    let bytes = folder_pack();
    assert_eq!(folder_pack(), bytes);
    assert_eq!(built(&release(), RULES, TESTS, None).expect("good").bytes, bytes);
    let dir = tempfile::tempdir().expect("a folder");
    assert!(read_folder(dir.path()).is_err_and(|error| error.to_string().contains("no pack.yml")));
}

#[test]
fn an_exception_is_a_document_of_the_pack_and_a_dangling_one_is_named() {
    const EXCEPTION: &str =
        "---\ntitle: The backup\nid: 00000000-0000-4000-8000-0000000000ee\nexception:\n  rules: [NAME]\n  \
        own: {User: backup}\n  condition: own\n";
    let with = |name: &str| format!("{RULES}{}", EXCEPTION.replace("NAME", name));
    let silent = "  - rule: 00000000-0000-4000-8000-000000000001\n    category: c\n    product: p\n    \
        event: {Image: /bin/sh, CommandLine: 'curl x | sh', User: backup}\n";
    let tests = format!("{TESTS}{silent}");
    let good = built(&release(), &with("00000000-0000-4000-8000-000000000001"), &tests, None).expect("good sources");
    let pack = Pack::open(&good.bytes).expect("built here");
    assert_eq!(
        pack.documents().map(|document| document.kind).collect::<Vec<_>>(),
        [Kind::Rule, Kind::Rule, Kind::Filter]
    );
    assert!(pack.unproven().is_empty());
    assert_eq!(told(good), Vec::<String>::new());
    // Without it, what it leaves out fires.
    let fires = built(&release(), RULES, &tests, None).map(|_| ()).map_err(|error| error.to_string());
    assert!(fires.as_ref().is_err_and(|words| words.contains("which must not fire it")), "{fires:?}");
    let dangling = built(&release(), &with("00000000-0000-4000-8000-00000000000b"), TESTS, None).expect("good sources");
    assert!(dangling.warnings.iter().any(|words| words.contains("dangling")), "{:?}", dangling.warnings);
}

#[test]
fn a_canary_for_an_absence_lets_the_time_pass_with_any_later_event() {
    const WAITS: &str = "title: Waits\nid: 00000000-0000-4000-8000-000000000010\ncorrelation:\n  type: temporal_ordered\n  timespan: 30s\n  \
        group-by: [Image]\n  stages:\n    - name: first\n      logsource: {category: process_creation, product: linux}\n      \
        detection: {s: {CommandLine: begin}, condition: s}\n    - name: second\n      absent: 10s\n      \
        logsource: {category: process_creation, product: linux}\n      detection: {s: {CommandLine: end}, condition: s}\n";
    let event = |image: &str, line: &str, after_ms: u64| {
        format!("      - {{category: process_creation, after_ms: {after_ms}, event: {{Image: {image}, CommandLine: {line}}}}}\n")
    };
    let silent = "silent:\n  - {category: process_creation, event: {Image: /z}}\n";
    let events = |events: &[String]| format!("fires:\n  - events:\n{}{silent}", events.concat());
    let begin = event("/a", "begin", 0);
    for (case, fires) in [
        (vec![begin.clone(), event("/b", "other", 10_001)], true),
        (vec![begin.clone(), event("/b", "end", 5_000), event("/c", "other", 10_000)], true),
        (vec![begin.clone(), event("/b", "other", 9_000)], false),
        (vec![begin.clone(), event("/a", "end", 9_000), event("/b", "other", 9_000)], false),
        // Nobody knows that the time is over before something is later.
        (vec![begin], false),
    ] {
        let tests = events(&case);
        let built = built(&release(), WAITS, &tests, None);
        match (fires, &built) {
            (true, Ok(_)) => {}
            (false, Err(BuildError::File(wrong))) if wrong.to_string().contains("which must fire it") => {}
            (_, other) => panic!("{tests}: {:?}", other.as_ref().map(|_| "built").map_err(ToString::to_string)),
        }
    }
}
