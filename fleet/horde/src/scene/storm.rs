//! All agents lose their connection at once and come back, as after a switch that was off, while a person looks at the fleet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, Instant};

use crate::agent::gather;
use crate::connection::ANSWER_WAIT;
use crate::identity;
use crate::process::{make_room, Meter, Spent};
use crate::spread::Spread;
use crate::target::Target;

/// Longer than any storm that is worth a figure.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks of the person.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What the person looks at, in turns.
const LOOKS: [&str; 3] = ["/v1/status", "/v1/hosts", "/v1/rollouts"];

/// Lose all connections at once and come back
#[derive(Clone, Debug, clap::Args)]
pub struct StormArgs {
    /// Identities that `enrol` kept
    #[arg(long, value_name = "FILE")]
    pub identities: PathBuf,
    /// Agents, each with a connection
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub agents: u32,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Storm {
    /// Agents.
    pub agents: u64,
    /// From the loss to the answered check-in on a new connection, s.
    pub back_s: Spread,
    /// Times that one failed or was turned away and came again.
    pub came_again: u64,
    /// Agents that did not come back.
    pub lost: u64,
    /// What the operator API answered meanwhile, by status; 0 is no answer.
    pub looks: BTreeMap<u16, u64>,
    /// How long these took, ms.
    pub look_ms: Spread,
    /// Time from the loss to the last.
    pub spent: Spent,
}

impl Storm {
    /// Looks at the operator API that were answered with a fault of the server, or not at all.
    #[must_use]
    pub fn looks_failed(&self) -> u64 {
        self.looks.iter().filter(|(status, _)| **status == 0 || **status >= 500).map(|(_, count)| count).sum()
    }

    /// In a sentence.
    #[must_use]
    pub fn said(&self) -> String {
        format!(
            "{} agents lost their connection: 99 % are back in {:.2} s, all in {:.2} s, {} lost; {} came again; the operator API answered {} \
             looks, {} of them with 5xx or not, after {:.0} ms p99",
            self.agents,
            self.back_s.p99,
            self.back_s.most,
            self.lost,
            self.came_again,
            self.looks.values().sum::<u64>(),
            self.looks_failed(),
            self.look_ms.p99
        )
    }
}

/// Measures it.
///
/// # Errors
/// The agents can't get in, or the storm does not end.
pub async fn run(target: &Arc<Target>, args: &StormArgs) -> anyhow::Result<Storm> {
    let count = usize::try_from(args.agents)?;
    make_room(count)?;
    let (mut agents, _) = gather(target, &identity::read(&args.identities, count)?).await?;
    let has_ended = Arc::new(AtomicBool::new(false));
    let looking = std::thread::spawn({
        let (target, has_ended) = (Arc::clone(target), Arc::clone(&has_ended));
        move || look(&target, &has_ended)
    });
    let meter = Meter::begin(target.pid)?;
    agents.iter_mut().for_each(crate::agent::Agent::drop_connection);
    let lost_at = Instant::now();
    let mut returning = JoinSet::new();
    for mut agent in agents {
        let target = Arc::clone(target);
        returning.spawn(async move {
            // The first wait is the agent's, as after any request that failed.
            sleep(agent.back_off.failed(None)).await;
            let failures = agent.settle_in_time(&target).await?;
            // It stays: an agent that is back keeps its connection.
            Ok::<_, crate::connection::Failure>((lost_at.elapsed().as_secs_f64(), failures, agent))
        });
    }
    let (mut back_s, mut came_again, mut lost, mut back) = (Vec::new(), 0_u64, 0_u64, Vec::new());
    let all = async {
        while let Some(returned) = returning.join_next().await {
            match returned {
                Ok(Ok((seconds, failures, agent))) => {
                    back_s.push(seconds);
                    came_again = came_again.saturating_add(u64::from(failures));
                    back.push(agent);
                }
                _ => lost = lost.saturating_add(1),
            }
        }
    };
    timeout(PATIENCE, all).await.context("the agents did not come back")?;
    let spent = meter.spent()?;
    has_ended.store(true, Ordering::Release);
    let looked = looking.join().map_err(|_| anyhow::anyhow!("the operator API was not looked at"))?;
    let (looks, look_ms) = looked.context("looking at the operator API")?;
    let (agents, back_s, look_ms) = (u64::from(args.agents), Spread::of(back_s), Spread::of(look_ms));
    Ok(Storm { agents, back_s, came_again, lost, looks, look_ms, spent })
}

/// Looks at the operator API until the storm has ended. On a thread of its own: a person is not one of the agents, whose thread is busy.
fn look(target: &Target, has_ended: &AtomicBool) -> std::io::Result<(BTreeMap<u16, u64>, Vec<f64>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut looks, mut look_ms) = (BTreeMap::new(), Vec::new());
    for path in LOOKS.into_iter().cycle() {
        if has_ended.load(Ordering::Acquire) && !look_ms.is_empty() {
            break;
        }
        let begun = Instant::now();
        let status = runtime.block_on(look_once(target, path));
        look_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        let count: &mut u64 = looks.entry(status).or_default();
        *count = count.saturating_add(1);
        std::thread::sleep(LOOK_EVERY);
    }
    Ok((looks, look_ms))
}

/// The status of one look, as of one who has just come; 0 is no answer.
async fn look_once(target: &Target, path: &str) -> u16 {
    let Ok(mut connection) = target.connect(None).await else { return 0 };
    let answer = connection.ask("GET", path, &target.authorization, &[], ANSWER_WAIT).await;
    answer.map_or(0, |answer| answer.status)
}
