//! Correlations over typed events: their state, and the last events that led to some of it, so that an alert can tell them.
//!
//! Many an event is a stage of something and few alerts come of that: of such an event the line that was written of it is kept,
//! which is one copy of memory, and read again for an alert.

use std::collections::VecDeque;

use watertight_engine::{Correlated, CorrelationLimits, Correlator, Fields, HashKey, Image, Moment, Rule};
use watertight_event::{Event, JsonLines};

/// Events that are kept for alerts that may come of them. Of one that is no longer there an alert tells the time alone.
const KEPT_MAX: usize = 4_096;
/// What they may take together.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The state of correlations, with what alerts tell of it.
pub struct Correlations<'i> {
    image: Image<'i>,
    correlator: Correlator<'i>,
    kept: Kept,
    lines: JsonLines,
    line: Vec<u8>,
}

/// Events that rules found which correlations listen to, as lines: the oldest make room for the newest.
#[derive(Default)]
struct Kept {
    /// Number and size of each, by number, ascending.
    sizes: VecDeque<(u64, usize)>,
    lines: VecDeque<u8>,
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
    pub event: Option<Event>,
}

impl<'i> Correlations<'i> {
    /// The correlations of an image; the key makes it impossible to choose values that meet in one group.
    pub fn of(image: Image<'i>, key: HashKey) -> Self {
        Self {
            image,
            correlator: image.correlator(key),
            kept: Kept::default(),
            lines: JsonLines::default(),
            line: Vec::new(),
        }
    }

    /// A rule has fired on the event, of which this line was written; an empty one if none was.
    pub fn on_hit(
        &mut self,
        rule: u32,
        (fields, event, line): (&dyn Fields, &Event, &[u8]),
        moment: Moment,
        alert: &mut dyn FnMut(CorrelationAlert<'_>),
    ) {
        if !self.correlator.listens_to(rule) {
            return;
        }
        let Self { image, correlator, kept, lines, line: own } = self;
        if !kept.is_last(moment.number) {
            own.clear();
            if line.is_empty() {
                lines.write(event, own);
            }
            kept.add(moment.number, if line.is_empty() { own } else { line });
        }
        correlator.on_hit(rule, fields, moment, &mut |hit| tell(image, kept, hit, alert));
    }

    /// All events of before this time have been read.
    pub fn advance(&mut self, now_ns: u64, alert: &mut dyn FnMut(CorrelationAlert<'_>)) {
        let Self { image, correlator, kept, .. } = self;
        correlator.advance(now_ns, &mut |hit| tell(image, kept, hit, alert));
    }

    /// Whether something may fire without another event.
    pub fn is_waiting(&self) -> bool {
        self.correlator.is_waiting()
    }

    /// Events that they have listened to and that are still at hand.
    pub fn kept(&self) -> u64 {
        self.kept.sizes.len() as u64
    }

    /// The correlations that let groups or events go because their state was full, by their rules' positions, with how many.
    pub fn over_state(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.correlator.over_state()
    }

    /// What could not be done so far.
    pub fn limits(&self) -> CorrelationLimits {
        self.correlator.limits()
    }
}

impl Kept {
    fn is_last(&self, number: u64) -> bool {
        self.sizes.back().is_some_and(|(last, _)| *last == number)
    }

    fn add(&mut self, number: u64, line: &[u8]) {
        while self.sizes.len() >= KEPT_MAX || self.lines.len().saturating_add(line.len()) > KEPT_BYTES_MAX {
            let Some((_, size)) = self.sizes.pop_front() else { return };
            self.lines.drain(..size.min(self.lines.len()));
        }
        self.sizes.push_back((number, line.len()));
        self.lines.extend(line);
    }

    fn get(&self, number: u64) -> Option<Event> {
        let at = self.sizes.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let first: usize = self.sizes.range(..at).map(|(_, size)| *size).sum();
        let (_, size) = self.sizes.get(at)?;
        let line: Vec<u8> = self.lines.range(first..first.checked_add(*size)?).copied().collect();
        Event::from_json(&String::from_utf8_lossy(&line)).ok()
    }
}

fn tell(image: &Image<'_>, kept: &Kept, hit: Correlated<'_>, alert: &mut dyn FnMut(CorrelationAlert<'_>)) {
    let Some(rule) = image.rule(hit.rule).filter(|_| !image.is_silenced(hit.rule)) else { return };
    let stages = hit.events.iter().map(|event| StageEvent {
        stage: image.input_name(event.input),
        moment: event.moment,
        event: kept.get(event.moment.number),
    });
    alert(CorrelationAlert { rule, correlated: hit, stages: stages.collect() });
}

#[cfg(test)]
mod tests {
    use watertight_event::{Field, Kind, Outcome, Source};

    use super::*;

    fn event(path: &str) -> Event {
        Event::new(Kind::FileCreate, Outcome::Attempted, Source::BpfLsm, 7).with(Field::Path, path)
    }

    fn line(event: &Event) -> Vec<u8> {
        let mut line = Vec::new();
        JsonLines::default().write(event, &mut line);
        line
    }

    #[test]
    fn what_is_kept_is_the_event_that_was_written() {
        let mut kept = Kept::default();
        let odd = event("/tmp/\u{1b}[2J \"quoted\"\n");
        kept.add(3, &line(&event("/tmp/first")));
        kept.add(9, &line(&odd));
        assert!(kept.is_last(9) && !kept.is_last(3));
        assert_eq!((kept.get(3), kept.get(9)), (Some(event("/tmp/first")), Some(odd)));
        assert_eq!((kept.get(4), kept.get(10)), (None, None));
    }

    #[test]
    fn the_oldest_make_room_by_number_and_by_bytes() {
        let mut kept = Kept::default();
        let small = line(&event("/tmp/file"));
        for number in 0..=KEPT_MAX as u64 {
            kept.add(number, &small);
        }
        assert_eq!((kept.get(0), kept.get(1), kept.sizes.len()), (None, Some(event("/tmp/file")), KEPT_MAX));
        let large = event(&"x".repeat(KEPT_BYTES_MAX / 3));
        for number in 10_000..10_004 {
            kept.add(number, &line(&large));
            assert!(kept.lines.len() <= KEPT_BYTES_MAX);
        }
        assert_eq!((kept.get(10_001), kept.get(10_003)), (None, Some(large)));
        assert_eq!(kept.lines.len(), kept.sizes.iter().map(|(_, size)| size).sum::<usize>());
    }

    #[test]
    fn a_line_beyond_all_bounds_is_not_kept_and_takes_nothing_with_it_that_is_counted() {
        let mut kept = Kept::default();
        kept.add(1, &vec![b'x'; KEPT_BYTES_MAX + 1]);
        assert_eq!((kept.get(1), kept.lines.len(), kept.sizes.len()), (None, 0, 0));
    }
}
