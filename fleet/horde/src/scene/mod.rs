//! What is measured: a scene a file, each with what it found as JSON and as a sentence.

pub mod closed;
pub mod enrol;
pub mod faults;
pub mod held;
pub mod open;
pub mod storm;

use crate::operator::Counters;

/// How often the database was used in a scene, by the server's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DatabaseUses {
    /// Questions.
    pub reads: u64,
    /// Changes, each of one or many rows.
    pub changes: u64,
}

impl DatabaseUses {
    fn between(before: &Counters, after: &Counters) -> Self {
        Self {
            reads: after.database_reads.saturating_sub(before.database_reads),
            changes: after.database_changes.saturating_sub(before.database_changes),
        }
    }
}

/// So many in a second.
fn per_s(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}
