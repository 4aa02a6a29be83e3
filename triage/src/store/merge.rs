//! Buckets that may be one bug. They are listed for a person to judge; nothing is merged by itself, because two bugs in one bucket
//! are found out much later than one bug in two.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Store, StoreError};
use crate::bucket::{similarity, MERGE_MIN};

/// Buckets that are compared with each other: those of most machines.
const BUCKETS_MAX: usize = 2_000;

/// Two buckets that may be one.
#[derive(Clone, Debug, Serialize)]
pub struct Suggestion {
    /// One.
    pub one: String,
    /// The other.
    pub other: String,
    /// How much their stacks are alike, from 0 to 1.
    pub similarity: f64,
    /// Title of the one.
    pub title: String,
    /// Title of the other.
    pub other_title: String,
}

impl Store {
    /// Pairs of buckets with stacks that are much alike, the most alike first.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn merge_suggestions(&self) -> Result<Vec<Suggestion>, StoreError> {
        let mut query = self.connection.prepare(
            "SELECT b.id, b.title, b.calls FROM bucket b JOIN crash c ON c.bucket = b.id GROUP BY b.id
             ORDER BY count(DISTINCT c.host) DESC, b.id LIMIT ?1",
        )?;
        let rows = query.query_map([i64::try_from(BUCKETS_MAX).unwrap_or(i64::MAX)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?;
        let buckets: Vec<(String, String, Vec<String>)> = rows
            .map(|row| row.map(|(id, title, calls)| (id, title, calls.lines().map(str::to_owned).collect())))
            .collect::<Result<_, _>>()?;
        let mut buckets_with: BTreeMap<String, usize> = BTreeMap::new();
        for (_, _, calls) in &buckets {
            let mut once: Vec<&String> = calls.iter().collect();
            once.sort_unstable();
            once.dedup();
            for call in once {
                let count = buckets_with.entry(call.clone()).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut found = Vec::new();
        for (at, (one, title, calls)) in buckets.iter().enumerate() {
            for (other, other_title, other_calls) in buckets.iter().skip(at.saturating_add(1)) {
                let alike = similarity(calls, other_calls, &buckets_with, buckets.len());
                if alike >= MERGE_MIN {
                    found.push(Suggestion {
                        one: one.clone(),
                        other: other.clone(),
                        similarity: alike,
                        title: title.clone(),
                        other_title: other_title.clone(),
                    });
                }
            }
        }
        found.sort_by(|one, other| other.similarity.total_cmp(&one.similarity));
        Ok(found)
    }
}
