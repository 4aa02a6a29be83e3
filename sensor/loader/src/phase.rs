//! The variable by which a build's programs speak or keep silent, all hooks at once. Unpinned links go one after the other,
//! 0.1 s each, because the kernel waits for a grace period for every function that it stops tracing; a variable of the
//! programs ends them all within one, and lets another build take their place without a pause.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapMut};
use watertight_sensor_abi::Phase;

/// What the programs' variables are pinned as: `phase` is the only one.
const PIN: &str = "stop";
/// Variables are the only entry of their map.
const FIRST: [u8; 4] = [0; 4];
/// membarrier(2): returns when every processor has been through a point at which it ran no program of ours.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
/// Between two programs of one operation a task may be preempted where the kernel allows that: far longer than it lasts.
const SETTLE: Duration = Duration::from_millis(20);

/// Pins the map that holds the variable.
pub fn pin(map: &mut MapMut<'_>, directory: &Path) -> Result<()> {
    map.pin(directory.join(PIN)).context("pinning the switch that stops the programs")
}

/// The variable's bytes, for programs that are not loaded yet.
pub fn bytes(phase: Phase) -> [u8; 4] {
    u32::from(phase as u16).to_ne_bytes()
}

/// Sets a build's phase; false if it has no such variable.
pub fn set(directory: &Path, phase: Phase) -> Result<bool> {
    let Some(map) = open(directory)? else { return Ok(false) };
    map.update(&FIRST, &bytes(phase), MapFlags::ANY).context("turning the switch that stops the programs")?;
    Ok(true)
}

/// A build's phase. One without the variable is active.
pub fn of(directory: &Path) -> Result<Phase> {
    let Some(map) = open(directory)? else { return Ok(Phase::Active) };
    let value = map.lookup(&FIRST, MapFlags::ANY).context("reading the switch that stops the programs")?;
    let number = value.and_then(|value| value.first_chunk().copied()).map(u32::from_ne_bytes);
    let phase = number.and_then(|number| u16::try_from(number).ok()).and_then(Phase::from_number);
    phase.context("the switch that stops the programs has a value that means nothing: of another version?")
}

fn open(directory: &Path) -> Result<Option<MapHandle>> {
    let path = directory.join(PIN);
    if !path.exists() {
        return Ok(None);
    }
    let map = MapHandle::from_pinned_path(&path).with_context(|| format!("opening {}", path.display()))?;
    Ok(Some(map))
}

/// Lets a new build, attached and waiting, take the place of an old one: each operation is told by exactly one of them
/// (`handover.h` says why). False if the old one has no switch: then both told what came in between.
pub fn hand_over(old: &Path, new: &Path) -> Result<bool> {
    set(new, Phase::Waiting)?;
    let has_switch = set(old, Phase::Leaving)?;
    wait_for_running();
    set(new, Phase::Coming)?;
    wait_for_running();
    if has_switch {
        set(old, Phase::Stopped)?;
        wait_for_running();
    }
    set(new, Phase::Active)?;
    Ok(has_switch)
}

/// Waits for the programs that had looked at the variable before it was set.
pub fn wait_for_running() {
    // Where the kernel has no such call, the time below covers it.
    // SAFETY: membarrier takes no pointer.
    let _ = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    std::thread::sleep(SETTLE);
}
