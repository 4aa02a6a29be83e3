//! Crashes counted over a fleet, in one SQLite file.
//!
//! A row is one crash of one machine at one time, with what it is compared by: release, content version, build of the system. The
//! same crash sent twice is one row. Buckets keep their words, and ids that other rules gave them before stay as aliases.

mod count;
mod lift;
mod merge;

use std::path::Path;

use rusqlite::{params, Connection, OptionalExtension as _, TransactionBehavior};

use crate::bucket;
use crate::report::{Report, Trust};

pub use count::{Counted, Shown, Slot};
pub use lift::{Associated, Estimate, DIMENSIONS};
pub use merge::Suggestion;

/// Version of the tables. A file with another is refused, so that nothing is counted by rules that it was not made for.
const SCHEMA: i64 = 1;

/// How long a writer waits for another one: a fleet's server and a command may use the same file.
const BUSY_MS: u64 = 10_000;

/// Calls of a stack that are kept for suggestions.
const CALLS_MAX: usize = 32;

/// Why the store can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The tables are of another version.
    #[error("the store has tables of version {found}, this program reads {SCHEMA}: use the program that made it, or another file")]
    OtherVersion {
        /// The version found.
        found: i64,
    },
    /// The file is some other program's.
    #[error("the file is a database of something else: give another file")]
    NotAStore,
    /// A bucket that is not there.
    #[error("no bucket {id}: `watertight crash list` names them")]
    NoBucket {
        /// What was asked for.
        id: String,
    },
}

/// Where and when a crash happened.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The machine.
    pub host: String,
    /// Seconds since 1970.
    pub at_s: i64,
    /// Which of the machine's boots it was; the same crash again in another boot is another crash.
    pub boot: String,
    /// Release of the sensor; empty for what a dump of its own says.
    pub release: String,
    /// Version of the content that was active; empty for what such a dump says.
    pub content: String,
    /// Build of the operating system; empty for what the report says.
    pub os_build: String,
}

/// Lines in which a dump of this product's own says its release and the content that was at work.
const RELEASE: &str = "SENSOR_VERSION";
const CONTENT: &str = "CONTENT_ID";

/// What a dump says in such a line; empty if it says nothing.
fn noted(report: &Report, name: &str) -> String {
    let said = report.facts.iter().find(|fact| fact.name == name);
    said.map(|fact| fact.value.clone()).unwrap_or_default()
}

/// A store of crashes.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is counted.
    New,
    /// The same crash of the same boot was there.
    Known,
    /// It has no bucket: no crash.
    NoCrash,
    /// It says nothing of its own: a panic that another crash led to, which is counted, or one that somebody asked for.
    Suppressed,
}

const TABLES: &str = "
CREATE TABLE bucket (
    id TEXT PRIMARY KEY, version TEXT NOT NULL, key TEXT NOT NULL, family TEXT NOT NULL, title TEXT NOT NULL, class TEXT NOT NULL,
    calls TEXT NOT NULL
) STRICT;
CREATE TABLE alias (old TEXT PRIMARY KEY, bucket TEXT NOT NULL REFERENCES bucket(id)) STRICT;
CREATE TABLE crash (
    bucket TEXT NOT NULL REFERENCES bucket(id), exact TEXT NOT NULL, host TEXT NOT NULL, boot TEXT NOT NULL, at_s INTEGER NOT NULL,
    release TEXT NOT NULL, content TEXT NOT NULL, os_build TEXT NOT NULL, digest TEXT NOT NULL, UNIQUE (host, boot, digest)
) STRICT;
CREATE INDEX crash_bucket ON crash (bucket, at_s);
";

