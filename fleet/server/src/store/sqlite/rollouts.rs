//! Rollouts: what is fixed, the journal that moves them, what was decided, and what the gate has still to hear.

use sqlx::sqlite::SqlitePool;
use sqlx::{Row as _, Sqlite, Transaction};
use watertight_fleet_wire::records::{Body, Record};

use super::{failed, stored, told};
use crate::store::{DecisionRow, EvidenceRow, JournalRow, RolloutRow, StoreError};

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<RolloutRow>, StoreError> {
    let rows = sqlx::query("SELECT number, started_ms, spec FROM rollout ORDER BY number")
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(RolloutRow {
                number: told(row.try_get(0).map_err(failed)?),
                started_ms: told(row.try_get(1).map_err(failed)?),
                spec: row.try_get(2).map_err(failed)?,
            })
        })
        .collect()
}

pub(super) async fn put(change: &mut Transaction<'static, Sqlite>, row: &RolloutRow) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO rollout (number, started_ms, spec) VALUES (?1, ?2, ?3)")
        .bind(stored(row.number))
        .bind(stored(row.started_ms))
        .bind(&row.spec)
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    Ok(())
}

pub(super) async fn journal(pool: &SqlitePool, rollout: u64) -> Result<Vec<JournalRow>, StoreError> {
    let rows = sqlx::query("SELECT number, entry FROM journal WHERE rollout = ?1 ORDER BY number")
        .bind(stored(rollout))
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(JournalRow { number: told(row.try_get(0).map_err(failed)?), entry: row.try_get(1).map_err(failed)? })
        })
        .collect()
}

pub(super) async fn append(
    change: &mut Transaction<'static, Sqlite>,
    rollout: u64,
    row: &JournalRow,
    decisions: &[DecisionRow],
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO journal (rollout, number, entry) VALUES (?1, ?2, ?3)")
        .bind(stored(rollout))
        .bind(stored(row.number))
        .bind(&row.entry)
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    for decision in decisions {
        sqlx::query("INSERT INTO decision (rollout, at_ms, decision) VALUES (?1, ?2, ?3)")
            .bind(stored(rollout))
            .bind(stored(decision.at_ms))
            .bind(&decision.decision)
            .execute(&mut **change)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

pub(super) async fn decisions(pool: &SqlitePool, rollout: u64, limit: u32) -> Result<Vec<DecisionRow>, StoreError> {
    let rows = sqlx::query("SELECT at_ms, decision FROM decision WHERE rollout = ?1 ORDER BY number DESC LIMIT ?2")
        .bind(stored(rollout))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(DecisionRow { at_ms: told(row.try_get(0).map_err(failed)?), decision: row.try_get(1).map_err(failed)? })
        })
        .collect()
}

/// A record that the gate is to hear; alerts are not.
pub(super) async fn note(
    change: &mut Transaction<'static, Sqlite>,
    host: &str,
    received_ms: u64,
    record: &Record,
) -> Result<(), StoreError> {
    if !matches!(record.body, Some(Body::Crash(_) | Body::Health(_))) {
        return Ok(());
    }
    sqlx::query("INSERT INTO evidence (host, received_ms, body) VALUES (?1, ?2, ?3)")
        .bind(host)
        .bind(stored(received_ms))
        .bind(record.to_bytes())
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    Ok(())
}

pub(super) async fn evidence(pool: &SqlitePool, after: u64, limit: u32) -> Result<Vec<EvidenceRow>, StoreError> {
    let rows = sqlx::query("SELECT number, host, body FROM evidence WHERE number > ?1 ORDER BY number LIMIT ?2")
        .bind(stored(after))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(EvidenceRow {
                number: told(row.try_get(0).map_err(failed)?),
                host: row.try_get(1).map_err(failed)?,
                body: row.try_get(2).map_err(failed)?,
            })
        })
        .collect()
}

pub(super) async fn newest_evidence(pool: &SqlitePool) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT coalesce(max(number), 0) FROM evidence").fetch_one(pool).await.map_err(failed)?;
    Ok(told(row.try_get(0).map_err(failed)?))
}
