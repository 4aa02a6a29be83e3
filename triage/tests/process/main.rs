//! Dumps of processes, up to the report: a crash of our own in each form, mutants of it by the thousand, real ones where there are some.

mod binaries;
mod corpus;
mod hostile;
mod kernel_core;
#[path = "../mutants/mod.rs"]
mod mutants;
mod pdb;
#[path = "../tools/mod.rs"]
mod tools;
mod writer;

use std::sync::Arc;

use watertight_triage::report::{Operation, Trust};
use watertight_triage::symbols::Folders;
use watertight_triage::{examine_source, Examined, Options, Report};

use writer::System;

/// The one report of a dump.
fn report_with(dump: &[u8], options: &Options) -> Report {
    let mut reports = Vec::new();
    let examined = examine_source("a dump", &dump.to_vec(), &|| None, options, &mut |report| reports.push(report));
    assert_eq!(examined, Examined::Found(1), "{reports:?}");
    reports.remove(0)
}

fn report_of(dump: &[u8]) -> Report {
    report_with(dump, &Options::default())
}

fn places(report: &Report) -> Vec<(Option<&str>, u64, Trust)> {
    let place = |frame| -> (Option<&str>, u64, Trust) {
        let frame: &watertight_triage::report::Frame = frame;
        (frame.function.as_deref(), frame.ip.map_or(0, |ip| ip.0), frame.trust)
    };
    report.frames.iter().map(place).collect()
}

/// What must be told of the crash, whatever it was written in.
fn assert_told(report: &Report, type_: &str) {
    assert_eq!(report.type_.as_deref(), Some(type_));
    let access = report.access.as_ref().expect("an access");
    assert_eq!((access.operation, access.address.0), (Operation::Write, writer::ADDRESS));
    assert_eq!(access.class.as_deref(), Some("null page"));
    let instruction = report.instruction.as_ref().expect("it is in the dump");
    assert_eq!(instruction.bytes, "894810");
    assert_eq!(instruction.text.as_deref(), Some("mov     [rax+10h],ecx"));
    assert_eq!(instruction.operand.as_deref(), Some("0x10=????????"));
    assert_eq!(
        places(report),
        [
            (None, writer::FAULT, Trust::Context),
            (None, writer::CALLER, Trust::Unwind),
            // The chain of frame pointers ends there: its word lies behind a call.
            (None, writer::MAIN, Trust::CallVerified)
        ]
    );
    assert_eq!(report.registers.get("rip").map(|register| register.value.0), Some(writer::FAULT));
    assert_eq!(report.pid, Some(4242));
    assert_eq!(report.blamed.as_ref().and_then(|blamed| blamed.module.as_deref()), Some("agent"));
    assert!(report.bucket.as_ref().is_some_and(|bucket| bucket.key.starts_with("b1 | process | ")));
}

#[test]
fn a_minidump_of_linux_tells_the_fault_the_stack_and_whose_code() {
    let report = report_of(&writer::minidump(System::Linux, &[]));
    assert_told(&report, "SIGSEGV / SEGV_MAPERR");
    assert_eq!(report.title.as_deref(), Some("SIGSEGV write (null page) in agent"));
    let cause = "agent+0x1105 wrote to 0x10 (null page): SIGSEGV / SEGV_MAPERR.";
    assert_eq!(report.cause.as_deref(), Some(cause));
}

#[test]
fn a_minidump_of_windows_tells_the_same() {
    let report = report_of(&writer::minidump(System::Windows, &[]));
    assert_told(&report, "EXCEPTION_ACCESS_VIOLATION_WRITE");
    assert_eq!(report.modules[0].name, "agent", "without what follows the dot, as debuggers there have it");
    assert_eq!(report.modules[0].timestamp.map(|stamp| stamp.0), Some(0x6501_0203));
}

#[test]
fn an_elf_core_tells_the_same() {
    let report = report_of(&writer::core());
    assert_told(&report, "SIGSEGV / SEGV_MAPERR");
    assert_eq!(report.process.as_deref(), Some("agent"));
    assert_eq!(report.thread.as_deref(), Some("77"));
    assert_eq!(report.access.as_ref().and_then(|access| access.mapped), Some(false));
}

#[test]
fn a_core_of_gdb_which_leaves_code_out_has_its_modules_and_no_files_of_data() {
    let modules =
        |core: &[u8]| -> Vec<String> { report_of(core).modules.into_iter().map(|module| module.name).collect() };
    assert_eq!(modules(&writer::core()), ["agent"]);
    let core = writer::core_of_gdb();
    assert_eq!(modules(&core), ["agent"]);
    let report = report_of(&core);
    assert_eq!(report.frames.first().and_then(|frame| frame.module.as_deref()), Some("agent"));
    assert_eq!(report.blamed.and_then(|blamed| blamed.module).as_deref(), Some("agent"));
}

