//! The pin folder: `<pins>/<build id>/{maps, links}`. Maps are pinned before links, so that whoever finds a link finds what it
//! writes to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use libbpf_rs::{Link, MapCore as _, ObjectBuilder, OpenObject, Program};
use serde::Serialize;
use watertight_sensor_abi::{Hook, HookClass, HOOKS, SCRATCH_SLOTS};

use crate::counters;
use crate::objects::TELEMETRY;
use crate::trial::{self, Refusals};

/// How long the kernel may take to let unpinned programs go: grace periods of some milliseconds each, seconds in emulation.
const GONE_MAX: Duration = Duration::from_secs(20);

/// Where everything is pinned.
pub struct Pins {
    root: PathBuf,
}

/// What is in force after a load.
#[derive(Serialize)]
pub struct Report {
    build: String,
    /// Folder of this build's pins.
    directory: PathBuf,
    /// Found pinned and working from an earlier run; nothing new was attached.
    adopted: bool,
    attached: Vec<&'static str>,
    refused: Vec<Refusal>,
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
    pub fn load(&self, without_lsm: bool) -> Result<Report> {
        trial::silence_libbpf();
        let build = TELEMETRY.build_id();
        let directory = self.root.join(&build);
        if let Some(report) = adopt(&build, &directory)? {
            return Ok(report);
        }
        // What a load left that was cut short: links without their maps, or maps without links.
        remove_tree(&directory)?;
        let loaded = load_new(&build, &directory, without_lsm);
        match &loaded {
            Ok(_) => self.drop_other_builds(&build)?,
            Err(_) => remove_tree(&directory)?,
        }
        loaded
    }

    /// Unpins the links of every build, waits until the kernel has let their programs go, and returns how many there were.
    pub fn detach(&self) -> Result<usize> {
        let mut programs = Vec::new();
        for build in folders(&self.root)? {
            for path in entries(&build.join("links"))? {
                let link = Link::open(&path).with_context(|| format!("opening {}", path.display()))?;
                programs.push(link.info().with_context(|| format!("asking about {}", path.display()))?.prog_id);
                drop(link);
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

    /// The counters of this executable's build.
    pub fn counters(&self) -> Result<Vec<counters::Row>> {
        counters::read(&self.root.join(TELEMETRY.build_id()))
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

/// Links that are pinned already, if every map is there with them.
fn adopt(build: &str, directory: &Path) -> Result<Option<Report>> {
    let pinned: Vec<PathBuf> = entries(&directory.join("links"))?;
    let is_whole = directory.join("complete").exists();
    if pinned.is_empty() || !is_whole {
        return Ok(None);
    }
    let is_pinned =
        |hook: &&Hook| pinned.iter().any(|link| link.file_name().is_some_and(|name| name == hook.program()));
    let attached: Vec<&'static str> = HOOKS.iter().filter(is_pinned).map(|hook| hook.program()).collect();
    let refused = HOOKS
        .iter()
        .filter(|hook| !is_pinned(hook))
        .map(|hook| Refusal { program: hook.program(), why: "was not attached by the run that is adopted".into() })
        .collect();
    Ok(Some(Report { build: build.to_owned(), directory: directory.to_owned(), adopted: true, attached, refused }))
}

fn load_new(build: &str, directory: &Path, without_lsm: bool) -> Result<Report> {
    let mut refusals = if without_lsm {
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
            let alone = trial::each_alone(&TELEMETRY, &refusals)?;
            refusals.extend(alone);
            open_without(&refusals)?.load().context("loading the telemetry programs that load one by one")?
        }
    };
    fs::create_dir_all(directory.join("links")).with_context(|| format!("making {}", directory.display()))?;
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !name.contains(".rodata") && !name.contains(".bss") {
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
    Ok(Report { build: build.to_owned(), directory: directory.to_owned(), adopted: false, attached, refused })
}

fn open_without(refusals: &Refusals) -> Result<OpenObject> {
    let mut open =
        ObjectBuilder::default().open_memory(TELEMETRY.verified()?).context("opening the telemetry object")?;
    let processors = u32::try_from(libbpf_rs::num_possible_cpus()?).context("counting processors")?;
    for mut map in open.maps_mut() {
        if map.name() == "scratches" {
            map.set_max_entries(processors.saturating_mul(SCRATCH_SLOTS)).context("sizing the scratch map")?;
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

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("listing {}", folder.display())),
    }
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn remove_tree(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the pins under {}", folder.display()))
        }
        _ => Ok(()),
    }
}
