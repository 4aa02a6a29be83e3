//! Policy files that must be read, and every way to write one wrong.

use super::*;
use crate::{Mode, Operation, Target};

fn refusal(text: &str) -> Refusal {
    match parse("policy.yaml", text.as_bytes()) {
        Ok(policy) => panic!("accepted: {policy:?}"),
        Err(refusal) => *refusal,
    }
}

/// A policy with one rule, whose lines are these.
fn with_rule(lines: &str) -> String {
    format!("version: 1\nrules:\n  - {}\n", lines.trim().replace('\n', "\n    "))
}

fn with_match(on: &str, target: &str) -> String {
    with_rule(&format!("id: r\naction: deny\non: {on}\nmatch: {target}\nmode: enforce"))
}

/// The only problem: its place, and that its words hold these.
fn only_problem(text: &str, line: usize, column: usize, words: &[&str]) {
    let refusal = refusal(text);
    let [problem] = refusal.problems.as_slice() else { panic!("{refusal}") };
    assert_eq!((problem.line, problem.column), (line, column), "{refusal}");
    assert!(!problem.label.is_empty() && !problem.mend.is_empty());
    for word in words {
        assert!(refusal.to_string().contains(word), "no {word:?} in {refusal}");
    }
}

#[test]
fn every_kind_of_rule_is_read() {
    let text = "version: 1\nfallback_deny: true\nrules:\n\
        \x20 - { id: a, action: deny, on: exec, match: { file: /usr//bin/xmrig }, mode: enforce }\n\
        \x20 - { id: b-2, action: deny, on: [write, unlink, rename], match: { under: /srv/www/ }, mode: audit }\n\
        \x20 - { id: c, action: deny, on: [exec, module], match: { sha256: AB00000000000000000000000000000000000000000000000000000000000001 }, mode: enforce }\n\
        \x20 - { id: d, action: deny, on: connect, match: { address: 10.0.0.0/8, port: 22 }, mode: enforce }\n\
        \x20 - { id: 5, action: deny, on: connect, match: { address: 2001:db8::1 }, mode: enforce }\n";
    let policy = parse("policy.yaml", text.as_bytes()).map_err(|refusal| refusal.to_string()).expect("a good policy");
    assert!(policy.fallback_deny);
    let targets: Vec<&Target> = policy.rules.iter().map(|rule| &rule.target).collect();
    assert_eq!(*targets[0], Target::File("/usr/bin/xmrig".into()));
    assert_eq!(*targets[1], Target::Under("/srv/www".into()));
    let Target::Sha256(digest) = targets[2] else { panic!("{:?}", targets[2]) };
    assert_eq!((digest[0], digest[1], digest[31]), (0xab, 0, 1));
    assert_eq!(*targets[3], Target::Address { address: [10, 0, 0, 0].into(), prefix_bits: 8, port: Some(22) });
    let six = "2001:db8::1".parse().expect("an address");
    assert_eq!(*targets[4], Target::Address { address: six, prefix_bits: 128, port: None });
    assert_eq!(policy.rules[1].on, [Operation::Write, Operation::Unlink, Operation::Rename]);
    assert_eq!(policy.rules[1].mode, Mode::Audit);
    assert_eq!(policy.rules[4].id, "5");
}

#[test]
fn a_policy_that_denies_nothing_is_one() {
    let policy = parse("p", b"version: 1\nrules: []\n").map_err(|refusal| refusal.to_string()).expect("a policy");
    assert!(policy.rules.is_empty() && !policy.fallback_deny);
}

#[test]
fn all_problems_are_told_in_the_order_of_the_file() {
    let text = "version: 2\nrule: []\nrules:\n  - id: No Miner\n    action: allow\n    on: exce\n    match: {}\n";
    let lines: Vec<usize> = refusal(text).problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 4, 4, 5, 6, 7], "{}", refusal(text));
}

/// What the documentation shows between fences that begin with this word.
fn documented(word: &str) -> Vec<String> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md"));
    let blocks = text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(word));
    blocks.filter_map(|block| block.strip_prefix('\n')).map(str::to_owned).collect()
}

