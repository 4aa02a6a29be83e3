//! `watertight agent run`: starts the run, the intake and the uplink, and ends them in an order in which nothing is lost. It reads nothing
//! that comes from outside: no event, no answer, not even a line of theirs.
//!
//! The pipe between the run and the intake has both of its ends here too: the death of either does not end the other.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::{kill_process, Pid, Signal};
use watertight_fleet_agent::pace::BackOff;
use watertight_host::{signals, supervisor};

use super::{FleetArgs, FORBIDDEN, RUN};

/// How often the children are looked after.
const LOOK: Duration = Duration::from_millis(100);
/// A child that lived so long starts again at once when it dies.
const LIVED: Duration = Duration::from_secs(60);
/// What a run that ends may take, with its account; then it is killed.
const END_MAX: Duration = Duration::from_secs(30);

/// A child, and when it may be started again.
struct Part {
    name: &'static str,
    command: Command,
    child: Option<Child>,
    started: Instant,
    due: Instant,
    back_off: BackOff,
}

/// Exit code 0 after a signal; 5 if there is no identity and the server refuses one; the run's own if it does not start at all.
///
/// # Errors
/// A child can't be started.
pub(super) fn run(args: &FleetArgs) -> anyhow::Result<u8> {
    super::folder(&args.state)?;
    let refused = own_command(&["agent", "uplink", "--enrol"], args).status().context("starting the uplink")?;
    if refused.code() == Some(i32::from(FORBIDDEN)) {
        return Ok(FORBIDDEN);
    }
    if args.content_root.is_none() && !args.state.join("trusted").is_dir() {
        watertight_host::say!(
            "watertight: fleet: no content is fetched without --content-root (the repository's `root.json`)"
        );
    }
    supervisor::catch_ending()?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
    let mut run = own_command(&["run", "-o", "json", "--with-parent", "--trial", &args.trial], args);
    run.stdout(shared(&writer)?);
    let mut intake = own_command(&["agent", "intake"], args);
    intake.stdin(shared(&reader)?);
    let mut parts = [
        Part::new("intake", intake),
        Part::new("uplink", own_command(&["agent", "uplink"], args)),
        Part::new("run", run),
    ];
    while !supervisor::is_ending() {
        parts.iter_mut().try_for_each(Part::look_after)?;
        std::thread::sleep(LOOK);
    }
    let [mut intake, mut uplink, mut run] = parts;
    run.end(Signal::TERM);
    // With the last writer the intake's input ends: what the run said last is in the spool then, and goes with the next start.
    drop((run.command, writer));
    intake.wait();
    uplink.end(Signal::KILL); // whatever it does is done again, or was done whole
    Ok(0)
}

fn shared(end: &OwnedFd) -> anyhow::Result<Stdio> {
    Ok(Stdio::from(end.try_clone().context("sharing a pipe")?))
}

/// One of our own, with the options that it takes.
fn own_command(arguments: &[&str], args: &FleetArgs) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).stdin(Stdio::null());
    let mut option = |name: &str, value: OsString| {
        command.arg(name).arg(value);
    };
    match arguments {
        ["run", ..] => {
            option("--state", args.state.join(RUN).into());
            option("--pins", args.pins.clone().into());
            if let Some(recording) = &args.source {
                option("--source", recording.clone().into());
            }
            if args.observe {
                command.arg("--observe");
            }
        }
        ["agent", "intake"] => option("--state", args.state.clone().into()),
        _ => {
            let given = [
                ("--token-file", args.token_file.clone().map(OsString::from)),
                ("--content-root", args.content_root.clone().map(OsString::from)),
                ("--workload", args.workload.clone().map(OsString::from)),
                ("--kernel", args.kernel.clone().map(OsString::from)),
                ("--distribution", args.distribution.clone().map(OsString::from)),
                ("--stratum", args.stratum.clone().map(OsString::from)),
                ("--server", Some(args.server.clone().into())),
                ("--ca", Some(args.ca.clone().into())),
                ("--state", Some(args.state.clone().into())),
                ("--pins", Some(args.pins.clone().into())),
            ];
            given.into_iter().for_each(|(name, value)| value.into_iter().for_each(|value| option(name, value)));
        }
    }
    command
}

impl Part {
    fn new(name: &'static str, command: Command) -> Self {
        let now = Instant::now();
        Self { name, command, child: None, started: now, due: now, back_off: BackOff::default() }
    }

    /// Starts it, for the first time or again.
    fn look_after(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let ended = match &mut self.child {
            Some(child) => child.try_wait().context("looking after a child")?,
            None if now >= self.due => {
                let child = signals::spawn_sheltered(&mut self.command);
                self.child = Some(child.with_context(|| format!("starting the {}", self.name))?);
                self.started = now;
                None
            }
            None => None,
        };
        if let Some(status) = ended {
            self.died(status, now);
        }
        Ok(())
    }

    fn died(&mut self, status: ExitStatus, now: Instant) {
        self.child = None;
        if now.duration_since(self.started) >= LIVED {
            self.back_off.succeeded();
        }
        let wait = self.back_off.failed(None);
        self.due = now.checked_add(wait).unwrap_or(now);
        watertight_host::say!(
            "watertight: the {} ended ({status}): it is started again in {} s",
            self.name,
            wait.as_secs()
        );
    }

    /// Ends it, by this signal first.
    fn end(&mut self, signal: Signal) {
        if let Some(child) = &self.child {
            let _ = kill_process(Pid::from_child(child), signal); // it is ours and not waited for: it is it, or it has ended
        }
        self.wait();
    }

    /// Waits for its end, and makes one when that takes too long.
    fn wait(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < END_MAX {
            std::thread::sleep(LOOK);
        }
        let _ = child.kill(); // a failure means that it has ended
        let _ = child.wait(); // its exit changes nothing here
    }
}
