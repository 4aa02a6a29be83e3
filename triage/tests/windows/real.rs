//! The one real dump at hand: a small dump of a stranger's machine. Only what is said of it elsewhere is said here.

use std::path::{Path, PathBuf};

use watertight_triage::report::{Operation, Trust};

use super::only_report;

fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("WATERTIGHT_CORPORA").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"));
    let file = root.join("dumps/triage_x64.dmp");
    if !file.is_file() {
        println!("skipped: no corpus");
        return None;
    }
    Some(file)
}

#[test]
fn a_real_small_dump_tells_the_true_exception_and_not_the_stop() {
    let Some(file) = corpus() else { return };
    let report = only_report(&file);
    println!("{report}");
    assert_eq!(report.bugcheck.as_ref().expect("a stop code").code.0, 0x1000_007e);
    let exception = report.exception.as_ref().expect("an exception");
    assert_eq!(exception.code.0, 0xc000_0005);
    assert_eq!(report.access.as_ref().expect("an access").operation, Operation::Write);
    assert_eq!((report.modules.len(), report.unloaded.len()), (151, 4));
    let fault = report.frames.iter().find(|frame| frame.is_fault).expect("the frame that faulted");
    assert_eq!((fault.module.as_deref(), fault.offset.map(|at| at.0)), (Some("amdppm"), Some(0x334c)));
    assert_eq!(exception.address, fault.ip);
    assert!(report.listing.iter().any(|line| line.is_fault && line.address == fault.ip));
    assert_eq!(report.listing.iter().filter(|line| line.address < fault.ip).count(), 8);
    let verified: Vec<String> = report
        .frames
        .iter()
        .filter(|frame| frame.trust == Trust::CallVerified)
        .map(|frame| format!("{}+{}", frame.module.as_deref().unwrap_or("?"), frame.offset.expect("in a module")))
        .collect();
    assert_eq!(
        verified[..5],
        ["amdppm+0x313f", "amdppm+0x3234", "amdppm+0x1f852", "Wdf01000+0x7c027", "Wdf01000+0x16f81"]
    );
    assert_eq!(verified.len(), 8);
}
