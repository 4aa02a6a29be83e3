//! Crashes of our own workers, told as events: each dump is triaged by a process of its own, while the worker that has taken the dead
//! one's place is already at work.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::{Duration, Instant};

use watertight_event::{Event, Field, Kind};

use super::dumps::{made, Made, CONTENT_ID, RULE_ID};
use crate::output::sensor_event;
use crate::printable::printable;
use crate::triaged::triaged;

/// How long the triage of a dump may take: nobody waits for it, and a machine may be busy.
const TRIAGE_MAX: Duration = Duration::from_secs(180);

/// Crashes of a run.
pub struct Crashes {
    sender: Sender<Event>,
    told: Receiver<Event>,
    /// Dumps that are being triaged.
    pending: usize,
}

impl Crashes {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        let (sender, told) = channel();
        Self { sender, told, pending: 0 }
    }

    /// Begins with what is new, and gives what has been found out.
    pub fn look(&mut self) -> Vec<Event> {
        for dump in made() {
            self.pending = self.pending.saturating_add(1);
            let sender = self.sender.clone();
            std::thread::spawn(move || {
                let _ = sender.send(told(&dump)); // nobody to tell it to: the run is over, and the dump is there
            });
        }
        let events: Vec<Event> = self.told.try_iter().collect();
        self.pending = self.pending.saturating_sub(events.len());
        events
    }

    /// Waits for the rest, but no longer than this.
    pub fn finish(&mut self, most: Duration) -> Vec<Event> {
        let until = Instant::now() + most;
        let mut events = self.look();
        while self.pending > 0 {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(event) = self.told.recv_timeout(left) else { break };
            self.pending = self.pending.saturating_sub(1);
            events.push(event);
        }
        events
    }
}

fn told(Made { path, notes }: &Made) -> Event {
    let noted = |name: &str| notes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let worker = noted("worker").unwrap_or("a");
    let place = path.display();
    let (seen, message) = match triaged(path, TRIAGE_MAX) {
        Ok(seen) => {
            let title = seen.title.clone().unwrap_or_else(|| "nothing that triage knows".to_owned());
            (seen, format!("the {worker} worker crashed: {title}; its dump is {place}"))
        }
        Err(error) => {
            let message = format!("the {worker} worker crashed; its dump {place} could not be triaged: {error:#}");
            (Default::default(), message)
        }
    };
    crate::say!("watertight: {}", printable(&message));
    let mut event =
        sensor_event(Kind::SensorCrash, worker, &message).with(Field::CrashDump, place.to_string().as_str());
    let fields = [
        (Field::CrashTitle, seen.title.as_deref()),
        (Field::CrashBucket, seen.bucket.as_deref()),
        (Field::ContentId, noted(CONTENT_ID)),
        (Field::ContentRule, noted(RULE_ID)),
    ];
    for (field, value) in fields {
        if let Some(value) = value {
            event.set(field, value);
        }
    }
    event
}
