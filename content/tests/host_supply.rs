//! A rule for a host asks only for what the host's events have: by name and by type, told by rule, field and line.

use watertight_content::sigma::diagnostic::render;
use watertight_content::sigma::host::types_here;
use watertight_content::sigma::{load_texts, Library, Source};
use watertight_engine::{Image, LogSource};

fn library(selection: &str, logsource: &str) -> Library {
    let text = format!(
        "title: T\nid: 0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f001\nlogsource: {logsource}\ndetection:\n  other:\n    Image: /x\n  \
         selection:\n    {selection}\n  condition: selection or other\n"
    );
    let library = load_texts([Source { file: "test.yml", text: &text }]);
    assert!(library.rejections.is_empty(), "{}", library.rejections[0]);
    library
}

const EXEC: &str = "{category: process_creation, product: linux}";
const CONNECT: &str = "{category: network_connection, product: linux}";

#[test]
fn a_field_that_is_not_supplied_or_of_another_type_refuses_the_rule_at_its_line() {
    let cases = [
        (EXEC, "OriginalFileName: x", "WT0601", "take it out"),
        (EXEC, "CommandLin|contains: x", "WT0601", "did you mean `CommandLine`?"),
        (EXEC, "CommandLine|fieldref: Missing", "WT0601", "take it out"),
        (EXEC, "ProcessId|contains: '12'", "WT0602", "a whole number"),
        (EXEC, "ProcessId: 1.5", "WT0602", "a whole number"),
        (EXEC, "ProcessId|gt: 99999999999999999999999", "WT0602", "a whole number"),
        (EXEC, "ProcessId|lte: -99999999999999999999999", "WT0602", "a whole number"),
        (EXEC, "ProcessId: abc", "WT0602", "a whole number"),
        (EXEC, "ProcessId|re: '1.*'", "WT0602", "a whole number"),
        (EXEC, "Memfd: 'yes'", "WT0602", "true or false"),
        (EXEC, "Memfd|gt: 1", "WT0602", "true or false"),
        (EXEC, "Image|cidr: 10.0.0.0/8", "WT0602", "text"),
        (CONNECT, "DestinationPort|cidr: 10.0.0.0/8", "WT0602", "a whole number"),
        (CONNECT, "DestinationIp|lt: 5", "WT0602", "an address"),
    ];
    for (logsource, selection, code, mend) in cases {
        let mut library = library(selection, logsource);
        let image = library.host_image().expect("what is left");
        assert_eq!(Image::open(&image).expect("compiled here").rules().len(), 0, "{selection}");
        let [refused] = library.rejections.as_slice() else { unreachable!("{selection}: {:?}", library.rejections) };
        assert_eq!((refused.reason.code(), refused.line), (code, 8), "{refused}");
        assert!(refused.reason.mend().contains(mend), "{refused}");
        let shown = render(refused, false);
        assert!(shown.contains(&format!("8 |     {selection}")) && shown.contains(" ^^"), "{shown}");
    }
}

#[test]
fn what_is_supplied_is_accepted_by_the_compiler_and_by_the_host_alike() {
    let cases = [
        (EXEC, "ProcessId: 12"),
        (EXEC, "ProcessId|gte: 12"),
        (EXEC, "UserId: '0'"),
        (EXEC, "Memfd: 'true'"),
        (EXEC, "Memfd: true"),
        (EXEC, "Image|fieldref: ParentImage"),
        (EXEC, "ParentImage: null"),
        (EXEC, "ProcessId|exists: true"),
        (EXEC, "ProcessId: '*'"),
        (CONNECT, "DestinationIp|cidr: 10.0.0.0/8"),
        (CONNECT, "DestinationIp|startswith: '10.'"),
        (CONNECT, "DestinationPort: [80, 443]"),
        (CONNECT, "Initiated: 'false'"),
        ("{category: file_event, product: linux}", "Operation: create"),
        ("{product: linux}", "DestinationIp: 10.0.0.1"),
        ("{product: windows, category: process_creation}", "OriginalFileName: x"),
    ];
    for (logsource, selection) in cases {
        let mut library = library(selection, logsource);
        let image = library.host_image().expect("a rule");
        assert!(library.rejections.is_empty(), "{selection}: {}", library.rejections[0]);
        let image = Image::open(&image).expect("compiled here");
        assert!(!image.is_foreign());
        assert_eq!(image.check_supply(&types_here), Ok(()), "{selection}");
    }
}

