//! What the supervisor tells the detector, one JSON line each, on its standard input: the set-up, processes that were there
//! before, `go`, and at the end the kernel's half of the accounts.

use serde::{Deserialize, Serialize};

use crate::account::HookCounts;

/// A ring that the detector inherits.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct InheritedRing {
    /// Place in [`Ring::ALL`](watertight_sensor_abi::Ring::ALL).
    pub ring: usize,
    /// Its descriptor.
    pub fd: i32,
    /// Size of its data, bytes.
    pub bytes: u32,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A readable line per event.
    Live,
    /// JSON Lines in the native form.
    #[default]
    Native,
    /// JSON Lines in Sigma names.
    Sigma,
    /// JSON Lines in ECS.
    Ecs,
    /// JSON Lines in OCSF.
    Ocsf,
}

/// Content that is handed to a detector.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Given {
    /// Memory with the image; unused where it comes through the mailbox.
    pub fd: i32,
    /// The slot that it is in.
    pub slot: String,
    /// Its id.
    pub id: String,
    /// The first 64 bits of that, by which detector and supervisor speak of it.
    pub word: u64,
    /// Name of the release.
    pub name: String,
    /// Its number.
    pub version: u64,
    /// Bytes of the image.
    pub image_bytes: u64,
    /// SHA-256 of the image.
    pub digest: String,
    /// Rules that were refused.
    pub refused: usize,
    /// Shipped rules whose place one of the user's took.
    pub replaced: usize,
}

/// First line.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Setup {
    /// Rings to drain.
    pub rings: Vec<InheritedRing>,
    /// Rings of builds that this one took the place of: read to their end before the others. Their programs are silent.
    #[serde(default)]
    pub previous: Vec<InheritedRing>,
    /// Page of counts that outlive the detector.
    pub tally_fd: i32,
    /// An earlier detector of this run died.
    pub is_restart: bool,
    /// How many of them did.
    pub deaths: u64,
    /// The guard's ring.
    pub verdicts: Option<InheritedRing>,
    /// Pipe from which events of the fallback sources come.
    pub events_fd: Option<i32>,
    /// Memory with the records of the processes that were there already.
    pub processes_fd: Option<i32>,
    /// The machine's boot id, without dashes.
    pub boot_id: String,
    /// How to write.
    pub format: Format,
    /// Colours are wanted.
    pub has_colour: bool,
    /// Standard output is a terminal that can show a live view.
    pub is_terminal: bool,
    /// Our other processes: the live view tells what all cost together.
    pub own_pids: Vec<u32>,
    /// Pipe that takes one byte when the user asks to quit at the terminal.
    pub quit_fd: Option<i32>,
    /// Pipe for what is to be reported, beside the output.
    #[serde(default)]
    pub records_fd: Option<i32>,
    /// The content to begin with; none where events are only collected.
    pub content: Option<Given>,
    /// Memory through which other content comes.
    pub mailbox_fd: i32,
    /// Actions of rules that may be asked for.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Socket by which they are.
    #[serde(default)]
    pub asks_fd: Option<i32>,
    /// The rings were filled by an earlier run: its half of the accounts is not known.
    pub is_adopted: bool,
}

/// What follows.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// A process that was there before, as a native event.
    Process(serde_json::Value),
    /// An event of the sensor itself, to be shown; at any time.
    Event(serde_json::Value),
    /// Everything has been said: begin.
    Go,
    /// Other content is in the mailbox: make it ready, and go over to it between two events. At any time.
    Content(Given),
    /// The content in force is in this slot from now on.
    Slot(String),
    /// The programs are detached: drain, write the summary, end.
    Stop {
        /// Counters by hook since the programs were loaded.
        kernel: Vec<HookCounts>,
        /// Sequence numbers that were used up, by ring and processor.
        sequences: Vec<Vec<u64>>,
        /// The guard's counters by hook since it was loaded.
        guard: Vec<HookCounts>,
        /// This run has loaded the guard.
        is_guard_new: bool,
        /// Seconds that the run took.
        seconds: f64,
    },
}
