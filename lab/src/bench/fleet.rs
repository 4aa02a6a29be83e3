//! The fleet's server under load: `watertight-horde` against a release server on loopback, each a process of its own.
//!
//! Bounded in count and time: ten thousand agents, seconds for each scene, and an end for a scene that hangs.

use crate::bench::machine::TemporaryFolder;
use crate::programs::FleetPrograms;
use crate::tool;
use anyhow::{Context, Result};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use watertight_horde::process::DESCRIPTORS_MAX;
use watertight_horde::scene::closed::Closed;
use watertight_horde::scene::enrol::Enrolled;
use watertight_horde::scene::faults::Faults;
use watertight_horde::scene::held::Held;
use watertight_horde::scene::open::Open;
use watertight_horde::scene::storm::Storm;

/// Agents that wait, and that come back.
const AGENTS: &str = "10000";
/// Those that check in as often as they are answered.
const CLOSED_CONNECTIONS: &str = "500";
/// Those that check in at a rate.
const OPEN_CONNECTIONS: &str = "2000";
const OPEN_PER_S: &str = "10000";
/// For how long they do.
const LOAD_S: &str = "15";
/// A scene takes no longer, s.
const SCENE_S_MAX: &str = "300";

/// What was measured.
#[derive(Debug, Deserialize, Serialize)]
pub struct Found {
    /// What else ran: processes that wanted a processor, on average, in the minute before.
    pub load_before: f64,
    /// Processors that the server and the horde share with it.
    pub processors: usize,
    /// Enrolment.
    pub enrolled: Enrolled,
    /// Check-ins as often as they are answered.
    pub closed: Closed,
    /// Check-ins at a rate.
    pub open: Open,
    /// Agents that wait.
    pub held: Held,
    /// Agents that come back.
    pub storm: Storm,
    /// What agents do wrong.
    pub faults: Faults,
}

/// Measures it all.
pub fn measure(programs: &FleetPrograms) -> Result<Found> {
    bound_descriptors()?;
    let load_before = fs::read_to_string("/proc/loadavg")?;
    let load_before = load_before.split(' ').next().and_then(|load| load.parse().ok()).context("/proc/loadavg")?;
    let folder = TemporaryFolder::make()?;
    let place = Place { programs, folder: &folder.0 };
    let server = place.start()?;
    let uses = ["token", "--ring", "horde", "--uses", "20000", "--state"];
    let token = tool::output(Command::new(&programs.server).args(uses).arg(folder.0.join("state")))?;
    fs::write(folder.0.join("token"), token)?;
    let (token, identities) = (folder.0.join("token"), folder.0.join("identities"));
    let [token, identities] = [&token, &identities].map(|path| path.to_string_lossy().into_owned());
    let kept = ["--identities", identities.as_str()];
    let enrolled = server.scene(&["enrol", "--agents", AGENTS, "--token-file", &token], &kept)?;
    let closed = server.scene(&["closed", "--connections", CLOSED_CONNECTIONS, "--for-s", LOAD_S], &kept)?;
    let rate = ["open", "--connections", OPEN_CONNECTIONS, "--per-s", OPEN_PER_S, "--for-s", LOAD_S];
    let open = server.scene(&rate, &kept)?;
    drop(server);
    // Memory that a process once had it may keep: agents are held by one that has served nobody.
    let server = place.start()?;
    let ring = folder.0.join("state/content/metadata/timestamp.json");
    let held = server.scene(&["held", "--agents", AGENTS, "--ring-file", &ring.to_string_lossy()], &kept)?;
    drop(server);
    let server = place.start()?;
    let storm = server.scene(&["storm", "--agents", AGENTS], &kept)?;
    let faults = server.scene(&["faults", "--token-file", &token], &[])?;
    let processors = std::thread::available_parallelism()?.get();
    Ok(Found { load_before, processors, enrolled, closed, open, held, storm, faults })
}

/// Server and horde have no more descriptors than the horde takes for itself.
fn bound_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_none_or(|most| most > DESCRIPTORS_MAX) {
        let bound = Rlimit { current: Some(DESCRIPTORS_MAX), maximum: Some(DESCRIPTORS_MAX) };
        setrlimit(Resource::Nofile, bound).context("bounding descriptors")?;
    }
    Ok(())
}

struct Place<'a> {
    programs: &'a FleetPrograms,
    folder: &'a Path,
}

/// A server that runs.
struct Server<'a> {
    child: Child,
    url: String,
    place: &'a Place<'a>,
}

impl Place<'_> {
    fn start(&self) -> Result<Server<'_>> {
        let mut child = Command::new(&self.programs.server)
            .args(["run", "--listen", "127.0.0.1:0", "--state"])
            .arg(self.folder.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the server")?;
        let mut line = String::new();
        let out = child.stdout.take().context("the server has no output")?;
        let mut server = Server { child, url: String::new(), place: self };
        BufReader::new(out).read_line(&mut line)?;
        let ready: serde_json::Value = serde_json::from_str(&line).context("the server did not start")?;
        server.url = ready.get("url").and_then(serde_json::Value::as_str).context("no url")?.to_owned();
        Ok(server)
    }
}

impl Server<'_> {
    /// Runs a scene against it, and reads what it found.
    fn scene<T: DeserializeOwned>(&self, scene: &[&str], more: &[&str]) -> Result<T> {
        eprintln!("   {}", scene.join(" "));
        let state = self.place.folder.join("state");
        let mut horde = Command::new("timeout");
        horde.arg(SCENE_S_MAX).arg(&self.place.programs.horde).arg("--server").arg(&self.url);
        horde.arg("--ca").arg(state.join("ca.pem")).arg("--admin-token-file").arg(state.join("admin.token"));
        horde.arg("--server-pid").arg(self.child.id().to_string()).args(scene).args(more);
        let said = tool::output(&mut horde)?;
        serde_json::from_str(&said).with_context(|| format!("reading what {scene:?} found"))
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // In good order, so that what was heard is written; if it does not end, by force.
        let pid = self.child.id().to_string();
        let _ =
            tool::output(Command::new("timeout").args(["20", "sh", "-c", "kill $0; tail --pid=$0 -f /dev/null", &pid]));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
