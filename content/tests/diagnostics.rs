//! What a refusal shows: the place to the character, a label, and a mend that helps; and that the reference page has every code.

#![allow(clippy::panic)] // a refusal that did not come is a failure of the test

use watertight_content::pack::{build, parse_release, BuildError, Sources, Wrong};
use watertight_content::sigma::diagnostic::render;
use watertight_content::sigma::{load_texts, reference_page, Rejection, Source};

const HEAD: &str = "title: T\nid: 0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f001\nlogsource: {category: c, product: p}\n";

fn refused(text: &str) -> Rejection {
    let mut library = load_texts([Source { file: "bad.yml", text }]);
    library.rejections.pop().unwrap_or_else(|| panic!("accepted: {text}"))
}

/// What of the file the refusal points at.
fn pointed(text: &str, rejection: &Rejection) -> String {
    let span = rejection.span;
    assert_eq!(span.line, span.end_line, "{rejection:?}");
    let line = text.lines().nth(span.line - 1).expect("a line of the file");
    line.chars().skip(span.column - 1).take(span.end_column - span.column).collect()
}

#[test]
fn a_refusal_points_at_the_word_that_is_wrong_and_offers_the_one_that_was_meant() {
    let cases = [
        ("detection:\n  s:\n    Image|contians: x\n  condition: s\n", "contians", "did you mean `contains`?"),
        (
            "detection:\n  s:\n    'Image|endswith|contians': x\n  condition: s\n",
            "contians",
            "did you mean `contains`?",
        ),
        ("detection:\n  selection: {f: x}\n  condition: selektion\n", "selektion", "did you mean `selection`?"),
        ("detection:\n  sel_a: {f: x}\n  condition: 'sel_a and sel_b'\n", "sel_b", "did you mean `sel_a`?"),
        ("detection:\n  s: {f: x}\n  condition: s and 1 of filter_*\n", "filter_*", "there are s"),
        ("detection:\n  s: {f: x}\n  condition: s and 3 of s\n", "3", "1 of, any of or all of"),
        ("detection:\n  s: {f: x}\n  condition: s\nlevel: hihg\n", "hihg", "did you mean `high`?"),
        ("detection:\n  s:\n    f|cidr: 10.0.0.0/99\n  condition: s\n", "10.0.0.0/99", "a network such as"),
        ("detection:\n  s:\n    f|re: '(a'\n  condition: s\n", "'(a'", "look-around"),
        ("detection:\n  s: {f: x}\n  condition: s\naction: kil\n", "kil", "did you mean `kill`?"),
        (
            "detection:\n  s: {f: x}\n  condition: s\naction: kill\nmode: enforced\n",
            "enforced",
            "did you mean `enforce`?",
        ),
        ("detection:\n  s: {f: x}\n  condition: s\nmode: audit\n", "audit", "action: kill"),
    ];
    for (rest, word, mend) in cases {
        let text = format!("{HEAD}{rest}");
        let rejection = refused(&text);
        assert_eq!(pointed(&text, &rejection), word, "{rejection}");
        assert!(rejection.reason.mend().contains(mend), "{}", rejection.reason.mend());
    }
    let text = format!("{HEAD}detection: {{s: {{f: x}}, condition: s}}\n").replace("product:", "prodcut:");
    let rejection = refused(&text);
    assert_eq!(
        (pointed(&text, &rejection).as_str(), rejection.reason.mend().as_str()),
        ("prodcut", "did you mean `product`?")
    );
}

#[test]
fn a_refusal_is_shown_as_a_compiler_shows_its_errors() {
    let text = format!("{HEAD}detection:\n  s:\n    Image|contians: /tmp/\n  condition: s\n");
    let shown = render(&refused(&text), false);
    let expected = "\
error[WT0203]: rule 0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f001: modifier \"contians\" of \"Image|contians\" is unknown
 --> bad.yml:6:11
  |
6 |     Image|contians: /tmp/
  |           ^^^^^^^^ unknown modifier
  |
  = mend: did you mean `contains`?";
    assert_eq!(shown, expected);
    let coloured = render(&refused(&text), true);
    assert!(coloured.contains("\x1b[") && !shown.contains('\x1b'), "{coloured}");
}

/// Where the only refusal of this text points: its code, and what is underlined.
fn pointed_at(text: &str) -> (&'static str, String, String) {
    let mut library = load_texts([Source { file: "bad.yml", text }]);
    library.image().expect("what is left");
    let [refused] = library.rejections.as_slice() else { unreachable!("{:?}", library.rejections) };
    assert!(refused.span.column > 0, "{refused}");
    let width = refused.span.end_column.saturating_sub(refused.span.column);
    let under = refused.text.chars().skip(refused.span.column - 1).take(width).collect();
    (refused.reason.code(), under, refused.reason.mend())
}

#[test]
fn what_several_documents_or_the_compiler_refuse_is_pointed_at_too() {
    let rule = format!("{HEAD}detection:\n  s:\n    Image: x\n  condition: s\n");
    let id = "0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f001";
    let (code, under, _) = pointed_at(&format!("{rule}---\n{rule}"));
    assert_eq!((code, under.as_str()), ("WT0106", id));
    let other = "0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f009";
    let many = |rules: &str, more: &str| {
        format!("{rule}---\ntitle: Many\nid: {other}\ncorrelation:\n  type: event_count\n  rules: [{rules}]\n  timespan: 5m\n{more}")
    };
    let (code, under, mend) = pointed_at(&many(other, "  condition: {gte: 3}\n"));
    assert_eq!((code, under.as_str(), mend.as_str()), ("WT0701", other, "remove a reference"));
    let (code, under, mend) = pointed_at(&many(id, "  condition: {gte: 1000000}\n  state: 1KB\n"));
    assert_eq!((code, under.as_str()), ("WT0701", "1KB"));
    assert!(mend.starts_with("raise state"), "{mend}");
    let (code, under, mend) = pointed_at(&format!("{rule}---\n{}", rule.replace("Image: x", "Image: x\n    Image: y")));
    assert_eq!((code, under.as_str()), ("WT0006", "Image"));
    assert!(mend.contains("take one of the two out"), "{mend}");
}

