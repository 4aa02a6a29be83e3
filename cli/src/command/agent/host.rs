//! The host that the agent is on, for who has rights there: what the run says is in force, and content by the commands that people have
//! for it, each a process of its own.

use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _};
use watertight_fleet_agent::clock::now_ms;
use watertight_fleet_agent::machine::{Asker, Fetched};
use watertight_fleet_agent::pause;
use watertight_fleet_wire::checkin::{ContentPart, ProtectionPart};
use watertight_fleet_wire::limits::NAME_BYTES_MAX;
use watertight_host::slots::{Overview, Slots};
use watertight_host::status::Status;
use watertight_host::supervisor::factory;

use super::fetched::{self, Pack};
use super::{child, FleetArgs, RUN};
use crate::command::run::SLOTS_NAME;

/// What is missing is told in so many lines at most.
const MISSING_MAX: usize = 16;

/// This host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// The agent's state folder.
    state: PathBuf,
    /// Where the run pins.
    pins: PathBuf,
    /// The repository.
    from: String,
    /// The server's authorities.
    ca: PathBuf,
    /// The repository's root, for the first time.
    root: Option<PathBuf>,
}

impl Host {
    pub(super) fn of(args: &FleetArgs) -> Self {
        Self {
            state: args.state.clone(),
            pins: args.pins.clone(),
            from: format!("{}/content", args.server.trim_end_matches('/')),
            ca: args.ca.clone(),
            root: args.content_root.clone(),
        }
    }

    fn run_state(&self) -> PathBuf {
        self.state.join(RUN)
    }

    fn slots(&self) -> PathBuf {
        self.run_state().join(SLOTS_NAME)
    }

    fn status(&self) -> Option<Status> {
        Status::read(&self.pins, &self.run_state(), &self.slots()).ok()
    }

    /// By a file of its own, so that neither a server nor its loss ends it.
    fn is_paused(&self) -> bool {
        super::folder(&self.state).map_or(true, |folder| pause::is_paused(&folder, now_ms()))
    }

    fn overview(&self) -> Overview {
        Overview::of(&Slots::at(&self.slots(), factory()))
    }

    fn fetch_wanted(&self, asker: &Asker, tell: &mut dyn FnMut(), found: &mut Fetched) -> anyhow::Result<()> {
        let trusted = self.state.join("trusted");
        if self.root.is_none() && !trusted.is_dir() {
            return Ok(()); // no root, no content: said once, at the start
        }
        let (run, packs) = (self.run_state(), self.state.join("packs"));
        let mut paths: Vec<(&str, &Path)> =
            vec![("--state", &trusted), ("--ca", &self.ca), ("--recall-in", &run), ("--to", &packs)];
        paths.extend(self.root.as_deref().map(|root| ("--root", root)));
        std::fs::create_dir_all(&packs).with_context(|| packs.display().to_string())?;
        let Asker { host, ring, stratum } = asker;
        let mut asked = ["content", "fetch", "-o", "json", "--from", &self.from].map(str::to_owned).to_vec();
        // In one argument: whatever the name is, it is no option.
        asked.extend([format!("--host={host}"), format!("--ring={ring}"), format!("--stratum={stratum}")]);
        let done = child::run(&asked, &paths, tell)?;
        let wanted = fetched::wanted(&done.answer).with_context(|| done.words.clone())?;
        found.director_refused = wanted.director_refused;
        for pack in &wanted.packs {
            // Somebody may say it while others are fetched and installed.
            found.is_paused = self.is_paused();
            if found.is_paused {
                break;
            }
            self.install(pack, tell, found)?;
        }
        match wanted.failed {
            Some(why) => bail!("{why}"),
            None => Ok(()),
        }
    }

    fn install(&self, pack: &Pack, tell: &mut dyn FnMut(), found: &mut Fetched) -> anyhow::Result<()> {
        let overview = self.overview();
        let is_there = overview.slots.iter().any(|row| row.id == pack.content && row.unusable.is_none());
        let is_quarantined = overview.quarantine.iter().any(|row| row.id == pack.content);
        if is_there || is_quarantined {
            return Ok(());
        }
        let run = self.run_state();
        let asked = ["content", "install", "-o", "json", &pack.file].map(str::to_owned);
        let done = child::run(&asked, &[("--state", &run)], tell)?;
        match done.code {
            Some(0) => found.installed.push(pack.content.clone()),
            Some(5 | 6) => found.refused.push((pack.content.clone(), done.words)),
            _ => bail!("{}", done.words),
        }
        Ok(())
    }

    /// How things stand: what runs, how far it protects, and content whose trials had no end, with the reason.
    pub(super) fn look(&self) -> (ContentPart, ProtectionPart, Vec<(String, String)>) {
        let status = self.status();
        let protection = protection(status.as_ref());
        let quarantine = status.iter().flat_map(|status| &status.slots.quarantine);
        let unended = quarantine.filter(|row| row.is_unended).map(|row| (row.id.clone(), row.cause.clone()));
        let unended = unended.collect();
        (self.content(status), protection, unended)
    }

    fn content(&self, status: Option<Status>) -> ContentPart {
        let is_paused = self.is_paused();
        let Some(content) = status.and_then(|status| status.content) else {
            return ContentPart { slot: "none".into(), is_paused, ..ContentPart::default() };
        };
        let slot = match content.slot.as_str() {
            known @ ("candidate" | "last-known-good" | "factory") => known,
            _ => "none",
        };
        ContentPart {
            id: content.id.unwrap_or_default(),
            version: content.version.unwrap_or(0),
            slot: slot.to_owned(),
            is_paused,
            ..ContentPart::default()
        }
    }

    /// Why content is in quarantine, if it is.
    pub(super) fn quarantined(&self, content: &str) -> Option<String> {
        self.overview().quarantine.into_iter().find(|row| row.id == content).map(|row| row.cause)
    }

    /// Fetches what the director wants and installs it, unless somebody paused the host. `tell` is called again and again meanwhile.
    pub(super) fn fetch(&self, asker: &Asker, tell: &mut dyn FnMut()) -> Fetched {
        let mut found = Fetched { is_paused: self.is_paused(), ..Fetched::default() };
        if let Err(error) = self.fetch_wanted(asker, tell, &mut found) {
            found.failed = Some(format!("{error:#}"));
        }
        found
    }
}

fn protection(status: Option<&Status>) -> ProtectionPart {
    let unknown = || ProtectionPart { level: "unknown".into(), missing: Vec::new() };
    let Some(status) = status.filter(|status| status.run.is_some()) else { return unknown() };
    let status = status.to_json();
    let Some(level) = status["level"].as_str() else { return unknown() };
    let rows = status["rows"].as_array().into_iter().flatten();
    let missing = rows.filter_map(|row| {
        let (class, missing) = (row["class"].as_str()?, row["missing"].as_str().filter(|text| !text.is_empty())?);
        let words = format!("{class}: {missing}");
        Some(words.chars().filter(|letter| !letter.is_control()).take(NAME_BYTES_MAX / 4).collect())
    });
    ProtectionPart { level: level.to_owned(), missing: missing.take(MISSING_MAX).collect() }
}
