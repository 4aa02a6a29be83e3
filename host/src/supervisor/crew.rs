//! The workers of a run, looked after: who dies is started again, and what that cost is told.

mod content;

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context as _, Result};
use rustix::fs::{memfd_create, MemfdFlags};
use serde_json::{json, Value as Json};
use watertight_event::{Event, Field, Kind};

use super::crashes::Crashes;
use super::detector::{output_gone, Detector, Feed};
use super::dumps;
use super::guard::GuardMaps;
use super::hang::{Beats, STILL_MAX};
use super::ladder::{Active, Ladder, Limits};
use super::pins::Pins;
use super::process::Death;
use super::restarts::Restarts;
use super::sources::Sources;
use super::work::Work;
use super::{ending, Options};
use crate::actions::request::{channel, Requests};
use crate::actions::Actor;
use crate::loader::{Loader, Snapshot};
use crate::loading::Content;
use crate::output::sensor_event;
use crate::previous::Previous;
use crate::printable::{printable, printable_lines};
use crate::publisher::plan::Standing;
use crate::publisher::Publisher;
use crate::whole_lines::line_end;
use crate::worker::protocol::{Format, Message};
use crate::worker::rules::rules_in_words;
use crate::worker::sandbox::Sandbox;
use crate::worker::tally::{Phase, Tally};

/// How long the end of a run waits for what is being found out about a crash.
const TRIAGE_MAX: Duration = Duration::from_secs(5);

/// What stays the same while workers come and go.
pub struct Ship<'r> {
    pub options: &'r Options,
    /// Tells a detector of the processes that are there.
    pub loader: Option<&'r Loader>,
    pub pins: Option<&'r Pins>,
    pub guard: Option<&'r GuardMaps>,
    /// What builds left whose place this one has taken. The first detector reads it.
    pub previous: &'r Previous,
    /// The rings were filled by an earlier run.
    pub is_adopted: bool,
    /// The worker that denies by fanotify, which is not of this crew.
    pub deny_pid: Option<u32>,
}

/// Content that is to blame for a death.
struct Blame {
    words: String,
    /// It was not in force yet.
    is_of_next: bool,
}

/// All workers of a run.
pub struct Crew<'r> {
    ship: Ship<'r>,
    tally: Arc<Tally>,
    /// What detectors do with which content.
    work: Work,
    crashes: Crashes,
    detector: Option<Detector>,
    detector_restarts: Restarts,
    beats: Beats,
    ladder: Ladder,
    active: Active,
    /// Content that the detector was told to go over to.
    next: Option<Active>,
    /// Memory through which it gets that.
    mailbox: OwnedFd,
    sources: Option<Sources>,
    sources_restarts: Restarts,
    /// Puts the deny rules of the content in force.
    publisher: Publisher,
    /// Carries out what rules demand; `None` where the owner of the machine allows nothing of it.
    actor: Option<Actor>,
    /// What the detector asks for.
    requests: Option<Requests>,
    /// Events of the sensor itself that no detector has written yet. The next detector is told them again.
    untold: VecDeque<Event>,
    /// How many of them were written and are no longer kept.
    written: u64,
    /// What correlations could not do and how many events were over budget, as `status` was told last.
    limits: Limits,
}

