//! The simulator: a fleet of any size in front of the product's own planner and gate.
//!
//! ```text
//! case.rs     what is simulated, and the model's figures    world.rs    the fleet
//! rollout.rs  a rollout through planner and gate            person.rs   one that only a person stops
//! summary.rs  many rollouts -> percentiles                  rng.rs      the same numbers for the same seed
//! ```

mod case;
mod person;
mod rng;
mod rollout;
mod summary;
mod world;

pub use case::{model, Case, Kind, Way, ASSUMPTIONS, BLIND_SPOTS};
pub use rng::Rng;
pub use summary::{Percentiles, Summary};

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;

use crate::gate::Decision;
use crate::plan::{plan, Cohort, Evidence, HashRange, Lane, Plan, PlanError, Policy, Stage, Statistics, BUCKETS};
use crate::Ms;
use world::World;

/// Parts of the fleet, in percent, of a rollout by fixed rings.
const FIXED_RINGS_PERCENT: [u64; 4] = [1, 5, 25, 100];

/// What became of one rollout. Times are from the first activation on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Hosts that the content killed before its recall reached them.
    pub failed: u64,
    /// Hosts that were given it.
    pub exposed: u64,
    /// When it was halted.
    pub halt_ms: Option<Ms>,
    /// When 99 % of the hosts outside the holdback had it; hosts that went offline before their turn are not among these.
    pub full_ms: Option<Ms>,
    /// How often it was held.
    pub holds: u64,
}

/// Runs a case so many times, on so many threads. The outcomes are in the order of the runs, and the same on any number of threads.
///
/// # Errors
/// There is no plan for such a fleet.
pub fn outcomes(case: &Case, way: Way, runs: u64, seed: u64, threads: usize) -> Result<Vec<Outcome>, PlanError> {
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| loop {
                let run = next.fetch_add(1, Ordering::Relaxed);
                if run >= runs {
                    break;
                }
                let outcome = outcome(case, way, Rng::new(seed, run), None);
                done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((run, outcome));
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_unstable_by_key(|(run, _)| *run);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Stages of the plan for so many hosts.
///
/// # Errors
/// There is no plan for such a fleet.
pub fn stages(hosts: u32, lane: Lane) -> Result<u32, PlanError> {
    let world = World::new(hosts, &mut Rng::new(0, 0));
    let plan = plan(&world.fleet, &Policy::of(lane), &Evidence::default())?;
    Ok(u32::try_from(plan.stages.len()).unwrap_or(u32::MAX))
}

/// Runs a case once; `decisions` takes what the gate decided, where there is one.
///
/// # Errors
/// There is no plan for such a fleet.
pub fn outcome(
    case: &Case,
    way: Way,
    mut rng: Rng,
    decisions: Option<&mut Vec<Decision>>,
) -> Result<Outcome, PlanError> {
    let lane = match way {
        Way::Gated(lane) => lane,
        Way::FixedRings => Lane::STANDARD,
        Way::AllAtOnce | Way::Waves | Way::Phased => return Ok(person::run(case, way, &mut rng)),
    };
    let world = World::new(case.hosts, &mut rng);
    let mut plan = plan(&world.fleet, &Policy::of(lane), &Evidence::default())?;
    if way == Way::FixedRings {
        plan = fixed_rings(&world, plan);
    }
    let roster = world.roster(&plan);
    Ok(rollout::run(case, &plan, roster, rng, decisions))
}

/// The plan that many have: percentages, each released at once. No holdback.
fn fixed_rings(world: &World, plan: Plan) -> Plan {
    let stage = |(number, percent): (u32, u64)| {
        let range =
            |name: &String| HashRange { stratum: name.clone(), from: 0, to: BUCKETS / 100 * percent + BUCKETS % 100 };
        let ranges = world.fleet.strata.iter().map(|stratum| range(&stratum.name)).collect();
        Stage { number, hosts_so_far: plan.hosts * percent / 100, cohort: Cohort::Ranges(ranges) }
    };
    let stages = (1..).zip(FIXED_RINGS_PERCENT).map(stage).collect();
    Plan { holdback_from: BUCKETS, statistics: Statistics::NoHoldback, stages, ..plan }
}
