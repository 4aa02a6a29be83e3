//! Packs as a publisher makes and judges them: built from a folder, verified, compared, replayed over recorded events.

use std::fs;

use std::process::{Command, Output, Stdio};

use serde_json::{json, Value};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

const SHELL: &str = "title: A shell\nid: 00000000-0000-4000-8000-000000000001\nlevel: high\n\
    logsource: {category: process_creation, product: linux}\ndetection:\n  s:\n    Image|endswith: /sh\n  condition: s\n";
const SHELL_TESTS: &str = "fires:\n  - {category: process_creation, event: {Image: /bin/sh}}\n\
    silent:\n  - {category: process_creation, event: {Image: /bin/false}}\n\
    \x20 - {category: process_creation, event: {Image: /bin/true}}\n";
const MINER: &str = "title: A miner\nid: 00000000-0000-4000-8000-000000000002\n\
    logsource: {category: process_creation, product: linux}\ndetection:\n  s:\n    CommandLine|re: 'stratum\\+(tcp|ssl)'\n  condition: s\n";
const MINER_TESTS: &str = "fires:\n  - {category: process_creation, event: {CommandLine: x -o stratum+tcp://y}}\n\
    silent:\n  - {category: process_creation, event: {CommandLine: stratum}}\n";
const POLICY: &str = "version: 1\nrules:\n\
    \x20 - { id: no-miner, action: deny, on: exec, match: { file: /opt/xmrig }, mode: enforce }\n";

