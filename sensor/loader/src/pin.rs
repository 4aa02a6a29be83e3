//! The pin folder: `<pins>/<build id>/{maps, links}`. Maps are pinned before links, so that whoever finds a link finds what it
//! writes to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use libbpf_rs::{Link, MapCore as _, MapHandle, Object, ObjectBuilder, OpenObject, Program};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use watertight_sensor_abi::{Hook, HookClass, HOOKS, SCRATCH_SLOTS};

use crate::counters;
use crate::inspect;
use crate::manifest;
use crate::objects::TELEMETRY;
use crate::trial::{self, Refusals};

/// How long the kernel may take to let unpinned programs go: grace periods of some milliseconds each, seconds in emulation.
const GONE_MAX: Duration = Duration::from_secs(20);

/// Hexadecimal digits in the name of a build's folder.
const BUILD_DIGITS: usize = 16;

/// Where everything is pinned.
pub struct Pins {
    root: PathBuf,
}

/// What is to be loaded, beside the object itself.
#[derive(Default)]
pub struct Wanted {
    /// Do not try LSM programs.
    pub without_lsm: bool,
    /// Our own executables; empty where the kernel does not tell their identity.
    pub manifest: Vec<manifest::Entry>,
    /// Why the manifest is empty.
    pub manifest_refused: Option<String>,
}

