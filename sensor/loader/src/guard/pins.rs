//! The guard's folder on the bpffs: `<pins>-guard/<build>/{maps, links/, complete}`, beside telemetry's and not in it, because
//! it outlives every run. Once the programs are attached, nobody without the trust bit can remove anything here. A guard is
//! there if all of this is: what a load or an unseal that was cut short has left is none, and the next loader takes it away.

use std::fs;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{Link, MapCore as _, MapHandle, ObjectBuilder, ProgramType};
use rustix::fs::{major, minor};
use watertight_sensor_abi::{GuardHook, GuardSettings, GUARD_HOOKS};

use super::removal::{self, Turn};
use crate::manifest;
use crate::objects::GUARD;
use crate::pin::{entries, folders};
use crate::{bpffs, trial};

/// How long programs without pins may be on their way out before they are taken for a guard that is not seen.
const UNSEEN_MAX: Duration = Duration::from_secs(20);

/// Map with the rules.
pub const POLICY: &str = "wtg_policy";
/// Name of the map of what generations have named.
pub const HINTS: &str = "wtg_hints";
/// Map with the counters of the hooks.
pub const COUNTERS: &str = "wtg_counters";
/// Map with the counters of the rules.
pub const RULE_COUNTS: &str = "wtg_rule_counts";
/// Ring with the verdicts.
const VERDICTS: &str = "wtg_verdicts";
/// Maps without which a guard can be neither asked nor told anything.
const NEEDED: [&str; 5] = [POLICY, HINTS, COUNTERS, RULE_COUNTS, VERDICTS];

/// Where the guard is pinned.
pub struct GuardPins {
    telemetry: PathBuf,
    root: PathBuf,
    directory: PathBuf,
}

impl GuardPins {
    /// The guard that belongs to telemetry's pin folder.
    pub fn beside(pins: &Path) -> Result<Self> {
        let mut name = pins.file_name().context("the pin folder needs a name")?.to_owned();
        name.push("-guard");
        let root = pins.with_file_name(name);
        Ok(Self { directory: root.join(GUARD.build_id()), root, telemetry: pins.to_owned() })
    }

