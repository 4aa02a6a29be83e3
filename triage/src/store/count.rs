//! How many machines and how many crashes: both are told, because one machine that boots and crashes all day is one machine.

use rusqlite::params;
use serde::Serialize;

use super::{Store, StoreError};

/// A bucket with its counts.
#[derive(Clone, Debug, Serialize)]
pub struct Counted {
    /// The bucket's id.
    pub bucket: String,
    /// Machines that crashed.
    pub hosts: u64,
    /// Crashes.
    pub crashes: u64,
    /// The first, in seconds since 1970.
    pub first_s: i64,
    /// The last.
    pub last_s: i64,
    /// The class of the fault.
    #[serde(rename = "type")]
    pub class: String,
    /// The fault in one line.
    pub title: String,
}

/// A bucket in full.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its counts.
    #[serde(flatten)]
    pub counted: Counted,
    /// The bucket in words.
    pub key: String,
    /// Its family.
    pub family: String,
    /// How many places of how many builds it has.
    pub exact: u64,
    /// Ids that it had before.
    pub aliases: Vec<String>,
    /// Its stack, from the innermost call.
    pub calls: Vec<String>,
}

/// A piece of time and what happened in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// Its start, in seconds since 1970.
    pub at_s: i64,
    /// Crashes in it.
    pub crashes: u64,
    /// Machines that crashed in it.
    pub hosts: u64,
}

const COUNTED: &str = "SELECT b.id, count(DISTINCT c.host), count(*), min(c.at_s), max(c.at_s), b.class, b.title
    FROM bucket b JOIN crash c ON c.bucket = b.id";

impl Store {
    /// All buckets, those of most machines first.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn list(&self) -> Result<Vec<Counted>, StoreError> {
        let mut query = self.connection.prepare(&format!("{COUNTED} GROUP BY b.id ORDER BY 2 DESC, 3 DESC, b.id"))?;
        let rows = query.query_map([], counted)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One bucket in full, by its id, the start of it or an alias.
    ///
    /// # Errors
    /// When it is not there or the file can't be read.
    pub fn show(&self, named: &str) -> Result<Shown, StoreError> {
        let id = self.bucket_id(named)?;
        let counted = self.connection.query_row(&format!("{COUNTED} WHERE b.id = ?1 GROUP BY b.id"), [&id], counted)?;
        let (key, family, calls): (String, String, String) =
            self.connection.query_row("SELECT key, family, calls FROM bucket WHERE id = ?1", [&id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let exact =
            self.connection
                .query_row("SELECT count(DISTINCT exact) FROM crash WHERE bucket = ?1", [&id], |row| row.get(0))?;
        let mut query = self.connection.prepare("SELECT old FROM alias WHERE bucket = ?1 ORDER BY old")?;
        let aliases = query.query_map([&id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Shown { counted, key, family, exact, aliases, calls: calls.lines().map(str::to_owned).collect() })
    }

    /// Crashes over time, of one bucket or of all, in pieces of so many seconds; empty pieces are not among them.
    ///
    /// # Errors
    /// When the bucket is not there or the file can't be read.
    pub fn chart(&self, named: Option<&str>, slot_s: i64) -> Result<Vec<Slot>, StoreError> {
        let id = named.map(|named| self.bucket_id(named)).transpose()?;
        let mut query = self.connection.prepare(
            "SELECT at_s - ((at_s % ?2) + ?2) % ?2, count(*), count(DISTINCT host) FROM crash WHERE ?1 IS NULL OR bucket = ?1 GROUP BY 1 ORDER BY 1",
        )?;
        let rows = query.query_map(params![id, slot_s.max(1)], |row| {
            Ok(Slot { at_s: row.get(0)?, crashes: row.get(1)?, hosts: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn counted(row: &rusqlite::Row<'_>) -> rusqlite::Result<Counted> {
    Ok(Counted {
        bucket: row.get(0)?,
        hosts: row.get(1)?,
        crashes: row.get(2)?,
        first_s: row.get(3)?,
        last_s: row.get(4)?,
        class: row.get(5)?,
        title: row.get(6)?,
    })
}
