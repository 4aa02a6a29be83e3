//! What is done to the fleet, and what must follow from it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value as Json};
use watertight_content_repo::time::Moment;
use watertight_fleet_agent::clock::now_ms;
use watertight_fleet_wire::checkin::{CheckIn, ContentPart, State};
use watertight_fleet_wire::CheckInAnswer;

use crate::fleet::Fleet;
use crate::release::{self, Release, MUCH_LATER, RULE};
use crate::timeline::Run;

/// A year.
const YEAR_S: i64 = 365 * 24 * 3_600;
/// How long something is away or wrong.
const AWAY: Duration = Duration::from_secs(6);

/// Something that is done to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scene {
    /// Good content.
    Good,
    /// Content that kills the engine.
    Bad,
    /// Both again, and the server is killed meanwhile.
    ServerKilled,
    /// The same, and the server's disk is full.
    DiskFull,
    /// The same, and old check-ins are sent again, in another order.
    Replayed,
    /// The same, and somebody has the director's key.
    StolenKey,
    /// The same, and half of the fleet does not reach the server.
    Partition,
    /// The same, and the server's clock jumps by a year and back.
    ClockJump,
}

/// A rollout of content that kills.
struct Rollout {
    id: String,
    release: Release,
}

impl Scene {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Good,
        Self::Bad,
        Self::ServerKilled,
        Self::DiskFull,
        Self::Replayed,
        Self::StolenKey,
        Self::Partition,
        Self::ClockJump,
    ];

    /// In words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Good => "Good content",
            Self::Bad => "Content that kills the engine",
            Self::ServerKilled => "Both again, and the server is killed with SIGKILL meanwhile",
            Self::DiskFull => "The same, and the server's disk is full",
            Self::Replayed => "The same, and old check-ins are replayed, the last first",
            Self::StolenKey => "The same, and a thief has the director's key and the online key",
            Self::Partition => "The same, and half of the hosts do not reach the server",
            Self::ClockJump => "The same, and the server's clock jumps a year ahead and back",
        }
    }

    pub(crate) fn play(self, fleet: &mut Fleet<'_>) -> Result<()> {
        match self {
            Self::Good => good(fleet, false),
            Self::Bad => bad(fleet, "abort", |_, _| Ok(())),
            Self::ServerKilled => {
                good(fleet, true)?;
                bad(fleet, "touch", |fleet, _| killed(fleet))
            }
            Self::DiskFull => bad(fleet, "overflow", full),
            Self::Replayed => bad(fleet, "call", replayed),
            Self::StolenKey => bad(fleet, "memory", |fleet, _| stolen(fleet)),
            // These die in ways that are known by now: no new bucket helps.
            Self::Partition => bad(fleet, "abort", |fleet, _| partition(fleet)),
            Self::ClockJump => bad(fleet, "touch", |fleet, _| clock_jump(fleet)),
        }
    }
}

/// Good content, and the server is killed where that is wanted: just after the first host has it, which its last written word denies.
fn good(fleet: &mut Fleet<'_>, is_killed: bool) -> Result<()> {
    let (release, rollout) = match fleet.agents.iter().all(|agent| agent.runs().slot == "factory") {
        true => (fleet.good.clone(), fleet.begin_rollout(&fleet.good.clone())?),
        false => fleet.roll_out("A shell was started", true)?,
    };
    fleet.timeline.note(&format!("the rollout of version {} begins, stage by stage", release.version));
    if is_killed {
        fleet.wait("a host runs it", |fleet| Ok(number(&fleet.rollout(&rollout)?, "exposed") > 0))?;
        killed(fleet)?;
    }
    let mut stage = 0;
    fleet.wait("the rollout is complete", |fleet| {
        let now = fleet.rollout(&rollout)?;
        let reached = number(&now, "stage");
        if reached > stage {
            stage = reached;
            let (given, of) = (number(&now, "exposed"), number(&now, "stages"));
            fleet.timeline.note(&format!("stage {stage} of {of}: {given} hosts had it before"));
        }
        ensure!(now["state"] != "halted", "good content was halted: {now}");
        Ok(now["state"] == "complete")
    })?;
    fleet.good = release;
    fleet.until_green()?;
    fleet.timeline.note(&format!("complete: all {} hosts run it as their last-known-good", fleet.agents.len()));
    Ok(())
}

