//! A core that a real kernel wrote of a real crash: `sh` that kills itself. Where cores go elsewhere (a pipe, a folder) there is none.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};

use super::report_of;

#[test]
fn a_core_of_the_running_kernel_is_read() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.trim() != "core" {
        println!("skipped: this kernel writes no core into the working folder");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited && kill -SEGV $$"]).current_dir(folder.path()).stdin(Stdio::null());
    let status = shell.arg0("sh").status().expect("every Linux has a shell");
    assert_eq!(status.signal(), Some(11));
    let found = std::fs::read_dir(folder.path())
        .expect("ours")
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("core"));
    let Some(core) = found.filter(|_| status.core_dumped()) else {
        println!("skipped: no core was written, though the pattern names one");
        return;
    };
    let report = report_of(&std::fs::read(core.path()).expect("ours"));
    assert!(report.type_.as_deref().is_some_and(|type_| type_.starts_with("SIGSEGV")), "{:?}", report.type_);
    assert_eq!(report.process.as_deref(), Some("sh"));
    assert!(report.modules.iter().any(|module| module.name.starts_with("libc") || module.name.contains("musl")));
    assert!(report.frames.iter().any(|frame| frame.module.is_some()), "{report}");
}