impl Wanted {
    /// Eight bytes in hexadecimal over everything that can't change once it is loaded: the name of the build's folder.
    /// Executables that were replaced are another build, and get another manifest.
    fn build(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(TELEMETRY.build_id());
        for entry in &self.manifest {
            let mut bytes = Vec::new();
            entry.file.write(&mut bytes);
            digest.update(bytes);
            digest.update((entry.role as u16).to_le_bytes());
        }
        digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What is in force after a load.
#[derive(Serialize)]
pub struct Report {
    /// Digest of the object and of what was loaded with it.
    build: String,
    /// Folder of this build's pins.
    directory: PathBuf,
    /// Found pinned and working from an earlier run; nothing new was attached.
    adopted: bool,
    attached: Vec<&'static str>,
    refused: Vec<Refusal>,
    /// Why what an earlier run had pinned could not be adopted; it was dropped with what its rings held.
    replaced: Option<String>,
    /// Why our own processes are not known to the programs, if they are not.
    untrusted: Option<String>,
}

#[derive(Serialize)]
struct Refusal {
    program: &'static str,
    why: String,
}

impl Pins {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Loads and attaches, or adopts what this build has pinned before. Pins of other builds are dropped once ours work.
    pub fn load(&self, wanted: &Wanted) -> Result<Report> {
        let build = wanted.build();
        let directory = self.root.join(&build);
        let replaced = match adopt(&build, &directory, wanted)? {
            Adoption::Done(report) => return Ok(report),
            Adoption::Unusable(why) => Some(why),
            Adoption::Nothing => None,
        };
        // What a load left that was cut short: links without their maps, or maps without links.
        remove_tree(&directory)?;
        match load_new(&build, &directory, wanted) {
            Ok(report) => {
                self.drop_other_builds(&build)?;
                Ok(Report { replaced, ..report })
            }
            Err(error) => {
                remove_tree(&directory)?;
                Err(error)
            }
        }
    }

    /// Unpins the links of every build, waits until the kernel has let their programs go, and returns how many there were.
    pub fn detach(&self) -> Result<usize> {
        let mut programs = Vec::new();
        for build in folders(&self.root)? {
            for path in entries(&build.join("links"))? {
                // What is no link of ours holds no program of ours: it is unpinned like the others.
                let program = Link::open(&path).and_then(|link| link.info()).map(|info| info.prog_id);
                programs.extend(program);
                fs::remove_file(&path).with_context(|| format!("unpinning {}", path.display()))?;
            }
        }
        wait_until_gone(&programs)?;
        Ok(programs.len())
    }

    /// Removes every pin.
    pub fn remove(&self) -> Result<()> {
        for build in folders(&self.root)? {
            remove_tree(&build)?;
        }
        Ok(())
    }

    /// The counters of the build that is in force.
    pub fn counters(&self) -> Result<Vec<counters::Row>> {
        let builds = folders(&self.root)?;
        let whole = builds.iter().find(|build| build.join("complete").exists());
        let found = whole.or(builds.first()).context("nothing is pinned: `watertight-loader load` pins the sensor")?;
        counters::read(found)
    }

    fn drop_other_builds(&self, keep: &str) -> Result<()> {
        for build in folders(&self.root)? {
            if build.file_name().is_none_or(|name| name != keep) {
                remove_tree(&build)?;
            }
        }
        Ok(())
    }
}

/// The kernel frees a link some time after its last pin: only once the program is gone does it run no more.
fn wait_until_gone(programs: &[u32]) -> Result<()> {
    let asked = Instant::now();
    while programs.iter().any(|id| Program::fd_from_id(*id).is_ok()) {
        anyhow::ensure!(
            asked.elapsed() < GONE_MAX,
            "the kernel still holds unpinned programs after {} s: does another process hold their links?",
            GONE_MAX.as_secs()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What became of the pins that were there.
enum Adoption {
    /// They are in force.
    Done(Report),
    /// There are none, or only the rest of a load or an unload that was cut short.
    Nothing,
    /// They are of another shape than this build's.
    Unusable(String),
}

/// Links that are pinned already, if every map is there with them and is what this build would make.
fn adopt(build: &str, directory: &Path, wanted: &Wanted) -> Result<Adoption> {
    let pinned: Vec<PathBuf> = entries(&directory.join("links"))?;
    let is_whole = directory.join("complete").exists();
    if pinned.is_empty() || !is_whole {
        return Ok(Adoption::Nothing);
    }
    if let Err(error) =
        inspect::maps(directory, &open_without(&Refusals::new())?).and_then(|()| inspect::links(&pinned))
    {
        return Ok(Adoption::Unusable(format!("{error:#}")));
    }
    let is_pinned =
        |hook: &&Hook| pinned.iter().any(|link| link.file_name().is_some_and(|name| name == hook.program()));
    let attached: Vec<&'static str> = HOOKS.iter().filter(is_pinned).map(|hook| hook.program()).collect();
    let refused = HOOKS
        .iter()
        .filter(|hook| !is_pinned(hook))
        .map(|hook| Refusal { program: hook.program(), why: "was not attached by the run that is adopted".into() })
        .collect();
    Ok(Adoption::Done(Report {
        build: build.to_owned(),
        directory: directory.to_owned(),
        adopted: true,
        attached,
        refused,
        replaced: None,
        untrusted: wanted.manifest_refused.clone(),
    }))
}

fn load_new(build: &str, directory: &Path, wanted: &Wanted) -> Result<Report> {
    let mut refusals = if wanted.without_lsm {
        trial::refuse_class(HookClass::Lsm, "left out by --without-lsm")
    } else {
        match trial::admits_lsm() {
            Ok(()) => trial::absent(),
            Err(why) => trial::refuse_class(HookClass::Lsm, &why),
        }
    };
    let mut object = match open_without(&refusals)?.load() {
        Ok(object) => object,
        Err(_) => {
            if let Some(obstacle) = trial::obstacle() {
                anyhow::bail!("{obstacle}");
            }
            let alone = trial::each_alone(&TELEMETRY, &refusals)?;
            refusals.extend(alone);
            open_without(&refusals)?.load().context("loading the telemetry programs that load one by one")?
        }
    };
    manifest::fill(&handle(&mut object, "manifest")?, &wanted.manifest)?;
    fs::create_dir_all(directory.join("links")).with_context(|| format!("making {}", directory.display()))?;
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if is_pinned_map(&name) {
            map.pin(directory.join(&name)).with_context(|| format!("pinning map {name}"))?;
        }
    }
    let mut attached = Vec::new();
    let mut links = Vec::new();
    for hook in HOOKS {
        if refusals.contains_key(hook.program()) {
            continue;
        }
        let Some(program) = object.progs_mut().find(|program| program.name() == hook.program()) else {
            refusals.insert(hook.program(), "this build has no program for it".into());
            continue;
        };
        match program.attach() {
            Ok(link) => {
                links.push((hook.program(), link));
                attached.push(hook.program());
            }
            Err(error) => {
                let why = format!("does not attach: {}", trial::root_cause(&error.into()));
                refusals.insert(hook.program(), why);
            }
        }
    }
    anyhow::ensure!(
        !links.is_empty(),
        "the kernel admits none of the programs: {}",
        refusals.values().next().map_or("", String::as_str)
    );
    for (name, mut link) in links {
        link.pin(directory.join("links").join(name)).with_context(|| format!("pinning link {name}"))?;
    }
    // A folder and not a file: bpffs holds nothing but pins and folders.
    fs::create_dir(directory.join("complete")).context("marking the pins as complete")?;
    let refused = refusals.into_iter().map(|(program, why)| Refusal { program, why }).collect();
    Ok(Report {
        build: build.to_owned(),
        directory: directory.to_owned(),
        adopted: false,
        attached,
        refused,
        replaced: None,
        untrusted: wanted.manifest_refused.clone(),
    })
}

fn handle(object: &mut Object, name: &str) -> Result<MapHandle> {
    let map = object.maps_mut().find(|map| map.name() == name);
    let map = map.with_context(|| format!("the telemetry object has no map {name}"))?;
    MapHandle::try_from(&map).with_context(|| format!("taking hold of map {name}"))
}

/// Sections of constants and variables belong to the programs alone.
pub fn is_pinned_map(name: &str) -> bool {
    !name.starts_with('.') && !name.contains(".rodata") && !name.contains(".bss")
}

fn open_without(refusals: &Refusals) -> Result<OpenObject> {
    let mut open =
        ObjectBuilder::default().open_memory(TELEMETRY.verified()?).context("opening the telemetry object")?;
    let processors = u32::try_from(libbpf_rs::num_possible_cpus()?).context("counting processors")?;
    for mut map in open.maps_mut() {
        if map.name() == "scratches" {
            map.set_max_entries(processors.saturating_mul(SCRATCH_SLOTS)).context("sizing the scratch map")?;
        }
    }
    for mut program in open.progs_mut() {
        let is_refused = program.name().to_str().is_some_and(|name| refusals.contains_key(name));
        if is_refused {
            program.set_autoload(false);
        }
    }
    Ok(open)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("listing {}", folder.display())),
    }
}

/// Folders of builds. What has another name is not ours, and stays.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_build = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.len() == BUILD_DIGITS && name.bytes().all(|letter| letter.is_ascii_hexdigit())
    };
    Ok(entries(folder)?.into_iter().filter(|path| is_build(path) && path.is_dir()).collect())
}

fn remove_tree(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the pins under {}", folder.display()))
        }
        _ => Ok(()),
    }
}
