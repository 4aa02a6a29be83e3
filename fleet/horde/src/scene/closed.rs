//! How many check-ins the server answers: every agent checks in again as soon as it is answered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{sleep, Instant};

use super::{per_s, DatabaseUses};
use crate::agent::{gather, Agent};
use crate::identity;
use crate::operator::Operator;
use crate::process::{make_room, Meter, Spent};
use crate::target::Target;

/// Check in as often as the server answers (closed loop)
#[derive(Clone, Debug, clap::Args)]
pub struct ClosedArgs {
    /// Identities that `enrol` kept
    #[arg(long, value_name = "FILE")]
    pub identities: PathBuf,
    /// Agents, each with a connection
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub connections: u32,
    /// For how long
    #[arg(long, default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub for_s: u64,
    /// Instead of a time: check-ins of each agent
    #[arg(long, value_name = "COUNT", conflicts_with = "for_s")]
    pub each: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// Agents.
    pub connections: u64,
    /// Check-ins answered with 200.
    pub check_ins: u64,
    /// The same by the server's count.
    pub check_ins_of_server: u64,
    /// Turned away with 429 and come again.
    pub turned_away: u64,
    /// Connections that ended, and every other refusal.
    pub failed: u64,
    /// Time for them.
    pub spent: Spent,
    /// Check-ins for a second of the server's processor time.
    pub per_core_s: f64,
    /// Check-ins a second.
    pub per_s: f64,
    /// What they asked of the database.
    pub database: DatabaseUses,
}

impl Closed {
    /// In a sentence.
    #[must_use]
    pub fn said(&self) -> String {
        format!(
            "{} check-ins of {} agents in {:.1} s: {:.0} for a second of the server's processor, {:.0} a second; {} turned away, {} failed; \
             {} database reads, {} changes",
            self.check_ins,
            self.connections,
            self.spent.wall_s,
            self.per_core_s,
            self.per_s,
            self.turned_away,
            self.failed,
            self.database.reads,
            self.database.changes
        )
    }
}

/// What became of check-ins.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    answered: u64,
    turned_away: u64,
    failed: u64,
}

/// Measures it.
///
/// # Errors
/// The agents can't get in.
pub async fn run(target: &Arc<Target>, args: &ClosedArgs) -> anyhow::Result<Closed> {
    let connections = usize::try_from(args.connections)?;
    make_room(connections)?;
    let (agents, _) = gather(target, &identity::read(&args.identities, connections)?).await?;
    let operator = Operator(target);
    let before = operator.counters().await?;
    let meter = Meter::begin(target.pid)?;
    let end = Instant::now() + Duration::from_secs(args.for_s);
    let mut running = JoinSet::new();
    for agent in agents {
        running.spawn(loop_closed(agent, Arc::clone(target), args.each, end));
    }
    let mut all = Tally::default();
    while let Some(one) = running.join_next().await {
        let one = one?;
        all.answered = all.answered.saturating_add(one.answered);
        all.turned_away = all.turned_away.saturating_add(one.turned_away);
        all.failed = all.failed.saturating_add(one.failed);
    }
    let spent = meter.spent()?;
    let after = operator.counters().await?;
    Ok(Closed {
        connections: u64::from(args.connections),
        check_ins: all.answered,
        check_ins_of_server: after.check_ins.saturating_sub(before.check_ins),
        turned_away: all.turned_away,
        failed: all.failed,
        spent,
        per_core_s: per_s(all.answered, spent.server_cpu_s),
        per_s: per_s(all.answered, spent.wall_s),
        database: DatabaseUses::between(&before, &after),
    })
}

async fn loop_closed(mut agent: Agent, target: Arc<Target>, each: Option<u64>, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let goes_on = |tally: &Tally| match each {
        Some(each) => tally.answered < each,
        None => Instant::now() < end,
    };
    while goes_on(&tally) {
        match agent.check_in(&target).await {
            Ok(_) => {
                tally.answered = tally.answered.saturating_add(1);
                agent.back_off.succeeded();
            }
            Err(failure) => {
                match failure.retry_after_ms() {
                    Some(_) => tally.turned_away = tally.turned_away.saturating_add(1),
                    None => tally.failed = tally.failed.saturating_add(1),
                }
                let wait = agent.back_off.failed(failure.retry_after_ms());
                match each {
                    None => sleep(wait.min(end.saturating_duration_since(Instant::now()))).await,
                    Some(_) => sleep(wait).await,
                }
            }
        }
    }
    tally
}
