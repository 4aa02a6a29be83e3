//! One event: its kind, how it ended, where it came from, and the fields that its source could fill.

use std::cell::RefCell;

use crate::{Field, Kind, Value};

/// How far the operation got when it was seen. An LSM hook runs before the operation, so it can only say `attempted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Seen before it was carried out; it may still fail.
    Attempted,
    /// It was carried out.
    Done,
    /// It was refused by us.
    Denied,
    /// The source does not say.
    Unknown,
}

impl Outcome {
    /// The name in native JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attempted => "attempted",
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Attempted, Self::Done, Self::Denied, Self::Unknown].into_iter().find(|outcome| outcome.name() == name)
    }
}

/// Which mechanism delivered the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// BPF program on an LSM hook.
    BpfLsm,
    /// BPF program on a kernel tracepoint.
    TpBtf,
    /// BPF iterator: a process that was there already.
    Iterator,
    /// fanotify filesystem marks.
    Fanotify,
    /// The kernel's process connector.
    ProcConnector,
    /// Reading /proc at intervals.
    ProcPoll,
    /// Asking for open sockets at intervals.
    SockDiag,
    /// inotify on named folders.
    Inotify,
    /// The sensor itself.
    Sensor,
}

impl Source {
    /// Every source.
    pub const ALL: &'static [Self] = &[
        Self::BpfLsm,
        Self::TpBtf,
        Self::Iterator,
        Self::Fanotify,
        Self::ProcConnector,
        Self::ProcPoll,
        Self::SockDiag,
        Self::Inotify,
        Self::Sensor,
    ];

    /// The name in native JSON and in the matrix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BpfLsm => "bpf-lsm",
            Self::TpBtf => "tp_btf",
            Self::Iterator => "iterator",
            Self::Fanotify => "fanotify",
            Self::ProcConnector => "proc-connector",
            Self::ProcPoll => "proc-poll",
            Self::SockDiag => "sock-diag",
            Self::Inotify => "inotify",
            Self::Sensor => "sensor",
        }
    }

    /// The source with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|source| source.name() == name)
    }
}

/// Fields that an event has room for at once: those of a process with its parent, and of a file.
const FIELDS_USUAL: usize = 40;

/// Memory of events that are gone, kept for the next ones of the thread: it is more than the allocator keeps at hand.
const SPARE_MAX: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Vec<(Field, Value)>>> = const { RefCell::new(Vec::new()) };
}

fn spare_fields() -> Vec<(Field, Value)> {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
    spare.unwrap_or_else(|| Vec::with_capacity(FIELDS_USUAL))
}

impl Drop for Event {
    fn drop(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        if fields.capacity() != 0 {
            // A thread that is ending has no such memory any more: it is then freed.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < SPARE_MAX {
                    spare.push(fields);
                }
            });
        }
    }
}

/// Something that happened on the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// How far it got.
    pub outcome: Outcome,
    /// Which mechanism saw it.
    pub source: Source,
    /// Nanoseconds since boot (CLOCK_BOOTTIME) at the hook, or at reading where the source gives no time.
    pub boot_ns: u64,
    /// Nanoseconds since 1970, from `boot_ns` and the clock of the machine; 0 until enriched.
    pub unix_ns: u64,
    /// Processor and its sequence number, where the source counts.
    pub sequence: Option<(u32, u64)>,
    /// Fields in order of [`Field`], each at most once.
    fields: Vec<(Field, Value)>,
    present: Present,
}

/// A bit for each field that is there: where a field lies is how many bits are below its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Present([u64; 2]);

const _: () = assert!(Field::ALL.len() <= 128, "a bit for each field");

impl Present {
    fn word_and_bit(field: Field) -> (usize, u64) {
        let number = field as usize;
        (number / 64 % 2, 1 << (number % 64))
    }

    fn has(self, field: Field) -> bool {
        let (word, bit) = Self::word_and_bit(field);
        self.0[word] & bit != 0
    }

    fn add(&mut self, field: Field) {
        let (word, bit) = Self::word_and_bit(field);
        self.0[word] |= bit;
    }

