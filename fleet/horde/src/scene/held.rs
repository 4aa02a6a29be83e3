//! What an agent costs that only waits, and how soon all hear that there is something new.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, Instant};

use crate::agent::gather;
use crate::identity;
use crate::operator::Operator;
use crate::process::{make_room, resident_kib, Meter, Spent};
use crate::spread::Spread;
use crate::target::Target;

/// Until all wait, and until all were told.
const PATIENCE: Duration = Duration::from_secs(120);
/// Before the memory is looked at.
const REST: Duration = Duration::from_secs(2);

/// Wait for the doorbell: memory of the server for each agent, and how long the bell takes to reach them
#[derive(Clone, Debug, clap::Args)]
pub struct HeldArgs {
    /// Identities that `enrol` kept
    #[arg(long, value_name = "FILE")]
    pub identities: PathBuf,
    /// Agents, each with a connection
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub agents: u32,
    /// The file whose change is a new generation: `metadata/timestamp.json` of the server's content folder. It is written anew.
    #[arg(long, value_name = "FILE")]
    pub ring_file: PathBuf,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Agents.
    pub agents: u64,
    /// Resident memory of the server before the first came, KiB.
    pub before_kib: u64,
    /// The same while all wait.
    pub held_kib: u64,
    /// What each agent costs, KiB.
    pub each_kib: f64,
    /// From the new file to an agent that was told, s.
    pub told_s: Spread,
    /// Agents whose wait ended otherwise.
    pub failed: u64,
    /// Time from the new file to the last.
    pub spent: Spent,
}

impl Held {
    /// In a sentence.
    #[must_use]
    pub fn said(&self) -> String {
        format!(
            "{} agents wait: the server has {} KiB, {:.1} KiB for each of them; the bell reaches 99 % in {:.2} s, all in {:.2} s; {} failed",
            self.agents, self.held_kib, self.each_kib, self.told_s.p99, self.told_s.most, self.failed
        )
    }
}

/// Measures it. The server should be fresh: memory that it once had it may keep.
///
/// # Errors
/// The agents can't get in, or the file can't be written.
pub async fn run(target: &Arc<Target>, args: &HeldArgs) -> anyhow::Result<Held> {
    let count = usize::try_from(args.agents)?;
    make_room(count)?;
    let kept = identity::read(&args.identities, count)?;
    let operator = Operator(target);
    operator.counters().await?;
    let before_kib = resident_kib(target.pid)?;
    let (agents, _) = gather(target, &kept).await?;
    let mut waiting = JoinSet::new();
    for mut agent in agents {
        let target = Arc::clone(target);
        waiting.spawn(async move {
            let before = agent.generation;
            let told = agent.wait(&target).await;
            told.is_ok_and(|now| now != before).then(Instant::now)
        });
    }
    operator.until_waiting(u64::from(args.agents), PATIENCE).await?;
    sleep(REST).await;
    let held_kib = resident_kib(target.pid)?;
    let meter = Meter::begin(target.pid)?;
    let rung = Instant::now();
    ring(&args.ring_file)?;
    let (mut told_s, mut failed) = (Vec::with_capacity(count), 0_u64);
    let all = async {
        while let Some(told) = waiting.join_next().await {
            match told {
                Ok(Some(moment)) => told_s.push(moment.saturating_duration_since(rung).as_secs_f64()),
                _ => failed = failed.saturating_add(1),
            }
        }
    };
    timeout(PATIENCE, all).await.context("the bell did not reach all")?;
    Ok(Held {
        agents: u64::from(args.agents),
        before_kib,
        held_kib,
        each_kib: held_kib.saturating_sub(before_kib) as f64 / f64::from(args.agents),
        told_s: Spread::of(told_s),
        failed,
        spent: meter.spent()?,
    })
}

/// Publishes something: what it says is nobody's business here, the server looks whether it is another than before.
fn ring(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().context("the ring file is in no folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let fresh = file.with_extension("fresh");
    std::fs::write(&fresh, format!("rung by watertight-horde {}\n", watertight_fleet_agent::clock::now_ms()))?;
    std::fs::rename(&fresh, file).with_context(|| format!("writing {}", file.display()))
}
