//! The host that the agent is on: what the run says is in force, and content by the commands that people have for it, each a process
//! of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context as _};
use watertight_fleet_agent::machine::{Asker, Fetched, Machine};
use watertight_fleet_wire::checkin::{ContentPart, ProtectionPart};
use watertight_fleet_wire::limits::NAME_BYTES_MAX;
use watertight_host::slots::{Overview, Slots};
use watertight_host::status::Status;
use watertight_host::supervisor::factory;

use super::fetched::{self, Pack};
use super::RUN;
use crate::command::run::SLOTS_NAME;

/// What is missing is told in so many lines at most.
const MISSING_MAX: usize = 16;

/// This host.
#[derive(Debug)]
pub(super) struct Host {
    /// The agent's state folder.
    pub(super) state: PathBuf,
    /// Where the run pins.
    pub(super) pins: PathBuf,
    /// The repository.
    pub(super) from: String,
    /// The server's authorities.
    pub(super) ca: PathBuf,
    /// The repository's root, for the first time.
    pub(super) root: Option<PathBuf>,
}

impl Host {
    fn run_state(&self) -> PathBuf {
        self.state.join(RUN)
    }

    fn slots(&self) -> PathBuf {
        self.run_state().join(SLOTS_NAME)
    }

    fn status(&self) -> Option<Status> {
        Status::read(&self.pins, &self.run_state(), &self.slots()).ok()
    }

    fn overview(&self) -> Overview {
        Overview::of(&Slots::at(&self.slots(), factory()))
    }

    /// A command of this program, to its end. Gives its exit code and answer.
    fn command(&self, arguments: &[&str], paths: &[(&str, &Path)]) -> anyhow::Result<(Option<i32>, Vec<u8>, String)> {
        let mut command = Command::new("/proc/self/exe");
        command.args(arguments).stdin(Stdio::null());
        for (option, path) in paths {
            command.arg(option).arg(path);
        }
        let done = command.output().with_context(|| format!("starting watertight {}", arguments.join(" ")))?;
        let words = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        Ok((done.status.code(), done.stdout, words))
    }

    fn fetch_wanted(&self, asker: &Asker<'_>, found: &mut Fetched) -> anyhow::Result<()> {
        let trusted = self.state.join("trusted");
        if self.root.is_none() && !trusted.is_dir() {
            return Ok(()); // no root, no content: said once, at the start
        }
        let (run, packs) = (self.run_state(), self.state.join("packs"));
        let mut paths: Vec<(&str, &Path)> =
            vec![("--state", &trusted), ("--ca", &self.ca), ("--recall-in", &run), ("--to", &packs)];
        paths.extend(self.root.as_deref().map(|root| ("--root", root)));
        std::fs::create_dir_all(&packs).with_context(|| packs.display().to_string())?;
        let Asker { host, ring, stratum, .. } = asker;
        let asked = ["content", "fetch", "-o", "json", "--from", &self.from];
        let asked = [&asked[..], &["--host", host, "--ring", ring, "--stratum", stratum]].concat();
        let (_, answer, words) = self.command(&asked, &paths)?;
        let wanted = fetched::wanted(&answer).with_context(|| words.clone())?;
        found.director_refused = wanted.director_refused;
        if !asker.is_paused {
            for pack in &wanted.packs {
                self.install(pack, found)?;
            }
        }
        match wanted.failed {
            Some(why) => bail!("{why}"),
            None => Ok(()),
        }
    }

    fn install(&self, pack: &Pack, found: &mut Fetched) -> anyhow::Result<()> {
        let overview = self.overview();
        let is_there = overview.slots.iter().any(|row| row.id == pack.content && row.unusable.is_none());
        let is_quarantined = overview.quarantine.iter().any(|row| row.id == pack.content);
        if is_there || is_quarantined {
            return Ok(());
        }
        let run = self.run_state();
        let (code, _, words) = self.command(&["content", "install", "-o", "json", &pack.file], &[("--state", &run)])?;
        match code {
            Some(0) => found.installed.push(pack.content.clone()),
            Some(5 | 6) => found.refused.push((pack.content.clone(), words)),
            _ => bail!("{words}"),
        }
        Ok(())
    }
}

impl Machine for Host {
    fn content(&mut self) -> ContentPart {
        let said = self.status().and_then(|status| status.content);
        let Some(content) = said else { return ContentPart { slot: "none".into(), ..ContentPart::default() } };
        let slot = match content.slot.as_str() {
            known @ ("candidate" | "last-known-good" | "factory") => known,
            _ => "none",
        };
        ContentPart {
            id: content.id.unwrap_or_default(),
            version: content.version.unwrap_or(0),
            slot: slot.to_owned(),
            ..ContentPart::default()
        }
    }

    fn protection(&mut self) -> ProtectionPart {
        let unknown = || ProtectionPart { level: "unknown".into(), missing: Vec::new() };
        let Some(status) = self.status().filter(|status| status.run.is_some()) else { return unknown() };
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

    fn quarantined(&mut self, content: &str) -> Option<String> {
        self.overview().quarantine.into_iter().find(|row| row.id == content).map(|row| row.cause)
    }

    fn fetch(&mut self, asker: &Asker<'_>) -> Fetched {
        let mut found = Fetched::default();
        if let Err(error) = self.fetch_wanted(asker, &mut found) {
            found.failed = Some(format!("{error:#}"));
        }
        found
    }
}
