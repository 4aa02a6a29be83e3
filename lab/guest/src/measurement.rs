//! What a benchmark is and what it measured: the part of the lab's protocol that both sides know.

use serde::{Deserialize, Serialize};

/// What watches the guest while the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensor {
    /// `watertight run`, every telemetry hook.
    Observe,
    /// The same with a policy applied.
    Enforce,
    /// Debian's auditd: exec and file watches.
    Auditd,
    /// Debian's bpftrace with its execsnoop.
    Execsnoop,
}

impl Sensor {
    /// In the order of the tables' columns.
    pub const ALL: [Self; 4] = [Self::Observe, Self::Enforce, Self::Auditd, Self::Execsnoop];

    /// As people say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observing",
            Self::Enforce => "enforcing",
            Self::Auditd => "auditd",
            Self::Execsnoop => "execsnoop",
        }
    }
}

/// What is done many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// fork, exec, exit and wait of a static program without libc.
    ExecBare,
    /// The same of /bin/true, which is linked dynamically.
    ExecTrue,
    /// A file is opened for reading and closed.
    OpenRead,
    /// A file is opened for writing and closed.
    OpenWrite,
    /// A TCP connection over loopback: connect, accept, close.
    Connect,
    /// 1 KB is written to an open file.
    Write,
    /// A C tree is compiled.
    Compile,
}

impl Workload {
    /// In the order of the tables' rows.
    pub const ALL: [Self; 7] =
        [Self::ExecBare, Self::ExecTrue, Self::OpenRead, Self::OpenWrite, Self::Connect, Self::Write, Self::Compile];

    /// As people say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExecBare => "fork+exec+exit, static without libc",
            Self::ExecTrue => "fork+exec+exit, /bin/true",
            Self::OpenRead => "open for reading, close",
            Self::OpenWrite => "open for writing, close",
            Self::Connect => "connect, accept, close",
            Self::Write => "write of 1 KB",
            Self::Compile => "compile of a C tree",
        }
    }
}

/// Whether the sensor was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Round {
    /// Not yet.
    Before,
    /// It was.
    With,
    /// No more.
    After,
}

/// One workload in one round. Processor time is virtual: a nanosecond is an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// What watched.
    pub sensor: Sensor,
    /// Whether it did.
    pub round: Round,
    /// What was done.
    pub workload: Workload,
    /// How many times.
    pub operations: u64,
    /// Processor time of the work itself, with everything that the kernel did in its place.
    pub cpu_ns: u64,
    /// Time that passed, less what the sensor's own processes used of it: with interrupts and what they start.
    pub busy_ns: u64,
    /// Processor time of the sensor's own processes, without what they use as time passes.
    pub sensor_ns: u64,
    /// What they use during the wait that follows the work when there was none before it.
    #[serde(default)]
    pub rest_ns: u64,
    /// Events that the sensor took, where it tells.
    pub events: Option<u64>,
    /// Events that it lost, where it tells.
    pub lost: Option<u64>,
}

/// The reader without a detector: what decoding a full ring costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderCost {
    /// What filled the rings.
    pub workload: Workload,
    /// Records read.
    pub records: u64,
    /// Processor time of the reader.
    pub cpu_ns: u64,
}

/// What one benchmark says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// A workload's cost.
    Measured(Measurement),
    /// The reader's cost alone.
    Reader(ReaderCost),
    /// A sensor can't be measured here, and why.
    Absent(Sensor, String),
}
