//! `watertight agent run`: starts the run, the intake, the updater and the uplink, and ends them in an order in which nothing is lost. It
//! reads nothing that comes from outside: no event, no answer, not even a line of theirs.
//!
//! The pipe between the run and the intake has both of its ends here too, and so have the lines between uplink and updater: the death of
//! either does not end the other.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::{kill_process, Pid, Signal};
use watertight_fleet_agent::pace::BackOff;
use watertight_host::{signals, supervisor};

use super::down;
use super::still::Stillness;
use super::{layout, words, FleetArgs, FORBIDDEN, RUN};
use crate::command::run::{Form, ViewName, Watching};

/// How often the children are looked after.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked whether they move.
const MOVE: Duration = Duration::from_secs(1);
/// A child that lived so long starts again at once when it dies.
const LIVED: Duration = Duration::from_secs(60);
/// What a run that ends may take, with its account; then it is killed.
const END_MAX: Duration = Duration::from_secs(30);
/// How long the rest waits at the start for an identity, or a refusal.
const ENROLLED_MAX: Duration = Duration::from_secs(10);
/// What the word that the machine goes down may take.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// A child, and when it may be started again.
struct Part {
    name: &'static str,
    /// One that does not move for so many seconds hangs: several times what it ever waits for at once.
    still_s_max: u32,
    command: Command,
    stillness: Stillness,
    child: Option<Child>,
    started: Instant,
    due: Instant,
    back_off: BackOff,
}

/// Exit code 0 after a signal; 5 if there is no identity and the server refuses one. Where somebody watches it is the run's own, and
/// the end of the run (by `--for`, by `q`, by an error) is the end of all.
///
/// # Errors
/// A child can't be started.
pub(super) fn run(args: &FleetArgs) -> anyhow::Result<u8> {
    let _alone = layout::claim(&args.state)?;
    layout::prepare(&args.state)?;
    // A server that says nothing holds up no sensor: the uplink asks on.
    if once(&["agent", "uplink", "--enrol"], args, ENROLLED_MAX)? == Some(i32::from(FORBIDDEN)) {
        return Ok(FORBIDDEN);
    }
    if args.content_root.is_none() && !args.state.join("trusted").is_dir() {
        watertight_host::say!(
            "watertight: fleet: no content is fetched without --content-root (the repository's `root.json`)"
        );
    }
    supervisor::catch_ending()?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
    let is_watched = is_watched(&args.watching);
    let mut run = own_command(&["run", "--with-parent", "--trial", &args.trial], args);
    if is_watched {
        run.args(args.watching.as_options()).arg("--records").stdin(shared(&writer)?);
    } else {
        let for_the_intake = Watching { output: Some(Form::Json), view: ViewName::Native, ..args.watching.clone() };
        run.args(for_the_intake.as_options()).stdout(shared(&writer)?);
    }
    let mut intake = own_command(&["agent", "intake"], args);
    intake.stdin(shared(&reader)?);
    let line = || words::line().context("making a line between the uplink and the updater");
    let (questions, fetches) = (line()?, line()?);
    let mut updater = own_command(&["agent", "updater"], args);
    updater.stdin(shared(&questions.1)?).stdout(shared(&fetches.1)?);
    let mut uplink = own_command(&["agent", "uplink"], args);
    uplink.stdin(shared(&questions.0)?).stdout(shared(&fetches.0)?);
    let mut parts = [
        Part::new("intake", 20, intake), // a run that it does not read waits for it
        Part::new("updater", 20, updater),
        Part::new("uplink", 60, uplink),
        Part::new(RUN, 180, run), // its loader verifies programs for as long as the kernel takes
    ];
    let (mut code, mut moved) = (None, Instant::now());
    while !supervisor::is_ending() && code.is_none() {
        let is_time = moved.elapsed() >= MOVE;
        if is_time {
            moved = Instant::now();
        }
        for part in &mut parts {
            match part.look_after()? {
                // By itself, not by a signal: it has said why.
                Some(ended) if is_watched && part.name == RUN && ended.code().is_some() => code = ended.code(),
                Some(ended) => part.died(ended),
                None => {}
            }
            if is_time {
                part.end_if_still();
            }
        }
        std::thread::sleep(LOOK);
    }
    let [mut intake, updater, mut uplink, mut run] = parts;
    if let Some(down) = down::of_this_machine() {
        // it says no more after this
        uplink.end(Signal::KILL);
        // Once, and while the network is still there.
        once(&["agent", "uplink", "--leave", down.name()], args, TOLD_MAX)?;
    }
    let code = code.or(run.end(Signal::TERM).and_then(|ended| ended.code()));
    // With the last writer the intake's input ends: what the run said last is in the spool then, and goes with the next start.
    drop((run.command, writer));
    intake.wait();
    for mut part in [uplink, updater] {
        part.end(Signal::KILL); // whatever it does is done again, or was done whole
    }
    Ok(code.filter(|_| is_watched).map_or(0, |code| u8::try_from(code).unwrap_or(1)))
}