#[test]
fn the_documented_policies_are_good_and_have_a_rule_of_each_kind() {
    let blocks = documented("yaml");
    let policies = blocks.iter().map(|text| parse("docs", text.as_bytes()).map_err(|refusal| refusal.to_string()));
    let policies: Vec<Policy> = policies.collect::<Result<_, _>>().expect("good policies");
    let rules = || policies.iter().flat_map(|policy| &policy.rules);
    for key in ["file", "under", "sha256", "address"] {
        assert!(rules().any(|rule| rule.target.key() == key), "no example of {key}");
    }
    for operation in Operation::ALL {
        assert!(rules().any(|rule| rule.on.contains(&operation)), "no example of {operation}");
    }
}

#[test]
fn a_problem_is_shown_under_its_line_with_label_and_mend_as_documented() {
    let text = documented("yaml")[0].replace("{ file:", "{ flie:");
    let shown = refusal(&text).to_string();
    let message = shown.lines().take(4).collect::<Vec<_>>().join("\n");
    assert!(documented("").iter().any(|block| block.trim_end() == message), "not documented:\n{message}");
}

#[test]
fn a_mistyped_key_is_answered_with_the_right_one() {
    only_problem(
        "version: 1\nother: []\nrules: []\n",
        2,
        1,
        &["unknown key", "a policy has version, fallback_deny, rules"],
    );
    for typed in ["rule", "ruules", "rulez", "Rules", "ruels"] {
        only_problem(&format!("version: 1\n{typed}: 1\nrules: []\n"), 2, 1, &["did you mean `rules`?"]);
    }
}

#[test]
fn a_key_given_twice_is_refused() {
    only_problem("version: 1\nrules: []\nversion: 1\n", 3, 1, &["twice"]);
}

#[test]
fn wrong_types_are_named() {
    only_problem("- version: 1\n", 1, 1, &["a policy must be a mapping", "a list"]);
    only_problem("version: 1\nrules: {}\n", 2, 8, &["rules must be a list, not a mapping"]);
    only_problem("version: 1\nrules:\n", 2, 6, &["rules must be a list, not nothing"]);
    only_problem("version: 1\nfallback_deny: yes\nrules: []\n", 2, 16, &["true or false"]);
    only_problem("version: 1\nfallback_deny: \"true\"\nrules: []\n", 2, 16, &["true or false"]);
    only_problem("version: [1]\nrules: []\n", 1, 10, &["version must be a number, not a list"]);
    only_problem("version: 1\nrules: [exec]\n", 2, 9, &["rule number 1", "a rule must be a mapping"]);
    only_problem(&with_match("exec", "/usr/bin/xmrig"), 6, 12, &["a match must be a mapping"]);
    only_problem(&with_match("{ exec: 1 }", "{ file: /x }"), 5, 9, &["an operation or a list"]);
    only_problem("version: 1\nrules: []\n? [a, b]\n: 1\n", 3, 3, &["can't be a key"]);
}

#[test]
fn ids_are_checked_and_unique() {
    let rule = |id: &str| format!("  - {{ id: {id}, action: deny, on: exec, match: {{ file: /x }}, mode: audit }}\n");
    let long = "a".repeat(64);
    for bad in ["A", "a_b", "\"\"", "\"a b\"", "ä", long.as_str()] {
        only_problem(&format!("version: 1\nrules:\n{}", rule(bad)), 3, 11, &["is no id", "rule number 1"]);
    }
    only_problem(&format!("version: 1\nrules:\n{}", rule("null")), 3, 11, &["id must be text, not nothing"]);
    let twice = format!("version: 1\nrules:\n{}{}", rule("same"), rule("same"));
    only_problem(&twice, 4, 11, &["\"same\" is that of the rule in line 3"]);
    let longest = format!("version: 1\nrules:\n{}", rule(&"a".repeat(63)));
    assert!(parse("p", longest.as_bytes()).is_ok());
}

#[test]
fn missing_keys_are_named_with_what_to_add() {
    let refusal = refusal("version: 1\nrules:\n  - {}\n");
    let text = refusal.to_string();
    assert_eq!(refusal.problems.len(), 5, "{text}");
    for key in ["id", "action", "on", "match", "mode"] {
        assert!(text.contains(&format!("\"{key}\" is missing")), "{text}");
    }
}

#[test]
fn a_match_names_exactly_one_thing() {
    only_problem(&with_match("exec", "{}"), 6, 12, &["names nothing"]);
    only_problem(&with_match("exec", "{ file: /x, under: /y }"), 6, 24, &["more than one thing"]);
    only_problem(&with_match("connect", "{ port: 22 }"), 6, 20, &["a port alone"]);
    only_problem(&with_match("exec", "{ file: /x, port: 22 }"), 6, 30, &["port does not belong"]);
}

