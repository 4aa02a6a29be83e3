//! Real minidumps of three systems, where the outside data is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use watertight_triage::report::{Frame, Trust};
use watertight_triage::symbols::Folders;
use watertight_triage::{examine, Examined, Options, Report};

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let corpora = std::env::var_os("WATERTIGHT_CORPORA").map_or(beside, PathBuf::from);
    let folder = corpora.join("minidumps/testdata");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no corpus");
    None
}

fn report(folder: &Path, name: &str, options: &Options) -> (Examined, Report) {
    let mut reports = Vec::new();
    let examined = examine(&folder.join(name), options, &mut |report| reports.push(report));
    assert_eq!(reports.len(), 1, "{name}");
    (examined, reports.remove(0))
}

#[test]
fn real_minidumps_of_three_systems_are_told() {
    let Some(folder) = folder() else { return };
    for (name, type_, ip, frames) in [
        ("test.dmp", "EXCEPTION_ACCESS_VIOLATION_WRITE", 0x40_429e, 4),
        ("linux-mini.dmp", "SIGSEGV", 0x40_1d72, 1),
        ("pipeline-inlines-macos-segv.dmp", "EXC_BAD_ACCESS / KERN_INVALID_ADDRESS", 0x1_02a6_8cd4, 7),
        ("invalid-parameter.dmp", "STATUS_INVALID_PARAMETER", 0x7ff6_1bcf_a9a3, 1),
    ] {
        let (examined, report) = report(&folder, name, &Options::default());
        assert_eq!((examined, report.type_.as_deref()), (Examined::Found(1), Some(type_)), "{name}");
        let trusted: Vec<&Frame> = report.frames.iter().filter(|frame| frame.trust > Trust::Scan).collect();
        assert_eq!(trusted[0].ip.map(|ip| ip.0), Some(ip), "{name}");
        assert!(trusted.len() >= frames, "{name}: {report}");
    }
    for name in ["invalid-range.dmp", "invalid-record-count.dmp"] {
        let (examined, report) = report(&folder, name, &Options::default());
        assert!(examined == Examined::Failed && report.error.is_some(), "{name}");
    }
}

#[test]
fn symbol_files_name_functions_inlined_ones_too() {
    let Some(folder) = folder() else { return };
    let mut options = Options::default();
    options.symbols = Arc::new(Folders(vec![folder.join("symbols")]));
    let names = |name: &str| -> Vec<String> {
        let (_, report) = report(&folder, name, &options);
        report.frames.into_iter().filter_map(|frame| frame.function).collect()
    };
    let windows = names("test.dmp");
    assert_eq!(windows, ["`anonymous namespace'::CrashFunction", "main", "__tmainCRTStartup"]);
    let mac = names("pipeline-inlines-macos-segv.dmp");
    let expected = [
        "core::ptr::write_volatile::<u8>",
        "sadness_generator::raise_segfault",
        "crash_client::real_main::{closure#1}",
        "crash_client::real_main",
        "crash_client::main",
    ];
    assert_eq!(mac.get(..5), Some(&expected.map(str::to_owned)[..]));
}