impl<'r> Crew<'r> {
    /// Starts the detector beside the sources that are open already. `there` are the processes that are, `first` events of the
    /// sensor itself.
    pub fn start(
        ship: Ship<'r>,
        sources: Option<Sources>,
        there: Option<Snapshot>,
        first: Vec<Event>,
        publisher: Publisher,
    ) -> Result<Self> {
        let Options { slots, rules, trial, .. } = ship.options;
        let (ladder, active) = Ladder::begin(slots, rules, *trial)?;
        if let Some(Content { header, .. }) = active.content.as_ref().filter(|_| !rules.is_empty()) {
            for refusal in &header.refused {
                crate::say!("watertight: {}", printable_lines(refusal));
            }
            crate::say!("watertight: {}", rules_in_words(header.rule_count, header.replaced));
        }
        let loader = ship.loader.map(Loader::executable);
        let actions = &ship.options.actions;
        let actor = (!actions.is_empty()).then(|| Actor::new(actions, loader));
        let tally = Arc::new(Tally::create().context("making the page of shared counts")?);
        let mut crew = Self {
            ship,
            work: Work::new(Arc::clone(&tally)),
            crashes: Crashes::new(),
            tally,
            detector: None,
            detector_restarts: Restarts::default(),
            beats: Beats::from(Instant::now()),
            ladder,
            active,
            next: None,
            mailbox: memfd_create("watertight-mailbox", MemfdFlags::CLOEXEC).context("making a mailbox")?,
            sources,
            sources_restarts: Restarts::default(),
            publisher,
            actor,
            requests: None,
            untold: first.into(),
            written: 0,
            limits: Limits::default(),
        };
        if let Some(sources) = &crew.sources {
            crew.tell_sandbox("sources", sources.pid(), &sources.sandbox)?;
        }
        if crew.publisher.knows_no_rules() && matches!(crew.active.offer().standing, Standing::Trial | Standing::Urgent)
        {
            // The machine was started anew: what the pack before has proved is in force while this one is on trial.
            crew.ladder.trusted_policy().into_iter().for_each(|policy| crew.publisher.prove(policy));
        }
        crew.start_detector(there)?;
        Ok(crew)
    }

    /// Waits this long, then starts again who died. Returns whether the user asked to quit.
    ///
    /// # Errors
    /// The detector is given up, or nobody takes the output.
    pub fn look_after(&mut self, most: Duration) -> Result<bool> {
        if self.beats.is_hung(&self.tally, Instant::now()) {
            if let Some(detector) = &mut self.detector {
                dumps::of_hung("detector", detector.pid(), &self.work.noter());
                let death = detector.end_hung(STILL_MAX);
                self.replace_detector(death)?;
            }
        }
        if let Some(death) = self.detector.as_mut().and_then(Detector::death) {
            self.replace_detector(death)?;
        }
        self.look_after_content()?;
        self.look_after_policy()?;
        self.look_after_actions()?;
        let crashes = self.crashes.look();
        self.tell(crashes)?;
        if let Some(death) = self.sources.as_mut().and_then(Sources::death) {
            self.replace_sources(&death)?;
        }
        self.forget_written();
        let Some(detector) = &mut self.detector else { return Ok(false) };
        // One that died while it was spoken to is noticed at the next look.
        let _ = detector.tell_within(Duration::ZERO);
        Ok(detector.is_quit_within(most, self.requests.as_ref()))
    }

    /// Shows events of the sensor itself; they wait while the detector does not read, and are said again after its death.
    pub fn tell(&mut self, events: Vec<Event>) -> Result<()> {
        for event in events {
            if let Some(detector) = &mut self.detector {
                detector.queue(&Message::Event(event.to_json()))?;
            }
            self.untold.push_back(event);
        }
        Ok(())
    }

    /// Whether the detector reads what it is told.
    #[must_use]
    pub fn has_heard_all(&self) -> bool {
        self.detector.as_ref().is_some_and(Detector::has_heard_all)
    }

    fn forget_written(&mut self) {
        let shown = self.tally.shown().load(Ordering::Acquire);
        while self.written < shown && self.untold.pop_front().is_some() {
            self.written = self.written.saturating_add(1);
        }
    }

    /// From here on the detector does not wait for ever for whoever reads its output.
    pub fn tell_end(&self) {
        ending::look(&self.tally);
    }

    /// What is still being found out about crashes is told before the end.
    pub fn tell_crashes(&mut self) -> Result<()> {
        let crashes = self.crashes.finish(TRIAGE_MAX);
        self.tell(crashes)
    }

    /// The sources end first: then the detector's pipe has an end. `is_read` if there is a detector to read it.
    pub fn stop_sources(&mut self, is_read: bool) {
        if let Some(sources) = &mut self.sources {
            sources.stop(is_read, &self.tally);
        }
    }

    /// Tells the detector the kernel's half of the account and waits for its summary. Returns its exit code.
    pub fn finish(&mut self, stop: &Message) -> Result<u8> {
        let code = self.detector.as_mut().context("there is no detector")?.finish(stop, &self.tally)?;
        self.publisher.finish();
        self.ladder.end(self.next.as_ref().unwrap_or(&self.active));
        Ok(code)
    }