    /// Fails where a guard may be in force that can't be seen from here: what would be said of it would be wrong.
    ///
    /// # Errors
    /// The folder can't be looked at, or the kernel has a guard's programs and their pins are not here.
    pub fn refuse_unseen(&self) -> Result<()> {
        match self.root.try_exists() {
            Err(error) => bail!("looking at {}: {error}: only root sees what is in force", self.root.display()),
            Ok(true) => return Ok(()),
            Ok(false) => {}
        }
        let asked = Instant::now();
        // Programs of a load that was cut short go within grace periods.
        while is_somewhere() {
            anyhow::ensure!(
                asked.elapsed() < UNSEEN_MAX,
                "a guard is in force and its pins are not at {}: something is mounted over them, or it was loaded in another mount namespace; unmount what covers them, or go there (nsenter --mount), and try again",
                self.root.display()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// The folder of this build.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every folder that the loader pins in.
    pub fn folders(&self) -> [PathBuf; 2] {
        [self.telemetry.clone(), self.root.clone()]
    }

    /// Whether this build's guard is in force.
    pub fn is_loaded(&self) -> bool {
        self.directory.join("complete").exists() && NEEDED.iter().all(|map| self.directory.join(map).exists())
    }

    /// Whether something is pinned, a guard or what is left of one.
    pub fn is_anything_pinned(&self) -> Result<bool> {
        Ok(!folders(&self.root)?.is_empty())
    }

    /// Whether programs are pinned that tell the kernel which processes are ours.
    pub fn gives_trust(&self) -> Result<bool> {
        let pins = |build: &PathBuf| build.join("links").join(GuardHook::Exec.program()).exists();
        Ok(folders(&self.root)?.iter().any(pins))
    }

    /// Fails where only a part of a guard is pinned: it may deny some of what a policy said, or nothing.
    ///
    /// # Errors
    /// There is one, or the folder can't be listed.
    pub fn refuse_remains(&self) -> Result<()> {
        if self.is_loaded() || !self.is_anything_pinned()? {
            return Ok(());
        }
        let links = entries(&self.directory.join("links"))?.len();
        bail!(
            "only what is left of a guard is pinned at {} ({links} of {} links), after a load or an unseal that was cut short: `watertight policy apply FILE` puts a whole one in its place, `watertight policy unseal` takes it away",
            self.root.display(),
            GUARD_HOOKS.len()
        )
    }

    /// Names of the programs that are attached, as the pinned links say that the kernel still has.
    pub fn attached(&self) -> Result<Vec<&'static str>> {
        let mut attached = Vec::new();
        for hook in GUARD_HOOKS {
            let path = self.directory.join("links").join(hook.program());
            if path.exists() {
                let link = Link::open(&path).with_context(|| format!("opening {}", path.display()))?;
                link.info().with_context(|| format!("asking the kernel about {}", path.display()))?;
                attached.push(hook.program());
            }
        }
        Ok(attached)
    }

    /// Opens a map of the guard.
    ///
    /// # Errors
    /// There is no guard, or this process has not its trust.
    pub fn map(&self, name: &str) -> Result<MapHandle> {
        self.refuse_other_builds()?;
        if !self.is_loaded() {
            bail!("no guard is in force: `watertight policy apply FILE` puts one in force");
        }
        let path = self.directory.join(name);
        match MapHandle::from_pinned_path(&path) {
            Err(error) if error.kind() == libbpf_rs::ErrorKind::PermissionDenied => Err(error).with_context(|| {
                format!(
                    "opening {}: the guard in force does not know this process as its loader; run the watertight-loader that was installed when the policy was applied, untraced, or reboot",
                    path.display()
                )
            }),
            opened => opened.with_context(|| format!("opening {}", path.display())),
        }
    }

    /// Loads, attaches and pins the guard where it is not, in the place of what may be left of one. True if it was not there.
    pub fn ensure_loaded(&self, watertight: &[PathBuf]) -> Result<bool> {
        self.refuse_other_builds()?;
        if self.is_loaded() {
            return Ok(false);
        }
        trial::runs_lsm().map_err(anyhow::Error::msg)?;
        bpffs::ensure(&self.root)?;
        removal::wait_until_gone(&self.remove()?)?;
        let loaded = self.load(watertight);
        if loaded.is_err() {
            // Nothing is pinned that protects; what else is, goes. If not now, then with the next loader.
            let _ = removal::remove_patiently(&self.root);
            // Asked only now, because a trial costs as much as a small load and most kernels admit LSM programs.
            trial::admits_lsm().map_err(anyhow::Error::msg)?;
        }
        loaded.map(|()| true)
    }

    fn load(&self, watertight: &[PathBuf]) -> Result<()> {
        let links_folder = self.directory.join("links");
        fs::create_dir_all(&links_folder).with_context(|| format!("making {}", self.directory.display()))?;
        let ours = manifest::ours(watertight)?;
        let mut settings = Vec::new();
        self.settings()?.write(&mut settings);
        let mut open = ObjectBuilder::default().open_memory(GUARD.verified()?).context("opening the guard object")?;
        for mut map in open.maps_mut() {
            if map.name() == ".rodata.guard" {
                map.set_initial_value(&settings).context("telling the guard where its pins are")?;
            } else if map.name() == manifest::SETTINGS {
                map.set_initial_value(&manifest::settings(&ours)).context("telling the guard of our executables")?;
            }
        }
        let mut object = open.load().map_err(|error| {
            let why = trial::root_cause(&error.into());
            anyhow::anyhow!("the kernel does not load the guard: {why}{}", trial::lockdown_mend())
        })?;
        for mut map in object.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if name == "wtg_manifest" {
                manifest::fill(&MapHandle::try_from(&map)?, &ours)?;
            }
            if name.starts_with("wtg_") {
                map.pin(self.directory.join(&name)).with_context(|| format!("pinning map {name}"))?;
            }
        }
        let mut links = Vec::new();
        for hook in GUARD_HOOKS {
            let found = object.progs_mut().find(|program| program.name() == hook.program());
            let program = found.with_context(|| format!("this build has no program {}", hook.program()))?;
            let link = program.attach().map_err(|error| {
                anyhow::anyhow!("the kernel does not attach {}: {}", hook.program(), trial::root_cause(&error.into()))
            })?;
            links.push((*hook, link));
        }
        // Links that are not pinned end with this process. A load that is cut short in between leaves a part, but none that
        // protects without giving the next loader its trust; the mark comes last.
        links.sort_by_key(|(hook, _)| Turn::of(*hook));
        for (hook, mut link) in links {
            let path = links_folder.join(hook.program());
            link.pin(&path).with_context(|| format!("pinning link {}", hook.program()))?;
        }
        fs::create_dir(self.directory.join("complete")).context("marking the guard as complete")
    }

    fn settings(&self) -> Result<GuardSettings> {
        let metadata = fs::metadata(&self.root).with_context(|| format!("looking at {}", self.root.display()))?;
        let dev = metadata.st_dev();
        let namespace = fs::metadata("/proc/self/ns/mnt").context("looking at our mount namespace")?;
        Ok(GuardSettings {
            pins_inode: metadata.st_ino(),
            // The kernel's own encoding, include/linux/kdev_t.h.
            pins_dev: (major(dev) << 20) | minor(dev),
            pins_mnt_ns: u32::try_from(namespace.st_ino()).context("a namespace's number")?,
        })
    }

    /// Removes the guard, or what is left of one. Returns the ids of its programs, which the kernel lets go in the seconds
    /// after: only when they are gone is nothing denied any more.
    pub fn remove(&self) -> Result<Vec<u32>> {
        self.refuse_other_builds()?;
        removal::remove(&self.root)
    }

    /// Fails where another build's guard is in force: this one can't read its tables.
    ///
    /// # Errors
    /// There is one, or the folder can't be listed.
    pub fn refuse_other_builds(&self) -> Result<()> {
        for build in folders(&self.root)? {
            if build != self.directory && build.join("complete").exists() {
                bail!(
                    "a guard of another build is in force ({}): run `watertight policy unseal` of the version that applied the policy, then apply it again with this one",
                    build.display()
                );
            }
        }
        Ok(())
    }
}

/// Whether the kernel has a guard's programs, wherever they are pinned. Of those that go when one is taken away the last is
/// asked for too: until it is gone it refuses a new one its maps.
fn is_somewhere() -> bool {
    let names = [GuardHook::Umount, GuardHook::BpfMap].map(|hook| hook.program().as_bytes());
    ProgInfoIter::default().any(|program| program.ty == ProgramType::Lsm && names.contains(&program.name.as_bytes()))
}