/// Content that kills in this way is rolled out, something else goes wrong, and both end well by themselves.
fn bad(fleet: &mut Fleet<'_>, way: &str, meddle: impl FnOnce(&mut Fleet<'_>, &Rollout) -> Result<()>) -> Result<()> {
    let (release, id) = fleet.roll_out(&format!("fault-{way}"), false)?;
    let rollout = Rollout { id, release };
    let version = rollout.release.version;
    fleet.timeline.note(&format!("the rollout of version {version} begins: its rule ends the engine ({way})"));
    fleet.wait("a host runs it", |fleet| Ok(fleet.run(&rollout.release) > 0))?;
    fleet.timeline.note("the first host runs it");
    meddle(fleet, &rollout)?;
    until_halted(fleet, &rollout)?;
    fleet.until_green()?;
    let hurt = fleet.timeline.ever(Run::Bad(version));
    let cohort = first_cohort(fleet);
    ensure!((1..=cohort).contains(&hurt), "{hurt} hosts ran it: at most the first cohort of {cohort} may");
    recalled(fleet, &rollout)?;
    fleet.timeline.note(&format!(
        "green: {hurt} of {} hosts had run it, all run version {} again as their last-known-good, it is recalled",
        fleet.agents.len(),
        fleet.good.version
    ));
    Ok(())
}

/// How many hosts have it first, one at a time: a tenth of them.
fn first_cohort(fleet: &Fleet<'_>) -> usize {
    fleet.agents.len().div_ceil(10)
}

fn until_halted(fleet: &mut Fleet<'_>, rollout: &Rollout) -> Result<()> {
    let mut halted = Json::Null;
    fleet.wait("the gate halts it", |fleet| {
        halted = fleet.rollout(&rollout.id)?;
        ensure!(halted["state"] != "complete", "content that kills was given to everybody: {halted}");
        Ok(halted["state"] == "halted")
    })?;
    let why = halted["why"].as_str().unwrap_or_default();
    let stage = number(&halted, "stage");
    fleet.timeline.note(&format!("halted in stage {stage}: {why}"));
    let exposed = number(&halted, "exposed");
    let cohort = first_cohort(fleet);
    ensure!(exposed <= cohort as u64, "{exposed} hosts were given it: at most {cohort} may be: {halted}");
    Ok(())
}

/// It is in no slot of any host, the crash is known by content and rule, and whom the recall has not reached is nobody.
fn recalled(fleet: &mut Fleet<'_>, rollout: &Rollout) -> Result<()> {
    let release = &rollout.release;
    fleet.wait("the recall has reached every host", |fleet| {
        let now = fleet.rollout(&rollout.id)?;
        Ok(now["unreached"].as_array().is_none_or(Vec::is_empty))
    })?;
    for agent in &fleet.agents {
        let slots = agent.slots(&fleet.place)?;
        let rows = slots["slots"].as_array().context("no list of slots")?;
        ensure!(rows.iter().all(|row| row["id"] != *release.id), "a host holds what was recalled: {slots}");
    }
    let mut found = Json::Null;
    fleet.wait("the crash has a bucket that names content and rule", |fleet| {
        let buckets = fleet.api.get("/v1/buckets")?;
        let rows = buckets.as_array().context("no list of buckets")?;
        let row = rows.iter().find(|row| row["content"] == *release.id && row["rule"] == RULE);
        found = row.cloned().unwrap_or_default();
        Ok(row.is_some())
    })?;
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    let short: String = release.id.chars().take(12).collect();
    fleet.timeline.note(&format!(
        "bucket {} ({}): {} hosts, content {short}, rule {}",
        text("bucket"),
        text("title"),
        number(&found, "hosts"),
        text("rule")
    ));
    Ok(())
}

fn killed(fleet: &mut Fleet<'_>) -> Result<()> {
    fleet.timeline.note("the server is killed");
    fleet.restart_server(AWAY)?;
    fleet.timeline.note("the server is there again");
    Ok(())
}

fn full(fleet: &mut Fleet<'_>, rollout: &Rollout) -> Result<()> {
    let Some(disk) = &fleet.disk else {
        fleet.timeline.note("left out: only root has a disk of its own here");
        return Ok(());
    };
    disk.fill().context("filling the server's disk")?;
    fleet.timeline.note("the server's disk is full");
    let is_told = |fleet: &mut Fleet<'_>| Ok(fleet.api.get("/v1/status")?["because"].to_string().contains("disk"));
    fleet.wait("the server says so", is_told)?;
    let stage = fleet.rollout(&rollout.id)?["stage"].clone();
    fleet.pass(AWAY);
    let now = fleet.rollout(&rollout.id)?;
    ensure!(now["stage"] == stage, "it went on though nothing can be kept: {now}");
    fleet.timeline.note("the server says so, takes no records, and gives the content to nobody else");
    if let Some(disk) = &fleet.disk {
        disk.free().context("making room")?;
    }
    fleet.timeline.note("there is room again");
    Ok(())
}

