//! What the server must not forget, behind one trait, so that a second store can take SQLite's place in a larger fleet. `contract` is
//! what every store must do; a store without it passing is none.

#[cfg(test)]
mod contract;
mod rows;
pub mod sqlite;

use std::path::Path;

use async_trait::async_trait;
use watertight_fleet_wire::records::Batch;

pub use rows::{
    AuditEntry, AuditRow, BucketRow, CrashSlot, DecisionRow, Down, Dropped, DroppedRow, EnrolToken, Enrolled,
    Enrolment, EvidenceRow, HostRow, JournalRow, Kept, OperatorToken, RolloutRow, Seen, SeenRow, TokenRefusal, HOUR_MS,
};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room. Nothing was changed.
    #[error("the disk of the state folder is full: {why}; make room, the server goes on by itself")]
    Full {
        /// In the store's words.
        why: String,
    },
    /// What is on disk is damaged.
    #[error(
        "the database is damaged: {why}; stop the server and put back the newest of the folder `backups` as `state.db` (without its \
         `-wal` and `-shm`); hosts that were enrolled since then enrol again"
    )]
    Damaged {
        /// In the store's words.
        why: String,
    },
    /// The database is not there, though it was.
    #[error("{why}")]
    Missing {
        /// What, and the mend.
        why: String,
    },
    /// There is no such row.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Something of that name is there.
    #[error("there is one of that name: take another, or revoke it first")]
    Taken,
    /// Nobody would be left who may give out tokens.
    #[error(
        "{name} is the last admin: make another first, here or by `watertight server operator --role admin` on the server's machine"
    )]
    LastAdmin {
        /// Who.
        name: String,
    },
    /// Anything else.
    #[error("the database: {why}")]
    Failed {
        /// In the store's words.
        why: String,
    },
}

/// How often the store was used: what shows that a steady check-in costs it nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUses {
    /// Questions. What a change reads for itself is in it as a change.
    pub reads: u64,
    /// Changes, each of one or many rows.
    pub changes: u64,
}

/// The state of a fleet. Every change is durable when its call returns, and either whole or not at all.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// All hosts: read once, at the start.
    async fn hosts(&self) -> Result<Vec<HostRow>, StoreError>;

    /// Makes a token for enrolment.
    async fn put_enrol_token(&self, token: &EnrolToken, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Takes a token for a host. The same key with the same token is the same host, so that a lost answer costs nothing; with another
    /// token it is refused, and so is the key of a revoked host, for good.
    async fn enrol(&self, enrolment: &Enrolment) -> Result<Enrolled, StoreError>;

    /// Gives a host another certificate; the one before stays good until this one is used.
    async fn renew(&self, host: &str, serial: &str, before: &str, not_after_ms: u64) -> Result<(), StoreError>;

    /// What hosts said last: many at once, in one change.
    async fn put_seen(&self, rows: &[SeenRow]) -> Result<(), StoreError>;

    /// Revokes a host. Once is enough.
    async fn revoke(&self, host: &str, at_ms: u64, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Notes that a host has a clone.
    async fn mark_cloned(&self, host: &str, at_ms: u64, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Keeps the records of a batch that are not there yet, and what the host lost as far as it is new.
    async fn put_records(&self, host: &str, received_ms: u64, batch: &Batch) -> Result<Kept, StoreError>;

    /// What hosts lost since they were enrolled, in one row for each boot: read once, at the start.
    async fn dropped(&self) -> Result<Vec<DroppedRow>, StoreError>;

    /// What they told as lost in each hour that began at this time or later: read once, at the start.
    async fn dropped_by_hour(&self, since_ms: u64) -> Result<Vec<(u64, DroppedRow)>, StoreError>;

    /// Crash buckets with crashes since a time, those of most hosts first.
    async fn buckets(&self, since_ms: u64, limit: u32) -> Result<Vec<BucketRow>, StoreError>;

    /// Crash buckets that hosts had since a time with other content than this, and when last, the newest first.
    async fn buckets_without(&self, content: &str, since_ms: u64, limit: u32)
        -> Result<Vec<(String, u64)>, StoreError>;

    /// Crashes since a time, by slots of a length.
    async fn crash_slots(&self, since_ms: u64, slot_ms: u64) -> Result<Vec<CrashSlot>, StoreError>;

    /// Forgets records received before a time.
    async fn prune_records(&self, before_ms: u64) -> Result<u64, StoreError>;

    /// The generation of the desired state.
    async fn generation(&self) -> Result<u64, StoreError>;

    /// Sets it; `what` is what it stands for.
    async fn set_generation(&self, generation: u64, what: &str) -> Result<(), StoreError>;

    /// What the generation stands for.
    async fn generation_of(&self) -> Result<String, StoreError>;

    /// All rollouts, the oldest first.
    async fn rollouts(&self) -> Result<Vec<RolloutRow>, StoreError>;

    /// Begins a rollout with the first entry of its journal. `Taken` if there is one of that number.
    async fn put_rollout(&self, row: &RolloutRow, first: &JournalRow, audit: &AuditEntry) -> Result<(), StoreError>;

    /// What moved a rollout, in order.
    async fn journal(&self, rollout: u64) -> Result<Vec<JournalRow>, StoreError>;

    /// Moves a rollout on, with what was decided by it. `Taken` if another has appended at that place: nothing of this is kept then.
    async fn append(
        &self,
        rollout: u64,
        row: &JournalRow,
        decisions: &[DecisionRow],
        audit: &[AuditEntry],
    ) -> Result<(), StoreError>;

    /// What was decided in a rollout, the newest first.
    async fn decisions(&self, rollout: u64, limit: u32) -> Result<Vec<DecisionRow>, StoreError>;

    /// What was said of rings, each as JSON.
    async fn ring_policies(&self) -> Result<Vec<(String, String)>, StoreError>;

    /// Says it of a ring, in place of what was said before.
    async fn put_ring_policy(&self, ring: &str, policy: &str, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Records of crashes and health after this number, in the order in which they were taken.
    async fn evidence(&self, after: u64, limit: u32) -> Result<Vec<EvidenceRow>, StoreError>;

    /// The number of the newest of these.
    async fn newest_evidence(&self) -> Result<u64, StoreError>;

    /// Makes a token for people and programs. The name of one that was revoked can be given again; the audit log has both.
    async fn put_operator_token(&self, token: &OperatorToken, audit: &AuditEntry) -> Result<(), StoreError>;

    /// All of them that are not revoked.
    async fn operator_tokens(&self) -> Result<Vec<OperatorToken>, StoreError>;

    /// Revokes one, by its name; `LastAdmin` if no admin would be left. Once is enough.
    async fn revoke_operator_token(&self, name: &str, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Entries of the audit log with a number smaller than this, the newest first.
    async fn audit(&self, before: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError>;

    /// Whether there is room to take anything.
    async fn probe(&self) -> Result<(), StoreError>;

    /// A copy of all that is there, in a new file.
    async fn back_up(&self, to: &Path) -> Result<(), StoreError>;

    /// How often it was asked and changed since it was opened.
    fn uses(&self) -> StoreUses;

    /// Ends all use.
    async fn close(&self);
}
