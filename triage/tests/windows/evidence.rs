//! What ties a crash to content: the files that the driver had mapped, and how the system starts it.

use std::path::Path;

use watertight_triage::symbols::Folders;
use watertight_triage::Report;

use super::hive::{hive, text, Key, Value};
use super::{fact, only_report, report_of, scene, writer};

#[test]
fn the_content_that_the_driver_had_mapped_is_named_with_its_control_area() {
    let machine = scene::machine();
    for dump in [writer::bitmap(&machine, 5), writer::full(&machine), writer::ranges(&machine, 8)] {
        let report = report_of(&dump);
        let mapped: Vec<&str> = values(&report, "MAPPED_FILE");
        assert_eq!(
            mapped,
            [
                r"control area ffffde8a870a8290 -> file object ffffde8a879b29a0 -> \Windows\System32\drivers\CrowdStrike\C-00000291-00000000-00000032.sys"
            ]
        );
    }
    // A small dump has it where its pieces hold both structures.
    let pieces: Vec<(u64, usize)> = [0xffff_de8a_879b_2000, 0xffff_de8a_870a_8000].map(|page| (page, 0x1000)).into();
    let report = report_of(&writer::small(&machine, &[scene::pieces(), pieces].concat()));
    assert_eq!(values(&report, "MAPPED_FILE").len(), 1, "{report}");
    assert_eq!(fact(&report_of(&writer::small(&machine, &scene::pieces())), "MAPPED_FILE"), None);
}

fn values<'r>(report: &'r Report, name: &str) -> Vec<&'r str> {
    report.facts.iter().filter(|fact| fact.name == name).map(|fact| fact.value.as_str()).collect()
}

fn service<'a>(name: &'a str, kind: u32, start: u32, group: &str, more: Vec<Value<'a>>) -> Key<'a> {
    let number = |number: u32| number.to_le_bytes().to_vec();
    let mut values = vec![("Type", 4, number(kind)), ("Start", 4, number(start)), ("ErrorControl", 4, number(1))];
    values.push(("Group", 1, text(group)));
    values.extend(more);
    Key { name, values, below: Vec::new() }
}

fn system_hive() -> Vec<u8> {
    let depends = [text("FltMgr"), vec![0, 0]].concat();
    let path = |file: &str| ("ImagePath", 2, text(&format!(r"\??\C:\Windows\system32\drivers\CrowdStrike\{file}")));
    let features = ("SupportedFeatures", 4, 0xf_u32.to_le_bytes().to_vec());
    let services = vec![
        service(
            "CSAgent",
            2,
            1,
            "FSFilter Activity Monitor",
            vec![path("csagent.sys"), ("DependOnService", 7, depends), features],
        ),
        service("csboot", 1, 0, "Early-Launch", vec![path("csboot.sys")]),
        service("disk", 1, 0, "SCSI Class", vec![("ImagePath", 2, text(r"System32\drivers\disk.sys"))]),
    ];
    let key = |name, below| Key { name, values: Vec::new(), below };
    let select = Key { name: "Select", values: vec![("Current", 4, vec![2, 0, 0, 0])], below: Vec::new() };
    let old = key("ControlSet001", vec![key("Services", vec![service("csagent", 1, 3, "Old", Vec::new())])]);
    hive(&key("ROOT", vec![old, key("ControlSet002", vec![key("Services", services)]), select]))
}

fn report_beside(hive: &[u8]) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let dump = folder.path().join("MEMORY.DMP");
    std::fs::write(&dump, writer::bitmap(&scene::machine(), 5)).expect("written");
    std::fs::write(folder.path().join("SYSTEM"), hive).expect("written");
    only_report(Path::new(&dump))
}

#[test]
fn a_hive_beside_the_dump_tells_how_the_system_starts_the_driver_and_what_came_with_it() {
    assert_eq!(
        values(&report_beside(&system_hive()), "SERVICE"),
        [
            "CSAgent: Type 2 (file system driver), Start 1 (system), ErrorControl 1, Group \"FSFilter Activity Monitor\", DependOnService \"FltMgr\", \
             ImagePath \"\\??\\C:\\Windows\\system32\\drivers\\CrowdStrike\\csagent.sys\", SupportedFeatures f",
            "csboot: Type 1 (kernel driver), Start 0 (boot), ErrorControl 1, Group \"Early-Launch\", ImagePath \
             \"\\??\\C:\\Windows\\system32\\drivers\\CrowdStrike\\csboot.sys\"",
        ]
    );
}

#[test]
fn a_damaged_hive_costs_its_facts_and_nothing_else() {
    let whole = system_hive();
    let mut facts = 0;
    for at in (0x1000..whole.len()).step_by(4) {
        for value in [u32::MAX, 0, 0x8000_0000, 0x20] {
            let mut hive = whole.clone();
            hive[at..at + 4].copy_from_slice(&value.to_le_bytes());
            facts += read_alone(&hive);
        }
    }
    assert!(facts > 0, "most damage leaves something");
    assert!(values(&report_beside(&whole[..0x1100]), "SERVICE").is_empty());
    assert!(values(&report_beside(b"regf"), "SERVICE").is_empty());
}

/// How many services a hive tells beside the smallest dump that blames the driver.
fn read_alone(hive: &[u8]) -> usize {
    thread_local!(static DUMP: Vec<u8> = writer::small(&scene::machine(), &scene::pieces()));
    let report = DUMP
        .with(|dump| watertight_triage::windows::read(dump, &Folders::default(), Some(&hive.to_vec())))
        .expect("a dump");
    values(&report, "SERVICE").len()
}
