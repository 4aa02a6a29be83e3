//! Each call of the store is one statement, or one change.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row as _, Sqlite, Transaction};
use watertight_fleet_wire::records::Batch;

use super::{failed, log, records, rollouts, stored, told, SqliteStore};
use crate::roles::Role;
use crate::store::{
    AuditEntry, AuditRow, BucketRow, CrashSlot, DecisionRow, DroppedRow, EnrolToken, Enrolled, Enrolment, EvidenceRow,
    HostRow, JournalRow, Kept, OperatorToken, RolloutRow, Seen, SeenRow, StateStore, StoreError, StoreUses,
    TokenRefusal,
};

const HOST: &str =
    "SELECT id, tenant, ring, serial, serial_before, not_after_ms, enrolled_ms, revoked_ms, cloned_ms, seen
    FROM host LEFT JOIN seen ON seen.host = host.id";
/// Whatever its token was. Stores may have several from before a key was that of one host.
const HOSTS_OF_KEY: &str =
    "SELECT id, tenant, ring, serial, serial_before, not_after_ms, enrolled_ms, revoked_ms, cloned_ms, seen, token_hash
    FROM host LEFT JOIN seen ON seen.host = host.id WHERE key_hash = ?1";

/// A name that is in use is left alone.
const PUT_OPERATOR: &str = "INSERT INTO operator_token (name, hash, role) VALUES (?1, ?2, ?3)
    ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, role = excluded.role, is_revoked = 0 WHERE is_revoked = 1";
const IS_LAST_ADMIN: &str = "SELECT 1 FROM operator_token WHERE name = ?1 AND role = 'admin' AND is_revoked = 0
    AND NOT EXISTS (SELECT 1 FROM operator_token WHERE name <> ?1 AND role = 'admin' AND is_revoked = 0)";

#[async_trait]
impl StateStore for SqliteStore {
    async fn hosts(&self) -> Result<Vec<HostRow>, StoreError> {
        let rows = sqlx::query(HOST).fetch_all(self.to_read()).await.map_err(failed)?;
        rows.iter().map(host).collect()
    }