/// A folder with the sources of a pack, and what is made of it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir_all(desk.path("source/linux")).expect("a folder");
        desk.write("source/pack.yml", "name: linux\nversion: 1\n");
        desk.write("source/linux/shell.yml", SHELL);
        desk.write("source/linux/shell.tests.yml", SHELL_TESTS);
        desk
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(BINARY);
        command.arg("content").args(arguments.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command.output().expect("our own executable starts")
    }

    fn json(&self, arguments: &str) -> Value {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The second release: another rule, another field, a deny rule.
    fn second(&self) {
        self.write("source/pack.yml", "name: linux\nversion: 2\n");
        self.write("source/linux/miner.yml", MINER);
        self.write("source/linux/miner.tests.yml", MINER_TESTS);
        self.write("source/linux/shell.yml", &SHELL.replace("endswith: /sh", "endswith: [/sh, /dash]"));
        self.write("source/policy.yml", POLICY);
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn event(image: &str, command_line: &str) -> String {
    let event = json!({ "Image": image, "CommandLine": command_line });
    json!({ "logsource": { "category": "process_creation", "product": "linux" }, "event": event }).to_string()
}

#[test]
fn what_was_built_verifies_and_the_same_sources_give_the_same_file() {
    let desk = Desk::new();
    let built = desk.json("build source -o a.pack --form json");
    assert_eq!((&built["name"], &built["version"], &built["rules"]), (&json!("linux"), &json!(1), &json!(1)));
    let verified = desk.json("verify a.pack -o json");
    assert_eq!(verified["id"], built["id"]);
    assert_eq!((&verified["must_fire"], &verified["must_not_fire"]), (&json!(1), &json!(2)));
    fs::rename(desk.path("source"), desk.path("elsewhere")).expect("moved");
    desk.json("build elsewhere -o b.pack --form json");
    let read = |name: &str| fs::read(desk.path(name)).expect("a pack");
    assert_eq!(read("a.pack"), read("b.pack"));
    let text = String::from_utf8(desk.run("verify a.pack").stdout).expect("text");
    assert!(text.contains("1 rules on 1 fields") && text.contains("3 canaries"), "{text}");
}

#[test]
fn nothing_is_written_where_a_rule_or_its_word_is_refused() {
    let desk = Desk::new();
    for (file, text, told) in [
        ("source/linux/shell.yml", SHELL.replace("endswith", "endsith"), "linux/shell.yml:"),
        ("source/linux/shell.yml", SHELL.replace("/sh", "/zsh"), "linux/shell.tests.yml:2:"),
        ("source/linux/shell.tests.yml", SHELL_TESTS.replace("/bin/true", "/bin/sh"), "linux/shell.tests.yml:5:"),
        ("source/linux/shell.tests.yml", "fires: []\n".to_owned(), "linux/shell.tests.yml:1:8"),
        ("source/pack.yml", "name: linux\n".to_owned(), "version is missing"),
        ("source/policy.yml", POLICY.replace("/opt/xmrig", ""), "policy.yml:3:"),
    ] {
        let before = fs::read_to_string(desk.path(file)).ok();
        desk.write(file, &text);
        let output = desk.run("build source -o a.pack");
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(words(&output).contains(told), "{told}: {}", words(&output));
        assert!(words(&output).contains("mend"), "{told}: {}", words(&output));
        assert!(!words(&output).contains("\\n"), "lines are lines: {}", words(&output));
        assert!(words(&output).matches("does not fire").count() <= 1, "told once: {}", words(&output));
        assert!(!desk.path("a.pack").exists());
        match before {
            Some(before) => desk.write(file, &before),
            None => fs::remove_file(desk.path(file)).expect("written above"),
        }
    }
    assert_eq!(desk.run("build source -o a.pack").status.code(), Some(0));
}

#[test]
fn a_pack_that_was_damaged_on_its_way_does_not_verify() {
    let desk = Desk::new();
    desk.json("build source -o a.pack --form json");
    let mut bytes = fs::read(desk.path("a.pack")).expect("a pack");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(desk.path("a.pack"), &bytes).expect("a file");
    let output = desk.run("verify a.pack");
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("a.pack") && words(&output).contains("SHA-256"), "{}", words(&output));
    assert_eq!(desk.run("verify none.pack").status.code(), Some(1));
}

#[test]
fn a_diff_names_rules_fields_and_deny_rules_and_a_replay_their_alerts() {
    let desk = Desk::new();
    desk.json("build source -o a.pack --form json");
    desk.second();
    desk.json("build source -o b.pack --form json");
    let lines = [
        event("/bin/sh", "sh -c true"),
        event("/usr/bin/dash", "dash"),
        event("/opt/x", "x -o stratum+ssl://pool"),
        event("/bin/true", "true"),
    ];
    desk.write("events.jsonl", &format!("{}\n", lines.join("\n")));
    let diff = desk.json("diff a.pack b.pack --events events.jsonl -o json");
    let ids = |part: &str| -> Vec<String> {
        let rows = diff[part].as_array().expect("a list");
        rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids("added"), ["00000000-0000-4000-8000-000000000002"]);
    assert_eq!(ids("changed"), ["00000000-0000-4000-8000-000000000001"]);
    assert_eq!(ids("removed"), [""; 0]);
    assert_eq!(diff["fields_newly_used"], json!(["CommandLine"]));
    assert_eq!(diff["deny_rules_added"].as_array().map(Vec::len), Some(1));
    assert_eq!((&diff["replay"]["old"]["alerts"], &diff["replay"]["new"]["alerts"]), (&json!(1), &json!(3)));
    let back = String::from_utf8(desk.run("diff b.pack a.pack").stdout).expect("text");
    assert!(
        back.contains("removed rule") && back.contains("A miner") && back.contains("deny rule removed: no-miner"),
        "{back}"
    );

    let replayed = desk.json("replay b.pack --events events.jsonl --against a.pack -o json");
    assert_eq!((&replayed["events"], &replayed["alerts"]), (&json!(4), &json!(3)));
    let rules = replayed["rules"].as_array().expect("a list");
    let miner = rules.iter().find(|rule| rule["title"] == "A miner").expect("it is in the pack");
    assert_eq!(miner["alerts"], json!(1));
    assert!(miner["work"].as_u64() > Some(0) && miner["evaluations"].as_u64() > Some(0), "{miner}");
    assert_eq!(replayed["changes"].as_array().map(Vec::len), Some(2));
    let text =
        String::from_utf8(desk.run("replay b.pack --events events.jsonl --against a.pack").stdout).expect("text");
    assert!(text.contains("alerts 1 -> 3"), "{text}");
}

#[test]
fn a_replay_counts_what_exceptions_leave_out_and_of_which_rule() {
    let desk = Desk::new();
    let exception = |number: u32, title: &str, image: &str| {
        format!(
            "---\ntitle: '{title}'\nid: 00000000-0000-4000-8000-0000000000{number}\nexception:\n  rules: [{}]\n\
             \x20 selection: {{CommandLine|startswith: '{image}'}}\n  condition: selection\n",
            "00000000-0000-4000-8000-000000000001"
        )
    };
    let text =
        format!("{}{}", exception(31, "The backup: nightly", "sh -c backup"), exception(32, "Nobody", "sh -c no"));
    desk.write("source/linux/exceptions.yml", &text);
    desk.json("build source -o a.pack --form json");
    let lines = [
        event("/bin/sh", "sh -c backup"),
        event("/bin/sh", "sh -c backup again"),
        event("/bin/sh", "sh -c true"),
        event("/bin/true", "sh -c backup"),
    ];
    desk.write("events.jsonl", &format!("{}\n", lines.join("\n")));
    let replayed = desk.json("replay a.pack --events events.jsonl -o json");
    let row = &replayed["rules"][0];
    assert_eq!((&row["alerts"], &row["left_out"]), (&json!(1), &json!(2)), "{replayed}");
    let by = json!([{"exception": "Nobody", "left_out": 0}, {"exception": "The backup: nightly", "left_out": 2}]);
    assert_eq!(row["exceptions"], by);
    assert!(row["ns_per_event"].is_number(), "{row}");
    let words = String::from_utf8(desk.run("replay a.pack --events events.jsonl").stdout).expect("text");
    assert!(words.contains("2  left out by The backup: nightly"), "{words}");
}

#[test]
fn a_replay_of_what_is_no_recording_is_refused_by_file_and_line() {
    let desk = Desk::new();
    desk.json("build source -o a.pack --form json");
    desk.write("events.jsonl", &format!("{}\n[]\n", event("/bin/sh", "sh")));
    let output = desk.run("replay a.pack --events events.jsonl");
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("events.jsonl:2"), "{}", words(&output));
}