#[test]
fn an_operation_that_the_match_can_not_meet_is_refused() {
    let sha = format!("{{ sha256: {} }}", "ab".repeat(32));
    only_problem(&with_match("write", &sha), 5, 9, &["write does not fit a match by sha256", "exec, module"]);
    only_problem(&with_match("connect", "{ file: /x }"), 5, 9, &["connect does not fit", "address"]);
    only_problem(&with_match("[exec]", "{ address: 10.0.0.1 }"), 5, 9, &["exec does not fit", "only on connect"]);
    only_problem(&with_match("[]", "{ file: /x }"), 5, 9, &["on nothing"]);
    only_problem(&with_match("[exec, exec]", "{ file: /x }"), 5, 16, &["exec is there twice"]);
    only_problem(&with_match("[exec, open]", "{ file: /x }"), 5, 16, &["\"open\" is not known"]);
}

#[test]
fn paths_are_absolute_and_mean_what_they_show() {
    for (path, words) in [
        ("usr/bin/x", "not an absolute path"),
        ("\"\"", "not an absolute path"),
        ("~/x", "not an absolute path"),
        ("/usr/../etc/x", "goes up"),
        ("/usr/bin/*", "wildcard"),
        ("/", "whole machine"),
        ("/usr/bin/", "is a folder"),
        ("\"/a\\0b\"", "NUL"),
        ("[/x]", "must be an absolute path, not a list"),
    ] {
        only_problem(&with_match("exec", &format!("{{ file: {path} }}")), 6, 20, &[words]);
    }
    let long = format!("/{}", "a".repeat(4095));
    only_problem(&with_match("exec", &format!("{{ file: {long} }}")), 6, 20, &["4,095"]);
}

#[test]
fn a_digest_has_64_hexadecimal_digits() {
    for bad in ["abc".to_owned(), "g".repeat(64), "ab".repeat(33), format!("0x{}", "a".repeat(62)), "é".repeat(32)] {
        only_problem(&with_match("exec", &format!("{{ sha256: {bad} }}")), 6, 22, &["no SHA-256", "sha256sum"]);
    }
}

#[test]
fn addresses_ranges_and_ports_are_checked() {
    for (address, words) in [
        ("example.org", "names are not looked up"),
        ("10.0.0", "is no address"),
        ("10.0.0.1/33", "from 0 to 32"),
        ("10.0.0.0/", "from 0 to 32"),
        ("10.0.0.0/+8", "from 0 to 32"),
        ("2001:db8::/129", "from 0 to 128"),
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("::ffff:10.0.0.1", "write 10.0.0.1"),
    ] {
        only_problem(&with_match("connect", &format!("{{ address: \"{address}\" }}")), 6, 23, &[words]);
    }
    for port in ["0", "65536", "-1", "+22", "ssh", "22-25", "\"\""] {
        let text = with_match("connect", &format!("{{ address: 10.0.0.1, port: {port} }}"));
        only_problem(&text, 6, 39, &["is no port"]);
    }
    assert!(parse("p", with_match("connect", "{ address: 0.0.0.0/0 }").as_bytes()).is_ok());
}

#[test]
fn aliases_anchors_tags_and_second_documents_are_refused() {
    let text = refusal("version: &one 1\nrules: *one\n").to_string();
    assert!(text.contains("anchors are refused") && text.contains("aliases are refused"), "{text}");
    only_problem("version: !!int 1\nrules: []\n", 1, 10, &["tags are refused"]);
    only_problem("version: 1\nrules: []\n---\nversion: 1\nrules: []\n", 3, 1, &["second document"]);
}

#[test]
fn a_bomb_of_aliases_is_refused_without_unfolding() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", ")));
    }
    let refusal = refusal(&bomb);
    assert!(refusal.more > 0 && refusal.to_string().contains("aliases are refused"));
}

#[test]
fn brackets_without_end_are_refused_early() {
    let refused = refusal(&format!("version: 1\nrules: {}", "[".repeat(100)));
    assert!(refused.to_string().contains("nests deeper"), "{refused}");
    let refused = refusal(&format!("version: 1\nrules: {}", "[".repeat(500_000)));
    assert_eq!(refused.problems[0].line, 2, "{refused}");
}

