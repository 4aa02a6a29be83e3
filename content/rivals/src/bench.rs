//! Time an event, time to load and memory of each engine, in turns, each in a process of its own: memory is then the rules'.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs};

use anyhow::{bail, Context as _, Result};
use serde::{Deserialize, Serialize};
use watertight_content::rule::LogSource;

use crate::engines::{compile, Engine, Event, NAMES};
use crate::events;

/// Events made ready together: as they come from a sensor, what was just made is in the processor's cache.
const EVENTS_AT_ONCE: usize = 512;
/// How often the engines take turns; the median counts.
const TURNS: usize = 5;
/// The last scene once more with so many times the rules.
const TIMES: u8 = 10;
/// What that is called.
const TIMES_SCENE: &str = "all rules, ten times";

/// Rules and events.
struct Scene {
    name: &'static str,
    /// Folders below the public rules.
    rules: &'static [&'static str],
    is_windows: bool,
    events: usize,
    /// sigma-rust tries every rule on every event: it gets fewer.
    slow_events: usize,
}

/// Everything that is public.
const ALL_RULES: [&str; 4] = ["rules", "rules-emerging-threats", "rules-threat-hunting", "rules-compliance"];

/// Of Windows there are attacks alone: every event is one, or has fields of several. On Linux one in three is.
const SCENES: [Scene; 4] = [
    Scene {
        name: "linux process_creation rules",
        rules: &["rules/linux/process_creation"],
        is_windows: false,
        events: 100_000,
        slow_events: 3_000,
    },
    Scene { name: "all linux rules", rules: &["rules/linux"], is_windows: false, events: 100_000, slow_events: 3_000 },
    Scene { name: "all rules", rules: &ALL_RULES, is_windows: true, events: 100_000, slow_events: 1_000 },
    Scene {
        name: "all rules, linux events",
        rules: &ALL_RULES,
        is_windows: false,
        events: 100_000,
        slow_events: 3_000,
    },
];

/// What one process measured.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Measured {
    pub engine: String,
    pub rules: usize,
    pub events: usize,
    pub hits: u64,
    pub us_per_event: f64,
    /// From files to ready, milliseconds.
    pub load_ms: f64,
    /// Resident memory that the rules took, KiB.
    pub rules_kib: u64,
}

/// All turns of all engines in a scene, the median of each.
#[derive(Debug, Deserialize, Serialize)]
struct Raced {
    scene: String,
    engines: Vec<Measured>,
}

