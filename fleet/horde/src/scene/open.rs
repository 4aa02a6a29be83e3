//! How long a check-in takes at a rate: agents check in when it is time, whether or not the server keeps up.
//!
//! Latency is counted from the moment at which a check-in was due, not from the one at which it could be sent: a server that stands still
//! for a second has made everyone late who was due in it, though few were on their way (the mistake is known as coordinated omission).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, Instant};

use super::{per_s, DatabaseUses};
use crate::agent::{gather, Agent};
use crate::identity;
use crate::operator::Operator;
use crate::process::{make_room, Meter, Spent};
use crate::spread::Spread;
use crate::target::Target;

/// From the last connection to the first check-in that counts.
const REST: Duration = Duration::from_secs(1);

/// Check in at a rate, however long the answers take (open loop)
#[derive(Clone, Debug, clap::Args)]
pub struct OpenArgs {
    /// Identities that `enrol` kept
    #[arg(long, value_name = "FILE")]
    pub identities: PathBuf,
    /// Agents, each with a connection
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub connections: u32,
    /// Check-ins a second, of all together
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub per_s: u32,
    /// For how long
    #[arg(long, default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=120))]
    pub for_s: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Agents.
    pub connections: u64,
    /// Check-ins that were due a second.
    pub due_per_s: u64,
    /// Check-ins answered with 200.
    pub check_ins: u64,
    /// Those answered otherwise, or not.
    pub failed: u64,
    /// From when a check-in was due to its answer, ms.
    pub latency_ms: Spread,
    /// From when it was due to when it was sent, ms: the horde's own lateness, and that of the answer before.
    pub late_ms: Spread,
    /// Time for them.
    pub spent: Spent,
    /// Check-ins answered a second.
    pub per_s: f64,
    /// What they asked of the database.
    pub database: DatabaseUses,
}

impl Open {
    /// In a sentence.
    #[must_use]
    pub fn said(&self) -> String {
        format!(
            "{} check-ins of {} agents, {:.0} of {} due a second: answered after {:.1} ms p50, {:.1} ms p99, {:.1} ms p99.9, {:.1} ms at most, of \
             which sent late {:.1} ms p99; {} failed; {} database reads",
            self.check_ins,
            self.connections,
            self.per_s,
            self.due_per_s,
            self.latency_ms.p50,
            self.latency_ms.p99,
            self.latency_ms.p999,
            self.latency_ms.most,
            self.late_ms.p99,
            self.failed,
            self.database.reads
        )
    }
}

/// What became of one agent's check-ins.
#[derive(Debug, Default)]
struct Tally {
    latency_ms: Vec<f64>,
    late_ms: Vec<f64>,
    failed: u64,
}

/// When an agent's check-ins are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    first: Instant,
    every: Duration,
    count: u32,
}

/// Measures it.
///
/// # Errors
/// The agents can't get in.
pub async fn run(target: &Arc<Target>, args: &OpenArgs) -> anyhow::Result<Open> {
    let connections = usize::try_from(args.connections)?;
    make_room(connections)?;
    let (agents, _) = gather(target, &identity::read(&args.identities, connections)?).await?;
    let operator = Operator(target);
    let every = Duration::from_secs_f64(f64::from(args.connections) / f64::from(args.per_s));
    let count = u32::try_from(args.for_s.saturating_mul(u64::from(args.per_s)).div_ceil(connections as u64))?;
    let before = operator.counters().await?;
    let begin = Instant::now() + REST;
    let mut running = JoinSet::new();
    for agent in agents {
        // Each at a moment of its own: in step they would come as one.
        let schedule = Schedule { first: begin + random_part(every)?, every, count };
        running.spawn(loop_open(agent, Arc::clone(target), schedule));
    }
    sleep_until(begin).await;
    let meter = Meter::begin(target.pid)?;
    let (mut latency_ms, mut late_ms, mut failed) = (Vec::new(), Vec::new(), 0_u64);
    while let Some(one) = running.join_next().await {
        let one = one?;
        latency_ms.extend(one.latency_ms);
        late_ms.extend(one.late_ms);
        failed = failed.saturating_add(one.failed);
    }
    let spent = meter.spent()?;
    let after = operator.counters().await?;
    let check_ins = latency_ms.len() as u64;
    Ok(Open {
        connections: u64::from(args.connections),
        due_per_s: u64::from(args.per_s),
        check_ins,
        failed,
        latency_ms: Spread::of(latency_ms),
        late_ms: Spread::of(late_ms),
        spent,
        per_s: per_s(check_ins, spent.wall_s),
        database: DatabaseUses::between(&before, &after),
    })
}

async fn loop_open(mut agent: Agent, target: Arc<Target>, schedule: Schedule) -> Tally {
    let mut tally = Tally::default();
    for number in 0..schedule.count {
        let due = schedule.first + schedule.every.saturating_mul(number);
        sleep_until(due).await;
        tally.late_ms.push(ms_since(due));
        match agent.check_in(&target).await {
            Ok(_) => tally.latency_ms.push(ms_since(due)),
            // Not repeated: the next is due.
            Err(_) => tally.failed = tally.failed.saturating_add(1),
        }
    }
    tally
}

fn ms_since(moment: Instant) -> f64 {
    moment.elapsed().as_secs_f64() * 1000.0
}

fn random_part(of: Duration) -> anyhow::Result<Duration> {
    let mut bytes = [0_u8; 4];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
    Ok(of.mul_f64(f64::from(u32::from_ne_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)))
}