/// One of our own, to its end or for so long; its exit code, if it had one.
fn once(arguments: &[&str], args: &FleetArgs, longest: Duration) -> anyhow::Result<Option<i32>> {
    let mut part = Part::new("uplink", u32::MAX, own_command(arguments, args));
    part.look_after()?;
    Ok(part.wait_for(longest).and_then(|ended| ended.code()))
}

/// Whether the run writes for somebody, and not only for the intake: a service's log is no place for every event.
fn is_watched(watching: &Watching) -> bool {
    std::io::stdout().is_terminal() || watching.output.is_some() || watching.duration.is_some()
}

fn shared(end: &OwnedFd) -> anyhow::Result<Stdio> {
    Ok(Stdio::from(end.try_clone().context("sharing a pipe")?))
}

/// One of our own, with the options that it takes.
fn own_command(arguments: &[&str], args: &FleetArgs) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).stdin(Stdio::null());
    if let ["agent", "uplink", ..] = arguments {
        command.env_clear(); // whatever secrets the service was started with are none of its business
    }
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
    fn new(name: &'static str, still_s_max: u32, command: Command) -> Self {
        let now = Instant::now();
        let stillness = Stillness::default();
        Self {
            name,
            still_s_max,
            command,
            stillness,
            child: None,
            started: now,
            due: now,
            back_off: BackOff::default(),
        }
    }

    /// Starts it, for the first time or again. Gives its end, if that was now.
    fn look_after(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let now = Instant::now();
        let ended = match &mut self.child {
            Some(child) => child.try_wait().context("looking after a child")?,
            None if now >= self.due => {
                let child = signals::spawn_sheltered(&mut self.command);
                self.child = Some(child.with_context(|| format!("starting the {}", self.name))?);
                (self.started, self.stillness) = (now, Stillness::default());
                None
            }
            None => None,
        };
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    /// It is to be started again.
    fn died(&mut self, status: ExitStatus) {
        let now = Instant::now();
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

    /// Ends one that hangs; that it has ended is noticed at the next look.
    fn end_if_still(&mut self) {
        let Some(child) = &mut self.child else { return };
        if self.stillness.look(child.id()) == self.still_s_max {
            let (name, still_s_max) = (self.name, self.still_s_max);
            watertight_host::say!("watertight: the {name} has not moved for {still_s_max} s and is ended");
            let _ = child.kill(); // a failure means that it has ended
        }
    }

    /// Ends it, by this signal first.
    fn end(&mut self, signal: Signal) -> Option<ExitStatus> {
        if let Some(child) = &self.child {
            let _ = kill_process(Pid::from_child(child), signal); // it is ours and not waited for: it is it, or it has ended
        }
        self.wait()
    }

    /// Waits for its end, and makes one when that takes too long.
    fn wait(&mut self) -> Option<ExitStatus> {
        self.wait_for(END_MAX)
    }

    fn wait_for(&mut self, longest: Duration) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < longest {
            std::thread::sleep(LOOK);
        }
        let _ = child.kill(); // a failure means that it has ended
        child.wait().ok()
    }
}