#[test]
fn an_image_for_a_sensor_that_had_more_is_refused_by_rule_field_and_line() {
    let mut library = library("CommandLine: x", EXEC);
    let image = library.host_image().expect("a rule");
    let image = Image::open(&image).expect("compiled here");
    let without = |logsource: &LogSource<'_>, field: &str| {
        if field == "CommandLine" {
            Some(0)
        } else {
            types_here(logsource, field)
        }
    };
    let refused = image.check_supply(&without).expect_err("one field less");
    assert_eq!(
        (refused.rule.as_str(), refused.field.as_str(), refused.line),
        ("0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f001", "CommandLine", 8)
    );
    let as_number = |_: &LogSource<'_>, _: &str| Some(watertight_engine::image::layout::TYPE_NUMBER);
    assert!(image.check_supply(&as_number).expect_err("another type").to_string().contains("another type"));
}

#[test]
fn an_exception_for_what_is_not_supplied_is_left_out_by_itself_and_the_rule_stays() {
    let rule = "title: T\nid: rule\nlogsource: {category: process_creation, product: linux}\ndetection:\n  s: {Image: /x}\n  condition: s\n";
    let exception = "title: E\nid: exception\nexception:\n  rules: [rule]\n  s: {Missing: x}\n  condition: s\n";
    let text = format!("{rule}---\n{exception}");
    let mut library = load_texts([Source { file: "test.yml", text: &text }]);
    let image = library.host_image().expect("a rule");
    assert_eq!(Image::open(&image).expect("compiled here").rules().len(), 1);
    let refused = &library.rejections[0];
    assert_eq!((refused.rule.as_deref(), refused.line, refused.reason.code()), (Some("exception"), 12, "WT0601"));
}

const BASE: &str = "title: B\nname: base\nid: 0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f002\n\
                    logsource: {category: process_creation, product: linux}\ndetection: {s: {Image: /x}, condition: s}\n---\n";

/// A correlation whose `correlation` has these lines, from line 9 on.
fn together(lines: &[&str]) -> Library {
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    let text =
        format!("{BASE}title: C\nid: 0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f003\ncorrelation:\n  timespan: 1m\n{lines}");
    let library = load_texts([Source { file: "test.yml", text: &text }]);
    assert!(library.rejections.is_empty(), "{}", library.rejections[0]);
    library
}

const COUNT: [&str; 2] = ["type: event_count", "rules: [base]"];

