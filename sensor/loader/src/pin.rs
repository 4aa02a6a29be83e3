//! The pin folder: `<pins>/<build id>/{maps, links}`. Maps are pinned before links, so that whoever finds a link finds what it
//! writes to.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore as _, MapHandle, Object, ObjectBuilder, OpenObject};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use watertight_sensor_abi::{Hook, HookClass, Phase, HOOKS, SCRATCH_SLOTS};

use crate::counters;
use crate::filter;
use crate::inspect;
use crate::manifest;
use crate::objects::TELEMETRY;
use crate::phase;
use crate::trial::{self, Refusals};

/// The map that builds share while one takes the other's place.
const HANDOVER: &str = "handover";
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
    /// File and network events that are not wanted.
    pub filters: Vec<filter::Entry>,
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
        for entry in &self.filters {
            let mut bytes = Vec::new();
            entry.key.write(&mut bytes);
            entry.rule.write(&mut bytes);
            digest.update(bytes);
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
    /// Folders of other builds whose rings are still to be read; their programs are silent.
    previous: Vec<PathBuf>,
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

    /// Loads and attaches, or adopts what this build has pinned before. Where another build is at work, the new one is
    /// attached beside it, silent, and takes its place only when everything of it is pinned. What the other build's rings
    /// hold is then still to be read: its pins stay until `forget`.
    pub fn load(&self, wanted: &Wanted) -> Result<Report> {
        let build = wanted.build();
        let directory = self.root.join(&build);
        let previous: Vec<PathBuf> = folders(&self.root)?.into_iter().filter(|other| *other != directory).collect();
        let mut at_work = Vec::new();
        for other in &previous {
            if phase::of(other).unwrap_or(Phase::Active) != Phase::Stopped && !entries(&other.join("links"))?.is_empty()
            {
                at_work.push(other.clone());
            }
        }
        // A load that was cut short while it took another build's place goes on where it was.
        let is_between = matches!(phase::of(&directory), Ok(Phase::Waiting | Phase::Coming));
        if directory.join("complete").exists() && is_between {
            take_over(&at_work, &directory)?;
        }
        let replaced = match adopt(&build, &directory, wanted)? {
            Adoption::Done(report) => return Ok(Report { previous: whole(previous)?, ..report }),
            Adoption::Unusable(why) => Some(why),
            Adoption::Nothing => None,
        };
        // What a load left that was cut short: links without their maps, or maps without links.
        remove_tree(&directory)?;
        let loaded = load_new(&self.root, &build, wanted, at_work.first().map(PathBuf::as_path))
            .and_then(|report| take_over(&at_work, &directory).map(|()| report));
        if loaded.is_err() {
            for other in &at_work {
                phase::set(other, Phase::Active)?;
            }
            remove_tree(&directory)?;
        }
        Ok(Report { replaced, previous: whole(previous)?, ..loaded? })
    }

    /// Removes the pins of all builds but one: what their rings held has been read, or nobody wants it.
    pub fn forget(&self, keep: &str) -> Result<usize> {
        let mut count = 0;
        for build in folders(&self.root)? {
            if build.file_name().is_none_or(|name| name != keep) {
                remove_tree(&build)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Stops the programs of every build and returns how many there were. From then on none counts or submits. Their pins
    /// stay until `remove`, which the kernel may make slow.
    pub fn detach(&self) -> Result<usize> {
        let mut programs = 0;
        for build in folders(&self.root)? {
            let links = entries(&build.join("links"))?;
            // A switch that is none of ours stops nothing, as none does.
            if !links.is_empty() && !phase::set(&build, Phase::Stopped).unwrap_or(false) {
                // Without the switch only without their links do its programs end; what is no link goes with them.
                remove_tree(&build.join("links"))?;
            }
            programs += links.len();
        }
        phase::wait_for_running();
        Ok(programs)
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
        let is_in_force = |build: &&PathBuf| {
            build.join("complete").exists() && phase::of(build).is_ok_and(|phase| phase == Phase::Active)
        };
        let found = builds
            .iter()
            .find(is_in_force)
            .or(builds.first())
            .context("nothing is pinned: `watertight-loader load` pins the sensor")?;
        counters::read(found)
    }
}

/// Lets a new build take the place of those that are at work.
fn take_over(at_work: &[PathBuf], new: &Path) -> Result<()> {
    for old in at_work {
        if !phase::hand_over(old, new)? {
            remove_tree(&old.join("links"))?; // of a version without the switch: the only way to end it
        }
    }
    phase::set(new, Phase::Active).map(drop)
}

/// Those whose load came to its end. The others never told anything, and go.
fn whole(builds: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let (whole, cut): (Vec<_>, Vec<_>) = builds.into_iter().partition(|build| build.join("complete").exists());
    for build in cut {
        remove_tree(&build)?;
    }
    Ok(whole)
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
    match phase::of(directory) {
        Ok(Phase::Active) => {}
        Ok(_) => return Ok(Adoption::Nothing),
        Err(error) => return Ok(Adoption::Unusable(format!("{error:#}"))),
    }
    let object = open_without(&Refusals::new(), wanted, None)?;
    if let Err(error) = inspect::maps(directory, &object).and_then(|()| inspect::links(&pinned)) {
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
        previous: Vec::new(),
        adopted: true,
        attached,
        refused,
        replaced: None,
        untrusted: wanted.manifest_refused.clone(),
    }))
}

/// `beside` is the folder of a build that is at work: the new one keeps silent.
fn load_new(root: &Path, build: &str, wanted: &Wanted, beside: Option<&Path>) -> Result<Report> {
    let directory = root.join(build);
    let mut refusals = if wanted.without_lsm {
        trial::refuse_class(HookClass::Lsm, "left out by --without-lsm")
    } else {
        match trial::runs_lsm() {
            Ok(()) => trial::absent(),
            Err(why) => trial::refuse_class(HookClass::Lsm, &why),
        }
    };
    let mut object = load_most(&mut refusals, wanted, beside)?;
    manifest::fill(&handle(&mut object, "manifest")?, &wanted.manifest)?;
    filter::fill(&handle(&mut object, "filters")?, &wanted.filters)?;
    fs::create_dir_all(directory.join("links")).with_context(|| format!("making {}", directory.display()))?;
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if name.ends_with(".bss") {
            phase::pin(&mut map, &directory)?;
        } else if is_pinned_map(&name) {
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
        directory,
        previous: Vec::new(),
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

/// Loads what the kernel admits. First all of it, because that is what most kernels admit and a trial costs as much as the
/// load; only after a refusal is it asked what was meant: LSM programs at all, or single ones.
fn load_most(refusals: &mut Refusals, wanted: &Wanted, beside: Option<&Path>) -> Result<Object> {
    if let Ok(object) = open_without(refusals, wanted, beside)?.load() {
        return Ok(object);
    }
    if let Err(why) = trial::admits_lsm() {
        for (program, why) in trial::refuse_class(HookClass::Lsm, &why) {
            refusals.entry(program).or_insert(why);
        }
        if let Ok(object) = open_without(refusals, wanted, beside)?.load() {
            return Ok(object);
        }
    }
    if let Some(obstacle) = trial::obstacle() {
        anyhow::bail!("{obstacle}");
    }
    let alone = trial::each_alone(&TELEMETRY, refusals)?;
    refusals.extend(alone);
    open_without(refusals, wanted, beside)?.load().context("loading the telemetry programs that load one by one")
}

/// Sections of constants and variables belong to the programs alone.
pub fn is_pinned_map(name: &str) -> bool {
    !name.starts_with('.') && !name.contains(".rodata") && !name.contains(".bss")
}

fn open_without(refusals: &Refusals, wanted: &Wanted, beside: Option<&Path>) -> Result<OpenObject> {
    let begin = if beside.is_some() { Phase::Stopped } else { Phase::Active };
    let beside = beside.filter(|other| other.join(HANDOVER).exists());
    let mut open =
        ObjectBuilder::default().open_memory(TELEMETRY.verified()?).context("opening the telemetry object")?;
    let processors = u32::try_from(libbpf_rs::num_possible_cpus()?).context("counting processors")?;
    let mut settings = Vec::new();
    filter::settings(&wanted.filters).write(&mut settings);
    for mut map in open.maps_mut() {
        if map.name() == "scratches" {
            map.set_max_entries(processors.saturating_mul(SCRATCH_SLOTS)).context("sizing the scratch map")?;
        } else if map.name() == ".rodata.settings" {
            map.set_initial_value(&settings).context("setting what is filtered")?;
        } else if map.name() == manifest::SETTINGS {
            map.set_initial_value(&manifest::settings(&wanted.manifest)).context("telling of our executables")?;
        } else if map.name().to_string_lossy().ends_with(".bss") {
            map.set_initial_value(&phase::bytes(begin)).context("setting how the programs begin")?;
        } else if let Some(shared) = beside.filter(|_| map.name() == HANDOVER) {
            let shared = shared.join(HANDOVER);
            map.reuse_pinned_map(&shared)
                .with_context(|| format!("sharing {} with the other build", shared.display()))?;
        }
        // What accept() tells, the change of state need not tell again.
        let is_accept_told = !refusals.contains_key(Hook::SockAccept.program());
        if let (true, Some([first, ..])) = (map.name() == ".rodata.sock_state", map.initial_value_mut()) {
            *first = u8::from(is_accept_told);
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

pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("listing {}", folder.display())),
    }
}

/// Folders of builds. What has another name is not ours, and stays.
pub fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_build = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.len() == BUILD_DIGITS && name.bytes().all(|letter| letter.is_ascii_hexdigit())
    };
    Ok(entries(folder)?.into_iter().filter(|path| is_build(path) && path.is_dir()).collect())
}

pub fn remove_tree(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the pins under {}", folder.display()))
        }
        _ => Ok(()),
    }
}
