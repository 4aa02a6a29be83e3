//! Server, agents and content together, and what is asked of them in every scene.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context as _, Result};
use serde_json::{json, Value as Json};

use crate::agents::{end_all, Agent, Runs};
use crate::api::Api;
use crate::disk::Disk;
use crate::place::Place;
use crate::proxy::Proxy;
use crate::release::{self, Release, RING};
use crate::server::Server;
use crate::timeline::{Run, Timeline};
use crate::{Setting, CHECK_IN};

/// Only a hang is ended by it.
const PATIENCE: Duration = Duration::from_secs(150);
/// What hosts run is looked at so often.
const LOOK: Duration = Duration::from_millis(200);
/// Lines of the recording that are played: enough to have a shell in it, few enough to come by every second.
const RECORDED_LINES: usize = 12;

/// The fleet, while it lives.
pub(crate) struct Fleet<'t> {
    pub(crate) place: Place,
    pub(crate) server: Server,
    pub(crate) agents: Vec<Agent>,
    /// Half of the agents reach the server through it.
    pub(crate) proxy: Proxy,
    /// The server's, where this user may mount one.
    pub(crate) disk: Option<Disk>,
    pub(crate) timeline: &'t Timeline,
    pub(crate) api: Api,
    /// What all hosts run unless something is tried.
    pub(crate) good: Release,
    /// What each content is, by its id.
    known: BTreeMap<String, Run>,
    version: u64,
}

/// See [`crate::play`].
pub(crate) fn play(setting: &Setting, timeline: &Timeline) -> Result<()> {
    ensure!((10..100).contains(&setting.hosts), "{} hosts: 10 to 99 are possible", setting.hosts);
    let mut fleet = Fleet::begin(setting, timeline)?;
    let played = setting.scenes.iter().try_for_each(|scene| {
        timeline.begin(scene.title());
        scene.play(&mut fleet).with_context(|| scene.title())
    });
    let dead: Vec<String> = fleet.agents.iter_mut().filter_map(Agent::death).collect();
    fleet.end();
    played?;
    ensure!(dead.is_empty(), "agents have ended: {}", dead.join("; "));
    Ok(())
}

impl<'t> Fleet<'t> {
    fn begin(setting: &Setting, timeline: &'t Timeline) -> Result<Self> {
        let place = Place { folder: setting.folder.clone(), watertight: setting.watertight.clone() };
        timeline.begin("A fleet is made");
        let disk = Disk::mount(&place.path("fleet"))
            .inspect_err(|error| timeline.note(&format!("no disk of its own for the server: {error}")))
            .ok();
        release::keys(&place)?;
        let good = release::publish(&place, 1, "A shell was started", release::AT_ONCE)?;
        let known = BTreeMap::from([(good.id.clone(), Run::Good(good.version))]);
        let server = Server::start(&place, CHECK_IN)?;
        let token = place.run(&format!("server token --state fleet --ring {RING} --uses {}", setting.hosts))?;
        place.write("token", &token)?;
        let recording =
            fs::read_to_string(&setting.recording).with_context(|| setting.recording.display().to_string())?;
        let lines: Vec<&str> = recording.lines().take(RECORDED_LINES).collect();
        place.write("recording.jsonl", &lines.join("\n"))?;
        let proxy = Proxy::start(server.address)?;
        let mut agents = Vec::with_capacity(setting.hosts);
        for number in 0..setting.hosts {
            let port = if number % 2 == 1 { proxy.port } else { server.address.port() };
            let url = format!("https://127.0.0.1:{port}");
            agents.push(Agent::start(&place, number, &url, &place.path("recording.jsonl"))?);
        }
        let api = server.api()?;
        let mut fleet = Self { place, server, agents, proxy, disk, timeline, api, good, known, version: 1 };
        fleet.wait("all hosts have enrolled and check in", |fleet| {
            Ok(fleet.is_online()? && fleet.agents.iter().all(|agent| !agent.runs().slot.is_empty()))
        })?;
        timeline.note(&format!("{} hosts are enrolled and check in every second", setting.hosts));
        Ok(fleet)
    }

