//! One event: its kind, how it ended, where it came from, and the fields that its source could fill.

use crate::fields::Fields;
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
    fields: Fields,
}

impl Event {
    /// An event without fields.
    #[must_use]
    pub fn new(kind: Kind, outcome: Outcome, source: Source, boot_ns: u64) -> Self {
        Self { kind, outcome, source, boot_ns, unix_ns: 0, sequence: None, fields: Fields::new() }
    }

    /// The value of a field, if the source filled it.
    #[inline]
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&Value> {
        self.fields.get(field)
    }

    /// Whether the source filled the field.
    #[inline]
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.fields.get(field).is_some()
    }

    /// Sets a field; a second value replaces the first.
    #[inline]
    pub fn set(&mut self, field: Field, value: impl Into<Value>) {
        self.fields.set(field, value.into());
    }

    /// Sets a field and returns the event, for building one in an expression.
    #[must_use]
    pub fn with(mut self, field: Field, value: impl Into<Value>) -> Self {
        self.set(field, value);
        self
    }

    /// The fields that are filled, in the order of the table.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.fields.iter()
    }

    /// Those that tell of the process that acted.
    pub(crate) fn fields_of_process(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.fields.iter_to(Field::LAST_OF_PROCESS)
    }

    /// All others.
    pub(crate) fn fields_behind_process(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.fields.iter_behind(Field::LAST_OF_PROCESS)
    }

    /// Fields that are filled though the table does not give them to events of this kind. There must be none: the reference page
    /// and the names that rules may ask for are made from the table.
    pub fn foreign_fields(&self) -> impl Iterator<Item = Field> + '_ {
        self.fields_behind_process().map(|(field, _)| field).filter(|field| !self.kind.fields().contains(field))
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
