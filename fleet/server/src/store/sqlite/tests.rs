use std::io::{Seek as _, SeekFrom, Write as _};

use super::*;
use crate::store::{contract, AuditEntry, StateStore as _};

fn entry() -> AuditEntry {
    AuditEntry { at_ms: 1, actor: "a".into(), action: "b".into(), subject: "c".into(), reason: "d".repeat(3_000) }
}

fn token(name: String) -> crate::store::OperatorToken {
    crate::store::OperatorToken { hash: name.clone(), name, role: crate::roles::Role::Viewer }
}

#[tokio::test]
async fn sqlite_keeps_every_promise_of_a_store() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    contract::keeps_its_promises(
        |name| async move { SqliteStore::create(&path(name)).await.expect("a store") },
        |name| async move { SqliteStore::open(&path(name)).await.expect("the store") },
    )
    .await;
}

#[tokio::test]
async fn a_full_disk_is_told_as_such_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("state.db");
    let store = SqliteStore::create(&path).await.expect("a store");
    store.set_pages_max(60).await.expect("a bound");
    let mut acknowledged = 0;
    let full = loop {
        match store.put_operator_token(&token(format!("t{acknowledged}")), &entry()).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert!(acknowledged > 3);
    store.close().await;
    let store = SqliteStore::open(&path).await.expect("the store");
    assert_eq!(store.operator_tokens().await.expect("tokens").len(), acknowledged);
    store.put_operator_token(&token("after".into()), &entry()).await.expect("room again");
}

#[tokio::test]
async fn a_damaged_database_is_refused_with_the_mend_and_never_begun_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("state.db");
    let store = SqliteStore::create(&path).await.expect("a store");
    for count in 0..40 {
        store.put_operator_token(&token(format!("t{count}")), &entry()).await.expect("a token");
    }
    let copy = dir.path().join("copy.db");
    store.back_up(&copy).await.expect("a copy");
    store.close().await;
    let whole = std::fs::read(&path).expect("the file");
    for (place, length) in [(0, 16), (4096 * 4, 4096 * 8)] {
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
        file.seek(SeekFrom::Start(place)).expect("a place");
        file.write_all(&vec![0x5a; length]).expect("damage");
        drop(file);
        let refused = SqliteStore::open(&path).await.expect_err("damage");
        assert!(refused.to_string().contains("backups"), "{refused}");
        std::fs::write(&path, &whole).expect("mended");
    }
    assert!(SqliteStore::open(&path).await.is_ok(), "the mended one opens");
    let copied = SqliteStore::open(&copy).await.expect("the copy opens");
    assert_eq!(copied.operator_tokens().await.expect("tokens").len(), 40);
}

#[tokio::test]
async fn a_database_that_is_gone_or_of_something_else_is_not_begun_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("state.db");
    let refused = SqliteStore::open(&path).await.expect_err("nothing there");
    assert!(matches!(refused, StoreError::Missing { .. }) && !path.exists(), "{refused}");
    std::fs::write(&path, b"").expect("an empty file");
    assert!(matches!(SqliteStore::open(&path).await, Err(StoreError::Missing { .. })));
    let other = SqliteStore::connect(&dir.path().join("other.db"), true).await.expect("a database");
    sqlx::raw_sql("CREATE TABLE x (y)").execute(&other.writer).await.expect("a table");
    other.close().await;
    let refused = SqliteStore::open(&dir.path().join("other.db")).await.expect_err("another program's");
    assert!(refused.to_string().contains("something else"), "{refused}");
    assert!(SqliteStore::create(&dir.path().join("other.db")).await.is_err());
}

#[tokio::test]
async fn nobody_changes_the_audit_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::create(&dir.path().join("state.db")).await.expect("a store");
    store.put_operator_token(&token("t".into()), &entry()).await.expect("a token");
    for change in ["UPDATE audit SET actor = 'eve'", "DELETE FROM audit"] {
        let refused = sqlx::query(change).execute(&store.writer).await.expect_err("append-only");
        assert!(refused.to_string().contains("never changed"), "{refused}");
    }
}