#[test]
fn a_rule_of_a_pack_is_explained_as_that_of_its_folder() {
    let desk = Desk::new();
    desk.json("build source -o a.pack --form json");
    for (image, fires) in [("/bin/sh", true), ("/bin/true", false)] {
        desk.write("event.json", &event(image, "x"));
        let (of_pack, of_folder) = (
            desk.json("explain 00000000-0000-4000-8000-000000000001 event.json --pack a.pack -o json"),
            desk.json("explain 00000000-0000-4000-8000-000000000001 event.json --rules source/linux -o json"),
        );
        assert_eq!(of_pack["fires"], fires, "{of_pack}");
        for part in ["fires", "selections", "in_the_way", "excluded", "line", "rule", "title"] {
            assert_eq!(of_pack[part], of_folder[part], "{part}");
        }
    }
    let none = desk.run("explain 00000000-0000-4000-8000-00000000000f event.json --pack a.pack");
    assert_eq!(none.status.code(), Some(4), "{}", words(&none));
    desk.write("no.pack", "no pack at all");
    let none = desk.run("explain 00000000-0000-4000-8000-000000000001 event.json --pack no.pack");
    assert!(none.status.code() == Some(1) && words(&none).contains("no.pack"), "{}", words(&none));
}

/// One correlation, one sequence, and one whose last stage must stay away.
const TOGETHER: &str = "title: Base\nid: 00000000-0000-4000-8000-000000000011\nname: base\nlevel: low\n\
    logsource: {category: process_creation, product: linux}\ndetection: {s: {Image|endswith: /nc}, condition: s}\n---\n\
    title: Two\nid: 00000000-0000-4000-8000-000000000012\nlevel: high\n\
    correlation: {type: event_count, rules: [base], group-by: [User], timespan: 1m, condition: {gte: 2}}\n";
const STAGES: &str = "level: high\ncorrelation:\n  type: temporal_ordered\n  timespan: 30s\n  group-by: [User]\n  stages:\n\
    \x20 - name: a\n    logsource: {category: process_creation, product: linux}\n    detection: {s: {Image: /a}, condition: s}\n\
    \x20 - name: b\n    ABSENT\n    logsource: {category: process_creation, product: linux}\n    detection: {s: {Image: /b}, condition: s}\n";
const TOGETHER_TESTS: &str = "fires:\n\
    - {rule: 00000000-0000-4000-8000-000000000012, events: [{category: process_creation, event: {Image: /bin/nc, User: u}}, \
       {category: process_creation, after_ms: 5, event: {Image: /bin/nc, User: u}}]}\n\
    - {rule: 00000000-0000-4000-8000-000000000013, events: [{category: process_creation, event: {Image: /a, User: u}}, \
       {category: process_creation, after_ms: 5, event: {Image: /b, User: u}}]}\n\
    - {rule: 00000000-0000-4000-8000-000000000014, events: [{category: process_creation, event: {Image: /a, User: u}}, \
       {category: process_creation, after_ms: 50000, event: {Image: /c, User: u}}]}\n\
    silent:\n\
    - {rule: 00000000-0000-4000-8000-000000000012, category: process_creation, event: {Image: /bin/nc, User: u}}\n\
    - {rule: 00000000-0000-4000-8000-000000000013, category: process_creation, event: {Image: /a, User: u}}\n\
    - {rule: 00000000-0000-4000-8000-000000000014, category: process_creation, event: {Image: /b, User: u}}\n";

