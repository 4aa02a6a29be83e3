//! The switch that ends all hooks at once. Unpinned links go one after the other, 0.1 s each, because the kernel waits for a
//! grace period for every function that it stops tracing; a variable of the programs ends them all within one.

use std::path::Path;

use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapMut};

/// What the programs' variables are pinned as: `is_stopped` is the only one.
const PIN: &str = "stop";
/// Variables are the only entry of their map.
const FIRST: [u8; 4] = [0; 4];
/// membarrier(2): returns when every processor has been through a point at which it ran no program of ours.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// Pins the map that holds the switch.
pub fn pin(map: &mut MapMut<'_>, directory: &Path) -> Result<()> {
    map.pin(directory.join(PIN)).context("pinning the switch that stops the programs")
}

/// Turns the programs of a build off; false if it has no switch.
pub fn programs(directory: &Path) -> Result<bool> {
    let Some(switch) = Switch::open(directory)? else { return Ok(false) };
    switch.turn()?;
    Ok(true)
}

/// Whether the programs of a build were turned off.
pub fn is_stopped(directory: &Path) -> Result<bool> {
    Switch::open(directory)?.map_or(Ok(false), |switch| switch.is_turned())
}

/// The pinned map with the programs' variables, of which `is_stopped` is the first.
struct Switch(MapHandle);

impl Switch {
    fn open(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(PIN);
        if !path.exists() {
            return Ok(None);
        }
        let map = MapHandle::from_pinned_path(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Some(Self(map)))
    }

    fn value(&self) -> Result<Vec<u8>> {
        let value = self.0.lookup(&FIRST, MapFlags::ANY).context("reading the switch that stops the programs")?;
        value.context("the switch that stops the programs has no value")
    }

    fn is_turned(&self) -> Result<bool> {
        Ok(self.value()?.first().is_some_and(|byte| *byte != 0))
    }

    fn turn(&self) -> Result<()> {
        let mut value = self.value()?;
        if let Some(byte) = value.first_mut() {
            *byte = 1;
        }
        self.0.update(&FIRST, &value, MapFlags::ANY).context("turning the switch that stops the programs")
    }
}

/// Waits for the programs that had looked at the switch before it was turned.
pub fn wait_for_running() {
    // Where the kernel has no such call, the caller's own grace time covers it.
    // SAFETY: membarrier takes no pointer.
    let _ = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
}
