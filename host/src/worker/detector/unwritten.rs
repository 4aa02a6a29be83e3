//! What of the supervisor's own events is shown and not written yet: it would be lost with this process.

use std::sync::atomic::Ordering;

use watertight_event::{Event, Field, Kind};
use watertight_sensor_abi::{Hook, HOOKS};

use crate::worker::tally::Tally;

/// Events of the supervisor since the last flush: it says those again to the next detector that this one takes with it.
#[derive(Default)]
pub struct Unwritten {
    events: u64,
    /// Operations that they told as counted by process, by hook.
    aggregated: Vec<(Hook, u64)>,
}

impl Unwritten {
    /// It was shown.
    pub fn add(&mut self, event: &Event) {
        self.events = self.events.saturating_add(1);
        if event.kind == Kind::SensorAggregated {
            let hook = HOOKS.iter().find(|hook| event.text(Field::Of).as_deref() == Some(hook.program()));
            self.aggregated.extend(hook.map(|hook| (*hook, event.number(Field::Count).unwrap_or(0))));
        }
    }

    /// All of it is written now.
    pub fn note(self, tally: &Tally) {
        for (hook, count) in self.aggregated {
            tally.note_aggregated(hook, count);
        }
        tally.shown().fetch_add(self.events, Ordering::Release);
    }
}