    async fn put_enrol_token(&self, token: &EnrolToken, audit: &AuditEntry) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        sqlx::query("INSERT INTO enrol_token (hash, tenant, ring, uses, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)")
            .bind(&token.hash)
            .bind(&token.tenant)
            .bind(&token.ring)
            .bind(i64::from(token.uses))
            .bind(stored(token.expires_ms))
            .execute(&mut *change)
            .await
            .map_err(failed)?;
        log(&mut change, audit).await?;
        change.commit().await.map_err(failed)
    }

    async fn enrol(&self, enrolment: &Enrolment) -> Result<Enrolled, StoreError> {
        let mut change = self.change().await?;
        let enrolled = match of_key(&mut change, enrolment).await? {
            Known::Here(known) => enrol_again(&mut change, enrolment, *known).await?,
            Known::Refused(why) => Enrolled::Refused(why),
            Known::Nowhere => enrol_anew(&mut change, enrolment).await?,
        };
        change.commit().await.map_err(failed)?;
        Ok(enrolled)
    }

    async fn renew(&self, host: &str, serial: &str, before: &str, not_after_ms: u64) -> Result<(), StoreError> {
        let done =
            next_certificate(host, serial, before, not_after_ms).execute(self.to_write()).await.map_err(failed)?;
        there_was(done.rows_affected(), host)
    }

    async fn put_seen(&self, rows: &[SeenRow]) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        for row in rows {
            put_seen(&mut change, &row.host, &row.seen).await?;
        }
        change.commit().await.map_err(failed)
    }

    async fn revoke(&self, host: &str, at_ms: u64, audit: &AuditEntry) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE host SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1")
            .bind(host)
            .bind(stored(at_ms));
        self.audited(query, host, audit).await
    }

    async fn mark_cloned(&self, host: &str, at_ms: u64, audit: &AuditEntry) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE host SET cloned_ms = ?2 WHERE id = ?1").bind(host).bind(stored(at_ms));
        self.audited(query, host, audit).await
    }

    async fn put_records(&self, host: &str, received_ms: u64, batch: &Batch) -> Result<Kept, StoreError> {
        let mut change = self.change().await?;
        let kept = records::put(&mut change, host, received_ms, batch).await?;
        change.commit().await.map_err(failed)?;
        Ok(kept)
    }

    async fn dropped(&self) -> Result<Vec<DroppedRow>, StoreError> {
        records::dropped(self.to_read()).await
    }

    async fn dropped_by_hour(&self, since_ms: u64) -> Result<Vec<(u64, DroppedRow)>, StoreError> {
        records::dropped_by_hour(self.to_read(), since_ms).await
    }

    async fn buckets(&self, since_ms: u64, limit: u32) -> Result<Vec<BucketRow>, StoreError> {
        records::buckets(self.to_read(), since_ms, limit).await
    }

    async fn buckets_without(
        &self,
        content: &str,
        since_ms: u64,
        limit: u32,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        records::buckets_without(self.to_read(), content, since_ms, limit).await
    }

    async fn crash_slots(&self, since_ms: u64, slot_ms: u64) -> Result<Vec<CrashSlot>, StoreError> {
        records::crash_slots(self.to_read(), since_ms, slot_ms).await
    }

    async fn prune_records(&self, before_ms: u64) -> Result<u64, StoreError> {
        let mut change = self.change().await?;
        let mut gone = 0;
        for delete in [
            "DELETE FROM record WHERE received_ms < ?1",
            "DELETE FROM crash WHERE received_ms < ?1",
            "DELETE FROM evidence WHERE received_ms < ?1",
            "DELETE FROM dropped_hour WHERE hour_ms < ?1",
        ] {
            let done = sqlx::query(delete).bind(stored(before_ms)).execute(&mut *change).await.map_err(failed)?;
            gone = done.rows_affected().max(gone);
        }
        change.commit().await.map_err(failed)?;
        Ok(gone)
    }

    async fn generation(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT generation FROM desired").fetch_one(self.to_read()).await.map_err(failed)?;
        Ok(told(row.try_get(0).map_err(failed)?))
    }

    async fn set_generation(&self, generation: u64, what: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE desired SET generation = ?1, what = ?2")
            .bind(stored(generation))
            .bind(what)
            .execute(self.to_write())
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn generation_of(&self) -> Result<String, StoreError> {
        let row = sqlx::query("SELECT what FROM desired").fetch_one(self.to_read()).await.map_err(failed)?;
        row.try_get(0).map_err(failed)
    }

    async fn rollouts(&self) -> Result<Vec<RolloutRow>, StoreError> {
        rollouts::all(self.to_read()).await
    }

    async fn put_rollout(&self, row: &RolloutRow, first: &JournalRow, audit: &AuditEntry) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        rollouts::put(&mut change, row).await?;
        rollouts::append(&mut change, row.number, first, &[]).await?;
        log(&mut change, audit).await?;
        change.commit().await.map_err(failed)
    }

    async fn journal(&self, rollout: u64) -> Result<Vec<JournalRow>, StoreError> {
        rollouts::journal(self.to_read(), rollout).await
    }

    async fn append(
        &self,
        rollout: u64,
        row: &JournalRow,
        decisions: &[DecisionRow],
        audit: &[AuditEntry],
    ) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        rollouts::append(&mut change, rollout, row, decisions).await?;
        for entry in audit {
            log(&mut change, entry).await?;
        }
        change.commit().await.map_err(failed)
    }

    async fn decisions(&self, rollout: u64, limit: u32) -> Result<Vec<DecisionRow>, StoreError> {
        rollouts::decisions(self.to_read(), rollout, limit).await
    }

    async fn ring_policies(&self) -> Result<Vec<(String, String)>, StoreError> {
        let rows =
            sqlx::query("SELECT ring, policy FROM ring_policy").fetch_all(self.to_read()).await.map_err(failed)?;
        rows.iter().map(|row| Ok((row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?))).collect()
    }

    async fn put_ring_policy(&self, ring: &str, policy: &str, audit: &AuditEntry) -> Result<(), StoreError> {
        let put = "INSERT INTO ring_policy VALUES (?1, ?2) ON CONFLICT DO UPDATE SET policy = excluded.policy";
        self.audited(sqlx::query(put).bind(ring).bind(policy), ring, audit).await
    }

    async fn evidence(&self, after: u64, limit: u32) -> Result<Vec<EvidenceRow>, StoreError> {
        rollouts::evidence(self.to_read(), after, limit).await
    }

    async fn newest_evidence(&self) -> Result<u64, StoreError> {
        rollouts::newest_evidence(self.to_read()).await
    }

    async fn put_operator_token(&self, token: &OperatorToken, audit: &AuditEntry) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        let done = sqlx::query(PUT_OPERATOR)
            .bind(&token.name)
            .bind(&token.hash)
            .bind(token.role.name())
            .execute(&mut *change)
            .await
            .map_err(failed)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Taken);
        }
        log(&mut change, audit).await?;
        change.commit().await.map_err(failed)
    }

    async fn operator_tokens(&self) -> Result<Vec<OperatorToken>, StoreError> {
        let rows = sqlx::query("SELECT name, hash, role FROM operator_token WHERE is_revoked = 0")
            .fetch_all(self.to_read())
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let role: String = row.try_get(2).map_err(failed)?;
                let role = Role::of(&role).ok_or_else(|| StoreError::Damaged { why: format!("role {role:?}") })?;
                Ok(OperatorToken { name: row.try_get(0).map_err(failed)?, hash: row.try_get(1).map_err(failed)?, role })
            })
            .collect()
    }

    async fn revoke_operator_token(&self, name: &str, audit: &AuditEntry) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        let others = sqlx::query(IS_LAST_ADMIN).bind(name).fetch_optional(&mut *change).await.map_err(failed)?;
        if others.is_some() {
            return Err(StoreError::LastAdmin { name: name.to_owned() });
        }
        let revoke = "UPDATE operator_token SET is_revoked = 1 WHERE name = ?1";
        let done = sqlx::query(revoke).bind(name).execute(&mut *change).await.map_err(failed)?;
        there_was(done.rows_affected(), name)?;
        log(&mut change, audit).await?;
        change.commit().await.map_err(failed)
    }

    async fn audit(&self, before: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let query = "SELECT at_ms, actor, action, subject, reason, number FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
        let rows = sqlx::query(query)
            .bind(stored(before))
            .bind(i64::from(limit))
            .fetch_all(self.to_read())
            .await
            .map_err(failed)?;
        rows.iter().map(entry).collect()
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // Writes what is there already: a page of the log, which a full disk refuses.
        let done = sqlx::query("UPDATE desired SET generation = generation").execute(self.to_write()).await;
        done.map_err(failed).map(|_| ())
    }

    async fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_str().ok_or_else(|| StoreError::Failed { why: "the backup's path is no text".to_owned() })?;
        sqlx::query("VACUUM INTO ?1").bind(to).execute(self.to_read()).await.map_err(failed)?;
        Ok(())
    }

    fn uses(&self) -> StoreUses {
        StoreUses { reads: self.reads.load(Relaxed), changes: self.changes.load(Relaxed) }
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl SqliteStore {
    /// Changes the row that `whom` names, with the entry of the audit log, or nothing where there is none.
    async fn audited(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
        whom: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        let done = query.execute(&mut *change).await.map_err(failed)?;
        there_was(done.rows_affected(), whom)?;
        log(&mut change, audit).await?;
        change.commit().await.map_err(failed)
    }
}

/// A host's next certificate; the one before stays good until this one is used.
fn next_certificate<'q>(
    host: &'q str,
    serial: &'q str,
    before: &'q str,
    not_after_ms: u64,
) -> Query<'q, Sqlite, SqliteArguments> {
    sqlx::query("UPDATE host SET serial = ?2, serial_before = ?3, not_after_ms = ?4 WHERE id = ?1")
        .bind(host)
        .bind(serial)
        .bind(before)
        .bind(stored(not_after_ms))
}

