//! `watertight-lab bench`: measures what the product costs and writes `docs/benchmarks.md`.
//!
//! ```text
//! guest.rs     a guest a sensor and kernel, time counted in instructions -> findings
//! machine.rs   this machine: memory, events a second
//! content.rs   this machine: content that kills, that changes, that is loaded
//! rivals.rs    the detection engine beside others
//! engine.rs    the detection engine by itself: hostile events, correlations, sequences
//! mutants.rs   a million mutants of packs
//! triage.rs    crash files: time, memory, what others find in them, how well buckets fit
//! rollout.rs   thousands of simulated rollouts
//! fleet.rs     the fleet's server under load
//! page/        findings -> the page, each figure beside its bar
//! ```
//! What was measured is kept in the cache, so that a part can be measured again without the rest.

mod bars;
mod content;
mod engine;
mod fleet;
mod guest;
mod image;
mod machine;
mod mutants;
pub mod packages;
mod page;
mod policy;
mod rivals;
mod rollout;
mod triage;

use crate::kernel::Series;
use crate::lab;
use crate::programs::{BenchPrograms, FleetPrograms, ProductArgs, Programs};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use watertight_lab_guest::Sensor;

/// What to measure and where to write it.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Only this kernel line
    #[arg(long)]
    kernel: Option<Series>,
    /// Only this sensor: observing, enforcing, auditd or execsnoop
    #[arg(long, value_parser = sensor_by_name)]
    sensor: Option<Sensor>,
    /// Leave the measurements on this machine out
    #[arg(long)]
    guests_only: bool,
    /// Leave the guests out
    #[arg(long, conflicts_with = "guests_only")]
    machine_only: bool,
    /// Only the detection engine beside others
    #[arg(long, conflicts_with_all = ["kernel", "sensor", "guests_only", "machine_only"])]
    rivals_only: bool,
    /// Only content: recovery, changes, loading
    #[arg(long, conflicts_with_all = ["kernel", "sensor", "guests_only", "machine_only", "rivals_only"])]
    content_only: bool,
    /// Only the mutants of packs
    #[arg(long, conflicts_with_all = ["kernel", "sensor", "guests_only", "machine_only", "rivals_only", "content_only"])]
    mutants_only: bool,
    /// Only crash triage
    #[arg(long, conflicts_with_all = ["kernel", "sensor", "guests_only", "machine_only", "rivals_only", "content_only", "mutants_only"])]
    triage_only: bool,
    /// Only simulated rollouts
    #[arg(long, conflicts_with_all = ["kernel", "sensor", "guests_only", "machine_only", "rivals_only", "content_only", "mutants_only", "triage_only"])]
    rollout_only: bool,
    /// Only the fleet's server under load
    #[arg(long, conflicts_with_all = ["kernel", "sensor", "guests_only", "machine_only", "rivals_only", "content_only", "mutants_only", "triage_only", "rollout_only"])]
    fleet_only: bool,
    /// Only memory, and events a second, on this machine
    #[arg(long, conflicts_with_all = ["kernel", "sensor", "guests_only", "machine_only", "rivals_only", "content_only", "mutants_only", "triage_only", "rollout_only", "fleet_only"])]
    memory_only: bool,
    /// Measure nothing: write the page from what was measured before
    #[arg(long, conflicts_with_all = ["kernel", "sensor", "guests_only", "machine_only", "rivals_only", "content_only", "mutants_only", "triage_only", "rollout_only", "fleet_only", "memory_only"])]
    page_only: bool,
    /// Short processes that memory is measured after
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    processes: u64,
    /// The page to write; without it, it goes to standard output
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// How long one guest may run
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    product: ProductArgs,
}

