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

use super::down::{self, Down};
use super::lines::Line;
use super::{layout, FleetArgs, FORBIDDEN, RUN};
use crate::command::run::{Form, ViewName, Watching};

/// How often the children are looked after.
const LOOK: Duration = Duration::from_millis(100);
/// A child that lived so long starts again at once when it dies.
const LIVED: Duration = Duration::from_secs(60);
/// What a run that ends may take, with its account; then it is killed.
const END_MAX: Duration = Duration::from_secs(30);
/// How long the rest waits at the start for an identity, or a refusal.
const ENROLLED_MAX: Duration = Duration::from_secs(10);
/// What the word that the machine goes down may take.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// The one part that is asked, and may owe an answer.
const UPDATER: &str = "updater";

/// A child, and when it may be started again.
struct Part {
    name: &'static str,
    command: Command,
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
    layout::prepare(&args.state)?;
    if is_refused(args)? {
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
    let (mut questions, fetches) = (Line::new()?, Line::new()?);
    let mut updater = own_command(&["agent", "updater"], args);
    updater.stdin(questions.of_updater()?).stdout(fetches.of_updater()?);
    let mut uplink = own_command(&["agent", "uplink"], args);
    uplink.stdin(questions.of_uplink()?).stdout(fetches.of_uplink()?);
    let mut parts =
        [Part::new("intake", intake), Part::new(UPDATER, updater), Part::new("uplink", uplink), Part::new(RUN, run)];
    let mut code = None;
    while !supervisor::is_ending() && code.is_none() {
        for part in &mut parts {
            match part.look_after()? {
                // By itself, not by a signal: it has said why.
                Some(ended) if is_watched && part.name == RUN && ended.code().is_some() => code = ended.code(),
                Some(ended) => part.died(ended),
                None => {}
            }
            if part.name == UPDATER && questions.is_stuck(part.child.is_some()) {
                watertight_host::say!("watertight: the updater takes no question any more and is ended");
                part.kill();
            }
        }
        std::thread::sleep(LOOK);
    }
    let [mut intake, updater, mut uplink, mut run] = parts;
    if let Some(down) = down::of_this_machine() {
        uplink.end(Signal::KILL); // it says no more after this
        tell_of(down, args);
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

/// Whether there is no identity and the server refuses one. A server that says nothing holds up no sensor: the uplink asks on.
fn is_refused(args: &FleetArgs) -> anyhow::Result<bool> {
    let mut enrolment = Part::new("uplink", own_command(&["agent", "uplink", "--enrol"], args));
    enrolment.look_after()?;
    let ended = enrolment.wait_for(ENROLLED_MAX);
    Ok(ended.and_then(|ended| ended.code()) == Some(i32::from(FORBIDDEN)))
}

/// Says to the server that the machine goes down, while the network is still there. It is told once, and waited for no longer than that.
fn tell_of(down: Down, args: &FleetArgs) {
    let mut words = Part::new("word of the end", own_command(&["agent", "uplink", "--leave", down.name()], args));
    if words.look_after().is_ok() {
        words.wait_for(TOLD_MAX);
    }
}

/// Whether the run writes for somebody, and not only for the intake: a service's log is no place for every event.
fn is_watched(watching: &Watching) -> bool {
    std::io::stdout().is_terminal() || watching.output.is_some() || watching.duration.is_some()
}

pub(super) fn shared(end: &OwnedFd) -> anyhow::Result<Stdio> {
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

    /// Starts it, for the first time or again. Gives its end, if that was now.
    fn look_after(&mut self) -> anyhow::Result<Option<ExitStatus>> {
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

    /// Ends it now; that it has ended is noticed at the next look.
    fn kill(&mut self) {
        if let Some(child) = &mut self.child {
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
