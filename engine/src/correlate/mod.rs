//! What several events make of one another: counts, distinct values, rules that fire together, sequences.
//!
//! Rules find (`on_hit`), and what they found waits until its time is settled (`advance`), so that events which were read out of
//! order are judged in the order in which they happened. One that comes later than that is judged at once, as if it had happened
//! then, and is counted. A correlation that fires is itself found by those that stand on it.
//!
//! All state lies in tables that are reserved when the correlator is made, as large as the image says (`capacity`). A full one
//! lets the oldest go, and counts what that loses (`CorrelationLimits`). Nothing goes through a whole window for an event.

mod account;
mod capacity;
mod front;
mod input;
mod key;
mod machine;
mod queue;
mod sequence;
mod slow;
mod slow_sequence;
mod table;
mod temporal;
mod window;

pub use account::{CorrelationAccount, CorrelationExplainer, InputSeen, Step, Told, UnderWay, Verdict};
pub use capacity::{capacity, Capacity};
pub use key::HashKey;

use crate::image::layout::PARTS_MAX;
use crate::image::Image;
use crate::Fields;
use front::Front;
use key::Digest;
use machine::Machine;

pub(crate) const PARTS: usize = PARTS_MAX as usize;

/// Most events that a hit names.
pub const EVENTS_SHOWN_MAX: usize = 16;

/// When something happened, and the number that the caller knows it by: no two events may have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds on the caller's clock.
    pub time_ns: u64,
    /// The caller's number of the event.
    pub number: u64,
}

/// An event that led to a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The input that it came by; `Image::input_name` says what people call it.
    pub input: u32,
    /// Which event.
    pub moment: Moment,
}

/// A correlation that fired.
#[derive(Clone, Copy, Debug)]
pub struct Correlated<'c> {
    /// The position of its rule.
    pub rule: u32,
    /// When: that of the event that completed it, or the end of a time that was waited for.
    pub moment: Moment,
    /// It fired because a time was over, not with an event; the number is then that of its last event.
    pub is_by_clock: bool,
    /// What was counted: events, values, inputs or stages.
    pub count: u64,
    /// Events that led to it, of many the last.
    pub events: &'c [Occurrence],
}

/// What correlations could not do within their bounds, since they were made. Each is a reason why something may not fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CorrelationLimits {
    /// Groups and sequences that were let go while they were still within their time, because their table was full.
    pub evicted_groups: u64,
    /// Events and values of a group that were let go, and sequences that an event was not held against: too many.
    pub cut_members: u64,
    /// Events that came after their time was settled: they were judged as if they had happened then.
    pub late_events: u64,
    /// Hits that lack a field that they are grouped by or measured in.
    pub incomplete_hits: u64,
    /// Hits that were judged before their time was settled, because too many waited.
    pub hurried_hits: u64,
    /// Hits of correlations that others which stand on them did not get: too many at once.
    pub dropped_hits: u64,
}

/// Something found, as it is judged: one event at one input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    input: u32,
    /// The input's position in its correlation.
    stage: u32,
    moment: Moment,
    parts: [Digest; PARTS],
    /// Of a field whose values are counted.
    value: Digest,
    /// Of a field that is measured, in thousandths.
    amount: i64,
}

/// A correlation that fired, before it is told.
pub(crate) struct Fired {
    parts: [Digest; PARTS],
    moment: Moment,
    count: u64,
    is_by_clock: bool,
}

/// The state of all correlations of an image.
#[derive(Debug)]
pub struct Correlator<'i>(Front<'i, Machine>);

/// What is done with a hit.
pub(crate) type OnHit<'h> = &'h mut dyn FnMut(Correlated<'_>);

impl<'i> Image<'i> {
    /// The state of this image's correlations, with nothing in it yet.
    #[must_use]
    pub fn correlator(&self, key: HashKey) -> Correlator<'i> {
        self.correlator_for(key, usize::MAX)
    }

    /// The same for no more than so many events: it reserves only what those can fill, and tells the same of them.
    #[must_use]
    pub fn correlator_for(&self, key: HashKey, events_max: usize) -> Correlator<'i> {
        Correlator(Front::new(*self, key, events_max))
    }
}

impl CorrelationLimits {
    /// What was let go because a state was full.
    fn let_go(&self) -> u64 {
        self.evicted_groups.saturating_add(self.cut_members)
    }
}

impl Correlator<'_> {
    /// Whether there is no correlation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a correlation listens to this rule.
    #[must_use]
    #[inline]
    pub fn listens_to(&self, rule: u32) -> bool {
        self.0.listens_to(rule)
    }

    /// Whether something may fire without another event, by `advance` alone.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.0.is_waiting()
    }

    /// What could not be done so far.
    #[must_use]
    pub fn limits(&self) -> CorrelationLimits {
        self.0.limits
    }

    /// The correlations that let groups or events go because their state was full, by their rules' positions, with how many.
    pub fn over_state(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.0.over_state()
    }

    /// A rule has fired on an event. What that makes fire is told by `advance`; here only if too much waits for it.
    pub fn on_hit(&mut self, rule: u32, event: &dyn Fields, moment: Moment, hit: OnHit<'_>) {
        self.0.on_hit(rule, event, moment, hit);
    }

    /// Everything up to this time has been read: it is judged, and what waited for a time until now fires.
    pub fn advance(&mut self, now_ns: u64, hit: OnHit<'_>) {
        self.0.advance(now_ns, hit);
    }
}

/// The bit of a part, a stage or an input.
pub(crate) fn bit(number: u32) -> u32 {
    1_u32.checked_shl(number).unwrap_or(0)
}