/// What a host has said before is said again, and what it never said is said with an old number: that it runs the bad content well.
fn replayed(fleet: &mut Fleet<'_>, rollout: &Rollout) -> Result<()> {
    let hosts = fleet.api.get("/v1/hosts")?;
    let url = format!("https://{}", fleet.server.address);
    let mut sent = 0;
    for agent in &fleet.agents {
        let own = agent.own()?.context("a host without an identity")?;
        let exchange = own.exchange(&url)?;
        let rows = hosts.as_array().context("no list of hosts")?;
        let seen =
            rows.iter().find(|row| row["id"] == *own.identity.host).context("a host that the server does not know")?;
        let text = |name: &str| seen["seen"][name].as_str().unwrap_or_default().to_owned();
        let content = ContentPart {
            id: rollout.release.id.clone(),
            version: rollout.release.version,
            slot: "last-known-good".into(),
            ..ContentPart::default()
        };
        let last = seen["seen"]["sequence"].as_u64().context("a host that has never checked in")?;
        for back in [0, 3, 1, 2] {
            let again = CheckIn {
                sequence: last.saturating_sub(back),
                instance: text("instance"),
                boot: text("boot"),
                clock_ms: 0,
                generation: 0,
                state_hash: "0".repeat(64),
                base_hash: None,
                changed: Some(State { content: Some(content.clone()), ..State::default() }),
            };
            let _: CheckInAnswer = exchange.post("/v1/agent/checkin", &again)?;
            sent += 1;
        }
    }
    fleet
        .timeline
        .note(&format!("{sent} old check-ins were sent again: each host runs the bad content well, they say"));
    let status = fleet.api.get("/v1/status")?;
    ensure!(number(&status, "cloned") == 0, "what came again was taken for a clone: {status}");
    Ok(())
}

/// A thief of the director's and the online key publishes: run this, all of you, now.
fn stolen(fleet: &mut Fleet<'_>) -> Result<()> {
    let version = fleet.next_version();
    let unsigned = release::unsigned(&fleet.place, version)?;
    fleet.know_bad(&unsigned);
    let version = fleet.next_version();
    let later = release::publish(&fleet.place, version, "A release of a later day", MUCH_LATER)?;
    fleet.know_bad(&later);
    let hosts: BTreeSet<String> = fleet.agents.iter().filter_map(|agent| agent.host()).collect();
    let entry = json!({
        "content": later.id, "cohort": { "hosts": hosts }, "not_before": release::AT_ONCE, "not_after": MUCH_LATER,
    });
    let tries = [(&unsigned, Some(&unsigned), "nobody signed"), (&later, None, "may not begin yet")];
    for (more, (release, instead, what)) in (1..).zip(tries) {
        let now = Moment::now();
        let plan = json!({
            "format": 1, "epoch": now_ms() / 1000 + 600 * more, "paused": false, "recall": [], "issued": now,
            "lease_until": now.plus_s(3_600), "entries": [entry],
        });
        release::publish_plan(&fleet.place, &plan, &later, instead)?;
        fleet.timeline.note(&format!("the thief wants all hosts to run content that {what}"));
        fleet.pass(AWAY);
        let tried = fleet.timeline.ever(Run::Bad(release.version));
        ensure!(tried == 0, "{tried} hosts run what {what}");
    }
    fleet.timeline.note("no host took either");
    Ok(())
}

fn partition(fleet: &mut Fleet<'_>) -> Result<()> {
    fleet.proxy.cut();
    fleet.timeline.note("half of the hosts do not reach the server");
    fleet.pass(AWAY);
    fleet.proxy.mend();
    fleet.timeline.note("all hosts reach the server again");
    Ok(())
}

fn clock_jump(fleet: &mut Fleet<'_>) -> Result<()> {
    fleet.server.clock().be_ahead(YEAR_S)?;
    fleet.timeline.note("the server's clock is a year ahead");
    fleet.pass(AWAY);
    fleet.server.clock().be_ahead(0)?;
    fleet.timeline.note("the server's clock is right again");
    Ok(())
}

fn number(of: &Json, name: &str) -> u64 {
    of[name].as_u64().unwrap_or(0)
}