    fn below(self, field: Field) -> usize {
        let (word, bit) = Self::word_and_bit(field);
        let in_word = (self.0[word] & (bit - 1)).count_ones();
        let before = if word == 0 { 0 } else { self.0[0].count_ones() };
        (in_word + before) as usize // at most 128
    }
}

impl Event {
    /// An event without fields.
    #[must_use]
    pub fn new(kind: Kind, outcome: Outcome, source: Source, boot_ns: u64) -> Self {
        Self {
            kind,
            outcome,
            source,
            boot_ns,
            unix_ns: 0,
            sequence: None,
            fields: spare_fields(),
            present: Present::default(),
        }
    }

    /// The value of a field, if the source filled it.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&Value> {
        if !self.present.has(field) {
            return None;
        }
        self.fields.get(self.present.below(field)).map(|(_, value)| value)
    }

    /// Sets a field; a second value replaces the first.
    pub fn set(&mut self, field: Field, value: impl Into<Value>) {
        let value = value.into();
        if self.fields.last().is_none_or(|(last, _)| *last < field) {
            self.present.add(field);
            self.fields.push((field, value)); // most sources fill in the table's order
            return;
        }
        let place = self.present.below(field);
        if !self.present.has(field) {
            self.present.add(field);
            self.fields.insert(place, (field, value));
        } else if let Some(slot) = self.fields.get_mut(place) {
            slot.1 = value;
        }
    }

    /// Sets fields that come in the order of the table and behind all that are set: at a fraction of the cost. In any other
    /// order it is as if each were set by itself.
    pub fn set_all<const COUNT: usize>(&mut self, fields: [(Field, Value); COUNT]) {
        let last = self.fields.last().map(|(field, _)| *field);
        let is_behind = fields.first().is_none_or(|(first, _)| last.is_none_or(|last| last < *first));
        if !is_behind || !fields.is_sorted_by(|(left, _), (right, _)| left < right) {
            for (field, value) in fields {
                self.set(field, value);
            }
            return;
        }
        for (field, _) in &fields {
            self.present.add(*field);
        }
        self.fields.extend(fields);
    }

    /// Sets a field and returns the event, for building one in an expression.
    #[must_use]
    pub fn with(mut self, field: Field, value: impl Into<Value>) -> Self {
        self.set(field, value);
        self
    }

    /// The fields that are filled, in the order of the table.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.fields.iter().map(|(field, value)| (*field, value))
    }

    /// The value of a numeric field.
    #[must_use]
    pub fn number(&self, field: Field) -> Option<u64> {
        match self.get(field)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of a text field for display; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn text(&self, field: Field) -> Option<std::borrow::Cow<'_, str>> {
        match self.get(field)? {
            Value::Text(text) => Some(text.lossy()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(order: &[Field]) -> Event {
        let mut event = Event::new(Kind::FileCreate, Outcome::Done, Source::BpfLsm, 1);
        for field in order {
            event.set(*field, u64::from(*field as u8));
        }
        event
    }

    #[test]
    fn fields_set_in_any_order_lie_in_the_tables_and_are_found() {
        let forward: Vec<Field> = Field::ALL.to_vec();
        let backward: Vec<Field> = Field::ALL.iter().rev().copied().collect();
        let event = filled(&backward);
        assert_eq!(event, filled(&forward));
        for field in Field::ALL {
            assert_eq!(event.number(*field), Some(u64::from(*field as u8)));
        }
        assert_eq!(filled(&[Field::Message]).get(Field::Pid), None);
    }

    #[test]
    fn fields_set_together_are_as_if_each_were_set_by_itself() {
        let number = |field: Field| (field, Value::Number(u64::from(field as u8)));
        let mut event = Event::new(Kind::FileCreate, Outcome::Done, Source::BpfLsm, 1);
        event.set_all([number(Field::Pid), number(Field::Uid)]);
        event.set_all([number(Field::Tid), number(Field::Path)]); // one lies between those that are there
        event.set_all([number(Field::Size), number(Field::Dev)]); // not in order
        event.set_all([number(Field::Pid)]); // once more
        assert_eq!(event, filled(&[Field::Pid, Field::Tid, Field::Uid, Field::Path, Field::Dev, Field::Size]));
    }
}
