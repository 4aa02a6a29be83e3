//! The hosts: agents with process trees and state folders of their own. What they take events from is a recording, and what kernel and
//! distribution they have is declared; everything else is the product as it is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value as Json;
use watertight_fleet_agent::folder::Folder;
use watertight_fleet_agent::identity::Own;

use crate::place::Place;
use crate::server::end;

/// Hosts that are given to be alike in one thing each.
const KERNELS: [&str; 4] = ["6.1", "6.6", "6.12", "5.15"];
const DISTRIBUTIONS: [&str; 3] = ["debian-12", "ubuntu-24.04", "rocky-9"];
const WORKLOADS: [&str; 3] = ["web", "database", "build"];
/// Ending takes no longer, however many end at once.
const END_MAX: Duration = Duration::from_secs(60);

/// What a host runs by its own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// SHA-256 of the pack; empty for none.
    pub(crate) id: String,
    /// `candidate`, `last-known-good`, `factory`.
    pub(crate) slot: String,
    pub(crate) version: u64,
}

/// A host.
#[derive(Debug)]
pub(crate) struct Agent {
    state: PathBuf,
    child: Child,
}

impl Agent {
    /// Starts it. `server` is what it knows the server by.
    pub(crate) fn start(place: &Place, number: usize, server: &str, recording: &Path) -> Result<Self> {
        let folder = place.path(&format!("hosts/{number:02}"));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let of = |names: &[&'static str], every: usize| names.get(number / every % names.len()).copied().unwrap_or("");
        let line = format!(
            "agent run --server {server} --ca fleet/ca.pem --token-file token --content-root roles/root.json --pins nowhere --observe \
             --trial 4s --kernel {} --distribution {} --workload {}",
            of(&KERNELS, 1),
            of(&DISTRIBUTIONS, KERNELS.len()),
            of(&WORKLOADS, KERNELS.len() * DISTRIBUTIONS.len()),
        );
        let mut command = place.command(&line);
        command.arg("--state").arg(folder.join("state")).arg("--source").arg(recording);
        command.stdout(Stdio::null()).stderr(File::create(folder.join("log"))?);
        let child = command.spawn().context("starting an agent")?;
        Ok(Self { state: folder.join("state"), child })
    }

    /// What it runs now; nothing before its first word.
    pub(crate) fn runs(&self) -> Runs {
        let text = fs::read(self.state.join("run/content.json")).unwrap_or_default();
        let told: Json = serde_json::from_slice(&text).unwrap_or_default();
        let text = |name: &str| told.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        Runs { id: text("id"), slot: text("slot"), version: told.get("version").and_then(Json::as_u64).unwrap_or(0) }
    }

    /// Its id in the fleet, once it has one.
    pub(crate) fn host(&self) -> Option<String> {
        self.own().ok().flatten().map(|own| own.identity.host)
    }

    /// Its identity, as whoever copied its state folder has it.
    pub(crate) fn own(&self) -> Result<Option<Own>> {
        let uplink = self.state.join("uplink");
        if !uplink.join("identity.json").exists() {
            return Ok(None);
        }
        Ok(Own::read(&Folder::make(&uplink)?)?)
    }

    /// Its slots and what it has in quarantine, by its own command.
    pub(crate) fn slots(&self, place: &Place) -> Result<Json> {
        // Its exit code says that something is in quarantine.
        let mut command = place.command(&format!("content slots -o json --state {}", self.state.join("run").display()));
        let told = command.output().context("starting `content slots`")?;
        serde_json::from_slice(&told.stdout).context("what `content slots` said")
    }

    /// Why it ended, if it did.
    pub(crate) fn death(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let log = fs::read_to_string(self.state.with_file_name("log")).unwrap_or_default();
        Some(format!("{}: the agent ended ({status}): {}", self.state.display(), log.trim()))
    }
}

/// Ends all at once: told first, waited for then.
pub(crate) fn end_all(agents: &mut [Agent]) {
    for agent in agents.iter() {
        // It is ours and not waited for: it is it, or it has ended.
        let _ = kill_process(Pid::from_child(&agent.child), Signal::TERM);
    }
    agents.iter_mut().for_each(|agent| end(&mut agent.child, END_MAX));
}
