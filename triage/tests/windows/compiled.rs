//! A real driver: C compiled for Windows at several levels of optimization, run by a processor of ours until it faults, and the
//! dump of that unwound and named. The truth is the processor's own list of open calls.
//!
//! Needs clang and the linker that comes with Rust; without them the tests say so and end.

use std::path::Path;

use watertight_triage::report::Trust;
use watertight_triage::{examine, Options, Report};

use super::machine::{Machine, Module};
use super::processor::{Fault, Processor};
use super::tools::compile;
use super::tools::DRIVER;
use super::{report_of, scene, writer};

const NT: u64 = 0xffff_f806_5340_0000;
const STACK: (u64, u64) = (0xffff_9405_8305_9000, 0xffff_9405_8306_0000);
const LEVELS: [&str; 5] = ["-O0", "-O1", "-O2", "-O3", "-Os"];

/// Lays an image out in memory; gives its entry and its size there.
fn load(machine: &mut Machine, image: &[u8]) -> (u64, u32) {
    let long = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"));
    let short = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let coff = long(0x3c) as usize;
    let size = long(coff + 0x50);
    for page in (0..u64::from(size)).step_by(0x1000) {
        machine.fill(DRIVER + page, 0);
    }
    machine.put(DRIVER, &image[..long(coff + 0x54) as usize]);
    for number in 0..short(coff + 6) {
        let section = coff + 24 + short(coff + 20) + number * 40;
        let (at, bytes, from) = (long(section + 12), long(section + 16) as usize, long(section + 20) as usize);
        machine.put(DRIVER + u64::from(at), &image[from..from + bytes]);
    }
    (DRIVER + u64::from(long(coff + 0x28)), size)
}

/// Runs the driver to its fault; gives the dump's machine and the frames that are open, the innermost first.
fn crash(image: &[u8]) -> (Machine, Vec<(u64, u64)>) {
    let mut machine = Machine { stack: STACK, self_map: 0x1ed, exception: (0x8000_0003, 0), ..Machine::default() };
    (STACK.0..STACK.1).step_by(0x1000).for_each(|page| machine.fill(page, 0));
    let (entry, size) = load(&mut machine, image);
    let mut processor = Processor::new(machine, entry, STACK.1 - 0x88);
    assert_eq!(processor.run(), Fault { address: 0xffff_8405_0000_0074 });
    let (ip, sp) = (processor.ip, processor.registers[4]);
    let truth = [(ip, sp)].into_iter().chain(processor.calls.iter().rev().copied()).collect();
    let mut context = scene::context(ip, sp, processor.registers[9]);
    // Of the registers of a CONTEXT: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 and on.
    for (at, value) in (0x78..).step_by(8).zip(processor.registers) {
        context[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let mut machine = processor.machine;
    let module = |path, base, size| Module { path, base, size, timestamp: 0, checksum: 0 };
    machine.modules =
        vec![module(r"\SystemRoot\ntoskrnl.exe", NT, 0x104_6000), module(r"\SystemRoot\driver.sys", DRIVER, size)];
    machine.bugcheck = 0x50;
    machine.parameters = [0xffff_8405_0000_0074, 0, ip, 2];
    machine.context = context;
    (scene::with_kernel(machine, NT), truth)
}

#[test]
fn at_every_level_of_optimization_the_stack_is_the_list_of_open_calls() {
    for level in LEVELS {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(image) = compile(folder.path(), level) else { return };
        let (machine, truth) = crash(&std::fs::read(image).expect("an image"));
        let report = report_of(&writer::bitmap(&machine, 5));
        let found: Vec<(u64, u64)> =
            report.frames.iter().map(|frame| (frame.ip.expect("known").0, frame.sp.expect("known").0)).collect();
        assert!(truth.len() >= 5, "{level}");
        assert_eq!(found, truth, "{level}\n{report}");
        assert!(report.frames[1..].iter().all(|frame| frame.trust == Trust::Unwind), "{level}\n{report}");
        let instruction = report.instruction.expect("the instruction");
        assert!(instruction.operand.is_some_and(|operand| operand.contains("ffff8405`00000074")), "{level}");
    }
}

fn named(machine: &Machine, folder: &Path) -> Report {
    let file = folder.join("machine.dmp");
    std::fs::write(&file, writer::bitmap(machine, 5)).expect("written");
    let mut options = Options::default();
    options.symbols = std::sync::Arc::new(watertight_triage::symbols::Folders(vec![folder.to_path_buf()]));
    let mut reports = Vec::new();
    examine(&file, &options, &mut |report| reports.push(report));
    reports.remove(0)
}

#[test]
fn a_pdb_beside_the_dump_names_functions_and_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(image) = compile(folder.path(), "-O1") else { return };
    let (machine, _) = crash(&std::fs::read(image).expect("an image"));
    let report = named(&machine, folder.path());
    println!("{report}");
    let names: Vec<&str> = report.frames.iter().filter_map(|frame| frame.function.as_deref()).collect();
    assert_eq!(names, ["compare", "match", "evaluate", "dispatch", "entry"], "{:?}", report.warnings);
    assert!(report.frames.iter().all(|frame| frame.file.as_ref().is_some_and(|file| file.ends_with("driver.c"))));
    assert_eq!(report.blamed.and_then(|blamed| blamed.function).as_deref(), Some("compare"));
}

#[test]
fn a_pdb_of_another_build_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(image) = compile(folder.path(), "-O1") else { return };
    let (machine, _) = crash(&std::fs::read(image).expect("an image"));
    compile(folder.path(), "-O2").expect("the same tools");
    let report = named(&machine, folder.path());
    assert!(report.frames.iter().all(|frame| frame.function.is_none()));
    assert!(report.warnings.iter().any(|warning| warning.contains("another build")), "{:?}", report.warnings);
}
