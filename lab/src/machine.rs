//! One guest under QEMU, from power on to power off, and never longer than its time limit.
//!
//! The console goes to a log file; the guest's own lines come on QEMU's stdout from the second serial port.

use crate::kernel::Kernel;
use anyhow::{bail, Context, Result};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use watertight_lab_guest::Line;

const MEMORY_MIB: u32 = 1024;
const PROCESSORS: u32 = 2;
/// A benchmark's root holds a compiler or bpftrace, and what the product writes stays in memory.
const MEMORY_COUNTED_MIB: u32 = 3072;
/// Without the flags by which the kernel copies with `rep` instructions: emulation does these byte by byte.
const PROCESSOR: &str = "max,-erms,-fsrm";
const KERNEL_ARGS: &str = "console=ttyS0 panic=-1 quiet rdinit=/init";
/// What a guest that is only tested can do without: a fifth of the work of emulating it are page tables of five levels and what the
/// kernel does against processors that guess, a tenth the zeroes over memory that is written to next (Debian's default). Nor does it
/// wait longer for readers than it has to, or ask a chip for the time.
const PROCESSOR_WITHOUT: &str = ",-la57,-smap";
const KERNEL_ARGS_WITHOUT: &str = "mitigations=off init_on_alloc=0 rcupdate.rcu_expedited=1 tsc=reliable";
/// Emulation and not KVM, so that the lab works wherever a compiler does. One thread for both processors, because QEMU
/// before 8.1 (Debian 12 has 7.2) may run an instruction that the other processor's thread has just patched; the guest
/// then panics with `int3` when the kernel turns a tracepoint, a static key or a BPF hook on.
pub const ACCELERATOR: &str = "tcg,thread=single";
/// How much of the console an error shows.
const CONSOLE_TAIL_LINES: usize = 15;
/// How long a guest that has said its last line may take to power off.
const POWER_OFF_MAX: Duration = Duration::from_secs(20);
/// Between two looks at the console.
const CONSOLE_LOOK: Duration = Duration::from_millis(200);
/// Folders of earlier boots that stay for a reader.
const RUNS_KEPT: usize = 40;

/// What the guest's hardware is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Two processors, time as it comes.
    Real,
    /// One processor whose time is the count of its instructions, one a nanosecond; idle time passes at once. Without the
    /// processor features that make `rep` strings fast, because each of their bytes would count as an instruction.
    Counted,
}

/// How a guest runs.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What time is.
    pub clock: Clock,
    /// QEMU's `-accel`.
    pub accelerator: String,
    /// The guest is cut off after this.
    pub time_max: Duration,
    /// Kernel parameters beside our own.
    pub kernel_args: String,
    /// Options of QEMU beside our own.
    pub hardware: Vec<String>,
}

impl Clock {
    fn arguments(self) -> Vec<String> {
        let (processors, memory_mib, more) = match self {
            Self::Real => (PROCESSORS, MEMORY_MIB, PROCESSOR_WITHOUT),
            Self::Counted => (1, MEMORY_COUNTED_MIB, " -icount shift=0,sleep=off"),
        };
        let numbers = format!("-smp {processors} -m {memory_mib} -cpu {PROCESSOR}{more}");
        numbers.split(' ').map(str::to_owned).collect()
    }

    fn kernel_args(self) -> &'static str {
        match self {
            Self::Real => KERNEL_ARGS_WITHOUT,
            Self::Counted => "",
        }
    }
}

/// A running guest. Dropping it cuts the power.
pub struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    started: Instant,
    time_max: Duration,
    folder: PathBuf,
}

impl Machine {
    /// Starts a guest with this root.
    pub fn boot(kernel: &Kernel, initramfs: &[u8], terms: &Terms, cache: &Path) -> Result<Self> {
        let folder = run_folder(cache, &kernel.package)?;
        let initramfs_file = folder.join("initramfs.cpio");
        fs::write(&initramfs_file, initramfs).with_context(|| format!("writing {}", initramfs_file.display()))?;
        let mut qemu = Command::new("qemu-system-x86_64")
            .args(["-accel", &terms.accelerator, "-no-reboot", "-nographic", "-nodefaults", "-monitor", "none"])
            .args(terms.clock.arguments())
            .arg("-serial")
            .arg(format!("file:{}", folder.join("console.log").display()))
            .args(["-serial", "stdio"])
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&initramfs_file)
            .args(["-append", &format!("{KERNEL_ARGS} {} {}", terms.clock.kernel_args(), terms.kernel_args)])
            .args(&terms.hardware)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting qemu-system-x86_64: is the package qemu-system-x86 installed?")?;
        let stdout = qemu.stdout.take().context("QEMU has no stdout")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { qemu, lines, started: Instant::now(), time_max: terms.time_max, folder })
    }

    /// The next line of the guest, or `None` once it has powered off.
    pub fn next_line(&mut self) -> Result<Option<Line>> {
        loop {
            let left = self.time_max.saturating_sub(self.started.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(text) => {
                    if let Some(line) = Line::parse(&text) {
                        return Ok(Some(line));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the guest was stopped after {} s{}", self.time_max.as_secs(), self.console_tail())
                }
            }
        }
    }

    /// Waits until the console has said this.
    pub fn wait_for_console(&mut self, words: &str) -> Result<()> {
        let log = self.console_log();
        while self.started.elapsed() < self.time_max {
            let text = fs::read(&log).unwrap_or_default();
            if String::from_utf8_lossy(&text).contains(words) {
                return Ok(());
            }
            if self.qemu.try_wait().context("waiting for QEMU")?.is_some() {
                bail!("the guest went away before its console said {words:?}{}", self.console_tail());
            }
            thread::sleep(CONSOLE_LOOK);
        }
        bail!("the console did not say {words:?} within {} s{}", self.time_max.as_secs(), self.console_tail())
    }

    /// Waits until the guest is off; one that lingers after its last line is cut off without complaint.
    pub fn finish(mut self) -> Result<Duration> {
        let asked = Instant::now();
        while asked.elapsed() < POWER_OFF_MAX {
            if self.qemu.try_wait().context("waiting for QEMU")?.is_some() {
                return Ok(self.started.elapsed());
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("the guest did not power off within {} s of its last line", POWER_OFF_MAX.as_secs());
        Ok(self.started.elapsed())
    }

    /// Where the console is kept.
    pub fn console_log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// The console's last lines, for an error message.
    pub fn console_tail(&self) -> String {
        let log = self.console_log();
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(CONSOLE_TAIL_LINES));
        let mut shown = format!("; console in {}, its end:", log.display());
        for line in tail {
            shown.push_str("\n    ");
            shown.push_str(line.trim_end());
        }
        shown
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_file(self.folder.join("initramfs.cpio"));
    }
}

/// A fresh folder for one boot; the oldest go once there are too many.
fn run_folder(cache: &Path, package: &str) -> Result<PathBuf> {
    let runs = cache.join("runs");
    fs::create_dir_all(&runs).with_context(|| format!("making {}", runs.display()))?;
    let mut earlier: Vec<PathBuf> = fs::read_dir(&runs)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    earlier.sort();
    for old in earlier.iter().take(earlier.len().saturating_sub(RUNS_KEPT)) {
        let _ = fs::remove_dir_all(old);
    }
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Several guests of one kernel may start within a millisecond.
    static BOOTS: AtomicU64 = AtomicU64::new(0);
    let boot = BOOTS.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{}-{boot}-{package}", since_epoch.as_millis(), std::process::id());
    let folder = runs.join(name);
    fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}