#[test]
fn what_is_not_yaml_or_not_text_is_refused_with_a_place() {
    assert!(refusal("").to_string().contains("empty"));
    assert!(refusal("# only a comment\n").to_string().contains("empty"));
    let broken = refusal("version: 1\nrules: [ {\n");
    assert!(broken.to_string().contains("not YAML") && broken.problems[0].line >= 2, "{broken}");
    let bytes = parse("p", b"version: 1\nrules: \xff\n").expect_err("not UTF-8");
    assert_eq!((bytes.problems[0].line, bytes.problems[0].column), (2, 8));
}

#[test]
fn what_a_fleet_could_not_be_started_or_mended_with_is_told_of_every_rule_at_its_place() {
    let text = "version: 1\nrules:\n\
        - { id: a, action: deny, on: exec, match: { file: /sbin/init }, mode: enforce }\n\
        - { id: b, action: deny, on: exec, match: { under: /opt }, mode: enforce }\n\
        - id: c\n  action: deny\n  on: exec\n  match: { under: /etc }\n  mode: enforce\n\
        - { id: d, action: deny, on: exec, match: { under: /usr }, mode: audit }\n";
    assert_eq!(parse("p", text.as_bytes()).expect("a machine is asked itself").rules.len(), 4);
    let refused = parse_for_fleet("p", text.as_bytes()).expect_err("two of them");
    let told = |at: usize| {
        let Problem { line, column, width, rule, .. } = &refused.problems[at];
        (*line, *column, *width, rule.as_deref())
    };
    assert_eq!((told(0), told(1)), ((3, 51, 10, Some("a")), (8, 19, 4, Some("c"))), "{refused}");
    assert!(refused.problems.len() == 2 && refused.problems[1].what.contains("would stop /etc: "), "{refused}");
    let audited = text.replace("enforce", "audit");
    assert_eq!(parse_for_fleet("p", audited.as_bytes()).expect("it stops nothing").rules.len(), 4);
}

fn many_rules(count: usize) -> String {
    let rule = |at| format!("  - {{ id: r{at}, action: deny, on: exec, match: {{ file: /x{at} }}, mode: audit }}\n");
    format!("version: 1\nrules:\n{}", (0..count).map(rule).collect::<String>())
}

#[test]
fn the_first_rule_beyond_the_limit_is_refused() {
    let most = parse("p", many_rules(crate::RULES_MAX).as_bytes()).map_err(|refusal| refusal.to_string());
    assert_eq!(most.expect("as many as there may be").rules.len(), crate::RULES_MAX);
    only_problem(&many_rules(crate::RULES_MAX + 1), 4099, 5, &["4097 rules", "4096"]);
}

#[test]
fn a_file_with_thousands_of_problems_tells_some_and_counts_the_rest() {
    let refusal = refusal(&format!("version: 1\nrules:\n{}", "  - 1\n".repeat(1000)));
    assert_eq!((refusal.problems.len(), refusal.more), (100, 900));
}

#[test]
fn control_characters_of_the_file_never_reach_a_terminal() {
    let text = "version: 1\n\"\\e[31m\\u202e\": 1\nrules: []\n\"\u{202e}\": 2\n";
    let shown = refusal(text).to_string();
    assert!(shown.chars().all(|letter| letter == '\n' || !letter.is_control()), "{shown:?}");
    assert!(!shown.contains('\u{202e}'), "{shown:?}");
}

#[test]
fn files_that_are_missing_or_too_large_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = load(&folder.path().join("none.yaml")).expect_err("not there").to_string();
    assert!(missing.contains("none.yaml"), "{missing}");
    let large = folder.path().join("large.yaml");
    std::fs::write(&large, vec![b'#'; 1 << 20]).expect("written");
    assert!(matches!(load(&large), Err(LoadError::Refused(_))), "as large as it may be");
    std::fs::write(&large, vec![b'#'; (1 << 20) + 1]).expect("written");
    assert!(matches!(load(&large), Err(LoadError::TooLarge { .. })));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_and_every_refusal_has_a_problem(bytes in proptest::collection::vec(0_u8.., 0..200)) {
        if let Err(refusal) = parse("p", &bytes) {
            proptest::prop_assert!(!refusal.problems.is_empty(), "{}", refusal);
        }
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(at in 0_usize..180, byte in 0_u8..) {
        let mut bytes = with_match("[exec, module]", "{ sha256: \"aa\", file: /x, address: 10.0.0.0/8, port: 1 }").into_bytes();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let refusal = parse("p", &bytes).expect_err("it was wrong before");
        proptest::prop_assert!(!refusal.problems.is_empty() && !refusal.to_string().is_empty());
    }
}
