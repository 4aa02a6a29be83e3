use std::io::{Seek as _, SeekFrom, Write as _};

use watertight_fleet_wire::records::Stream;

use super::*;
use crate::store::{contract, AuditEntry, AuditRow, DroppedRow};

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
        let words = refused.to_string();
        assert!(words.contains(&*path.to_string_lossy()) && words.contains("backups"), "{words}");
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
    let words = refused.to_string();
    assert!(words.contains("other.db: a database of something else") && words.contains("backups"), "{words}");
    assert!(SqliteStore::create(&dir.path().join("other.db")).await.is_err());
}

#[tokio::test]
async fn a_young_database_whose_log_is_gone_is_refused_with_what_is_gone_and_the_mend() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, killed) = (dir.path().join("state.db"), dir.path().join("killed.db"));
    let store = SqliteStore::create(&path).await.expect("a store");
    // As `kill -9` leaves it: what was written is in the log, none of it in the file.
    std::fs::copy(&path, &killed).expect("a copy");
    std::fs::copy(dir.path().join("state.db-wal"), dir.path().join("killed.db-wal")).expect("the log");
    store.close().await;
    let log = std::fs::read(dir.path().join("killed.db-wal")).expect("the log");
    for damage in [None, Some(vec![0x5a; log.len()])] {
        match damage {
            None => std::fs::remove_file(dir.path().join("killed.db-wal")).expect("it was there"),
            Some(damage) => std::fs::write(dir.path().join("killed.db-wal"), damage).expect("damage"),
        }
        let refused = SqliteStore::open(&killed).await.expect_err("its tables are gone").to_string();
        assert!(refused.contains("killed.db-wal` beside it, which is gone or damaged"), "{refused}");
        assert!(refused.contains("backups"), "{refused}");
    }
    std::fs::write(dir.path().join("killed.db-wal"), log).expect("put back");
    SqliteStore::open(&killed).await.expect("with its log it is whole");
}

#[tokio::test]
async fn what_is_no_file_in_the_place_of_the_database_or_its_log_is_named_with_the_mend() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("state.db");
    std::fs::create_dir(&path).expect("a folder");
    let refused =
        [SqliteStore::open(&path).await, SqliteStore::create(&path).await, SqliteStore::open_beside(&path).await];
    for refused in refused {
        let refused = refused.expect_err("a folder").to_string();
        assert!(refused.contains("state.db: a folder in the place of the database: move it away"), "{refused}");
        assert!(refused.contains("backups"), "{refused}");
    }
    std::fs::remove_dir(&path).expect("it is empty");
    std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let refused = SqliteStore::open(&path).await.expect_err("a socket").to_string();
    assert!(refused.contains("something that is no file"), "{refused}");
    std::fs::remove_file(&path).expect("a socket");

    SqliteStore::create(&path).await.expect("a store").close().await;
    std::fs::create_dir(dir.path().join("state.db-wal")).expect("a folder");
    let refused = SqliteStore::open(&path).await.expect_err("the log is a folder").to_string();
    assert!(refused.contains("state.db: ") && refused.contains("`-wal`") && refused.contains("backups"), "{refused}");
}

#[tokio::test]
async fn nobody_changes_the_audit_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::create(&dir.path().join("state.db")).await.expect("a store");
    store.put_operator_token(&token("t".into()), &entry()).await.expect("a token");
    for change in [
        "UPDATE audit SET actor = 'eve'",
        "UPDATE OR REPLACE audit SET number = number + 1",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit VALUES (1, 1, 'eve', 'b', 'c', 'nothing happened')",
        "REPLACE INTO audit SELECT number, at_ms, 'eve', action, subject, reason FROM audit",
        "INSERT OR IGNORE INTO audit VALUES (1, 1, 'eve', 'b', 'c', 'd')",
        "INSERT INTO audit VALUES (1, 1, 'eve', 'b', 'c', 'd') ON CONFLICT DO UPDATE SET actor = 'eve'",
        "INSERT INTO audit VALUES (-1, 1, 'eve', 'b', 'c', 'what comes next is refused')",
    ] {
        let refused = sqlx::query(change).execute(&store.writer).await.expect_err("append-only");
        assert!(refused.to_string().contains("never changed"), "{change}: {refused}");
    }
    assert_eq!(store.audit(u64::MAX, 9).await.expect("a log"), [AuditRow { number: 1, entry: entry() }]);
    store.put_operator_token(&token("u".into()), &entry()).await.expect("and it is added to");
    assert_eq!(store.audit(u64::MAX, 9).await.expect("a log").len(), 2);
}