impl Store {
    /// Opens the store, or makes it.
    ///
    /// # Errors
    /// When the file can't be used, is of another version or of another program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: i64 = change.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        match (found, tables) {
            (0, 0) => {
                change.execute_batch(TABLES)?;
                change.pragma_update(None, "user_version", SCHEMA)?;
            }
            (0, _) => return Err(StoreError::NotAStore),
            (SCHEMA, _) => {}
            (found, _) => return Err(StoreError::OtherVersion { found }),
        }
        change.commit()?;
        Ok(Self { connection })
    }

    /// Counts a report.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn add(&mut self, report: &Report, origin: &Origin) -> Result<Added, StoreError> {
        let Some(found) = &report.bucket else { return Ok(Added::NoCrash) };
        if report.suppressed {
            return Ok(Added::Suppressed);
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let or = |named: &str, told: String| if named.is_empty() { told } else { named.to_owned() };
        let os_build = or(&origin.os_build, text(&report.os_build));
        let release = or(&origin.release, noted(report, RELEASE));
        let content = or(&origin.content, noted(report, CONTENT));
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let alias: Option<String> =
            change.query_row("SELECT bucket FROM alias WHERE old = ?1", [&found.id], |row| row.get(0)).optional()?;
        let id = alias.unwrap_or_else(|| found.id.clone());
        change.execute(
            "INSERT INTO bucket VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            params![
                id,
                found.version,
                found.key,
                found.family,
                text(&report.title),
                text(&report.type_),
                calls(report).join("\n")
            ],
        )?;
        let added = change.execute(
            "INSERT INTO crash VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
            params![id, found.exact, origin.host, origin.boot, origin.at_s, release, content, os_build, digest(report)],
        )?;
        change.commit()?;
        Ok(if added > 0 { Added::New } else { Added::Known })
    }

    /// Makes one bucket's crashes another's, because other rules say that they are one. The old id stays as an alias and finds the
    /// new bucket.
    ///
    /// # Errors
    /// When one of the two is not there, or the file can't be written.
    pub fn rebucket(&mut self, old: &str, new: &str) -> Result<(), StoreError> {
        let (old, new) = (self.bucket_id(old)?, self.bucket_id(new)?);
        if old == new {
            return Ok(());
        }
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute("UPDATE crash SET bucket = ?2 WHERE bucket = ?1", [&old, &new])?;
        change.execute("UPDATE alias SET bucket = ?2 WHERE bucket = ?1", [&old, &new])?;
        change.execute("INSERT INTO alias VALUES (?1, ?2)", [&old, &new])?;
        change.execute("DELETE FROM bucket WHERE id = ?1", [&old])?;
        change.commit()?;
        Ok(())
    }

    /// The id of a bucket that is named by its id, the start of it, or an id that it had before.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn bucket_id(&self, named: &str) -> Result<String, StoreError> {
        let alias: Option<String> = self
            .connection
            .query_row("SELECT bucket FROM alias WHERE old = ?1", [named], |row| row.get(0))
            .optional()?;
        if let Some(id) = alias {
            return Ok(id);
        }
        let is_start = !named.is_empty() && named.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut query =
            self.connection.prepare("SELECT id FROM bucket WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2")?;
        let ids: Vec<String> = query.query_map([named], |row| row.get(0))?.collect::<Result<_, _>>()?;
        match ids.as_slice() {
            [id] if is_start => Ok(id.clone()),
            _ => Err(StoreError::NoBucket { id: named.to_owned() }),
        }
    }
}

/// The stack's functions, for suggestions.
fn calls(report: &Report) -> Vec<String> {
    let trusted = report.frames.iter().filter(|frame| frame.trust > Trust::Scan);
    trusted.filter_map(|frame| frame.function.as_deref()).take(CALLS_MAX).map(bucket::steady_name).collect()
}

/// The same for the same report, wherever the file lies.
fn digest(report: &Report) -> String {
    let frames: Vec<String> = report
        .frames
        .iter()
        .map(|frame| format!("{:?}{:?}{:?}", frame.ip, frame.function, frame.function_offset))
        .collect();
    let registers: Vec<String> =
        report.registers.iter().map(|(name, register)| format!("{name}={}", register.value)).collect();
    let access = report.access.as_ref().map(|access| access.address);
    bucket::id(&format!(
        "{:?} {:?} {:?} {:?} {access:?} {frames:?} {registers:?}",
        report.title, report.span, report.pid, report.cpu
    ))
}
