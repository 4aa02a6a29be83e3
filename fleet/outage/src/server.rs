//! The fleet's server: a process of its own, which can be killed and started again at the same port.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value as Json;

use crate::api::Api;
use crate::clock::Clock;
use crate::place::Place;

/// It starts within this time, on the busiest machine.
const START_MAX: Duration = Duration::from_secs(60);
/// It ends within this time.
const END_MAX: Duration = Duration::from_secs(30);

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    place: Place,
    clock: Clock,
    child: Option<Child>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it, with the director's key, so that it carries rollouts out.
    pub(crate) fn start(place: &Place, check_in: Duration) -> Result<Self> {
        let clock = Clock::build(&place.folder)?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { place: place.clone(), clock, child: None, address: any };
        server.launch(check_in)?;
        Ok(server)
    }

    fn launch(&mut self, check_in: Duration) -> Result<()> {
        let ready = self.place.path("ready.json");
        let log = File::options().append(true).create(true).open(self.place.path("server.log"))?;
        let line = format!(
            "server run --state fleet --listen {} --check-in-ms {} --director-key director.key --snapshot-key online.key \
             --timestamp-key online.key --passphrase-file passphrase",
            self.address,
            check_in.as_millis()
        );
        let mut command = self.place.command(&line);
        self.clock.give(&mut command);
        let child = command.stdout(File::create(&ready)?).stderr(Stdio::from(log)).spawn();
        self.child = Some(child.context("starting the server")?);
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            let told = fs::read_to_string(&ready)?;
            if let Some(url) = told.contains('\n').then(|| serde_json::from_str::<Json>(&told)).transpose()? {
                let url = url.get("url").and_then(Json::as_str).context("a ready line without a URL")?;
                self.address = url.trim_start_matches("https://").parse().context("the server's address")?;
                return Ok(());
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                bail!("the server did not start ({}): {}", status?, self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the server did not start within {} s: {}", START_MAX.as_secs(), self.log())
    }

    /// Ends it without a word, and starts it again at the same port after a while.
    pub(crate) fn kill_and_start(&mut self, away: Duration, check_in: Duration) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?; // SIGKILL
            child.wait()?;
        }
        std::thread::sleep(away);
        self.launch(check_in)
    }

    /// Its clock is wrong by so many seconds from here on.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn api(&self) -> Result<Api> {
        let read = |name: &str| fs::read_to_string(self.state().join(name)).with_context(|| name.to_owned());
        Api::new(&format!("https://{}", self.address), &read("ca.pem")?, &read("admin.token")?)
    }

    /// Its state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.place.path("fleet")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.path("server.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child, END_MAX);
        }
    }
}

/// In good order, and by force where that takes too long.
pub(crate) fn end(child: &mut Child, most: Duration) {
    // It is ours and not waited for: it is it, or it has ended.
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < most {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill(); // a failure means that it has ended
    let _ = child.wait(); // its exit changes nothing here
}