/// Two stages, the first of a file and the second of a program; the lines come before and behind them.
fn stages<'l>(before: &[&'l str], behind: &[&'l str]) -> Vec<&'l str> {
    let given = [
        "type: temporal_ordered",
        "stages:",
        "  - name: write",
        "    logsource: {product: linux, category: file_event}",
        "    detection: {s: {TargetFilename: /x}, condition: s}",
        "  - name: run",
        "    logsource: {product: linux, category: process_creation}",
        "    detection: {s: {Image: /x}, condition: s}",
    ];
    [before, &given, behind].concat()
}

/// What a correlation asks for that the events do not have: its lines, then code, line, column and a part of the mend.
fn asks_for_more() -> Vec<(Vec<&'static str>, &'static str, usize, &'static str, &'static str)> {
    let with = |more: &[&'static str]| [COUNT.as_slice(), more].concat();
    vec![
        (with(&["group-by: [Field21]", "condition: {gte: 3}"]), "WT0601", 13, "Field21", "take it out"),
        (with(&["group-by: [User, Imag]", "condition: {gte: 3}"]), "WT0601", 13, "Imag", "did you mean `Image`?"),
        (
            with(&["group-by: [who]", "aliases: {who: {base: Usr}}", "condition: {gte: 3}"]),
            "WT0601",
            14,
            "Usr",
            "did you mean `User`?",
        ),
        (
            vec!["type: value_count", "rules: [base]", "condition: {gte: 3, field: CommandLin}"],
            "WT0601",
            13,
            "CommandLin",
            "did you mean `CommandLine`?",
        ),
        (
            vec!["type: value_sum", "rules: [base]", "condition: {gte: 3, field: Image}"],
            "WT0603",
            13,
            "Image",
            "name a field that is a whole number",
        ),
        (stages(&["group-by: [Field21]"], &[]), "WT0601", 11, "Field21", "take it out"),
        (
            stages(&["join: process"], &["    where: {Imag|fieldref: write.TargetFilename}"]),
            "WT0601",
            20,
            "Imag|fieldref",
            "did you mean `Image`?",
        ),
        (
            stages(&["join: process"], &["    where: {Image|fieldref: write.TargetFilenam}"]),
            "WT0601",
            20,
            "write.TargetFilenam",
            "did you mean `TargetFilename`?",
        ),
        (stages(&["join: process"], &["    by: target"]), "WT0601", 20, "target", "joined by: process, parent"),
        (
            stages(&["join: process"], &["  - name: ask", "    logsource: {product: linux, category: file_event}"])
                .into_iter()
                .chain(["    detection: {s: {QueryName: /x}, condition: s}"])
                .collect(),
            "WT0601",
            22,
            "QueryName",
            "take it out",
        ),
    ]
}

#[test]
fn a_correlation_on_what_is_not_supplied_is_refused_at_the_name_with_what_may_be_meant() {
    for (lines, code, line, named, mend) in asks_for_more() {
        let mut library = together(&lines);
        let image = library.host_image().expect("what is left");
        assert!(Image::open(&image).expect("compiled here").rules().all(|rule| rule.title() == "B"), "{lines:?}");
        let [refused] = library.rejections.as_slice() else { unreachable!("{lines:?}: {:?}", library.rejections) };
        assert_eq!((refused.reason.code(), refused.line), (code, line), "{lines:?}: {refused}");
        assert!(refused.reason.mend().contains(mend), "{refused}");
        let shown = render(refused, false);
        assert!(shown.contains(&format!("{} ", "^".repeat(named.len()))), "{named}: {shown}");
        let under = refused.text.chars().skip(refused.span.column - 1).take(named.len()).collect::<String>();
        assert_eq!(under, named, "{shown}");
    }
}

#[test]
fn a_host_refuses_an_image_with_a_correlation_on_what_is_not_supplied_by_rule_field_and_line() {
    for (lines, _, line, named, _) in asks_for_more() {
        let mut library = together(&lines);
        let image = library.image().expect("for any sensor");
        let refused = Image::open(&image).expect("compiled here").check_supply(&types_here).expect_err(named);
        let field = named.split('|').next().and_then(|name| name.rsplit('.').next()).expect("a field");
        let field = if field == "target" { "TargetProcessGuid" } else { field };
        assert_eq!((refused.field.as_str(), refused.line as usize), (field, line), "{lines:?}: {refused}");
        assert!(refused.rule.starts_with("0a5b1c52-8a44-4b0e-9a55-0c4ad4f6f003"), "{refused}");
    }
}

#[test]
fn a_correlation_on_what_is_supplied_is_accepted_by_the_compiler_and_by_the_host_alike() {
    let accepted = [
        [COUNT.as_slice(), &["group-by: [User, Image]", "condition: {gte: 3}"]].concat(),
        vec!["type: value_count", "rules: [base]", "condition: {gte: 3, field: ProcessId}"],
        vec!["type: value_max", "rules: [base]", "condition: {gte: 3, field: ProcessId}"],
        stages(&["join: process"], &["    by: parent", "    where: {Image|fieldref: write.TargetFilename}"]),
        stages(&["group-by: [User]"], &[]),
    ];
    for lines in accepted {
        let mut library = together(&lines);
        let image = library.host_image().expect("a correlation");
        assert!(library.rejections.is_empty(), "{lines:?}: {}", library.rejections[0]);
        assert_eq!(Image::open(&image).expect("compiled here").check_supply(&types_here), Ok(()), "{lines:?}");
    }
}

#[test]
fn the_field_that_a_fieldref_names_is_pointed_at_itself() {
    let mut library = library("CommandLine|fieldref: NoSuchField", EXEC);
    library.host_image().expect("what is left");
    let refused = &library.rejections[0];
    assert_eq!((refused.line, refused.span.column), (8, 27), "{refused}");
}
