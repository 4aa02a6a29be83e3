//! Cores of real kernels: a guest crashes in a way that is known, QEMU writes its memory down, and triage reads that without a
//! debug package. What it says is compared with what the kernel itself printed on its console.
//!
//! A dump lies in a temporary folder and goes with it; nothing of a guest's memory is kept.

mod check;
pub mod kdump;
mod makedumpfile;
mod module;
pub mod pstore;
mod qmp;

use crate::image;
use crate::kernel::{Kernel, Series};
use crate::machine::{Machine, Terms};
use crate::programs::Programs;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use watertight_lab_guest::Job;

/// What the kernel prints last when it stops.
const LAST_WORDS: &str = "---[ end Kernel panic";
/// What makes a guest's memory small and its console complete, and lets it stay where it crashed.
const KERNEL_ARGS: &str = "panic=0 ignore_loglevel";
const MEMORY_MIB: &str = "384";

/// Whether a filter asks for nothing but what is here, so that no other guest has to start.
pub fn is_all_of(filter: &str) -> bool {
    filter.split(',').all(|part| part.starts_with("core.") || part.starts_with("pstore."))
}

/// A crash of which a core is made.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// The test's name, as in the table.
    pub name: &'static str,
    /// The kernel that crashes.
    pub series: Series,
    /// Shell text that crashes it.
    command: &'static str,
    /// Five levels of page tables and not four.
    is_wide: bool,
    /// QEMU's names of the forms in which the core is written.
    forms: &'static [&'static str],
    /// Functions that the core's stack has, in this order.
    calls: &'static [&'static str],
}

const CRASHES: [Crash; 4] = [
    Crash {
        name: "core.null",
        series: Series::V6_1,
        command: "echo null > /sys/module/wt_crash/parameters/now",
        is_wide: false,
        forms: &["elf", "kdump-zlib"],
        calls: &[
            "panic",
            "asm_exc_page_fault",
            "crash_write",
            "crash_null",
            "crash_now",
            "param_attr_store",
            "vfs_write",
        ],
    },
    Crash {
        name: "core.hung",
        series: Series::V6_1,
        command: "echo 1 > /proc/sys/kernel/hung_task_panic
            echo 2 > /proc/sys/kernel/hung_task_timeout_secs
            echo hung > /sys/module/wt_crash/parameters/now",
        is_wide: true,
        forms: &["kdump-zlib"],
        calls: &["__schedule", "schedule", "__mutex_lock", "crash_hang", "crash_now", "param_attr_store", "vfs_write"],
    },
    Crash {
        name: "core.stack",
        series: Series::V6_12,
        command: "echo stack > /sys/module/wt_crash/parameters/now",
        is_wide: false,
        forms: &["kdump-zlib"],
        calls: &["panic", "asm_exc_double_fault", "crash_recurse", "crash_recurse", "crash_now", "vfs_write"],
    },
    Crash {
        name: "core.sysrq",
        series: Series::V6_12,
        command: "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger",
        is_wide: true,
        forms: &["elf", "kdump-zlib"],
        calls: &["panic", "sysrq_handle_crash", "__handle_sysrq", "write_sysrq_trigger", "vfs_write"],
    },
];

/// The crashes that a filter asks for, of these kernels.
pub fn wanted(kernels: &[Series], filter: &str) -> Vec<Crash> {
    let is_asked = |crash: &Crash| filter.split(',').any(|part| crash.name.contains(part));
    CRASHES.into_iter().filter(|crash| kernels.contains(&crash.series) && is_asked(crash)).collect()
}

/// Crashes a guest, has its core written in each form, and compares what triage says of it with the console.
pub fn test(crash: &Crash, programs: &Programs, terms: &Terms, cache: &Path) -> Result<()> {
    let folder = Folder::new()?;
    let cores = make(crash, programs, terms, cache, &folder.0)?;
    let console = fs::read(&cores.console).with_context(|| format!("reading {}", cores.console.display()))?;
    let console = String::from_utf8_lossy(&console).into_owned();
    for core in &cores.files {
        check::check(crash, core, &console).with_context(|| format!("{}", core.display()))?;
    }
    Ok(())
}

/// Makes the cores of a crash in a folder and leaves them there.
pub fn keep(crash: &Crash, programs: &Programs, terms: &Terms, cache: &Path, folder: &Path) -> Result<()> {
    let cores = make(crash, programs, terms, cache, folder)?;
    fs::copy(&cores.console, folder.join("console.log")).context("keeping the console's log")?;
    Ok(())
}

/// What a crash left.
struct Cores {
    files: Vec<PathBuf>,
    console: PathBuf,
}

fn make(crash: &Crash, programs: &Programs, terms: &Terms, cache: &Path, folder: &Path) -> Result<Cores> {
    let kernel = Kernel::fetch(crash.series, cache)?;
    let module = module::built(&kernel, cache)?;
    let mut base = image::base(&kernel, &programs.without_product())?;
    base.file("/lab/modules/wt_crash.ko", 0o644, module);
    base.file("/lab/modules/qemu_fw_cfg.ko", 0o644, image::module(&kernel, "qemu_fw_cfg")?);
    let setup = "wt-act kernel.insert_module qemu_fw_cfg; wt-act kernel.insert_module wt_crash
        echo 1 > /proc/sys/kernel/panic_on_oops";
    let job = Job::Command { command: format!("{setup}\n{}", crash.command) };
    let mut initramfs = base.to_bytes();
    initramfs.extend(image::job(&job)?.to_bytes());
    let socket = folder.join("qmp");
    let mut terms = terms.clone();
    KERNEL_ARGS.clone_into(&mut terms.kernel_args);
    let processor = format!("max,-erms,-fsrm,la57={}", if crash.is_wide { "on" } else { "off" });
    let monitor = format!("unix:{},server=on,wait=off", socket.display());
    // Of an option that is given twice the later one counts.
    terms.hardware =
        ["-m", MEMORY_MIB, "-cpu", &processor, "-device", "vmcoreinfo", "-qmp", &monitor].map(str::to_owned).to_vec();
    let mut machine = Machine::boot(&kernel, &initramfs, &terms, cache)?;
    machine.wait_for_console(LAST_WORDS)?;
    let mut monitor = qmp::Monitor::connect(&socket)?;
    monitor.stop()?;
    let mut files = Vec::new();
    for form in crash.forms {
        let file = folder.join(format!("{}.{form}", crash.name));
        monitor.dump(&file, form)?;
        files.push(file);
    }
    Ok(Cores { files, console: machine.console_log() })
}

/// A folder for dumps, which are large: it goes with all that is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        static FOLDERS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("watertight-core-{}-{number}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
