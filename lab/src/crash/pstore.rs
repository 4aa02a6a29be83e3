//! A guest crashes with a place in memory that outlives the reset, starts again on the same memory, and `watertight run` picks up there
//! what the kernel said while it died.

use crate::image;
use crate::kernel::{Kernel, Series};
use crate::machine::{Machine, Terms};
use crate::programs::Programs;
use anyhow::{ensure, Result};
use std::path::Path;
use watertight_lab_guest::{Job, Line};

/// The test's name, as in the table.
pub const NAME: &str = "pstore.reboot";
/// The kernel that it runs on.
pub const SERIES: Series = Series::V6_12;
/// Memory that the kernel leaves alone, in the middle: what is at the top and the bottom is written to at every start.
const RESERVED: &str = "memmap=1M$0x10000000";
/// Where the kernel's records go.
const PARAMETERS: &str = "mem_address=0x10000000 mem_size=0x100000 record_size=0x20000";
/// A panic starts the machine again, and not as elsewhere in the lab ends it.
const HARDWARE: [&str; 2] = ["-action", "reboot=reset"];
/// The title that triage gives to what is done here.
const TITLE: &str = "kernel panic: sysrq triggered crash";

/// Runs in both boots: the first finds nothing saved and crashes.
const SCRIPT: &str = r#"
    wt-act kernel.insert_module reed_solomon
    wt-act kernel.insert_module ramoops
    mount -t pstore pstore /sys/fs/pstore
    if ls /sys/fs/pstore | grep -q dmesg; then
        watertight run --observe --for 5s -o json > /tmp/run 2> /tmp/said
        grep '^{"kind":"host.crash"' /tmp/run || cat /tmp/said
        watertight run --observe --for 1s -o json > /tmp/second 2> /dev/null
        echo told again $(grep -c '^{"kind":"host.crash"' /tmp/second)
        echo left in pstore $(ls /sys/fs/pstore | grep -c dmesg)
        echo kept $(cat /var/lib/watertight/crashes/*.txt | grep -c 'sysrq triggered crash')
        exit
    fi
    echo 1 > /proc/sys/kernel/sysrq
    echo c > /proc/sysrq-trigger
    sleep 100"#;

/// Whether a filter asks for it.
pub fn is_wanted(kernels: &[Series], filter: &str) -> bool {
    kernels.contains(&SERIES) && filter.split(',').any(|part| NAME.contains(part))
}

/// Crashes, starts again, and looks at what the run said.
pub fn test(programs: &Programs, terms: &Terms, cache: &Path) -> Result<()> {
    let kernel = Kernel::fetch(SERIES, cache)?;
    let mut base = image::base(&kernel, programs)?;
    for name in ["reed_solomon", "ramoops"] {
        base.file(&format!("/lab/modules/{name}.ko"), 0o644, image::module(&kernel, name)?);
    }
    base.file("/lab/modules/ramoops.parameters", 0o644, PARAMETERS.into());
    let mut initramfs = base.to_bytes();
    initramfs.extend(image::job(&Job::Command { command: SCRIPT.to_owned() })?.to_bytes());
    let mut terms = terms.clone();
    RESERVED.clone_into(&mut terms.kernel_args);
    terms.hardware = HARDWARE.map(str::to_owned).to_vec();
    let mut machine = Machine::boot(&kernel, &initramfs, &terms, cache)?;
    let (mut starts, mut said) = (0_u32, Vec::new());
    while let Some(line) = machine.next_line()? {
        match line {
            Line::Ready(_) => starts = starts.saturating_add(1),
            Line::Output(text) => said.push(text),
            _ => {}
        }
    }
    ensure!(starts == 2, "the guest started {starts} times{}", machine.console_tail());
    let told: Vec<&String> = said.iter().filter(|line| line.starts_with("{\"kind\":\"host.crash\"")).collect();
    ensure!(told.len() == 1, "the run told {} crashes: {said:?}", told.len());
    ensure!(told.iter().all(|line| line.contains(TITLE) && line.contains("\"bucket\":")), "{told:?}");
    for end in ["told again 0", "left in pstore 0"] {
        ensure!(said.iter().any(|line| line == end), "no {end:?} in {said:?}");
    }
    ensure!(said.iter().any(|line| line.starts_with("kept ") && line != "kept 0"), "nothing kept: {said:?}");
    Ok(())
}