/// What a host said last.
async fn put_seen(change: &mut Transaction<'static, Sqlite>, host: &str, seen: &Seen) -> Result<(), StoreError> {
    let seen = serde_json::to_string(seen).map_err(|error| StoreError::Failed { why: error.to_string() })?;
    sqlx::query("INSERT INTO seen VALUES (?1, ?2) ON CONFLICT DO UPDATE SET seen = excluded.seen")
        .bind(host)
        .bind(seen)
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Whom a key enrolled before.
enum Known {
    /// This host, by the same token.
    Here(Box<HostRow>),
    /// A host that it may not be again.
    Refused(TokenRefusal),
    Nowhere,
}

async fn of_key(change: &mut Transaction<'static, Sqlite>, enrolment: &Enrolment) -> Result<Known, StoreError> {
    let rows = sqlx::query(HOSTS_OF_KEY).bind(&enrolment.key_hash).fetch_all(&mut **change).await.map_err(failed)?;
    let mut of_key = if rows.is_empty() { Known::Nowhere } else { Known::Refused(TokenRefusal::OtherToken) };
    for row in &rows {
        let known = host(row)?;
        if known.revoked_ms.is_some() {
            return Ok(Known::Refused(TokenRefusal::Revoked));
        }
        let token: String = row.try_get(10).map_err(failed)?;
        if token == enrolment.token_hash {
            of_key = Known::Here(Box::new(known));
        }
    }
    Ok(of_key)
}

/// The same key with the same token: it did not hear the answer.
async fn enrol_again(
    change: &mut Transaction<'static, Sqlite>,
    enrolment: &Enrolment,
    mut known: HostRow,
) -> Result<Enrolled, StoreError> {
    let before = std::mem::replace(&mut known.serial, enrolment.serial.clone());
    known.not_after_ms = enrolment.not_after_ms;
    next_certificate(&known.id, &known.serial, &before, known.not_after_ms)
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    known.serial_before = Some(before);
    Ok(Enrolled::Host(Box::new(known)))
}

async fn enrol_anew(change: &mut Transaction<'static, Sqlite>, enrolment: &Enrolment) -> Result<Enrolled, StoreError> {
    let token = sqlx::query("SELECT tenant, ring, uses, used, expires_ms FROM enrol_token WHERE hash = ?1")
        .bind(&enrolment.token_hash)
        .fetch_optional(&mut **change)
        .await
        .map_err(failed)?;
    let Some(token) = token else { return Ok(Enrolled::Refused(TokenRefusal::Unknown)) };
    let (uses, used): (i64, i64) = (token.try_get(2).map_err(failed)?, token.try_get(3).map_err(failed)?);
    if told(token.try_get(4).map_err(failed)?) <= enrolment.now_ms {
        return Ok(Enrolled::Refused(TokenRefusal::Expired));
    }
    if used >= uses {
        return Ok(Enrolled::Refused(TokenRefusal::UsedUp));
    }
    let host = HostRow {
        id: enrolment.host.clone(),
        tenant: token.try_get(0).map_err(failed)?,
        ring: token.try_get(1).map_err(failed)?,
        serial: enrolment.serial.clone(),
        not_after_ms: enrolment.not_after_ms,
        enrolled_ms: enrolment.now_ms,
        seen: Seen { state: enrolment.state.clone(), ..Seen::default() },
        ..HostRow::default()
    };
    sqlx::query("UPDATE enrol_token SET used = used + 1 WHERE hash = ?1")
        .bind(&enrolment.token_hash)
        .execute(&mut **change)
        .await
        .map_err(failed)?;
    insert_host(change, enrolment, &host).await?;
    Ok(Enrolled::Host(Box::new(host)))
}

async fn insert_host(
    change: &mut Transaction<'static, Sqlite>,
    enrolment: &Enrolment,
    host: &HostRow,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO host (id, tenant, ring, serial, not_after_ms, enrolled_ms, key_hash, token_hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(&host.id)
    .bind(&host.tenant)
    .bind(&host.ring)
    .bind(&host.serial)
    .bind(stored(host.not_after_ms))
    .bind(stored(host.enrolled_ms))
    .bind(&enrolment.key_hash)
    .bind(&enrolment.token_hash)
    .execute(&mut **change)
    .await
    .map_err(failed)?;
    put_seen(change, &host.id, &host.seen).await?;
    let entry = AuditEntry {
        at_ms: enrolment.now_ms,
        actor: "enrolment".to_owned(),
        action: "host_enrol".to_owned(),
        subject: host.id.clone(),
        reason: format!("a token for ring {} of {}", host.ring, host.tenant),
    };
    log(change, &entry).await
}

fn there_was(rows: u64, what: &str) -> Result<(), StoreError> {
    if rows == 0 {
        return Err(StoreError::NotFound { what: what.to_owned() });
    }
    Ok(())
}

fn host(row: &SqliteRow) -> Result<HostRow, StoreError> {
    let moment = |place: usize| -> Result<Option<u64>, StoreError> {
        let at_ms: Option<i64> = row.try_get(place).map_err(failed)?;
        Ok(at_ms.map(told))
    };
    let seen: Option<String> = row.try_get(9).map_err(failed)?;
    let seen = seen.map_or_else(|| Ok(Seen::default()), |seen| serde_json::from_str(&seen));
    Ok(HostRow {
        id: row.try_get(0).map_err(failed)?,
        tenant: row.try_get(1).map_err(failed)?,
        ring: row.try_get(2).map_err(failed)?,
        serial: row.try_get(3).map_err(failed)?,
        serial_before: row.try_get(4).map_err(failed)?,
        not_after_ms: moment(5)?.unwrap_or(0),
        enrolled_ms: moment(6)?.unwrap_or(0),
        revoked_ms: moment(7)?,
        cloned_ms: moment(8)?,
        seen: seen.map_err(|error| StoreError::Damaged { why: error.to_string() })?,
    })
}

fn entry(row: &SqliteRow) -> Result<AuditRow, StoreError> {
    let entry = AuditEntry {
        at_ms: told(row.try_get(0).map_err(failed)?),
        actor: row.try_get(1).map_err(failed)?,
        action: row.try_get(2).map_err(failed)?,
        subject: row.try_get(3).map_err(failed)?,
        reason: row.try_get(4).map_err(failed)?,
    };
    Ok(AuditRow { number: told(row.try_get(5).map_err(failed)?), entry })
}
