//! One content, all the ways to roll it out.

use std::io::Write;

use serde::Serialize;
use watertight_fleet::gate::Decision;
use watertight_fleet::plan::{Lane, PlanError};
use watertight_fleet::sim::{outcome, outcomes, Case, Kind, Rng, Summary, Way, BLIND_SPOTS};
use watertight_host::say::not_written;

use super::{text, Incident, RolloutArgs};

/// Good contents that each way is tried with, to tell how long it takes; it hardly varies.
const GOOD_RUNS_MAX: u64 = 20;

/// What was compared.
#[derive(Serialize)]
pub(super) struct Compared {
    pub(super) case: Case,
    pub(super) ways: Vec<Row>,
    pub(super) blind_spots: Vec<Blind>,
    /// What the gate decided in the first run of the standard lane.
    pub(super) decisions: Vec<Decision>,
    /// First moment of the replayed outage, seconds of its day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) begins_s: Option<u64>,
}

/// A way to roll out.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The content, with the statistic alone where there is a gate.
    pub(super) summary: Summary,
    /// With the rule of new buckets beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) with_bucket_rule: Option<Summary>,
    /// Good content.
    pub(super) good: Summary,
}

/// What the gate is nearly blind to.
#[derive(Serialize)]
pub(super) struct Blind {
    pub(super) name: &'static str,
    pub(super) summary: Summary,
}

pub(super) fn compare(args: &RolloutArgs) -> anyhow::Result<Compared> {
    let (case, begins_s) = match args.incident {
        Some(Incident::July2024) => (Case::outage_of_july_2024(args.hosts), Some(text::OUTAGE_BEGINS_S)),
        None => (args.case(), None),
    };
    let of = |case: Case, way: Way, runs: u64| {
        outcomes(&case, way, runs, args.seed, args.jobs()).map(|outcomes| Summary::of(&case, &outcomes))
    };
    let row = |way: Way| {
        let with_rule = Case { bucket_rule: true, ..case };
        let good = Case { kind: Kind::Good, fail_share: 0.0, bucket_rule: true, ..case };
        Ok::<_, PlanError>(Row {
            name: way.name(),
            summary: of(Case { bucket_rule: false, ..case }, way, args.runs)?,
            with_bucket_rule: way.is_gated().then(|| of(with_rule, way, args.runs)).transpose()?,
            good: of(good, way, args.runs.min(GOOD_RUNS_MAX))?,
        })
    };
    let mut decisions = Vec::new();
    outcome(&case, Way::Gated(Lane::STANDARD), Rng::new(args.seed, 0), Some(&mut decisions))?;
    let ways = Way::ALL.into_iter().map(row).collect::<Result<_, _>>()?;
    Ok(Compared { case, ways, blind_spots: blind_spots(args)?, decisions, begins_s })
}

/// The blind spots, measured in the fleet that was asked for.
pub(super) fn blind_spots(args: &RolloutArgs) -> Result<Vec<Blind>, PlanError> {
    let of = |(name, case): (&'static str, Case)| {
        let case = Case { hosts: args.hosts, ..case };
        let runs = args.runs.min(GOOD_RUNS_MAX);
        let outcomes = outcomes(&case, Way::Gated(Lane::STANDARD), runs, args.seed, args.jobs())?;
        Ok(Blind { name, summary: Summary::of(&case, &outcomes) })
    };
    BLIND_SPOTS.into_iter().map(of).collect()
}

pub(super) fn write_text(compared: &Compared, out: &mut dyn Write) -> anyhow::Result<u8> {
    text::write_compared(compared, out).map_err(not_written("the comparison"))?;
    Ok(0)
}
