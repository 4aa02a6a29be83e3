//! How many hosts a second the server can take in: each is a signature and a durable write.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, Instant};
use watertight_fleet_agent::pace::BackOff;
use watertight_fleet_wire::Code;

use super::per_s;
use crate::identity::{self, Fresh, Kept};
use crate::process::{Meter, Spent};
use crate::target::Target;

/// Hosts that enrol at a time. Each of a fleet has a connection of its own; here they take turns, because handshakes are the storm's.
const LANES: usize = 32;

/// Enrol virtual hosts, and keep their identities for the other scenes
#[derive(Clone, Debug, clap::Args)]
pub struct EnrolArgs {
    /// A token for enrolment, for as many uses
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// How many
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub agents: u32,
    /// Where their keys and certificates are kept
    #[arg(long, value_name = "FILE")]
    pub identities: PathBuf,
    /// How many begin a second; the server turns away those beyond 300
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub per_s: u32,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Hosts.
    pub agents: u64,
    /// Time for them.
    pub spent: Spent,
    /// Hosts for a second of the server's processor time.
    pub per_core_s: f64,
    /// Hosts a second.
    pub per_s: f64,
    /// Times that one was turned away and came again.
    pub turned_away: u64,
}

impl Enrolled {
    /// In a sentence.
    #[must_use]
    pub fn said(&self) -> String {
        format!(
            "{} hosts enrolled in {:.1} s: {:.0} a second, {:.0} for a second of the server's processor; {} turned away meanwhile",
            self.agents, self.spent.wall_s, self.per_s, self.per_core_s, self.turned_away
        )
    }
}

struct Turns {
    token: String,
    next: AtomicUsize,
    count: usize,
    begun: Instant,
    interval: Duration,
    turned_away: AtomicU64,
}

/// Enrols them.
///
/// # Errors
/// The server refuses one for good, or a file can't be used.
pub async fn run(target: &Arc<Target>, args: &EnrolArgs) -> anyhow::Result<Enrolled> {
    let token = std::fs::read_to_string(&args.token_file);
    let token = token.with_context(|| format!("reading {}", args.token_file.display()))?.trim().to_owned();
    let meter = Meter::begin(target.pid)?;
    let turns = Arc::new(Turns {
        token,
        next: AtomicUsize::new(0),
        count: usize::try_from(args.agents)?,
        begun: Instant::now(),
        interval: Duration::from_secs(1) / args.per_s.max(1),
        turned_away: AtomicU64::new(0),
    });
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        lanes.spawn(lane(Arc::clone(target), Arc::clone(&turns)));
    }
    let mut hosts = Vec::with_capacity(turns.count);
    while let Some(lane) = lanes.join_next().await {
        hosts.extend(lane??);
    }
    let spent = meter.spent()?;
    identity::write(&args.identities, &hosts)?;
    let agents = hosts.len() as u64;
    let turned_away = turns.turned_away.load(Relaxed);
    let (per_core_s, per_s) = (per_s(agents, spent.server_cpu_s), per_s(agents, spent.wall_s));
    Ok(Enrolled { agents, spent, per_core_s, per_s, turned_away })
}

async fn lane(target: Arc<Target>, turns: Arc<Turns>) -> anyhow::Result<Vec<Kept>> {
    let mut connection = target.connect(None).await?;
    let mut hosts = Vec::new();
    loop {
        let number = turns.next.fetch_add(1, Relaxed);
        if number >= turns.count {
            return Ok(hosts);
        }
        sleep_until(turns.begun + turns.interval.saturating_mul(u32::try_from(number)?)).await;
        let (fresh, mut back_off) = (Fresh::new()?, BackOff::default());
        loop {
            match fresh.enrol(&mut connection, &turns.token, number).await {
                Ok(kept) => break hosts.push(kept),
                Err(failure) if failure.code() == Some(Code::Busy) => {
                    turns.turned_away.fetch_add(1, Relaxed);
                    sleep(back_off.failed(failure.retry_after_ms())).await;
                    // The server does not wait long for who has no certificate.
                    connection = target.connect(None).await?;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }
}