fn sensor_by_name(name: &str) -> Result<Sensor, String> {
    Sensor::ALL.into_iter().find(|sensor| sensor.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Sensor::ALL.iter().map(|sensor| sensor.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Measures what was asked for and writes the page from everything that the cache holds. Success means that every bar is met.
pub fn run(args: &BenchArgs, accelerator: &str) -> Result<ExitCode> {
    let cache = lab::cache_folder()?;
    let results = cache.join("bench");
    fs::create_dir_all(&results).with_context(|| format!("making {}", results.display()))?;
    if !args.page_only {
        measure(args, accelerator, &cache, &results)?;
    }
    let page = page::Page::from_results(&results)?;
    match &args.page {
        Some(file) => fs::write(file, page.text()).with_context(|| format!("writing {}", file.display()))?,
        None => print!("{}", page.text()),
    }
    eprintln!("{} figures meet their bar, {} miss it", page.met(), page.missed());
    Ok(if page.missed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(args: &BenchArgs, accelerator: &str, cache: &Path, results: &Path) -> Result<()> {
    if args.triage_only {
        return measure_triage(&args.product, cache, results);
    }
    if args.fleet_only {
        return measure_fleet(results);
    }
    if args.memory_only {
        let programs = Programs::build(&args.product)?;
        return measure_machine(&programs, &BenchPrograms::build()?, args.processes, results);
    }
    if !args.guests_only && !args.machine_only && !args.rivals_only && !args.content_only && !args.rollout_only {
        mutants::measure(&results.join("mutants.json"))?;
    }
    if args.mutants_only {
        return Ok(());
    }
    if !args.guests_only && !args.machine_only && !args.content_only && !args.rollout_only {
        rivals::measure(&results.join("rivals.json"))?;
        keep(&results.join("engine.json"), &engine::measure().context("measuring the engine by itself")?)?;
    }
    if args.rivals_only {
        return Ok(());
    }
    if !args.guests_only && !args.content_only {
        let found = rollout::measure(&args.product.command()?).context("simulating rollouts")?;
        keep(&results.join("rollout.json"), &found)?;
    }
    if args.rollout_only {
        return Ok(());
    }
    if !args.guests_only && !args.content_only {
        measure_fleet(results)?;
    }
    let programs = Programs::build(&args.product)?;
    if !args.guests_only {
        let product = programs.product_file("watertight").context("there is no product to measure")?;
        match programs.product_file("watertight-killable") {
            Some(killable) => {
                let found = content::measure(product, killable).context("measuring what a host bears of content")?;
                keep(&results.join("content.json"), &found)?;
            }
            None => eprintln!("   skipped: content, for want of a product that it can kill (--killable)"),
        }
    }
    if args.content_only {
        return Ok(());
    }
    if !args.guests_only {
        measure_triage(&args.product, cache, results)?;
    }
    let bench = BenchPrograms::build()?;
    if !args.machine_only {
        let place = guest::Place { programs: &programs, bench: &bench, cache, accelerator };
        for series in args.kernel.map_or(Series::ALL.to_vec(), |only| vec![only]) {
            for sensor in args.sensor.map_or(Sensor::ALL.to_vec(), |only| vec![only]) {
                let found = guest::measure(&place, series, sensor, args.timeout)
                    .with_context(|| format!("measuring {} on {}", sensor.name(), series.name()))?;
                keep(&results.join(format!("{}-{}.json", series.name(), sensor.name())), &found)?;
            }
        }
    }
    if !args.guests_only {
        measure_machine(&programs, &bench, args.processes, results)?;
    }
    Ok(())
}

fn measure_machine(programs: &Programs, bench: &BenchPrograms, processes: u64, results: &Path) -> Result<()> {
    let found = machine::measure(programs, bench, processes).context("measuring on this machine")?;
    keep(&results.join("machine.json"), &found)
}

fn measure_fleet(results: &Path) -> Result<()> {
    let found = fleet::measure(&FleetPrograms::build()?).context("putting the fleet's server under load")?;
    keep(&results.join("fleet.json"), &found)
}

fn measure_triage(product: &ProductArgs, cache: &Path, results: &Path) -> Result<()> {
    let found = triage::measure(&product.command()?, cache).context("measuring crash triage")?;
    keep(&results.join("triage.json"), &found)
}

fn keep<T: serde::Serialize>(file: &Path, found: &T) -> Result<()> {
    fs::write(file, serde_json::to_vec_pretty(found)?).with_context(|| format!("writing {}", file.display()))
}