/// Runs every scene, prints a table, and leaves the figures in a file for the page of benchmarks.
pub fn run(corpora: &Path, out: Option<&Path>, keep: Option<PathBuf>, only: Option<&str>) -> Result<ExitCode> {
    let is_kept = keep.is_some();
    let work = keep.unwrap_or_else(|| env::temp_dir().join(format!("watertight-rivals-{}", std::process::id())));
    let mut results = Vec::new();
    for scene in SCENES.iter().filter(|scene| only.is_none_or(|only| scene.name == only)) {
        let rules = work.join(scene.name.replace(' ', "-"));
        gather(corpora, scene, &rules)?;
        let events = match scene.is_windows {
            true => events::windows(corpora, scene.events)?,
            false => events::linux(corpora, scene.events)?,
        };
        let (all, few, image) =
            (rules.with_extension("jsonl"), rules.with_extension("few.jsonl"), rules.with_extension("image"));
        write_events(&events, &all)?;
        write_events(events.get(..scene.slow_events).unwrap_or(&events), &few)?;
        compile(&rules, 1, &image)?;
        let mut turns: Vec<Vec<Measured>> = vec![Vec::new(); NAMES.len()];
        for turn in 0..TURNS {
            for (engine, own) in NAMES.iter().zip(&mut turns) {
                eprintln!("{}: {engine}, turn {} of {TURNS}", scene.name, turn + 1);
                let events = if *engine == "sigma-rust" { &few } else { &all };
                let rules = if *engine == NAMES[0] { &image } else { &rules };
                own.push(of_process(engine, rules, events)?);
            }
        }
        results.push(told(scene.name, turns.into_iter().filter_map(median).collect()));
        if scene.is_windows {
            eprintln!("{TIMES_SCENE}: compiling");
            let image = rules.with_extension("times.image");
            compile(&rules, TIMES, &image)?;
            let turns = (0..TURNS).map(|_| of_process(NAMES[0], &image, &all)).collect::<Result<_>>()?;
            results.push(told(TIMES_SCENE, median(turns).into_iter().collect()));
        }
    }
    if !is_kept {
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    }
    if let Some(out) = out {
        fs::write(out, serde_json::to_vec_pretty(&results)?).with_context(|| format!("writing {}", out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn told(scene: &str, engines: Vec<Measured>) -> Raced {
    for one in &engines {
        println!(
            "{scene:<30} {:<12} {:>5} rules {:>9.2} us/event {:>9} hits of {:>6} events {:>9.2} ms to load {:>7} KiB",
            one.engine, one.rules, one.us_per_event, one.hits, one.events, one.load_ms, one.rules_kib
        );
    }
    Raced { scene: scene.to_owned(), engines }
}

/// Measures one engine and prints what it found as JSON.
pub fn measure(engine: &str, rules: &str, events: &str) -> Result<ExitCode> {
    let before = resident_kib();
    let start = Instant::now();
    let (loaded, count) = Engine::load(engine, Path::new(rules))?;
    let load = start.elapsed();
    let rules_kib = resident_kib().saturating_sub(before);
    let events = read_events(Path::new(events))?;
    let (mut took, mut hits) = (std::time::Duration::ZERO, 0_u64);
    for some in events.chunks(EVENTS_AT_ONCE) {
        let mut ready = loaded.ready(some);
        let start = Instant::now();
        loaded.evaluate(&mut ready, &mut |_, _| hits += 1);
        took += start.elapsed();
    }
    let measured = Measured {
        engine: engine.to_owned(),
        rules: count,
        events: events.len(),
        hits,
        us_per_event: took.as_secs_f64() * 1e6 / events.len().max(1) as f64,
        load_ms: load.as_secs_f64() * 1e3,
        rules_kib,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(ExitCode::SUCCESS)
}

fn of_process(engine: &str, rules: &Path, events: &Path) -> Result<Measured> {
    let own = env::current_exe().context("finding this program")?;
    let output = Command::new(own)
        .args(["measure", "--engine", engine, "--rules"])
        .arg(rules)
        .arg("--events")
        .arg(events)
        .output()
        .context("starting a measurement")?;
    if !output.status.success() {
        bail!("{engine}: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("reading a measurement")
}

/// The turn whose time is in the middle.
fn median(mut turns: Vec<Measured>) -> Option<Measured> {
    turns.sort_by(|left, right| left.us_per_event.total_cmp(&right.us_per_event));
    turns.get(turns.len() / 2).cloned()
}

/// The rules of a scene in one folder.
pub fn gather_all(corpora: &Path, into: &Path) -> Result<()> {
    gather(corpora, &SCENES[2], into)
}

fn gather(corpora: &Path, scene: &Scene, into: &Path) -> Result<()> {
    for folder in scene.rules {
        let from = corpora.join("sigma").join(folder);
        for file in crate::engines::rule_files(&from)? {
            let name: PathBuf = into.join(folder).join(file.strip_prefix(&from)?);
            fs::create_dir_all(name.parent().context("a folder above it")?)?;
            fs::copy(&file, name)?;
        }
    }
    Ok(())
}

fn write_events(events: &[Event], file: &Path) -> Result<()> {
    let mut text = String::new();
    for Event { logsource, fields } in events {
        let source = serde_json::json!({
            "category": logsource.category, "product": logsource.product, "service": logsource.service,
        });
        text.push_str(&serde_json::json!({ "logsource": source, "event": fields }).to_string());
        text.push('\n');
    }
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn read_events(file: &Path) -> Result<Vec<Event>> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let read = |line: &str| {
        let json: serde_json::Value = serde_json::from_str(line)?;
        let part = |name: &str| json["logsource"][name].as_str().map(str::to_owned);
        let logsource = LogSource { category: part("category"), product: part("product"), service: part("service") };
        Ok(Event { logsource, fields: json["event"].clone() })
    };
    text.lines().map(read).collect()
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
