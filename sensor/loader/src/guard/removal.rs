//! Takes a guard away, whole or what is left of one, in an order in which every beginning leaves the rest to the next loader.
//!
//! As long as the programs at exec and fork are attached, the kernel knows our processes; as long as those at unlink, rmdir and
//! rename are, only our processes remove pins. So the first two come first when the pins are made, and go last.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use libbpf_rs::{Link, Program};
use watertight_sensor_abi::GuardHook;

use crate::pin::{entries, folders, remove_tree};

/// How long the kernel may take to let unpinned programs go: grace periods of some milliseconds each, seconds in emulation.
const GONE_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// When a hook's link is pinned, and in reverse when it is unpinned: what gives trust, what only denies, what protects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Gives our processes their trust.
    Trust,
    /// Denies.
    Denial,
    /// Keeps others from the pins and the maps.
    Protection,
}

impl Turn {
    /// Of a hook.
    pub const fn of(hook: GuardHook) -> Self {
        match hook {
            GuardHook::Exec | GuardHook::Fork => Self::Trust,
            GuardHook::Unlink | GuardHook::Rmdir | GuardHook::Rename | GuardHook::BpfMap => Self::Protection,
            _ => Self::Denial,
        }
    }

    /// At the removal: what denies goes first, so that nothing is denied for longer than it is told, what gives trust last.
    fn at_removal(link: &Path) -> u8 {
        let is = |turn: Turn| {
            let hooks = watertight_sensor_abi::GUARD_HOOKS.iter();
            hooks
                .filter(|hook| Self::of(**hook) == turn)
                .any(|hook| link.file_name() == Some(OsStr::new(hook.program())))
        };
        match () {
            () if is(Self::Trust) => 2,
            () if is(Self::Protection) => 1,
            () => 0,
        }
    }
}

/// Removes every build under the guard's folder, and the folder. Returns the ids of the programs, which the kernel lets go in
/// the seconds after.
pub fn remove(root: &Path) -> Result<Vec<u32>> {
    let mut programs = Vec::new();
    for build in folders(root)? {
        // First of all it stops being a guard: from here on whoever comes takes the rest away.
        match fs::remove_dir(build.join("complete")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("unpinning {}", build.display()));
            }
            _ => {}
        }
        for path in in_order(entries(&build.join("links"))?) {
            // What is no link has no program; it goes like one.
            if let Some(link) = Link::open(&path).ok().and_then(|link| link.info().ok()) {
                programs.push(link.prog_id);
            }
            fs::remove_file(&path).with_context(|| format!("unpinning {}", path.display()))?;
        }
    }
    remove_patiently(root)?;
    Ok(programs)
}

fn in_order(mut links: Vec<PathBuf>) -> Vec<PathBuf> {
    links.sort_by_key(|link| Turn::at_removal(link));
    links
}

/// Programs without pins still refuse for some milliseconds, and whoever gave us trust may be gone before them.
pub fn remove_patiently(root: &Path) -> Result<()> {
    let asked = Instant::now();
    loop {
        match remove_tree(root) {
            Err(_) if has_no_links(root) && asked.elapsed() < GONE_MAX => std::thread::sleep(LOOK_EVERY),
            removed => return removed,
        }
    }
}

fn has_no_links(root: &Path) -> bool {
    let builds = folders(root).unwrap_or_default();
    builds.iter().all(|build| entries(&build.join("links")).is_ok_and(|links| links.is_empty()))
}

/// The kernel frees a link some time after its last pin: only once the program is gone does it deny no more.
pub fn wait_until_gone(programs: &[u32]) -> Result<()> {
    let asked = Instant::now();
    while programs.iter().any(|id| Program::fd_from_id(*id).is_ok()) {
        anyhow::ensure!(
            asked.elapsed() < GONE_MAX,
            "the kernel still holds unpinned programs after {} s: does another process hold their links?",
            GONE_MAX.as_secs()
        );
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use watertight_sensor_abi::GUARD_HOOKS;

    use super::*;

    #[test]
    fn who_gives_trust_is_pinned_first_and_goes_last_and_protection_stands_between() {
        let links = GUARD_HOOKS.iter().map(|hook| Path::new("/links").join(hook.program())).collect();
        let removed = in_order(links);
        let at = |hook: GuardHook| {
            removed.iter().position(|link| link.ends_with(hook.program())).expect("every hook is in the list")
        };
        for hook in GUARD_HOOKS.iter().filter(|hook| Turn::of(**hook) == Turn::Denial) {
            assert!(at(*hook) < at(GuardHook::Unlink) && at(*hook) < at(GuardHook::Exec), "{}", hook.program());
        }
        for hook in [GuardHook::Unlink, GuardHook::Rmdir, GuardHook::Rename, GuardHook::BpfMap] {
            assert!(at(hook) < at(GuardHook::Exec) && at(hook) < at(GuardHook::Fork), "{}", hook.program());
        }
        assert!(Turn::Trust < Turn::Denial && Turn::Denial < Turn::Protection, "the order of the pins");
    }

    #[test]
    fn what_is_left_of_a_guard_goes_whatever_it_holds() {
        let root = std::env::temp_dir().join(format!("watertight-removal-{}", std::process::id()));
        let links = root.join("0123456789abcdef/links");
        fs::create_dir_all(&links).expect("our own folder");
        fs::write(links.join(GuardHook::Exec.program()), "no link").expect("our own file");
        assert_eq!(remove(&root).expect("it is taken away"), Vec::<u32>::new());
        assert!(!root.exists());
        assert_eq!(remove(&root).expect("nothing is there"), Vec::<u32>::new());
    }
}