/// A process of user u that began so many milliseconds after the recording did.
fn recorded(image: &str, at_ms: u64) -> String {
    let process =
        json!({ "id": format!("0-{at_ms}-1"), "pid": 7, "executable": image, "command_line": image, "user": "u" });
    let time = format!("2026-11-22T06:10:{:02}.{:03}000000Z", at_ms / 1000, at_ms % 1000);
    json!({
        "kind": "process.exec", "class": "process", "outcome": "done", "source": "tp_btf", "time": time,
        "boot_ns": at_ms * 1_000_000 + 1, "process": process,
    })
    .to_string()
}

#[test]
fn what_takes_several_events_alerts_in_a_replay_as_it_does_in_detect_though_the_recording_ends_at_once() {
    let desk = Desk::new();
    let stages = |number: u32, absent: &str| {
        let head = format!("---\ntitle: Stages {number}\nid: 00000000-0000-4000-8000-0000000000{number}\n");
        head + &STAGES.replace("ABSENT\n    ", absent)
    };
    let rules = format!("{TOGETHER}{}{}", stages(13, ""), stages(14, "absent: 10s\n    "));
    fs::create_dir_all(desk.path("source/together")).expect("a folder");
    desk.write("source/together/rules.yml", &rules);
    desk.write("source/together/rules.tests.yml", TOGETHER_TESTS);
    desk.json("build source -o a.pack --form json");
    for (rule, images) in [
        ("00000000-0000-4000-8000-000000000012", [("/bin/nc", 1000), ("/bin/nc", 1500)]),
        ("00000000-0000-4000-8000-000000000013", [("/a", 1000), ("/b", 1500)]),
        ("00000000-0000-4000-8000-000000000014", [("/a", 1000), ("/c", 12_000)]),
    ] {
        let lines = images.map(|(image, at_ms)| recorded(image, at_ms));
        desk.write("events.jsonl", &format!("{}\n", lines.join("\n")));
        let replayed = desk.json("replay a.pack --events events.jsonl -o json");
        assert_eq!(replayed["alerts"], 1, "{rule}: {replayed}");
        let rows = replayed["rules"].as_array().expect("a list");
        assert!(rows.iter().any(|row| row["rule"] == rule && row["alerts"] == 1), "{replayed}");
        let mut detect = Command::new(BINARY);
        detect.args(["detect", "--rules", "source/together", "--input", "events.jsonl"]).current_dir(desk.0.path());
        let hits = String::from_utf8(detect.output().expect("it runs").stdout).expect("text");
        assert!(hits.lines().count() == 1 && hits.contains(rule), "{rule}: {hits}");
        let diff = desk.json("diff a.pack a.pack --events events.jsonl -o json");
        assert_eq!(diff["replay"]["new"]["alerts"], 1, "{rule}");
    }
}

#[test]
fn whatever_is_different_between_two_releases_is_told_in_a_diff() {
    let desk = Desk::new();
    let both =
        format!("{POLICY}  - {{ id: other, action: deny, on: exec, match: {{ file: /opt/other }}, mode: enforce }}\n");
    desk.write("source/policy.yml", &both);
    let pack = "name: linux\nversion: 5\n";
    desk.write("source/pack.yml", pack);
    desk.json("build source -o a.pack --form json");
    let mut rules: Vec<&str> = both.lines().collect();
    rules.swap(2, 3);
    for (file, text, part, told) in [
        ("source/pack.yml", format!("{pack}urgent: true\n"), "notices", "URGENT, which it was not"),
        ("source/pack.yml", format!("{pack}engine: {{min: 2, max: 9}}\n"), "notices", "-> 2 to 9"),
        ("source/pack.yml", pack.replace('5', "4"), "notices", "the version goes back, 5 -> 4"),
        ("source/pack.yml", pack.replace("linux", "lab"), "notices", "another name, linux -> lab"),
        ("source/policy.yml", format!("{}\n", rules.join("\n")), "notices", "deny rules in another order"),
        ("source/linux/shell.tests.yml", SHELL_TESTS.replace("/bin/sh", "/opt/sh"), "canaries_changed", "fires 1"),
        (
            "source/linux/shell.tests.yml",
            SHELL_TESTS.rsplit_once("  - ").expect("its last case").0.to_owned(),
            "canaries_removed",
            "silent 2",
        ),
        (
            "source/linux/shell.tests.yml",
            format!("{SHELL_TESTS}  - {{category: process_creation, event: {{Image: /bin/ls}}}}\n"),
            "canaries_added",
            "silent 3",
        ),
    ] {
        let before = fs::read_to_string(desk.path(file)).expect("it is there");
        desk.write(file, &text);
        desk.json("build source -o b.pack --form json");
        desk.write(file, &before);
        let diff = desk.json("diff a.pack b.pack -o json");
        assert!(diff[part].to_string().contains(told), "{told}: {diff}");
        let is_same_version = diff["old"]["version"] == diff["new"]["version"] && diff["new"]["name"] == "linux";
        assert_eq!(diff["notices"].to_string().contains("same version 5 with other bytes"), is_same_version, "{diff}");
        let text = String::from_utf8(desk.run("diff a.pack b.pack").stdout).expect("text");
        assert!(text.contains(told), "{told}: {text}");
        if told.starts_with("URGENT") {
            assert!(text.lines().nth(1).is_some_and(|first| first.contains(told)), "urgent comes first: {text}");
        }
    }
    let same = String::from_utf8(desk.run("diff a.pack a.pack").stdout).expect("text");
    assert!(same.contains("the same file"), "{same}");
}

