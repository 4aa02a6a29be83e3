//! Working memory of an evaluation, kept between events so that none is allocated per event.
//!
//! Entries are stamped with the number of the event that wrote them; starting the next event is one increment instead of
//! clearing everything.

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::expression::Threads;
use crate::fold::fold_into;
use crate::image::Budget;
use crate::tally::Tally;
use crate::{Field, Fields, Texts, Value};

/// Text kept between events. One giant event must not leave the process fat for ever.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What is read of one value: of a longer one, the beginning and its last bytes. More than any command line that a kernel hands
/// over whole in practice, and little enough that what it costs can be told.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// What is read of the end of a longer value: more than the longest text that a rule may look for there.
pub const TAIL_BYTES: usize = 8 << 10;

/// What is read of all values of one field of an event.
pub const FIELD_BYTES_MAX: usize = 256 << 10;

/// What every value counts beside its bytes, so that many empty ones come to an end too.
const VALUE_COST_BYTES: usize = 32;

/// What expressions, patterns and such may cost for one event, in bytes that are compared, by which all else is weighed: less than two
/// milliseconds on a server of our day.
pub const WORK_BYTES_MAX: u64 = 2 << 20;

/// Most questions that are asked one by one for one event. Real rules ask some dozens.
pub const QUESTIONS_MAX: u32 = 16 << 10;

/// Working memory for `Plan::evaluate`: one per thread, reused for every event and every image.
#[derive(Debug, Default)]
pub struct Scratch {
    epoch: u32,
    slots: Vec<Slot>,
    values: Vec<Cached>,
    /// Every value of every field, when a keyword was asked for; the epoch says of which event.
    everything: Vec<Cached>,
    everything_epoch: u32,
    text: Vec<u8>,
    /// By predicate: its epoch, and whether it holds in the lowest bit. Bytes, so that they stay in a processor's cache.
    verdicts: Vec<u8>,
    verdict_epoch: u8,
    /// By rule: the epoch in which it became a candidate.
    rules: Vec<u32>,
    candidates: Vec<Candidate>,
    pub(crate) folded: Vec<u8>,
    pub(crate) threads: Threads,
    /// What may still be spent on this event.
    pub(crate) work: u64,
    /// Questions that may still be asked of this event.
    pub(crate) questions: u32,
    /// What is read of one field.
    pub(crate) field_bytes_max: usize,
    pub(crate) cuts: u32,
    /// Where the rule is noted that is looked at: its position, and one.
    trail: Option<&'static AtomicU64>,
    /// What rules cost, where somebody wants to know.
    tally: Option<Box<Tally>>,
}

/// A rule that might fire, and where its code begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) rule: u32,
    pub(crate) code: u32,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    epoch: u32,
    values: Range<usize>,
}

/// A value of the event at hand: as it is, and its text as written and folded.
#[derive(Clone, Debug)]
struct Cached {
    kind: Kind,
    raw: Range<usize>,
    folded: Range<usize>,
    /// The last bytes of a value that is not here whole, as written and folded.
    tails: Option<(Range<usize>, Range<usize>)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text,
}

/// The text of a value; of a long one its beginning and its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'s> {
    pub(crate) head: &'s [u8],
    /// The last bytes, if something is missing between.
    pub(crate) tail: Option<&'s [u8]>,
}

/// A cached value, ready to be tested.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'s> {
    pub(crate) value: Value<'s>,
    /// The text as written and folded, `None` for null.
    pub(crate) texts: Option<(Text<'s>, Text<'s>)>,
}

impl Scratch {
    /// Working memory that grows to what is needed on first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes here from now on which rule is looked at (its position, and one), so that whoever shares the word knows it of a
    /// process that died meanwhile.
    pub fn leave_trail(&mut self, trail: &'static AtomicU64) {
        self.trail = Some(trail);
    }

    /// This rule is looked at.
    #[inline]
    pub(crate) fn at_rule(&self, position: u32) {
        if let Some(trail) = self.trail {
            trail.store(u64::from(position).saturating_add(1), Ordering::Relaxed);
        }
    }

    /// The same, and it counts what each rule costs.
    #[must_use]
    pub fn counting() -> Self {
        Self { tally: Some(Box::default()), ..Self::default() }
    }

    /// What rules have cost since it was made; nothing where it does not count.
    #[must_use]
    pub fn tally(&self) -> Option<&Tally> {
        self.tally.as_deref()
    }

