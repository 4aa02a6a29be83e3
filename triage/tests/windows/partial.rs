//! Damaged and partial dumps: what can be had is told, and what is missing is named.

use watertight_triage::report::{Hex, Kind};

use super::machine::Machine;
use super::{report_of, scene, writer};

fn warns(dump: &[u8], word: &str) -> bool {
    report_of(dump).warnings.iter().any(|warning| warning.contains(word))
}

#[test]
fn a_dump_cut_anywhere_gives_what_its_header_says() {
    let machine = scene::machine();
    for dump in [writer::bitmap(&machine, 5), writer::ranges(&machine, 8), writer::small(&machine, &[])] {
        for share in [0x38_usize, 0x1000, 0x2000, 0x2010, 0x2100, dump.len() / 2, dump.len() - 1] {
            let report = report_of(&dump[..share.max(0x60)]);
            assert_eq!(report.kind, Kind::WindowsKernel);
            assert_eq!(report.bugcheck.as_ref().map(|bugcheck| bugcheck.code), Some(Hex(0x50)), "cut at {share:#x}");
            assert!(!report.warnings.is_empty(), "cut at {share:#x}");
        }
    }
}

#[test]
fn a_summary_dump_tells_its_stop_code_and_says_that_there_is_no_more() {
    let report = report_of(&writer::summary(&scene::machine()));
    assert_eq!(report.bugcheck.as_ref().map(|bugcheck| bugcheck.code), Some(Hex(0x50)));
    assert!(report.modules.is_empty() && report.warnings.iter().any(|warning| warning.contains("summary")));
}

#[test]
fn a_list_of_modules_that_runs_in_a_circle_ends() {
    let mut machine = scene::machine();
    // The second entry names itself as the next.
    let second = 0xffff_e402_f8c0_0400;
    machine.put_u64(second, second);
    assert!(warns(&writer::bitmap(&machine, 5), "circle"));
}

#[test]
fn an_encoded_block_of_the_debugger_is_said_and_the_trap_frame_is_found_without_it() {
    let mut machine = scene::machine();
    machine.put(machine.debugger_block + 0x10, &[0xa5; 4]);
    let report = report_of(&writer::bitmap(&machine, 5));
    assert!(report.warnings.iter().any(|warning| warning.contains("encoded")), "{:?}", report.warnings);
    assert_eq!(super::fact(&report, "TRAP_FRAME"), Some("ffff94058305ec20"));
    assert_eq!(report.frames.iter().find(|frame| frame.is_fault).and_then(|frame| frame.offset), Some(Hex(0xe14ed)));
}

#[test]
fn a_trap_frame_that_no_register_names_is_found_on_the_stack() {
    let mut machine = scene::machine();
    machine.context = scene::context(scene::NT + 0x3fd5a0, 0xffff_9405_8305_e9f8, 0);
    machine.put_u64(0xffff_9405_8305_ea18, 0);
    let report = report_of(&writer::bitmap(&machine, 5));
    assert_eq!(super::fact(&report, "TRAP_FRAME"), Some("ffff94058305ec20"));
}

#[test]
fn code_that_is_not_in_the_dump_makes_frames_that_say_so() {
    let report = report_of(&writer::small(&scene::machine(), &[]));
    let scanned = report.frames.iter().filter(|frame| frame.trust == watertight_triage::report::Trust::Scan).count();
    // 16 return addresses without the fault's, and 8 words that point at code by chance.
    assert_eq!(scanned, 24, "{report}");
    assert!(report.instruction.is_none() && report.listing.is_empty());
}

#[test]
fn a_dump_of_another_machine_is_refused_by_name() {
    let mut dump = writer::summary(&Machine { bugcheck: 0x50, ..Machine::default() });
    dump[0x30] = 0x4c;
    dump[0x31] = 0x01;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &dump).expect("written");
    let mut error = None;
    let options = watertight_triage::Options::default();
    watertight_triage::examine(file.path(), &options, &mut |report| error = report.error);
    assert!(error.is_some_and(|error| error.contains("0x14c") && error.contains("ARM64")));
}
