//! Health, crashes and alerts: batches of records, each with a number of its own within its stream of a boot.
//!
//! The key (host, boot, stream, sequence) makes a retry harmless: what is there already is not taken twice. The server acknowledges a
//! batch only when it is on disk; until then the agent keeps it. Each stream has its own numbers, so that a flood of alerts holds up no
//! crash.

mod fields;
mod packed;

use prost::{Enumeration, Message as _, Oneof};

use crate::limits::{BATCH_RECORDS_MAX, EVENT_BYTES_MAX, ID_BYTES_MAX, TEXT_BYTES_MAX};
use crate::protocol::Refused;

pub use packed::{pack, unpack};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Stream {
    /// None: a batch that does not say it is refused.
    Unset = 0,
    /// What a host says of its content.
    Health = 1,
    /// A process of ours, or the kernel, died.
    Crash = 2,
    /// A rule fired.
    Alert = 3,
}

/// Records of one stream of one boot of the host that sends it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// The kernel's boot id.
    #[prost(string, tag = "1")]
    pub boot: String,
    /// Which stream.
    #[prost(enumeration = "Stream", tag = "2")]
    pub stream: i32,
    /// Their numbers grow.
    #[prost(message, repeated, tag = "3")]
    pub records: Vec<Record>,
    /// Records of this stream and boot that the spool had no room for, so far.
    #[prost(uint64, tag = "4")]
    pub dropped: u64,
}

/// One record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// From 1, without gaps but for what was dropped.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// The host's clock, milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
    /// What happened; of the batch's stream.
    #[prost(oneof = "Body", tags = "3, 4, 5")]
    pub body: Option<Body>,
}

/// What happened.
#[derive(Clone, PartialEq, Oneof)]
pub enum Body {
    /// Of `Stream::Health`.
    #[prost(message, tag = "3")]
    Health(Health),
    /// Of `Stream::Crash`.
    #[prost(message, tag = "4")]
    Crash(Crash),
    /// Of `Stream::Alert`.
    #[prost(message, tag = "5")]
    Alert(Alert),
}

/// What a host says of its content.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Health {
    /// SHA-256 of the pack.
    #[prost(string, tag = "1")]
    pub content: String,
    /// What became of it.
    #[prost(enumeration = "Outcome", tag = "2")]
    pub outcome: i32,
    /// For how long it has run.
    #[prost(uint64, tag = "3")]
    pub watched_ms: u64,
    /// A metric of the gate whose threshold was crossed, by its name; empty if none was.
    #[prost(string, tag = "4")]
    pub metric: String,
    /// In words, for people.
    #[prost(string, tag = "5")]
    pub why: String,
}

/// What became of a content on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Outcome {
    /// Not said.
    Unknown = 0,
    /// Fetched and activated: the watch begins.
    Activated = 1,
    /// It runs after the watch.
    Healthy = 2,
    /// The host fell back to another.
    FellBack = 3,
    /// The host refused it.
    RefusedIt = 4,
    /// A metric's threshold was crossed while it ran.
    Crossed = 5,
}

/// A crash.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Crash {
    /// The bucket's id, as triage gives it.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The fault in one line.
    #[prost(string, tag = "2")]
    pub title: String,
    /// Whether a module of this product is blamed.
    #[prost(bool, tag = "3")]
    pub is_ours: bool,
    /// The content that ran; empty if none.
    #[prost(string, tag = "4")]
    pub content: String,
    /// The rule at work, where one is known.
    #[prost(string, tag = "5")]
    pub rule: String,
    /// Which process of ours, or `kernel`.
    #[prost(string, tag = "6")]
    pub worker: String,
    /// Version of the agent.
    #[prost(string, tag = "7")]
    pub agent_version: String,
}

/// A rule fired.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Alert {
    /// The rule's id.
    #[prost(string, tag = "1")]
    pub rule: String,
    /// Its title.
    #[prost(string, tag = "2")]
    pub title: String,
    /// Its level.
    #[prost(string, tag = "3")]
    pub level: String,
    /// The event, as JSON.
    #[prost(string, tag = "4")]
    pub event_json: String,
    /// The content that the rule is of.
    #[prost(string, tag = "5")]
    pub content: String,
}

/// The answer to a batch: all of it is on disk.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordsAnswer {
    /// Number of the batch's last record: it and all before it may leave the spool.
    pub acknowledged: u64,
    /// Records that were not there before.
    pub new: u64,
}

impl crate::protocol::Message for RecordsAnswer {}

impl Batch {
    /// What it is without the frame.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.encoded_len()
    }

    /// Reads a batch that is written in a protocol.
    ///
    /// # Errors
    /// It is no protobuf, has a field that is not known, or is out of bounds.
    pub fn read(protocol: u32, bytes: &[u8]) -> Result<Self, Refused> {
        fields::only_known(protocol, bytes, &fields::BATCH)?;
        let batch = Self::decode(bytes).map_err(|error| Refused::form(error.to_string()))?;
        batch.out_of_bounds().map_or(Ok(batch), |why| Err(Refused::form(why)))
    }

    /// What is out of bounds, by name: the same for who writes and who reads.
    #[must_use]
    pub fn out_of_bounds(&self) -> Option<String> {
        let stream = Stream::try_from(self.stream).unwrap_or(Stream::Unset);
        if stream == Stream::Unset {
            return Some(format!("stream {}: there is none", self.stream));
        }
        if self.boot.is_empty() || self.boot.len() > ID_BYTES_MAX {
            return Some(format!("boot: 1 to {ID_BYTES_MAX} bytes"));
        }
        if self.records.is_empty() || self.records.len() > BATCH_RECORDS_MAX {
            return Some(format!("{} records: 1 to {BATCH_RECORDS_MAX} are possible", self.records.len()));
        }
        let mut before = 0;
        for record in &self.records {
            if record.sequence <= before || i64::try_from(record.sequence).is_err() {
                return Some(format!("record {} after {before}: numbers grow, from 1", record.sequence));
            }
            before = record.sequence;
            if let Some(why) = record.out_of_bounds(stream) {
                return Some(format!("record {before}: {why}"));
            }
        }
        None
    }
}

impl Record {
    /// The record by itself, as it is kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// A record that was kept.
    ///
    /// # Errors
    /// It is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refused> {
        Self::decode(bytes).map_err(|error| Refused::form(error.to_string()))
    }

    fn out_of_bounds(&self, stream: Stream) -> Option<&'static str> {
        let is_long = |ids: &[&String], texts: &[&String]| {
            ids.iter().any(|id| id.len() > ID_BYTES_MAX) || texts.iter().any(|text| text.len() > TEXT_BYTES_MAX)
        };
        // A kind of record that came with a later protocol is left out whole by whoever writes in an older one, so this is no such record.
        let Some(body) = &self.body else { return Some("it has no body: health, crash or alert") };
        let (of, is_long) = match body {
            Body::Health(health) => (Stream::Health, is_long(&[&health.content, &health.metric], &[&health.why])),
            Body::Crash(crash) => (
                Stream::Crash,
                crash.bucket.is_empty()
                    || is_long(
                        &[&crash.bucket, &crash.content, &crash.rule, &crash.worker, &crash.agent_version],
                        &[&crash.title],
                    ),
            ),
            Body::Alert(alert) => (
                Stream::Alert,
                alert.event_json.len() > EVENT_BYTES_MAX
                    || is_long(&[&alert.rule, &alert.level, &alert.content], &[&alert.title]),
            ),
        };
        if of != stream {
            return Some("it is of another stream than its batch");
        }
        is_long.then_some("a text is missing or too long")
    }
}

#[cfg(test)]
mod tests;
