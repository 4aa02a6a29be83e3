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
