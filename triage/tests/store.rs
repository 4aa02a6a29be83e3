//! The counts of crashes: what is one, what is two, what stays when rules change.
#![cfg(feature = "store")]

use std::path::Path;

use watertight_triage::bucket::assign;
use watertight_triage::report::Report;
use watertight_triage::store::{Added, Origin, Store, StoreError};

/// A crash in a driver's function, on processor `cpu`.
fn crash(function: &str, inner: &str, cpu: u32) -> Report {
    let text = format!(
        "WARNING: CPU: {cpu} PID: 77 at fs/frob.c:12 {function}+0x10/0x20
CPU: {cpu} PID: 77 Comm: frobd Not tainted 6.1.0 #1
RIP: 0010:{function}+0x10/0x20 [frob]
Call Trace:
{inner} frob_attach+0x10/0x20 [frob]
 frob_probe+0x10/0x20 [frob]
 really_probe+0x10/0x20
 driver_attach+0x10/0x20
"
    );
    let mut found = None;
    watertight_triage::linux::read(&text, &mut |report| found = Some(report));
    let mut report = found.expect("a crash");
    assign(&mut report);
    report
}

fn origin(host: &str, boot: &str, at_s: i64, content: &str) -> Origin {
    Origin { host: host.to_owned(), boot: boot.to_owned(), at_s, content: content.to_owned(), ..Origin::default() }
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("crashes.db")).expect("a store");
    (folder, store)
}

#[test]
fn a_boot_loop_is_many_crashes_of_one_host_and_a_report_sent_twice_is_one() {
    let (_folder, mut store) = store();
    let report = crash("frob_open", "", 0);
    for boot in 0..50 {
        assert_eq!(
            store.add(&report, &origin("one", &boot.to_string(), 1_000 + boot, "c2")).expect("added"),
            Added::New
        );
    }
    assert_eq!(store.add(&report, &origin("one", "7", 9_999, "c2")).expect("added"), Added::Known);
    let follower = watertight_triage::Report { suppressed: true, ..crash("frob_close", "", 3) };
    assert_eq!(store.add(&follower, &origin("two", "0", 2_000, "c2")).expect("looked at"), Added::Suppressed);
    assert_eq!(store.add(&crash("frob_open", "", 3), &origin("two", "0", 2_000, "c2")).expect("added"), Added::New);
    let rows = store.list().expect("a list");
    assert_eq!(rows.len(), 1, "one bug, one bucket");
    assert_eq!((rows[0].hosts, rows[0].crashes, rows[0].first_s, rows[0].last_s), (2, 51, 1_000, 2_000));
}

#[test]
fn a_bucket_that_was_joined_is_found_by_its_old_id_and_goes_on_counting() {
    let (folder, mut store) = store();
    let (old, new) = (crash("frob_open", "", 0), crash("frob_close", "", 0));
    let id = |report: &Report| report.bucket.as_ref().expect("a bucket").id.clone();
    store.add(&old, &origin("one", "0", 1, "c1")).expect("added");
    store.add(&new, &origin("two", "0", 2, "c1")).expect("added");
    store.rebucket(&id(&old), &id(&new)).expect("joined");
    drop(store);
    let mut store = Store::open(&folder.path().join("crashes.db")).expect("the store");
    assert_eq!(store.add(&old, &origin("three", "0", 3, "c1")).expect("added"), Added::New);
    let shown = store.show(&id(&old)).expect("the alias finds it");
    assert_eq!((shown.counted.bucket, shown.counted.hosts, shown.aliases), (id(&new), 3, vec![id(&old)]));
    assert_eq!(store.list().expect("a list").len(), 1);
}

