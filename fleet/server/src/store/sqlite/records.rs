//! Records: each once, by its key; crashes counted beside them, and what hosts lost.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row as _, Sqlite, Transaction};
use watertight_fleet_wire::records::{Batch, Body, Crash, Record, Stream};

use super::{failed, rollouts, stored, told};
use crate::store::{BucketRow, CrashSlot, DroppedRow, Kept, StoreError, HOUR_MS};

pub(super) async fn put(
    change: &mut Transaction<'static, Sqlite>,
    host: &str,
    received_ms: u64,
    batch: &Batch,
) -> Result<Kept, StoreError> {
    let mut new = 0;
    for record in &batch.records {
        if insert(change, host, received_ms, batch, record).await? {
            new += 1;
            rollouts::note(change, host, received_ms, record).await?;
            if let Some(Body::Crash(crash)) = &record.body {
                count(change, host, received_ms, crash).await?;
            }
        }
    }
    let dropped = note_dropped(change, host, received_ms, batch).await?;
    Ok(Kept { new, dropped })
}

/// A batch says how many were lost in its boot so far: what that is more than was told before is new. Gives how many.
async fn note_dropped(
    change: &mut Transaction<'static, Sqlite>,
    host: &str,
    received_ms: u64,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let count = stored(batch.dropped);
    if count == 0 {
        return Ok(0);
    }
    let before = sqlx::query("SELECT count FROM dropped WHERE host = ?1 AND boot = ?2 AND stream = ?3")
        .bind(host)
        .bind(&batch.boot)
        .bind(batch.stream)
        .fetch_optional(&mut **change)
        .await
        .map_err(failed)?;
    let before: i64 = before.map_or(Ok(0), |row| row.try_get(0)).map_err(failed)?;
    if count <= before {
        return Ok(0);
    }
    sqlx::query("INSERT INTO dropped VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET count = excluded.count")
        .bind(host)
        .bind(&batch.boot)
        .bind(batch.stream)
        .bind(count)
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    let more = count.saturating_sub(before);
    // A sum beyond the greatest number would be no whole one in SQLite, and refused for good.
    sqlx::query(
        "INSERT INTO dropped_hour VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET count = min(count, 9223372036854775807 - excluded.count) + excluded.count",
    )
    .bind(host)
    .bind(batch.stream)
    .bind(stored(received_ms / HOUR_MS * HOUR_MS))
    .bind(more)
    .execute(&mut **change)
    .await
    .map_err(failed)?;
    Ok(told(more))
}

pub(super) async fn dropped(pool: &SqlitePool) -> Result<Vec<DroppedRow>, StoreError> {
    let rows = sqlx::query("SELECT host, stream, count FROM dropped").fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(dropped_row).collect()
}

pub(super) async fn dropped_by_hour(pool: &SqlitePool, since_ms: u64) -> Result<Vec<(u64, DroppedRow)>, StoreError> {
    let rows = sqlx::query("SELECT host, stream, count, hour_ms FROM dropped_hour WHERE hour_ms >= ?1")
        .bind(stored(since_ms))
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    rows.iter().map(|row| Ok((told(row.try_get(3).map_err(failed)?), dropped_row(row)?))).collect()
}

fn dropped_row(row: &SqliteRow) -> Result<DroppedRow, StoreError> {
    let stream: i32 = row.try_get(1).map_err(failed)?;
    Ok(DroppedRow {
        host: row.try_get(0).map_err(failed)?,
        stream: Stream::try_from(stream).unwrap_or(Stream::Unset),
        records: told(row.try_get(2).map_err(failed)?),
    })
}

async fn insert(
    change: &mut Transaction<'static, Sqlite>,
    host: &str,
    received_ms: u64,
    batch: &Batch,
    record: &Record,
) -> Result<bool, StoreError> {
    let done = sqlx::query("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING")
        .bind(host)
        .bind(&batch.boot)
        .bind(batch.stream)
        .bind(stored(record.sequence))
        .bind(stored(received_ms))
        .bind(record.to_bytes())
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

async fn count(
    change: &mut Transaction<'static, Sqlite>,
    host: &str,
    received_ms: u64,
    crash: &Crash,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO crash VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
        .bind(&crash.bucket)
        .bind(stored(received_ms))
        .bind(host)
        .bind(&crash.title)
        .bind(crash.is_ours)
        .bind(&crash.content)
        .bind(&crash.rule)
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    Ok(())
}

pub(super) async fn buckets(pool: &SqlitePool, since_ms: u64, limit: u32) -> Result<Vec<BucketRow>, StoreError> {
    // Columns beside max() are those of the row that has it: a promise of SQLite.
    let rows = sqlx::query(
        "SELECT bucket, title, sum(is_ours) > 0, count(DISTINCT host), count(*), min(received_ms), content, rule, max(received_ms) \
         FROM crash WHERE received_ms >= ?1 GROUP BY bucket ORDER BY 4 DESC, 5 DESC, bucket LIMIT ?2",
    )
    .bind(stored(since_ms))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(BucketRow {
                bucket: row.try_get(0).map_err(failed)?,
                title: row.try_get(1).map_err(failed)?,
                is_ours: row.try_get(2).map_err(failed)?,
                hosts: told(row.try_get(3).map_err(failed)?),
                crashes: told(row.try_get(4).map_err(failed)?),
                first_ms: told(row.try_get(5).map_err(failed)?),
                content: row.try_get(6).map_err(failed)?,
                rule: row.try_get(7).map_err(failed)?,
                last_ms: told(row.try_get(8).map_err(failed)?),
            })
        })
        .collect()
}

pub(super) async fn buckets_without(
    pool: &SqlitePool,
    content: &str,
    since_ms: u64,
    limit: u32,
) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = sqlx::query(
        "SELECT bucket, max(received_ms) FROM crash WHERE received_ms >= ?1 AND content != ?2 GROUP BY bucket ORDER BY 2 DESC, 1 LIMIT ?3",
    )
    .bind(stored(since_ms))
    .bind(content)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    rows.iter().map(|row| Ok((row.try_get(0).map_err(failed)?, told(row.try_get(1).map_err(failed)?)))).collect()
}

pub(super) async fn crash_slots(pool: &SqlitePool, since_ms: u64, slot_ms: u64) -> Result<Vec<CrashSlot>, StoreError> {
    let rows = sqlx::query(
        "SELECT received_ms / ?2 * ?2, count(*), count(DISTINCT host) FROM crash WHERE received_ms >= ?1 GROUP BY 1 ORDER BY 1",
    )
    .bind(stored(since_ms))
    .bind(stored(slot_ms.max(1)))
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(CrashSlot {
                at_ms: told(row.try_get(0).map_err(failed)?),
                crashes: told(row.try_get(1).map_err(failed)?),
                hosts: told(row.try_get(2).map_err(failed)?),
            })
        })
        .collect()
}