    /// Notes what the rule has cost, where that is counted; `work_left` is what was left before.
    #[inline]
    pub(crate) fn charge(&mut self, rule: u32, work_left: u64, outcome: Option<bool>) {
        if let Some(tally) = &mut self.tally {
            tally.charge(rule, work_left.saturating_sub(self.work), outcome);
        }
    }

    /// Notes that the rule at hand asks a question that nobody asked before.
    #[inline]
    pub(crate) fn count_question(&mut self) {
        if let Some(tally) = &mut self.tally {
            tally.questions = tally.questions.saturating_add(1);
        }
    }

    /// Forgets the event before and makes room for an image of this size.
    pub(crate) fn begin(&mut self, slots: usize, predicates: usize, rules: usize, budget: Budget) {
        self.values.clear();
        self.text.clear();
        self.candidates.clear();
        self.text.shrink_to(KEPT_BYTES_MAX);
        self.folded.shrink_to(KEPT_BYTES_MAX);
        self.work = budget.work_bytes_max;
        self.questions = budget.questions_max;
        self.field_bytes_max = budget.field_bytes_max;
        self.cuts = 0;
        self.epoch = self.epoch.checked_add(1).unwrap_or_else(|| {
            self.slots.clear();
            self.rules.clear();
            self.everything_epoch = 0;
            1
        });
        // The lowest bit of a stamp is the verdict.
        self.verdict_epoch = self.verdict_epoch.checked_add(2).unwrap_or_else(|| {
            self.verdicts.fill(0);
            2
        });
        if self.slots.len() < slots {
            self.slots.resize(slots, Slot::default());
        }
        if self.verdicts.len() < predicates {
            self.verdicts.resize(predicates, 0);
        }
        if self.rules.len() < rules {
            self.rules.resize(rules, 0);
        }
    }

    /// What was found for this predicate, if it was already asked of this event.
    #[inline]
    pub(crate) fn verdict(&self, predicate: u32) -> Option<bool> {
        let stamp = *self.verdicts.get(usize::try_from(predicate).ok()?)?;
        (stamp & !1 == self.verdict_epoch).then_some(stamp & 1 != 0)
    }

    /// Notes what was found; true if that is new.
    #[inline]
    pub(crate) fn remember(&mut self, predicate: u32, verdict: bool) -> bool {
        let stamp = self.verdict_epoch | u8::from(verdict);
        let place = usize::try_from(predicate).ok().and_then(|at| self.verdicts.get_mut(at));
        place.is_some_and(|place| std::mem::replace(place, stamp) != stamp)
    }

    /// Notes that the rule might fire.
    #[inline]
    pub(crate) fn add_candidate(&mut self, candidate: Candidate) {
        let Some(mark) = usize::try_from(candidate.rule).ok().and_then(|at| self.rules.get_mut(at)) else { return };
        if *mark != self.epoch {
            *mark = self.epoch;
            self.candidates.push(candidate);
        }
    }

    /// The candidates so far, given away: the next are collected anew.
    pub(crate) fn take_candidates(&mut self) -> Vec<Candidate> {
        std::mem::take(&mut self.candidates)
    }

    pub(crate) fn put_candidates(&mut self, mut candidates: Vec<Candidate>) {
        candidates.clear();
        self.candidates = candidates;
    }

    /// Whether the field was read from the event.
    #[inline]
    pub(crate) fn is_loaded(&self, slot: u16) -> bool {
        self.slots.get(usize::from(slot)).is_some_and(|slot| slot.epoch == self.epoch)
    }

    /// Reads the field from the event unless that was done.
    pub(crate) fn load(&mut self, event: &dyn Fields, field: Field<'_>) {
        let Self { epoch, slots, values, text, field_bytes_max, .. } = self;
        let Some(slot) = slots.get_mut(usize::from(field.slot)) else { return };
        if slot.epoch == *epoch {
            return;
        }
        let first = values.len();
        let mut room = Room::of(*field_bytes_max);
        event.get(field, &mut |value| {
            if room.takes(value) {
                values.push(cache(value, text));
            }
        });
        *slot = Slot { epoch: *epoch, values: first..values.len() };
    }

    /// Reads every value of every field from the event unless that was done.
    pub(crate) fn load_everything(&mut self, event: &dyn Fields) {
        if self.everything_epoch == self.epoch {
            return;
        }
        self.everything_epoch = self.epoch;
        let Self { everything, text, field_bytes_max, .. } = self;
        everything.clear();
        let mut room = Room::of(*field_bytes_max);
        event.all(&mut |_, _, value| {
            if room.takes(value) {
                everything.push(cache(value, text));
            }
        });
    }

