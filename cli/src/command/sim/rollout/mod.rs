//! `watertight sim rollout`: what a content costs a fleet of a million hosts before it is stopped, and how often a good one is stopped.

mod chart;
mod compare;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;

use serde::Serialize;
use watertight_fleet::plan::Lane;
use watertight_fleet::sim::{outcomes, stages, Case, Kind, Summary, Way, BLIND_SPOTS};
use watertight_host::say::not_written;

/// Exit code of arguments that fit no rollout.
const USAGE: u8 = 2;

/// Simulate rollouts of a content, with the product's planner and gate.
#[derive(Debug, clap::Args)]
pub(super) struct RolloutArgs {
    /// Hosts of the fleet.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    hosts: u32,
    /// Part of the hosts that the content kills: 0 to 1.
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    fail_share: f64,
    /// Seconds from the activation to the failure, on average; 0: at once.
    #[arg(long, default_value_t = 0.0, value_parser = at_least_0)]
    latency_s: f64,
    /// How a killed host is heard of; `good` content kills none.
    #[arg(long, value_enum, default_value = "loud")]
    kind: KindArg,
    /// The speed.
    #[arg(long, value_enum, default_value = "standard")]
    lane: LaneArg,
    /// Background failures, as a multiple of the usual ones.
    #[arg(long, default_value_t = 1.0, value_parser = times)]
    background_x: f64,
    /// The same once more, for the whole fleet during one stage.
    #[arg(long, default_value_t = 1.0, value_parser = times)]
    spike_x: f64,
    /// That stage, counted from 1, of those that the rollout has; 0 is none.
    #[arg(long, default_value_t = 0)]
    spike_stage: u32,
    /// Whether crashes that nobody had before halt, beside the statistic.
    #[arg(long, value_enum, default_value = "on")]
    bucket_rule: Switch,
    /// Rollouts.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// The same seed gives the same rollouts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; without it as many as there are processors.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: Option<u64>,
    /// Compare with what others do: all at once, rings, waves, phases.
    #[arg(long)]
    compare: bool,
    /// Replay an outage, compared: `2024-07-19`.
    #[arg(long, value_enum, value_name = "DATE")]
    incident: Option<Incident>,
    /// Write the comparison as a picture there, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the comparison as a picture there, as PNG.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Outages that are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Incident {
    /// Every host that had it went into a boot loop; from 04:09 UTC on, until a person stopped it at 05:27.
    #[value(name = "2024-07-19")]
    July2024,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum KindArg {
    Loud,
    Silent,
    Good,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LaneArg {
    Standard,
    Emergency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "expected 0 to 1".to_owned())
}

/// A thousand times the usual takes every host within minutes.
const TIMES_MAX: f64 = 1_000.0;

fn times(text: &str) -> Result<f64, String> {
    let times = text.parse().ok().filter(|times| (0.0..=TIMES_MAX).contains(times));
    times.ok_or_else(|| format!("expected 0 to {TIMES_MAX}"))
}

fn at_least_0(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "expected a number that is not below 0".to_owned())
}

impl RolloutArgs {
    fn case(&self) -> Case {
        let kind = match self.kind {
            KindArg::Loud => Kind::Loud,
            KindArg::Silent => Kind::Silent,
            KindArg::Good => Kind::Good,
        };
        Case {
            hosts: self.hosts,
            fail_share: if kind == Kind::Good { 0.0 } else { self.fail_share },
            latency_s: self.latency_s,
            kind,
            background_x: self.background_x,
            spike_x: self.spike_x,
            spike_stage: self.spike_stage,
            bucket_rule: self.bucket_rule == Switch::On,
        }
    }

    fn lane(&self) -> Lane {
        match self.lane {
            LaneArg::Standard => Lane::STANDARD,
            LaneArg::Emergency => Lane::EMERGENCY,
        }
    }

    fn jobs(&self) -> usize {
        let here = || thread::available_parallelism().map_or(1, usize::from);
        self.jobs.and_then(|jobs| usize::try_from(jobs).ok()).unwrap_or_else(here)
    }
}

/// A case's figures as JSON has them.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    summary: Summary,
    blind_spots: [&'static str; BLIND_SPOTS.len()],
}

/// Runs them and tells what became of them.
///
/// # Errors
/// There is no plan for such a fleet, or the answer can't be written.
pub(super) fn run(args: &RolloutArgs) -> anyhow::Result<u8> {
    if let Some(why) = no_such_stage(args)? {
        watertight_host::say!("watertight: {why}");
        return Ok(USAGE);
    }
    let is_compared = args.compare || args.incident.is_some() || args.svg.is_some() || args.png.is_some();
    let mut out = io::stdout().lock();
    if is_compared {
        let compared = compare::compare(args)?;
        chart::picture(&compared).write(args.svg.as_deref(), args.png.as_deref())?;
        match args.output {
            Form::Text => compare::write_text(&compared, &mut out),
            Form::Json => json(&compared, &mut out),
        }
    } else {
        one(args, &mut out)
    }
}

/// Why the spike would be in no stage.
fn no_such_stage(args: &RolloutArgs) -> anyhow::Result<Option<String>> {
    if args.spike_stage == 0 {
        return Ok(None);
    }
    let (wanted, stages) = (args.spike_stage, stages(args.hosts, args.lane())?);
    Ok((wanted > stages)
        .then(|| format!("--spike-stage {wanted}: a rollout to {} hosts has {stages} stages", args.hosts)))
}

/// One case, one way.
fn one(args: &RolloutArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (case, way) = (args.case(), Way::Gated(args.lane()));
    let of = |case: &Case| {
        outcomes(case, way, args.runs, args.seed, args.jobs()).map(|outcomes| Summary::of(case, &outcomes))
    };
    let summary = of(&case)?;
    if args.output == Form::Json {
        return json(&Answer { summary, blind_spots: BLIND_SPOTS.map(|(words, _)| words) }, out);
    }
    let other = of(&Case { bucket_rule: !case.bucket_rule, ..case })?;
    let (alone, with_rule) = if case.bucket_rule { (other, summary) } else { (summary, other) };
    let blind = compare::blind_spots(args)?;
    text::write_one(&case, way, [&alone, &with_rule], &blind, out).map_err(not_written("the figures"))?;
    Ok(0)
}

fn json(answer: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<u8> {
    serde_json::to_writer(&mut *out, answer)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(out))
        .and_then(|()| out.flush())
        .map_err(not_written("the figures"))?;
    Ok(0)
}