#[test]
fn functions_get_names_from_symbol_files_of_this_build_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::default();
    options.symbols = Arc::new(Folders(vec![folder.path().to_path_buf()]));
    let path = folder.path().join(writer::SYMBOLS);
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("folders");
    std::fs::write(&path, writer::SYMBOL_FILE).expect("written");
    for dump in [writer::minidump(System::Linux, &[]), writer::core()] {
        let report = report_with(&dump, &options);
        let names: Vec<_> = report.frames.iter().map(|frame| frame.function.as_deref()).collect();
        assert_eq!(names, [Some("frob"), Some("parse"), Some("main")]);
        assert_eq!(report.title.as_deref(), Some("SIGSEGV write (null page) in agent!frob"));
        assert_eq!(report.frames[0].file.as_deref(), Some("src/frob.c"));
    }
    // Of another build: it lies elsewhere.
    std::fs::rename(path.parent().expect("it has one"), folder.path().join("agent/0")).expect("renamed");
    assert!(report_with(&writer::core(), &options).frames.iter().all(|frame| frame.function.is_none()));
}

#[test]
fn one_bug_has_one_bucket_in_a_minidump_and_in_a_core() {
    let ids = [writer::minidump(System::Linux, &[]), writer::core()].map(|dump| report_of(&dump).bucket);
    assert_eq!(ids[0].as_ref().map(|bucket| &bucket.id), ids[1].as_ref().map(|bucket| &bucket.id));
}

#[test]
fn a_redacted_report_holds_neither_arguments_nor_registers_that_are_no_places() {
    let mut options = Options::default();
    options.redacts = true;
    for dump in [writer::minidump(System::Linux, &[]), writer::core()] {
        let plain = serde_json::to_string(&report_of(&dump)).expect("JSON");
        assert!(plain.contains("hunter2") && plain.contains("0x1111"), "{plain}");
        let redacted = serde_json::to_string(&report_with(&dump, &options)).expect("JSON");
        assert!(!redacted.contains("hunter2") && !redacted.contains("0x1111"), "{redacted}");
    }
}

fn facts(report: &Report) -> Vec<(&str, &str)> {
    report.facts.iter().map(|fact| (fact.name.as_str(), fact.value.as_str())).collect()
}

#[test]
fn a_dump_of_our_own_names_release_worker_content_and_rule_redacted_too() {
    let notes = [
        ("watertight", "1.2.3"),
        ("sensor", "b0b0"),
        ("worker", "detector"),
        ("phase", "evaluating"),
        ("content_id", "605f"),
        ("content_name", "linux"),
        ("content_version", "7"),
        ("rule_id", "a1-b2"),
    ];
    let lines = [
        ("SENSOR_VERSION", "1.2.3"),
        ("SENSOR_BUILD", "b0b0"),
        ("WORKER", "detector"),
        ("PHASE", "evaluating"),
        ("CONTENT_ID", "605f"),
        ("CONTENT_NAME", "linux"),
        ("CONTENT_VERSION", "7"),
        ("RULE_ID", "a1-b2"),
    ];
    let dump = writer::annotated(System::Linux, &notes);
    let mut options = Options::default();
    for redacts in [false, true] {
        options.redacts = redacts;
        let report = report_with(&dump, &options);
        let told = facts(&report);
        assert!(lines.iter().all(|line| told.contains(line)), "{told:?}");
        assert!(told.iter().all(|(name, _)| *name != "ANNOTATION"), "{told:?}");
        assert!(report.to_string().contains("\nCONTENT_ID:       605f\n"), "{report}");
    }
}

#[test]
fn annotations_of_another_program_are_told_as_they_are_and_left_out_where_reports_are_redacted() {
    let dump = writer::annotated(System::Linux, &[("content_id", "of user bob"), ("worker", "bob")]);
    let plain = report_of(&dump);
    let told = facts(&plain);
    assert!(told.contains(&("ANNOTATION", "content_id = of user bob")), "{told:?}");
    assert!(told.iter().all(|(name, _)| !matches!(*name, "CONTENT_ID" | "WORKER")), "{told:?}");
    let mut options = Options::default();
    options.redacts = true;
    assert!(!report_with(&dump, &options).to_string().contains("bob"));
}

/// A core's header, and behind it as many program headers as one may have, all notes or memory beyond the file's end.
fn headers_alone() -> Vec<u8> {
    const HEADERS: u16 = u16::MAX;
    let core = writer::core();
    let mut core = core[..64].to_vec();
    core[56..58].copy_from_slice(&HEADERS.to_le_bytes());
    for number in 0..u64::from(HEADERS) {
        let kind = if number % 2 == 0 { 1 } else { 4_u64 };
        for word in [kind | 7 << 32, 0x1000, 0, 0, 1 << 62, 1 << 62, 0] {
            core.extend(word.to_le_bytes());
        }
    }
    core
}

#[test]
fn a_core_whose_notes_are_noise_is_damaged_and_was_not_asked_for() {
    let mut reports = Vec::new();
    let options = Options::default();
    let examined = examine_source("a core", &headers_alone(), &|| None, &options, &mut |one| reports.push(one));
    assert_eq!(examined, Examined::Failed, "{reports:?}");
    let error = reports[0].error.as_deref().unwrap_or_default();
    assert!(error.starts_with("notes that tell of no thread, no signal and no process at byte 4096"), "{error}");
}

#[test]
fn a_cut_minidump_or_core_gives_what_can_be_had() {
    let core = writer::core();
    let cut = report_of(&core[..core.len() - 0x200]);
    assert!(cut.warnings.iter().any(|warning| warning.contains("cut")), "{:?}", cut.warnings);
    assert_eq!(cut.frames[0].ip.map(|ip| ip.0), Some(writer::FAULT));
}
