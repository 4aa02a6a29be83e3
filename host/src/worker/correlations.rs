//! Correlations over typed events: their state, and the last events that led to some of it, so that an alert can tell them.

use std::collections::VecDeque;

use watertight_engine::{Correlated, CorrelationLimits, Correlator, Fields, HashKey, Image, Moment, Rule};
use watertight_event::Event;

/// Events that are kept for alerts that may come of them. Of one that is no longer there an alert tells the time alone.
const KEPT_MAX: usize = 4_096;

/// The state of correlations, with what alerts tell of it.
pub struct Correlations<'i> {
    image: Image<'i>,
    correlator: Correlator<'i>,
    /// Events that rules found which correlations listen to, by number, ascending.
    kept: VecDeque<(u64, Event)>,
}

/// A correlation that fired.
pub struct CorrelationAlert<'c> {
    /// Its rule.
    pub rule: Rule<'c>,
    /// What fired.
    pub correlated: Correlated<'c>,
    /// What led to it, in order.
    pub stages: Vec<StageEvent<'c>>,
}

/// An event that led to a correlation.
pub struct StageEvent<'c> {
    /// The stage or rule that it was an event of.
    pub stage: &'c str,
    /// Which event.
    pub moment: Moment,
    /// The event, unless too many came after it.
    pub event: Option<&'c Event>,
}

impl<'i> Correlations<'i> {
    /// The correlations of an image; the key makes it impossible to choose values that meet in one group.
    pub fn of(image: Image<'i>, key: HashKey) -> Self {
        Self { image, correlator: image.correlator(key), kept: VecDeque::new() }
    }

    /// A rule has fired on the event.
    pub fn on_hit(
        &mut self,
        rule: u32,
        (fields, event): (&dyn Fields, &Event),
        moment: Moment,
        alert: &mut dyn FnMut(CorrelationAlert<'_>),
    ) {
        if !self.correlator.listens_to(rule) {
            return;
        }
        if self.kept.back().is_none_or(|(number, _)| *number != moment.number) {
            if self.kept.len() >= KEPT_MAX {
                self.kept.pop_front();
            }
            self.kept.push_back((moment.number, event.clone()));
        }
        let Self { image, correlator, kept } = self;
        correlator.on_hit(rule, fields, moment, &mut |hit| tell(image, kept, hit, alert));
    }

    /// All events of before this time have been read.
    pub fn advance(&mut self, now_ns: u64, alert: &mut dyn FnMut(CorrelationAlert<'_>)) {
        let Self { image, correlator, kept } = self;
        correlator.advance(now_ns, &mut |hit| tell(image, kept, hit, alert));
    }

    /// Whether something may fire without another event.
    pub fn is_waiting(&self) -> bool {
        self.correlator.is_waiting()
    }

    /// Events that they have listened to and that are still at hand.
    pub fn kept(&self) -> u64 {
        self.kept.len() as u64
    }

    /// What could not be done so far.
    pub fn limits(&self) -> CorrelationLimits {
        self.correlator.limits()
    }
}

fn tell(
    image: &Image<'_>,
    kept: &VecDeque<(u64, Event)>,
    hit: Correlated<'_>,
    alert: &mut dyn FnMut(CorrelationAlert<'_>),
) {
    let Some(rule) = image.rule(hit.rule).filter(|_| !image.is_silenced(hit.rule)) else { return };
    let event_of = |number: u64| {
        let at = kept.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        kept.get(at).map(|(_, event)| event)
    };
    let stages = hit.events.iter().map(|event| StageEvent {
        stage: image.input_name(event.input),
        moment: event.moment,
        event: event_of(event.moment.number),
    });
    alert(CorrelationAlert { rule, correlated: hit, stages: stages.collect() });
}