/// What of a file beside rules the refusal points at, its code and its mend.
fn pointed_beside(wrong: &Wrong) -> (String, &'static str, String) {
    assert!(wrong.span.column > 0, "{wrong}");
    let width = wrong.span.end_column.saturating_sub(wrong.span.column);
    let under = wrong.text.chars().skip(wrong.span.column - 1).take(width).collect();
    (under, wrong.reason.code(), wrong.reason.mend())
}

#[test]
fn what_a_release_says_wrongly_is_pointed_at_with_its_mend() {
    for (text, under, code, mend) in [
        ("name: linux\nverson: 7\n", "verson", "WT0801", "did you mean `version`?"),
        ("name: linux\nversion: '7'\n", "'7'", "WT0207", "write a whole number from 1"),
        ("name: Linux\nversion: 7\n", "Linux", "WT0803", "small letters"),
        ("name: linux\nversion: 7\nurgent: yes\n", "yes", "WT0207", "write true or false"),
        ("name: linux\nversion: 7\nengine: {min: 1, max: 9}\n", "1", "WT0804", "or a later one"),
        ("name: linux\nname: other\nversion: 7\n", "name", "WT0006", "take one of the two out"),
    ] {
        let wrong = parse_release(Source { file: "pack.yml", text }).expect_err(text);
        let (found, found_code, found_mend) = pointed_beside(&wrong);
        assert_eq!((found.as_str(), found_code), (under, code), "{wrong}");
        assert!(found_mend.contains(mend), "{wrong}");
    }
    let wrong = parse_release(Source { file: "pack.yml", text: "name: linux\nverson: 7\n" }).expect_err("no such key");
    let expected = "\
error[WT0801]: key \"verson\" is unknown
 --> pack.yml:2:1
  |
2 | verson: 7
  | ^^^^^^ unknown key
  |
  = mend: did you mean `version`?";
    assert_eq!(wrong.render(false), expected);
}

#[test]
fn what_a_file_with_tests_says_wrongly_is_pointed_at_with_its_mend() {
    let rule =
        "title: T\nid: 0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f001\nlogsource: {category: process_creation, product: linux}\n\
                detection: {s: {Image: /x}, condition: s}\n";
    let release = parse_release(Source { file: "pack.yml", text: "name: linux\nversion: 1\n" }).expect("a release");
    let good = "fires:\n  - {category: process_creation, event: {Image: /x}}\n\
                silent:\n  - {category: process_creation, event: {Image: /y}}\n";
    for (old, new, under, code, mend) in [
        ("event: {Image: /x}", "evnt: {Image: /x}", "evnt", "WT0801", "did you mean `event`?"),
        ("event: {Image: /y}", "event: 7", "7", "WT0207", "a mapping of fields"),
        ("silent:", "quiet:", "quiet", "WT0801", "use fires, silent"),
        ("event: {Image: /y}", "rule: T, event: {Image: /y}", "T", "WT0805", "the id of a rule"),
        ("{Image: /y}", "{Imag: /y}", "Imag", "WT0805", "correct the field"),
    ] {
        let text = good.replace(old, new);
        let tests = vec![Source { file: "rule.tests.yml", text: &text }];
        let rules = vec![Source { file: "rule.yml", text: rule }];
        let refused = build(&Sources { release: &release, rules, tests, policy: None });
        let Err(BuildError::File(wrong)) = refused else { panic!("{text}: {:?}", refused.map(|_| "built")) };
        let (found, found_code, found_mend) = pointed_beside(&wrong);
        assert_eq!((found.as_str(), found_code, wrong.file.as_str()), (under, code, "rule.tests.yml"), "{wrong}");
        assert!(found_mend.contains(mend), "{wrong}");
        assert!(wrong.render(false).contains("^"), "{}", wrong.render(false));
    }
}

#[test]
fn nothing_of_a_file_reaches_the_terminal_as_a_command() {
    let text = format!("{HEAD}detection:\n  s:\n    \"f|con\\e[31mtains\": \"\\u202e x\"\n  condition: s\n");
    let raw = format!("{HEAD}detection:\n  s:\n    f|con\u{1b}[31mtains: \u{202e}x\n\tx\n  condition: s\n");
    for text in [text, raw] {
        let shown = render(&refused(&text), false);
        assert!(!shown.chars().any(|letter| letter != '\n' && letter.is_control()), "{shown:?}");
        assert!(!shown.contains('\u{202e}'), "{shown:?}");
    }
}

#[test]
fn every_refusal_of_any_prefix_of_a_rule_can_be_shown() {
    let text = format!("{HEAD}detection:\n  s:\n    'Imäge|re': \"(é\"\n  filter: {{f|contains: [a, b]}}\n  condition: s and not filter\n");
    for (at, _) in text.char_indices() {
        let library = load_texts([Source { file: "bad.yml", text: &text[..at] }]);
        for rejection in &library.rejections {
            assert!(render(rejection, false).contains("bad.yml"), "{rejection}");
        }
    }
}

#[test]
fn the_committed_reference_page_has_every_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/diagnostics.md");
    if std::env::var_os("WATERTIGHT_BLESS").is_some() {
        std::fs::write(path, reference_page()).expect("the page");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == reference_page(),
        "docs/reference/diagnostics.md is old: run WATERTIGHT_BLESS=1 cargo test -p watertight-content --test diagnostics"
    );
}
