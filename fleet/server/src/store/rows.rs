//! What is stored, row by row.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use watertight_fleet_wire::checkin::State;
use watertight_fleet_wire::records::Stream;

use crate::roles::Role;

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRow {
    /// Its id, given at enrolment.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// Its ring.
    pub ring: String,
    /// Serial of its certificate.
    pub serial: String,
    /// Of the one before, as long as the newer was not used.
    pub serial_before: Option<String>,
    /// When the certificate ends.
    pub not_after_ms: u64,
    /// When it was enrolled.
    pub enrolled_ms: u64,
    /// When it was revoked.
    pub revoked_ms: Option<u64>,
    /// When two of it were noticed.
    pub cloned_ms: Option<u64>,
    /// What it said last.
    pub seen: Seen,
}

/// What a host said last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Seen {
    /// Number of its last check-in.
    pub sequence: u64,
    /// Which start of the agent.
    pub instance: String,
    /// Which boot.
    pub boot: String,
    /// When, on the server's clock; 0 if never.
    pub last_seen_ms: u64,
    /// When it is due again.
    pub promised_ms: u64,
    /// The generation that it has acted on.
    pub generation: u64,
    /// Digest of `state`.
    pub state_hash: String,
    /// Its clock minus the server's.
    pub clock_ahead_ms: i64,
    /// It said that it goes down, and has not been heard of since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<Down>,
    /// What it is and runs.
    pub state: State,
}

/// A host that goes down in good order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Down {
    /// When it said so.
    pub at_ms: u64,
    /// It comes back by itself.
    pub is_reboot: bool,
}

/// A host's `Seen`, to be written.
#[derive(Clone, Debug)]
pub struct SeenRow {
    /// Whose.
    pub host: String,
    /// What.
    pub seen: Seen,
}

/// A token for enrolment.
#[derive(Clone, Debug)]
pub struct EnrolToken {
    /// SHA-256; the token itself is nowhere.
    pub hash: String,
    /// Whose hosts.
    pub tenant: String,
    /// Into which ring.
    pub ring: String,
    /// How many hosts.
    pub uses: u32,
    /// Until when.
    pub expires_ms: u64,
}

/// A host that wants in.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// SHA-256 of the token.
    pub token_hash: String,
    /// SHA-256 of the host's public key.
    pub key_hash: String,
    /// The id it gets if it is new.
    pub host: String,
    /// Serial of the certificate it gets.
    pub serial: String,
    /// Its end.
    pub not_after_ms: u64,
    /// Now.
    pub now_ms: u64,
    /// What it says it is.
    pub state: State,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// It is in: new, or the same as before.
    Host(Box<HostRow>),
    /// The token is not good.
    Refused(TokenRefusal),
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// There is no such token.
    Unknown,
    /// Its time is over.
    Expired,
    /// As many hosts as it is for have used it.
    UsedUp,
    /// The host that this key enrolled was revoked.
    Revoked,
    /// The host that this key enrolled came by another token: two hosts of one key would be one machine in two rings.
    OtherToken,
}

/// A token for people and programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorToken {
    /// Who: the actor in the audit log.
    pub name: String,
    /// SHA-256.
    pub hash: String,
    /// What it may.
    pub role: Role,
}

/// A change: who, what, why. Never changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To whom.
    pub subject: String,
    /// Why.
    pub reason: String,
}

/// An entry of the audit log, in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// From 1; each has a greater one than those before.
    pub number: u64,
    /// What it says.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// Crashes that are one bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BucketRow {
    /// Its id.
    pub bucket: String,
    /// The fault in one line.
    pub title: String,
    /// Whether our own module is blamed.
    pub is_ours: bool,
    /// Hosts that crashed.
    pub hosts: u64,
    /// Crashes.
    pub crashes: u64,
    /// The first of them, as the server received it.
    pub first_ms: u64,
    /// The last.
    pub last_ms: u64,
    /// Content that ran in the last one; empty if none.
    pub content: String,
    /// Rule at work in the last one; empty if none is known.
    pub rule: String,
}

/// Crashes in a slot of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashSlot {
    /// Its start.
    pub at_ms: u64,
    /// Crashes.
    pub crashes: u64,
    /// Hosts that crashed.
    pub hosts: u64,
}

/// What the store tells losses by.
pub const HOUR_MS: u64 = 3_600_000;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Records that were not there yet.
    pub new: u64,
    /// Records that the host lost, and had not told of before.
    pub dropped: u64,
}

/// Records that hosts lost because their spools had no room, by stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dropped {
    /// What hosts say of their content.
    pub health: u64,
    /// Processes that died.
    pub crash: u64,
    /// Rules that fired.
    pub alert: u64,
}

impl Dropped {
    /// Adds records of a stream.
    pub fn add(&mut self, stream: Stream, records: u64) {
        let count = match stream {
            Stream::Health => &mut self.health,
            Stream::Crash => &mut self.crash,
            Stream::Alert => &mut self.alert,
            Stream::Unset => return,
        };
        *count = count.saturating_add(records);
    }

    /// Adds those of another.
    pub fn add_all(&mut self, other: &Self) {
        for (stream, records) in
            [(Stream::Health, other.health), (Stream::Crash, other.crash), (Stream::Alert, other.alert)]
        {
            self.add(stream, records);
        }
    }

    /// Of all streams.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.health.saturating_add(self.crash).saturating_add(self.alert)
    }

    /// In words, the gate's evidence first; empty if nothing was lost.
    #[must_use]
    pub fn in_words(&self) -> String {
        let part = |(count, what): (u64, &str)| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            _ => Some(format!("{count} {what}s")),
        };
        let counts = [(self.crash, "crash record"), (self.health, "health record"), (self.alert, "alert")];
        counts.into_iter().filter_map(part).collect::<Vec<_>>().join(" and ")
    }
}

/// Records of one stream that a host lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedRow {
    /// Whose.
    pub host: String,
    /// Of which stream.
    pub stream: Stream,
    /// How many.
    pub records: u64,
}

/// A rollout, as it is fixed at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutRow {
    /// Its number, from 1.
    pub number: u64,
    /// When it was started.
    pub started_ms: u64,
    /// Content, plan, hosts: `rollout::Spec` of `watertight-fleet`, as JSON.
    pub spec: String,
}

/// An entry of a rollout's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Its place: 0, 1, 2 and so on.
    pub number: u64,
    /// What moved the rollout, as JSON.
    pub entry: String,
}

/// A decision of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRow {
    /// When, on the server's clock.
    pub at_ms: u64,
    /// What, by which evidence, and why, as JSON.
    pub decision: String,
}

/// A record that the gate is to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceRow {
    /// Its number, in the order in which records were taken.
    pub number: u64,
    /// Whose.
    pub host: String,
    /// `Record` of the protocol.
    pub body: Vec<u8>,
}