#[test]
fn a_crash_is_associated_with_the_content_that_its_hosts_have_and_others_do_not() {
    let (_folder, mut store) = store();
    for number in 0..40 {
        let content = if number < 38 { "bad" } else { "good" };
        store.add(&crash("frob_open", "", 0), &origin(&format!("bad-{number}"), "0", number, content)).expect("added");
        let content = if number < 10 { "bad" } else { "good" };
        store
            .add(&crash("quux_send", "", 0), &origin(&format!("other-{number}"), "0", number, content))
            .expect("added");
    }
    let bucket = crash("frob_open", "", 0).bucket.expect("a bucket").id;
    let found = store.associated(&bucket).expect("associations");
    let first = &found[0];
    assert_eq!((first.dimension, first.value.as_str(), first.hosts, first.of), ("content", "bad", 38, 40));
    assert!(first.low > 1.0 && first.low < first.lift && first.lift < first.high, "{first:?}");
    let good = found.iter().find(|one| one.value == "good").expect("the other value");
    assert!(good.high < 1.0, "{good:?}");
}

#[test]
fn inlining_is_suggested_as_one_bug_and_another_driver_is_not() {
    let (_folder, mut store) = store();
    let inlined = crash("frob_open", "", 0);
    let plain = crash("frob_check", " frob_open+0x10/0x20 [frob]\n", 0);
    let mut other = crash("quux_send", "", 0);
    other.frames.retain(|frame| frame.function.as_deref().is_some_and(|name| !name.starts_with("frob")));
    assign(&mut other);
    for (number, report) in [&inlined, &plain, &other].into_iter().enumerate() {
        store.add(report, &origin(&format!("host-{number}"), "0", 1, "")).expect("added");
    }
    assert_eq!(store.list().expect("a list").len(), 3, "nothing is merged by itself");
    let found = store.merge_suggestions().expect("suggestions");
    assert_eq!(found.len(), 1, "{found:?}");
    let pair = [found[0].title.as_str(), found[0].other_title.as_str()];
    assert!(pair.contains(&"WARNING in frob_open") && pair.contains(&"WARNING in frob_check"), "{pair:?}");
}

#[test]
fn crashes_over_time_fall_into_their_hours() {
    let (_folder, mut store) = store();
    for (boot, at_s) in [(0, 3_600), (1, 7_199), (2, 7_200), (3, -1)] {
        store.add(&crash("frob_open", "", 0), &origin("one", &boot.to_string(), at_s, "")).expect("added");
    }
    let slots: Vec<_> =
        store.chart(None, 3_600).expect("a chart").iter().map(|slot| (slot.at_s, slot.crashes, slot.hosts)).collect();
    assert_eq!(slots, [(-3_600, 1, 1), (3_600, 2, 1), (7_200, 1, 1)]);
}

#[test]
fn another_programs_database_and_another_versions_store_are_refused_and_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).expect("a database");
    connection.execute_batch("CREATE TABLE frob (id INTEGER)").expect("a table");
    drop(connection);
    let bytes = |path: &Path| std::fs::read(path).expect("a file");
    let before = bytes(&foreign);
    assert!(matches!(Store::open(&foreign), Err(StoreError::NotAStore)));
    assert_eq!(bytes(&foreign), before);
    let later = folder.path().join("later.db");
    drop(Store::open(&later).expect("a store"));
    rusqlite::Connection::open(&later).expect("a database").pragma_update(None, "user_version", 99).expect("a version");
    assert!(matches!(Store::open(&later), Err(StoreError::OtherVersion { found: 99 })));
}

#[test]
fn a_bucket_that_is_not_there_or_named_by_too_little_is_said() {
    let (_folder, mut store) = store();
    store.add(&crash("frob_open", "", 0), &origin("one", "0", 1, "")).expect("added");
    for named in ["", "0123", "%", "_", "' OR 1=1"] {
        let found = store.show(named);
        let is_start = crash("frob_open", "", 0).bucket.expect("a bucket").id.starts_with(named) && !named.is_empty();
        assert!(is_start || matches!(found, Err(StoreError::NoBucket { .. })), "{named:?}: {found:?}");
    }
}