    /// Every value of every field, after `load_everything`.
    pub(crate) fn seen_everything(&self) -> impl Iterator<Item = Seen<'_>> {
        self.everything.iter().map(|cached| open(&self.text, cached))
    }

    /// The field's values, after `load`.
    pub(crate) fn seen(&self, slot: u16) -> impl Iterator<Item = Seen<'_>> {
        let range = self.slots.get(usize::from(slot)).map_or(0..0, |slot| slot.values.clone());
        self.values.get(range).unwrap_or_default().iter().map(|cached| open(&self.text, cached))
    }
}

/// What may still be read of a field.
pub(crate) struct Room(usize);

impl Room {
    /// Room for so many bytes.
    pub(crate) fn of(size_bytes: usize) -> Self {
        Self(size_bytes)
    }

    /// Whether there is room for all of these, of which none is cut.
    pub(crate) fn takes_all(&self, texts: Texts<'_>) -> bool {
        let size = texts.bytes.len();
        size <= VALUE_BYTES_MAX && size.saturating_add(texts.values.saturating_mul(VALUE_COST_BYTES)) <= self.0
    }

    /// Whether there is room for the value; what of it is read, not all of it, is what it takes.
    pub(crate) fn takes(&mut self, value: Value<'_>) -> bool {
        let size = match value {
            Value::Text(text) => text.len().min(VALUE_BYTES_MAX),
            _ => 0,
        };
        match self.0.checked_sub(size.saturating_add(VALUE_COST_BYTES)) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

fn open<'s>(text: &'s [u8], cached: &Cached) -> Seen<'s> {
    let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    let (raw, folded) = (part(&cached.raw), part(&cached.folded));
    let value = match cached.kind {
        Kind::Null => return Seen { value: Value::Null, texts: None },
        Kind::Bool(truth) => Value::Bool(truth),
        Kind::Int(number) => Value::Int(number),
        Kind::Real(number) => Value::Real(number),
        Kind::Text => Value::Text(raw),
    };
    let (raw_tail, folded_tail) = cached.tails.as_ref().map(|(raw, folded)| (part(raw), part(folded))).unzip();
    Seen { value, texts: Some((Text { head: raw, tail: raw_tail }, Text { head: folded, tail: folded_tail })) }
}

/// The beginning of a text, and of a longer one its last bytes.
pub(crate) fn ends(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.split_at_checked(VALUE_BYTES_MAX) {
        Some((head, rest)) if !rest.is_empty() => (head, text.get(text.len().saturating_sub(TAIL_BYTES)..)),
        _ => (text, None),
    }
}

fn cache(value: Value<'_>, text: &mut Vec<u8>) -> Cached {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(truth) => Kind::Bool(truth),
        Value::Int(number) => Kind::Int(number),
        Value::Real(number) => Kind::Real(number),
        Value::Text(_) => Kind::Text,
    };
    let Value::Text(bytes) = value else {
        let from = text.len();
        write_text(value, text);
        let raw = from..text.len();
        return Cached { kind, folded: raw.clone(), raw, tails: None };
    };
    let mut both = |bytes: &[u8]| {
        let from = text.len();
        text.extend_from_slice(bytes);
        let raw = from..text.len();
        fold_into(bytes, text);
        let folded = raw.end..text.len();
        (raw, folded)
    };
    let (head, tail) = ends(bytes);
    let (raw, folded) = both(head);
    Cached { kind, raw, folded, tails: tail.map(both) }
}

/// Decimal digits of the longest number.
const DIGITS_MAX: usize = 20;

/// Appends the number's digits. Events are full of numbers, and formatting by the standard library takes several times as long.
fn write_number(number: i64, text: &mut Vec<u8>) {
    if number < 0 {
        text.push(b'-');
    }
    let mut digits = [0_u8; DIGITS_MAX];
    let (mut rest, mut count) = (number.unsigned_abs(), 0_usize);
    for digit in digits.iter_mut().rev() {
        // Below ten.
        *digit = b'0'.wrapping_add(u8::try_from(rest % 10).unwrap_or(0));
        (rest, count) = (rest / 10, count.saturating_add(1));
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(digits.get(DIGITS_MAX.saturating_sub(count)..).unwrap_or_default());
}

/// Appends the value as text patterns see it.
pub(crate) fn write_text(value: Value<'_>, text: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = match value {
        Value::Null => Ok(()),
        Value::Bool(truth) => write!(text, "{truth}"),
        Value::Int(number) => {
            write_number(number, text);
            Ok(())
        }
        Value::Real(number) => write!(text, "{number}"),
        Value::Text(bytes) => text.write_all(bytes),
    };
}
