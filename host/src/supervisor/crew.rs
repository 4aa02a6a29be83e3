//! The workers of a run, looked after: who dies is started again, and what that cost is told.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context as _, Result};
use serde_json::json;
use watertight_event::{Event, Field, Kind};

use super::detector::{output_gone, Detector, Feed};
use super::guard::GuardMaps;
use super::pins::Pins;
use super::process::Death;
use super::restarts::Restarts;
use super::sources::Sources;
use super::{ending, Options};
use crate::loader::{Loader, Snapshot};
use crate::output::sensor_event;
use crate::previous::Previous;
use crate::printable::printable;
use crate::whole_lines::line_end;
use crate::worker::protocol::{Format, Message};
use crate::worker::sandbox::Sandbox;
use crate::worker::tally::Tally;

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

/// All workers of a run.
pub struct Crew<'r> {
    ship: Ship<'r>,
    tally: Tally,
    detector: Option<Detector>,
    detector_restarts: Restarts,
    sources: Option<Sources>,
    sources_restarts: Restarts,
    /// Events of the sensor itself that no detector has written yet. The next detector is told them again.
    untold: VecDeque<Event>,
    /// How many of them were written and are no longer kept.
    written: u64,
}

impl<'r> Crew<'r> {
    /// Starts the detector beside the sources that are open already. `there` are the processes that are, `first` events of the
    /// sensor itself.
    pub fn start(ship: Ship<'r>, sources: Option<Sources>, there: Option<Snapshot>, first: Vec<Event>) -> Result<Self> {
        let mut crew = Self {
            ship,
            tally: Tally::create().context("making the page of shared counts")?,
            detector: None,
            detector_restarts: Restarts::default(),
            sources,
            sources_restarts: Restarts::default(),
            untold: first.into(),
            written: 0,
        };
        if let Some(sources) = &crew.sources {
            crew.tell_sandbox("sources", sources.pid(), &sources.sandbox)?;
        }
        crew.start_detector(there)?;
        Ok(crew)
    }

    /// Waits this long, then starts again who died. Returns whether the user asked to quit.
    ///
    /// # Errors
    /// The detector is given up, or nobody takes the output.
    pub fn look_after(&mut self, most: Duration) -> Result<bool> {
        if let Some(death) = self.detector.as_mut().and_then(Detector::death) {
            self.replace_detector(death)?;
        }
        if let Some(death) = self.sources.as_mut().and_then(Sources::death) {
            self.replace_sources(&death)?;
        }
        self.forget_written();
        let Some(detector) = &mut self.detector else { return Ok(false) };
        // One that died while it was spoken to is noticed at the next look.
        let _ = detector.tell_within(Duration::ZERO);
        Ok(detector.is_quit_within(most))
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

    /// The sources end first: then the detector's pipe has an end. `is_read` if there is a detector to read it.
    pub fn stop_sources(&mut self, is_read: bool) {
        if let Some(sources) = &mut self.sources {
            sources.stop(is_read, &self.tally);
        }
    }

    /// Tells the detector the kernel's half of the account and waits for its summary. Returns its exit code.
    pub fn finish(&mut self, stop: &Message) -> Result<u8> {
        self.detector.as_mut().context("there is no detector")?.finish(stop, &self.tally)
    }

    /// Whether a worker was given up during the run.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.sources.as_ref().is_some_and(|sources| sources.pid().is_none())
    }

    fn start_detector(&mut self, there: Option<Snapshot>) -> Result<()> {
        let sources_pid = self.sources.as_ref().and_then(Sources::pid);
        let feed = Feed {
            own_pids: [Some(std::process::id()), sources_pid, self.ship.deny_pid].into_iter().flatten().collect(),
            pins: self.ship.pins,
            guard: self.ship.guard,
            previous: self.ship.previous.rings(),
            events: self.sources.as_ref().map(Sources::events),
            tally: &self.tally,
            is_adopted: self.ship.is_adopted,
            deaths: self.detector_restarts.total(),
        };
        let mut detector = Detector::start(self.ship.options, &feed, there)?;
        self.tell_sandbox("detector", Some(detector.pid()), &detector.sandbox)?;
        // One that dies while it is spoken to is noticed at the next look, and the next one is told.
        let _ = detector.go(self.untold.iter(), &self.tally);
        self.detector = Some(detector);
        Ok(())
    }

    fn replace_detector(&mut self, death: Death) -> Result<()> {
        let mut cause = match death {
            Death::Output(why) => bail!("{}", output_gone(&why)),
            Death::Other(cause) => cause,
        };
        loop {
            self.detector = None;
            self.forget_written();
            ending::put(line_end(std::io::stdout(), self.tally.line()))
                .map_err(|error| anyhow!("{}", output_gone(&error.to_string())))?;
            let lost = self.tally.write_off();
            let words = format!("the detector {cause}; it is started again, at most {lost} events are lost with it");
            crate::say!("watertight: {}", printable(&words));
            let Some(wait) = self.detector_restarts.died(Instant::now()) else {
                bail!("the detector died {} times, the last time it {cause}: given up", self.detector_restarts.total());
            };
            std::thread::sleep(wait);
            let message = format!(
                "the detector {cause} and was started again; the rings held the events meanwhile, what it had read and not \
                 written is lost"
            );
            self.untold.push_back(sensor_event(Kind::SensorGap, "detector", &message).with(Field::Count, lost));
            // Not those of the start: who is there has changed since.
            let there =
                self.ship.loader.filter(|_| self.ship.pins.is_some()).and_then(|loader| loader.processes().ok());
            match self.start_detector(there) {
                Ok(()) => return Ok(()),
                Err(error) => cause = format!("did not start again ({error:#})"),
            }
        }
    }

    fn replace_sources(&mut self, death: &Death) -> Result<()> {
        let (Death::Output(cause) | Death::Other(cause)) = death;
        let mut cause = cause.clone();
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
                    break format!(
                        "the sources worker {cause} and was started again; what happened meanwhile is lost, how much is not \
                         known"
                    )
                }
            }
        };
        crate::say!("watertight: {}", printable(&message));
        self.tell(vec![sensor_event(Kind::SensorGap, "sources", &message)])
    }

    /// Says what holds a worker, as a line of its own before that worker's first event, and for `status`.
    fn tell_sandbox(&self, worker: &str, pid: Option<u32>, sandbox: &Sandbox) -> Result<()> {
        let line = json!({ "kind": "sandbox", "worker": worker, "pid": pid, "sandbox": sandbox });
        // Without the file `status` says that it does not know.
        let _ = std::fs::write(self.ship.options.state.join(format!("{worker}.json")), format!("{line}\n"));
        let shown = match self.ship.options.format {
            Format::Live => format!("  {worker}: {sandbox}\n"),
            _ => format!("{line}\n"),
        };
        ending::put(&shown).map_err(|error| anyhow!("{}", output_gone(&error.to_string())))
    }
}