/// A store of the first version, as its server left it.
async fn store_1(path: &Path) {
    let old = SqliteStore::connect(path, true).await.expect("a database");
    sqlx::raw_sql(include_str!("store-1.sql")).execute(&old.writer).await.expect("a store of version 1");
    old.close().await;
}

/// What the tables are made by, without the order in which they were.
async fn tables(store: &SqliteStore) -> std::collections::BTreeSet<String> {
    let rows = sqlx::query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetch_all(&store.writer).await;
    rows.expect("tables").iter().map(|row| row.try_get(0).expect("words")).collect()
}

#[tokio::test]
async fn a_store_of_the_version_before_keeps_all_it_has_and_has_the_tables_of_a_new_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("state.db");
    store_1(&path).await;
    let store = SqliteStore::open(&path).await.expect("brought to this version");
    let hosts = store.hosts().await.expect("hosts");
    let of = |id: &str| hosts.iter().find(|host| host.id == id).expect(id);
    assert_eq!((of("h1").seen.last_seen_ms, of("h1").serial_before.as_deref()), (77, Some("s1")));
    assert_eq!((of("h2").revoked_ms, of("h2").cloned_ms, hosts.len()), (Some(66), Some(55), 2));
    assert_eq!(store.operator_tokens().await.expect("tokens").first().map(|token| token.name.as_str()), Some("ada"));
    assert_eq!(store.buckets(0, 9).await.expect("buckets").first().map(|bucket| bucket.last_ms), Some(12));
    assert_eq!((store.generation().await.expect("one"), store.audit(u64::MAX, 9).await.expect("a log").len()), (9, 1));
    let lost = DroppedRow { host: "h1".into(), stream: Stream::Crash, records: 4 };
    assert_eq!(store.dropped().await.expect("sums"), [lost], "what was lost before stays counted");
    assert_eq!(store.dropped_by_hour(0).await.expect("hours"), [], "and was at no known time");
    assert_eq!((store.rollouts().await.expect("none"), store.newest_evidence().await.expect("none")), (vec![], 0));
    let new = SqliteStore::create(&dir.path().join("new.db")).await.expect("a store");
    assert_eq!(tables(&store).await, tables(&new).await);
    store.close().await;
    let again = SqliteStore::open(&path).await.expect("it is of this version now");
    assert_eq!(again.hosts().await.expect("hosts"), hosts);
}

#[tokio::test]
async fn tables_of_another_version_are_left_alone_by_whoever_has_no_right_to_change_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("state.db");
    store_1(&path).await;
    let refused = SqliteStore::open_beside(&path).await.expect_err("a server of version 1 may run");
    assert!(refused.to_string().contains("start the server of this program once"), "{refused}");
    let newer = SqliteStore::open(&path).await.expect("the store");
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&newer.writer).await.expect("a mark");
    newer.close().await;
    let refused = SqliteStore::open(&path).await.expect_err("what it means is not known");
    assert!(refused.to_string().contains("version 99"), "{refused}");
}

#[tokio::test]
async fn a_disk_without_room_for_the_new_tables_leaves_the_old_ones_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("state.db");
    store_1(&path).await;
    let (store, version) = SqliteStore::look_through(&path).await.expect("a store of version 1");
    store.set_pages_max(1).await.expect("no page more than there are");
    let full = store.make_tables_after(version).await.expect_err("no room");
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    store.close().await;
    let (store, version) = SqliteStore::look_through(&path).await.expect("the same");
    assert_eq!((version, store.hosts().await.expect("hosts").len()), (1, 2));
}

#[tokio::test]
async fn a_change_that_the_database_has_ended_by_itself_is_not_the_last_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::create(&dir.path().join("state.db")).await.expect("a store");
    let mut change = store.change().await.expect("a change");
    // As SQLite does when the disk is full.
    sqlx::raw_sql("ROLLBACK").execute(&mut *change).await.expect("ended");
    drop(change);
    for _ in 0..2 {
        store.set_generation(7, "a").await.expect("the next change");
    }
    assert_eq!(store.generation().await.expect("kept"), 7);
}