#[test]
fn what_is_accepted_by_build_verify_and_draft_is_what_the_loader_of_a_host_takes() {
    let desk = Desk::new();
    let correlation = |number: u32| {
        format!(
            "---\ntitle: Many {number}\nid: 00000000-0000-4000-8000-0000000000{number}\nlevel: high\ncorrelation: \
             {{type: event_count, rules: [base], group-by: [ProcessId], timespan: 30d, state: 64MB, condition: {{gte: 2}}}}\n"
        )
    };
    let base = TOGETHER.split("---\n").next().expect("its first document");
    let many: String = (21..25).map(correlation).collect();
    desk.write("source/linux/many.yml", &format!("{base}{many}"));
    let event = "{category: process_creation, event: {Image: /bin/nc, ProcessId: 1}}";
    let fires = "fires:\n  - {rule: 00000000-0000-4000-8000-000000000021, events: [";
    let silent = format!("silent:\n  - {{rule: 00000000-0000-4000-8000-000000000021, events: [{event}]}}\n");
    desk.write("source/linux/many.tests.yml", &format!("{fires}{event}, {event}]}}\n{silent}"));
    let built = desk.run("build source -o a.pack");
    assert!(built.status.success(), "{}", words(&built));
    let verified = desk.run("verify a.pack");
    assert!(verified.status.success() && !words(&verified).contains("not tried"), "{}", words(&verified));
    let draft = desk.run("draft release a.pack --ring lab=2026-01-01T00:00:00Z,0h:1000000 --out release.json");
    assert!(draft.status.success(), "{}", words(&draft));
    // The killer of a detector's memory is found by the loader's own bounds, whoever asks.
    let installed = desk.run("install a.pack --state state");
    assert!(installed.status.success(), "{}", words(&installed));
}

#[test]
fn what_is_no_file_is_refused_at_once_and_the_form_of_the_answer_is_no_file() {
    let desk = Desk::new();
    let pipe = desk.path("pipe.pack");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a pipe");
    for command in ["verify pipe.pack", "install pipe.pack --state state", "diff pipe.pack pipe.pack"] {
        let output = desk.run(command);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(words(&output).contains("pipe.pack: this is no regular file"), "{}", words(&output));
    }
    let output = desk.run("build source -o json");
    assert!(output.status.code() == Some(1) && words(&output).contains("--form json"), "{}", words(&output));
    assert!(!desk.path("json").exists());
}

#[test]
fn a_pack_that_is_installed_says_that_it_is_urgent_and_what_follows() {
    let desk = Desk::new();
    desk.write("source/policy.yml", POLICY);
    for (urgent, is_told) in [("", false), ("urgent: true\n", true)] {
        desk.write("source/pack.yml", &format!("name: linux\nversion: 1\n{urgent}"));
        desk.json("build source -o a.pack --form json");
        let output = desk.run(&format!("install a.pack --state state{is_told}"));
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", words(&output));
        assert_eq!(told.contains("URGENT: its 1 deny rules"), is_told, "{told}");
    }
}

#[test]
fn what_may_be_called_so_in_a_pack_may_be_called_so_where_it_is_signed() {
    let long = |count: usize| "a".repeat(count);
    let names = [
        "",
        "a",
        "linux-2",
        "9",
        "-a",
        "_",
        "a_b",
        "A",
        "a.b",
        "a/b",
        "a b",
        "ä",
        "a\0",
        &long(64),
        &long(65),
        &long(300),
    ];
    for name in names {
        let (packed, signed) =
            (watertight_content_pack::is_name(name), watertight_content_repo::release::is_name(name));
        assert_eq!(packed, signed, "{name:?}");
    }
}
