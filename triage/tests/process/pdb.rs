//! Names of a Windows program's functions from its PDB: a program that was compiled here, in a minidump with its identity.

use std::path::Path;
use std::sync::Arc;

use watertight_triage::report::Report;
use watertight_triage::symbols::Folders;
use watertight_triage::Options;

use super::writer::{self, Program, System};
use super::{report_with, tools};

/// A minidump of the program, which stopped some instructions behind its entry.
fn dump(image: &Path) -> Vec<u8> {
    let file = std::fs::read(image).expect("an image");
    let long = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let short = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let coff = long(0x3c) as usize;
    let mut image = vec![0; long(coff + 0x50) as usize];
    for number in 0..short(coff + 6) {
        let section = coff + 24 + short(coff + 20) + number * 40;
        let (at, bytes, from) = (long(section + 12) as usize, long(section + 16) as usize, long(section + 20) as usize);
        image[at..at + bytes].copy_from_slice(&file[from..from + bytes]);
    }
    let record = file.windows(4).position(|bytes| bytes == b"RSDS").expect("an identity");
    let length = 24 + file[record + 24..].iter().position(|byte| *byte == 0).expect("a path") + 1;
    let program = Program {
        name: r"C:\agent\driver.sys".to_owned(),
        image,
        record: file[record..record + length].to_vec(),
        ip: writer::BASE + u64::from(long(coff + 0x28)) + 8,
    };
    writer::minidump_of(System::Windows, &program, &[])
}

fn report(dump: &[u8], folder: &Path) -> Report {
    let mut options = Options::default();
    options.symbols = Arc::new(Folders(vec![folder.to_path_buf()]));
    report_with(dump, &options)
}

#[test]
fn a_pdb_names_the_functions_of_a_minidump_of_windows() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(image) = tools::compile(folder.path(), "-O1") else { return };
    let dump = dump(&image);
    let report = report(&dump, folder.path());
    let frame = &report.frames[0];
    assert_eq!((frame.function.as_deref(), frame.function_offset.map(|at| at.0)), (Some("entry"), Some(8)), "{report}");
    assert!(frame.file.as_ref().is_some_and(|file| file.ends_with("driver.c")) && frame.line.is_some(), "{report}");
    assert_eq!(report.blamed.and_then(|blamed| blamed.function).as_deref(), Some("entry"));
}

#[test]
fn a_pdb_of_another_build_names_nothing_in_a_minidump() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(image) = tools::compile(folder.path(), "-O1") else { return };
    let dump = dump(&image);
    tools::compile(folder.path(), "-O2").expect("the same tools");
    let report = report(&dump, folder.path());
    assert!(report.frames.iter().all(|frame| frame.function.is_none()), "{report}");
    assert!(report.warnings.iter().any(|warning| warning.contains("another build")), "{:?}", report.warnings);
}