    fn end(mut self) {
        end_all(&mut self.agents);
    }

    /// Looks at all hosts, and at this, until it is so.
    pub(crate) fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < PATIENCE {
            self.look();
            match is_so(self) {
                Ok(true) => return Ok(()),
                Ok(false) => last = None,
                // A server that is away for a moment is asked again.
                Err(error) => last = Some(error),
            }
            std::thread::sleep(LOOK);
        }
        let why = last.map(|error| format!(": {error:#}")).unwrap_or_default();
        bail!("waited {} s for this: {what}{why}", PATIENCE.as_secs())
    }

    /// Waits that long and looks at all hosts meanwhile.
    pub(crate) fn pass(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.look();
            std::thread::sleep(LOOK);
        }
    }

    fn look(&self) {
        for (number, agent) in self.agents.iter().enumerate() {
            let runs = agent.runs();
            let unnamed = if runs.slot == "factory" { Run::Factory } else { Run::Unknown };
            self.timeline.see(number, self.known.get(&runs.id).copied().unwrap_or(unnamed));
        }
    }

    fn is_online(&self) -> Result<bool> {
        let status = self.api.get("/v1/status")?;
        Ok(status.get("online").and_then(Json::as_u64) == Some(self.agents.len() as u64))
    }

    /// How many hosts run this by their own word.
    pub(crate) fn run(&self, release: &Release) -> usize {
        self.agents.iter().filter(|agent| agent.runs().id == release.id).count()
    }

    /// Publishes the next release and begins its rollout. Gives the release and the rollout's id.
    pub(crate) fn roll_out(&mut self, title: &str, is_good: bool) -> Result<(Release, String)> {
        let version = self.next_version();
        let release = release::publish(&self.place, version, title, release::AT_ONCE)?;
        self.known.insert(release.id.clone(), if is_good { Run::Good(version) } else { Run::Bad(version) });
        let rollout = self.begin_rollout(&release)?;
        Ok((release, rollout))
    }

    /// Begins the rollout of a release that is published. The times are the trial's, the gate is the product's.
    pub(crate) fn begin_rollout(&mut self, release: &Release) -> Result<String> {
        let wish = json!({
            "content": release.id, "pickup_s": 2, "watch_s": 5, "report_s": 1, "reason": "a trial of content that kills",
        });
        let mut id = String::new();
        self.wait("the server begins the rollout", |fleet| {
            let begun = fleet.api.post("/v1/rollouts", &wish)?;
            id = begun.get("id").and_then(Json::as_str).context("a rollout without an id")?.to_owned();
            Ok(true)
        })?;
        Ok(id)
    }

    pub(crate) fn rollout(&self, id: &str) -> Result<Json> {
        self.api.get(&format!("/v1/rollouts/{id}"))
    }

    /// Everything is as it should be: all hosts check in and run the good content as their last-known-good, by their own word and by the
    /// server's.
    pub(crate) fn until_green(&mut self) -> Result<()> {
        let good = self.good.clone();
        self.wait("all hosts run the good content as their last-known-good", |fleet| {
            let is_good = |runs: Runs| runs.id == good.id && runs.slot == "last-known-good";
            if !fleet.agents.iter().all(|agent| is_good(agent.runs())) || !fleet.is_online()? {
                return Ok(false);
            }
            let hosts = fleet.api.get("/v1/hosts")?;
            let rows = hosts.as_array().context("no list of hosts")?;
            let known = |row: &Json| row.pointer("/seen/state/content/id").and_then(Json::as_str) == Some(&good.id);
            Ok(rows.len() == fleet.agents.len() && rows.iter().all(known))
        })
    }

    /// As [`CHECK_IN`] says, also after it was killed.
    pub(crate) fn restart_server(&mut self, away: Duration) -> Result<()> {
        self.server.kill_and_start(away, CHECK_IN)
    }

    /// Content that no host may ever run.
    pub(crate) fn know_bad(&mut self, release: &Release) {
        self.known.insert(release.id.clone(), Run::Bad(release.version));
    }

    /// A version that no release has.
    pub(crate) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }
}
