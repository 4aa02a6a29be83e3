//! kdump as machines have it: a kernel crashes, a second one starts in memory that was kept for it and copies `/proc/vmcore` to a disk.
//! Of that core Debian's makedumpfile makes the files that administrators send, and its log is held against ours.

use super::makedumpfile::Makedumpfile;
use super::{check, module, Crash, Folder};
use crate::image;
use crate::kernel::{Kernel, Series};
use crate::machine::{Machine, Terms};
use crate::programs::Programs;
use anyhow::{ensure, Context, Result};
use std::fs::{self, File};
use std::path::Path;
use watertight_lab_guest::{Job, Line};

/// The crash; how it is done is in the script.
const CRASH: Crash = Crash {
    name: "core.kexec",
    // Debian 12's makedumpfile knows Debian 12's kernel.
    series: Series::V6_1,
    command: "",
    is_wide: false,
    forms: &[],
    // The second kernel starts from the oops: there is no panic on the stack.
    calls: &["crash_write", "crash_null", "crash_now", "param_attr_store", "vfs_write"],
};

/// The test's name, as in the table, and its kernel.
pub const NAME: &str = CRASH.name;
pub const SERIES: Series = CRASH.series;

/// Of the guest's memory the second kernel gets its part, and the rest is in the core. The kernel lies anywhere in memory: there must
/// be room for that part before or behind it.
const MEMORY_MIB: &str = "640";
const KERNEL_ARGS: &str = "crashkernel=160M ignore_loglevel";
/// The second kernel's parameters. It finds the disk without a module, and its first line on the console is the end of the first's.
const SECOND_ARGS: &str = "console=ttyS0 panic=-1 rdinit=/init nr_cpus=1 reset_devices mitigations=off";

/// Runs in the kernel that crashes.
const FIRST: &str = r#"
    wt-act kernel.load_crash_kernel /lab/second/kernel /lab/second/root "$(cat /lab/second/parameters)"
    echo loaded $(cat /sys/kernel/kexec_crash_loaded)
    wt-act kernel.insert_module wt_crash
    echo 1 > /proc/sys/kernel/panic_on_oops
    echo null > /sys/module/wt_crash/parameters/now"#;
/// Runs in the one that starts then. What it wrote is on the disk when it is off.
const SECOND: &str = "
    ls -l /proc/vmcore
    cat /proc/vmcore > /dev/nvme0n1 && echo copied";

/// Whether a filter asks for it.
pub fn is_wanted(kernels: &[Series], filter: &str) -> bool {
    kernels.contains(&SERIES) && filter.split(',').any(|part| NAME.contains(part))
}

/// Crashes a guest, takes the core from its disk, and compares triage with the console and with makedumpfile.
pub fn test(programs: &Programs, terms: &Terms, cache: &Path) -> Result<()> {
    let judge = Makedumpfile::unpacked(cache)?;
    let folder = Folder::new()?;
    let core = folder.0.join("core.elf");
    let console = make(&core, &programs.without_product(), terms, cache)?;
    let report = check::check(&CRASH, &core, &console)?;
    check::against(&judge, &core, &report)
}

/// Writes the core; gives what the first kernel printed.
fn make(core: &Path, programs: &Programs, terms: &Terms, cache: &Path) -> Result<String> {
    let kernel = Kernel::fetch(SERIES, cache)?;
    let mut base = image::base(&kernel, programs)?;
    let mut second = base.to_bytes();
    second.extend(image::job(&Job::Command { command: SECOND.to_owned() })?.to_bytes());
    base.file("/lab/modules/wt_crash.ko", 0o644, module::built(&kernel, cache)?);
    base.file("/lab/second/kernel", 0o644, image::read(&kernel.image)?);
    base.file("/lab/second/root", 0o644, second);
    base.file("/lab/second/parameters", 0o644, SECOND_ARGS.into());
    let mut initramfs = base.to_bytes();
    initramfs.extend(image::job(&Job::Command { command: FIRST.to_owned() })?.to_bytes());
    // As long as the core can be at most; what is not written takes no room.
    let disk = File::create(core).with_context(|| format!("making {}", core.display()))?;
    disk.set_len(640 << 20)?;
    let drive = format!("file={},if=none,id=core,format=raw", core.display());
    let mut terms = terms.clone();
    KERNEL_ARGS.clone_into(&mut terms.kernel_args);
    terms.hardware =
        ["-m", MEMORY_MIB, "-drive", &drive, "-device", "nvme,drive=core,serial=core"].map(str::to_owned).to_vec();
    let mut machine = Machine::boot(&kernel, &initramfs, &terms, cache)?;
    let mut said = Vec::new();
    while let Some(line) = machine.next_line()? {
        if let Line::Output(text) = line {
            said.push(text);
        }
    }
    ensure!(
        said.iter().any(|line| line == "copied"),
        "the second kernel copied no core: {said:?}{}",
        machine.console_tail()
    );
    let listed = said.iter().find(|line| line.ends_with("/proc/vmcore")).context("no size of the core")?;
    let size = listed.split_whitespace().nth(4).and_then(|size| size.parse().ok()).context("no size of the core")?;
    disk.set_len(size)?;
    let console = fs::read(machine.console_log()).context("reading the console")?;
    Ok(first_kernel(&String::from_utf8_lossy(&console)).to_owned())
}

/// What stands on the console before the second kernel's first line.
fn first_kernel(console: &str) -> &str {
    let second = console.match_indices("Linux version ").nth(1).map_or(console.len(), |(at, _)| at);
    let before = console.get(..second).unwrap_or(console);
    before.rsplit_once('\n').map_or(before, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_of_the_kernel_that_crashed_ends_where_the_next_one_begins() {
        let console = "[    0.0] Linux version 6\n[    1.0] BUG\n[    0.0] Linux version 6\n[    0.1] x";
        assert_eq!(first_kernel(console), "[    0.0] Linux version 6\n[    1.0] BUG");
        assert_eq!(first_kernel("one\ntwo\n"), "one\ntwo");
    }
}
