//! The embedded store: one SQLite file, written through one connection.
//!
//! Write-ahead log, `synchronous=FULL`: what was acknowledged survives a power cut. The file is looked through before it is used; one
//! that is damaged, of something else, or gone is refused with the mend, never begun anew.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, Transaction};

use super::rows::AuditEntry;
use super::{StateStore as _, StoreError};

mod calls;
mod records;
mod refused;
mod rollouts;

/// Marks the file as ours: "WTFL".
const APPLICATION_ID: i64 = 0x5754_464c;
/// Readers beside the writer: status page and operator API, never a check-in.
const READERS: u32 = 2;
const BUSY_S: u64 = 10;

const TABLES_THERE: &str = "SELECT count(*) FROM sqlite_schema";

/// The tables by version: each adds to those before it, and is never changed once a server was shipped with it. A new database and one
/// that grew with the product are made by the same words.
const TABLES: [&str; 5] = [
    include_str!("tables/1.sql"),
    include_str!("tables/2.sql"),
    include_str!("tables/3.sql"),
    include_str!("tables/4.sql"),
    include_str!("tables/5.sql"),
];
/// Version of the tables.
const SCHEMA: i64 = TABLES.len() as i64;

/// The store.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    reads: AtomicU64,
    changes: AtomicU64,
}

impl SqliteStore {
    /// Makes the tables in a file that is not there or empty.
    ///
    /// # Errors
    /// It holds something, or can't be written.
    pub async fn create(path: &Path) -> Result<Self, StoreError> {
        if path.exists() {
            refused::can_be_used(path)?;
        }
        let store = Self::connect(path, true).await?;
        let count: i64 = number(&store.writer, TABLES_THERE).await?;
        if count != 0 {
            return Err(StoreError::Failed { why: format!("{}: there is something already", path.display()) });
        }
        store.make_tables_after(0).await?;
        Ok(store)
    }

    /// Opens a file that `create` made, after looking it through, and brings its tables to this version. For the server, which has the
    /// folder for itself.
    ///
    /// # Errors
    /// It is not there, damaged, of a newer version or of another program.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let (store, version) = Self::look_through(path).await?;
        if version != SCHEMA {
            store.make_tables_after(version).await?;
        }
        Ok(store)
    }

    /// The same beside a server that may run: tables of another version are left to it.
    ///
    /// # Errors
    /// It is not there, damaged, of another version or of another program.
    pub async fn open_beside(path: &Path) -> Result<Self, StoreError> {
        let (store, version) = Self::look_through(path).await?;
        if version != SCHEMA {
            return Err(other_version(path, version, "start the server of this program once, which brings them to it"));
        }
        Ok(store)
    }

    /// A file that `create` made, and the version of its tables.
    async fn look_through(path: &Path) -> Result<(Self, i64), StoreError> {
        refused::is_file(path)?;
        let store = Self::connect(path, false).await.map_err(|error| refused::of_file(path, error))?;
        match store.version(path).await {
            Ok(version) => Ok((store, version)),
            Err(error) => {
                store.close().await; // by itself it would end at some later time, and take the log with it
                Err(refused::of_file(path, error))
            }
        }
    }

    /// The version of its tables, if they are whole and ours.
    async fn version(&self, path: &Path) -> Result<i64, StoreError> {
        let of: i64 = number(&self.writer, "PRAGMA application_id").await?;
        let version: i64 = number(&self.writer, "PRAGMA user_version").await?;
        if of != APPLICATION_ID {
            let is_blank = (of, version, number(&self.writer, TABLES_THERE).await?) == (0, 0, 0);
            return Err(if is_blank { refused::without_its_log(path) } else { refused::of_something_else(path) });
        }
        if !(1..=SCHEMA).contains(&version) {
            return Err(other_version(path, version, "use the program that wrote it last"));
        }
        let rows = sqlx::query("PRAGMA quick_check(1)").fetch_one(&self.writer).await.map_err(failed)?;
        let word: String = rows.try_get(0).map_err(failed)?;
        if word != "ok" {
            return Err(StoreError::Damaged { why: word });
        }
        Ok(version)
    }

    /// Makes the tables that came after a version, all or none of them.
    async fn make_tables_after(&self, version: i64) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        for tables in TABLES.iter().skip(usize::try_from(version).unwrap_or(0)) {
            sqlx::raw_sql(*tables).execute(&mut *change).await.map_err(failed)?;
        }
        let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}");
        sqlx::raw_sql(AssertSqlSafe(marks)).execute(&mut *change).await.map_err(failed)?;
        change.commit().await.map_err(failed)
    }

    async fn connect(path: &Path, may_create: bool) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(may_create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(BUSY_S));
        let pool = |count| {
            SqlitePoolOptions::new().max_connections(count).min_connections(1).idle_timeout(None).max_lifetime(None)
        };
        let writer = pool(1).connect_with(options.clone()).await.map_err(failed)?;
        let readers = pool(READERS).connect_lazy_with(options);
        Ok(Self { writer, readers, reads: AtomicU64::new(0), changes: AtomicU64::new(0) })
    }

    /// Bounds the file: a disk that is full, for tests and quotas.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn set_pages_max(&self, pages: u32) -> Result<(), StoreError> {
        let set = format!("PRAGMA max_page_count = {pages}");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&self.writer).await.map_err(failed)?;
        Ok(())
    }

    /// A change: the whole of it or nothing.
    async fn change(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let begin = || self.to_write().begin_with("BEGIN IMMEDIATE");
        match begin().await {
            // SQLite ends a change by itself when the disk is full, and the connection goes on counting it as begun: for good.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                let spoilt = self.writer.acquire().await.map_err(failed)?;
                let _ = spoilt.close().await; // what it says changes nothing: another takes its place
                begin().await.map_err(failed)
            }
            begun => begun.map_err(failed),
        }
    }

    /// What questions go to, counted.
    fn to_read(&self) -> &SqlitePool {
        self.reads.fetch_add(1, Relaxed);
        &self.readers
    }

    /// What changes go to, counted.
    fn to_write(&self) -> &SqlitePool {
        self.changes.fetch_add(1, Relaxed);
        &self.writer
    }
}

fn other_version(path: &Path, version: i64, mend: &str) -> StoreError {
    let why = format!("{}: tables of version {version}, this program's are {SCHEMA}: {mend}", path.display());
    StoreError::Missing { why }
}

async fn number(pool: &SqlitePool, question: &'static str) -> Result<i64, StoreError> {
    let row = sqlx::query(question).fetch_one(pool).await.map_err(failed)?;
    row.try_get(0).map_err(failed)
}

async fn log(change: &mut Transaction<'static, Sqlite>, entry: &AuditEntry) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO audit (at_ms, actor, action, subject, reason) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(stored(entry.at_ms))
        .bind(&entry.actor)
        .bind(&entry.action)
        .bind(&entry.subject)
        .bind(&entry.reason)
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    Ok(())
}

/// SQLite's numbers are signed; no count or time of ours reaches the last bit.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn told(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Result codes of SQLite: <https://www.sqlite.org/rescode.html>.
fn failed(error: sqlx::Error) -> StoreError {
    let why = error.to_string();
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        Some(13) => StoreError::Full { why },         // SQLITE_FULL
        Some(19) => StoreError::Taken,                // SQLITE_CONSTRAINT
        Some(11 | 26) => StoreError::Damaged { why }, // SQLITE_CORRUPT, SQLITE_NOTADB
        _ => StoreError::Failed { why },
    }
}

#[cfg(test)]
mod tests;