    /// Whether a worker was given up during the run.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.sources.as_ref().is_some_and(|sources| sources.pid().is_none())
            || self.ladder.has_stepped_down()
            || self.publisher.is_short()
            || self.active.content.is_none()
    }

    fn start_detector(&mut self, there: Option<Snapshot>) -> Result<()> {
        let sources_pid = self.sources.as_ref().and_then(Sources::pid);
        // One socket a detector: what a dead one has asked for is nobody's wish any more.
        let (requests, asks) = match &self.actor {
            Some(_) => channel().map(|(requests, asks)| (Some(requests), Some(asks))).context("making a socket")?,
            None => (None, None),
        };
        self.requests = requests;
        let feed = Feed {
            own_pids: [Some(std::process::id()), sources_pid, self.ship.deny_pid].into_iter().flatten().collect(),
            pins: self.ship.pins,
            guard: self.ship.guard,
            previous: self.ship.previous.rings(),
            events: self.sources.as_ref().map(Sources::events),
            tally: &self.tally,
            is_adopted: self.ship.is_adopted,
            deaths: self.detector_restarts.total(),
            active: &self.active,
            mailbox: self.mailbox.as_fd(),
            asks: asks.as_ref().map(|asks| asks.as_fd()),
            noter: self.work.noter(),
        };
        self.work.give(&self.active);
        self.tally.enter(Phase::Elsewhere);
        self.tally.evaluated().store(0, Ordering::SeqCst);
        let mut detector = Detector::start(self.ship.options, feed, there)?;
        self.tell_content()?;
        self.tell_sandbox("detector", Some(detector.pid()), &detector.sandbox)?;
        // One that dies while it is spoken to is noticed at the next look, and the next one is told.
        let _ = detector.go(self.untold.iter(), &self.tally);
        self.detector = Some(detector);
        self.beats = Beats::from(Instant::now());
        // Its trial begins now: on a slow machine a detector takes longer to start than content has to live.
        self.active = std::mem::replace(&mut self.active, Active::none()).begun_now();
        self.offer_policy()
    }

    fn replace_detector(&mut self, mut death: Death) -> Result<()> {
        loop {
            if let Death::Output(why) = &death {
                bail!("{}", output_gone(why));
            }
            self.detector = None;
            self.forget_written();
            ending::put(line_end(std::io::stdout(), self.tally.line()))
                .map_err(|error| anyhow!("{}", output_gone(&error.to_string())))?;
            let lost = self.tally.write_off();
            let begun = match self.tally.correlated().swap(0, Ordering::Relaxed) {
                0 => String::new(),
                events => format!(", and so is what correlations had begun on up to {events} events"),
            };
            let changed = self.note_change();
            self.untold.extend(changed);
            let blame = self.blame(&death);
            let cause = format!("{}{}", death.words(), blame.as_ref().map_or("", |blame| &blame.words));
            let words = format!("the detector {cause}; it is started again, at most {lost} events are lost with it");
            crate::say!("watertight: {}", printable(&words));
            self.after_death(blame.map(|blame| blame.is_of_next), &cause)?;
            let message = format!(
                "the detector {cause} and was started again with {}; the rings held the events meanwhile, what it had read and \
                 not written is lost{begun}",
                self.active.in_words()
            );
            self.untold.push_back(sensor_event(Kind::SensorGap, "detector", &message).with(Field::Count, lost));
            // Not those of the start: who is there has changed since.
            let there =
                self.ship.loader.filter(|_| self.ship.pins.is_some()).and_then(|loader| loader.processes().ok());
            match self.start_detector(there) {
                Ok(()) => return Ok(()),
                Err(error) => death = Death::Other(format!("did not start again ({error:#})")),
            }
        }
    }

    /// Chooses what the next detector gets, and waits as long as it is to wait.
    fn after_death(&mut self, is_of_next: Option<bool>, cause: &str) -> Result<()> {
        let wait = self.detector_restarts.died(Instant::now());
        // What it was to go over to has had its try counted: it is the next one's, or to blame.
        let next = self.next.take();
        let active = match (is_of_next, next) {
            (Some(false), _) | (None, None) => std::mem::replace(&mut self.active, Active::none()),
            (_, Some(next)) => next,
            (Some(true), None) => std::mem::replace(&mut self.active, Active::none()),
        };
        self.active = match (is_of_next, wait) {
            (Some(_), _) => self.ladder.died(active, cause)?,
            (None, Some(_)) => active,
            (None, None) if self.ladder.can_step_down(&active) => self.ladder.give_up(&active, cause),
            (None, None) => {
                bail!("the detector died {} times, the last time it {cause}: given up", self.detector_restarts.total())
            }
        };
        match wait {
            Some(wait) => std::thread::sleep(wait),
            None => self.detector_restarts.forgive(),
        }
        Ok(())
    }

    /// What of its content a detector was busy with when it died. Whoever is killed from outside says nothing against it.
    fn blame(&self, death: &Death) -> Option<Blame> {
        if matches!(death, Death::Killed(_)) {
            return None;
        }
        let preparing = self.tally.preparing().swap(0, Ordering::SeqCst);
        if let Some(next) = self.next.as_ref().filter(|next| next.word() != 0 && next.word() == preparing) {
            return Some(Blame { words: format!(" while it made ready: {}", next.in_words()), is_of_next: true });
        }
        let content = self.active.content.as_ref()?;
        if self.tally.content().load(Ordering::SeqCst) != self.active.word() {
            return None;
        }
        let what = match self.tally.last_phase() {
            Phase::Elsewhere => return None,
            Phase::Opening => "while it opened".to_owned(),
            Phase::Evaluating => {
                let rule = self.tally.last_rule().and_then(|rule| content.header.rules.get(rule));
                rule.map_or_else(|| "while it evaluated".to_owned(), |id| format!("while it evaluated rule {id} of"))
            }
        };
        Some(Blame { words: format!(" {what}: {}", self.active.in_words()), is_of_next: false })
    }

    fn replace_sources(&mut self, death: &Death) -> Result<()> {
        let mut cause = death.words().to_owned();
        let message = loop {
            let Some(wait) = self.sources_restarts.died(Instant::now()) else {
                break format!(
                    "the sources worker died {} times, the last time it {cause}: given up, its classes are no longer watched",
                    self.sources_restarts.total()
                );
            };
            std::thread::sleep(wait);
            match self.sources.as_mut().map(Sources::launch) {
                Some(Err(error)) => cause = format!("did not start again ({error:#})"),
                _ => {
                    if let Some(sources) = &self.sources {
                        self.leave_sandbox("sources", sources.pid(), &sources.sandbox);
                    }
                    break format!(
                        "the sources worker {cause} and was started again; what happened meanwhile is lost, how much is not \
                         known"
                    );
                }
            }
        };
        crate::say!("watertight: {}", printable(&message));
        self.tell(vec![sensor_event(Kind::SensorGap, "sources", &message)])
    }

    /// Says what holds a worker, as a line of its own before that worker's first event, and for `status`.
    fn tell_sandbox(&self, worker: &str, pid: Option<u32>, sandbox: &Sandbox) -> Result<()> {
        let line = self.leave_sandbox(worker, pid, sandbox);
        let shown = match self.ship.options.format {
            Format::Live => format!("  {worker}: {sandbox}\n"),
            _ => format!("{line}\n"),
        };
        self.put(&shown, &line)
    }

    /// A line of ours on standard output, and where what is to be reported goes.
    fn put(&self, shown: &str, line: &Json) -> Result<()> {
        let put = ending::put(shown).and_then(|()| match self.ship.options.has_records {
            true => ending::put_record(&format!("\n{line}\n")),
            false => Ok(()),
        });
        put.map_err(|error| anyhow!("{}", output_gone(&error.to_string())))
    }

    /// For `status` alone: while a detector writes, nobody else does. Gives the line that is left.
    fn leave_sandbox(&self, worker: &str, pid: Option<u32>, sandbox: &Sandbox) -> Json {
        let line = json!({ "kind": "sandbox", "worker": worker, "pid": pid, "sandbox": sandbox });
        // Without the file `status` says that it does not know.
        let _ = std::fs::write(self.ship.options.state.join(format!("{worker}.json")), format!("{line}\n"));
        line
    }
}
