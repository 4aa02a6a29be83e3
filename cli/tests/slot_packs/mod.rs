//! Packs for tests of the host: one rule each.

#![allow(dead_code, reason = "each test file uses its own part")]

use watertight_content::pack::{build, parse_release, Sources};
use watertight_content::sigma::Source;
use watertight_host::slots::ContentId;

/// The rule fires on files of this name.
pub const TRIGGER: &str = "wt-content-trigger";
/// Its id.
pub const RULE: &str = "7d1c1f0e-5f1b-4c5e-9a55-0c7d6f1f2a01";

/// A pack whose rule has this title.
pub fn pack(name: &str, version: u64, title: &str) -> Vec<u8> {
    pack_with(name, version, title, "")
}

/// The same with a correlation that waits for more of these events than ever come.
pub fn correlating_pack(version: u64) -> Vec<u8> {
    let correlation = format!(
        "---\ntitle: Many\nid: 7d1c1f0e-5f1b-4c5e-9a55-0c7d6f1f2a04\ncorrelation:\n  type: event_count\n  rules: {RULE}\n  \
         group-by: [TargetFilename]\n  timespan: 1h\n  generate: true\n  condition: {{gte: 1000}}\n"
    );
    pack_with("together", version, "Quiet", &correlation)
}

fn pack_with(name: &str, version: u64, title: &str, more: &str) -> Vec<u8> {
    let release = format!("name: {name}\nversion: {version}\n");
    let release = parse_release(Source { file: "pack.yml", text: &release }).expect("a release");
    let rule = format!(
        "title: {title}\nid: {RULE}\nlogsource: {{category: file_event, product: linux}}\n\
         detection:\n  selection:\n    TargetFilename|endswith: /{TRIGGER}\n  condition: selection\n{more}"
    );
    let tests = format!(
        "fires:\n  - rule: {RULE}\n    category: file_event\n    product: linux\n    event: {{TargetFilename: /tmp/{TRIGGER}}}\n\
         silent:\n  - rule: {RULE}\n    category: file_event\n    product: linux\n    event: {{TargetFilename: /tmp/other}}\n    why: another name\n"
    );
    let sources = Sources {
        release: &release,
        rules: vec![Source { file: "a/rule.yml", text: &rule }],
        tests: vec![Source { file: "a/rule.tests.yml", text: &tests }],
        policy: None,
    };
    build(&sources).expect("good sources").bytes
}

/// A pack whose rule does that to the detector when it fires.
pub fn killer(way: &str) -> Vec<u8> {
    pack("bad", 1, &format!("fault-{way}"))
}

/// What it is called on a host.
pub fn id_of(pack: &[u8]) -> String {
    ContentId::of(pack).to_string()
}
