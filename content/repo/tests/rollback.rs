//! Attacks by older documents, mixed ones, held back ones and ones that a thief ran up.

mod support;

use std::sync::Arc;

use serde_json::{json, Value};
use support::{forge, key, start, Desk, Mirror, DAY_S};
use watertight_content_repo::client::{Client, ClientError, Limits};
use watertight_content_repo::key::SigningKey;
use watertight_content_repo::store::{MemoryDisk, Store};

/// The mirror's timestamp and snapshot made anew by whoever has these keys, after `change` to the snapshot's versions.
fn resign(
    mirror: &Mirror,
    snapshot_keys: &[SigningKey],
    timestamp_keys: &[SigningKey],
    change: impl FnOnce(&mut Value),
) {
    let timestamp: Value = serde_json::from_slice(&mirror.metadata("timestamp.json")).expect("JSON");
    let version = timestamp["signed"]["meta"]["snapshot.json"]["version"].as_u64().expect("a version");
    let snapshot = forge(&mirror.metadata(&format!("{version}.snapshot.json")), snapshot_keys, |signed| {
        signed["version"] = (version + 1).into();
        change(&mut signed["meta"]);
    });
    mirror.put_metadata(&format!("{}.snapshot.json", version + 1), snapshot);
    let timestamp = forge(&mirror.metadata("timestamp.json"), timestamp_keys, |signed| {
        signed["version"] = (signed["version"].as_u64().expect("a version") + 1).into();
        signed["meta"]["snapshot.json"] = json!({ "version": version + 1 });
    });
    mirror.put_metadata("timestamp.json", timestamp);
}

#[test]
fn rollback_an_older_timestamp_is_refused_though_it_is_signed_and_in_force() {
    let mut desk = Desk::with_pack();
    let old = desk.mirror();
    desk.release(2, b"pack two");
    desk.publish_content(start());
    let disk = Arc::new(MemoryDisk::default());
    let mut client = desk.client_on(Arc::clone(&disk), desk.mirror()).expect("a good root");
    client.refresh(start()).expect("a good repository");
    let mut client = desk.client_on(disk, old).expect("a good store");
    let refused = client.refresh(start());
    assert!(matches!(refused, Err(ClientError::Rollback { trusted: 2, offered: 1, .. })), "{refused:?}");
    assert_eq!(client.versions().timestamp, Some(2));
}

#[test]
fn rollback_each_role_that_a_thief_of_the_online_keys_takes_back_is_refused() {
    for role in ["targets", "content", "director"] {
        let mut desk = Desk::with_pack();
        desk.publish_content(start());
        let mirror = desk.mirror();
        // Version 2 of the role was seen.
        resign(&mirror, &desk.keys["snapshot"], &desk.keys["timestamp"], |meta| {
            meta[format!("{role}.json")] = json!({ "version": 2 });
        });
        let targets =
            forge(&mirror.metadata("1.targets.json"), &desk.keys["targets"], |signed| signed["version"] = 2.into());
        mirror.put_metadata("2.targets.json", targets);
        let disk = Arc::new(MemoryDisk::default());
        desk.client_on(Arc::clone(&disk), mirror.clone()).expect("a root").refresh(start()).expect("a good repository");
        resign(&mirror, &desk.keys["snapshot"], &desk.keys["timestamp"], |meta| {
            meta[format!("{role}.json")] = json!({ "version": 1 });
        });
        let refused = desk.client_on(disk, mirror).expect("a store").refresh(start());
        assert!(matches!(refused, Err(ClientError::Rollback { trusted: 2, offered: 1, .. })), "{role}: {refused:?}");
    }
}

#[test]
fn rollback_an_older_snapshot_under_a_newer_timestamp_is_refused() {
    let mut desk = Desk::with_pack();
    desk.publish_content(start());
    let (mirror, disk) = (desk.mirror(), Arc::new(MemoryDisk::default()));
    desk.client_on(Arc::clone(&disk), mirror.clone()).expect("a root").refresh(start()).expect("a good repository");
    let timestamp = forge(&mirror.metadata("timestamp.json"), &desk.keys["timestamp"], |signed| {
        signed["version"] = 3.into();
        signed["meta"]["snapshot.json"] = json!({ "version": 1 });
    });
    mirror.put_metadata("timestamp.json", timestamp);
    let mut client = desk.client_on(disk, mirror).expect("a store");
    let refused = client.refresh(start());
    assert!(matches!(refused, Err(ClientError::Rollback { trusted: 2, offered: 1, .. })), "{refused:?}");
    assert_eq!((client.versions().timestamp, client.versions().snapshot), (Some(2), Some(2)));
}

#[test]
fn rollback_a_snapshot_that_forgets_a_role_is_refused() {
    let desk = Desk::with_pack();
    let (mirror, disk) = (desk.mirror(), Arc::new(MemoryDisk::default()));
    desk.client_on(Arc::clone(&disk), mirror.clone()).expect("a root").refresh(start()).expect("a good repository");
    resign(&mirror, &desk.keys["snapshot"], &desk.keys["timestamp"], |meta| {
        meta.as_object_mut().expect("an object").remove("content.json");
    });
    let refused = desk.client_on(disk, mirror).expect("a store").refresh(start());
    assert!(matches!(refused, Err(ClientError::Mismatch { .. })), "{refused:?}");
}

#[test]
fn rollback_a_root_is_never_skipped_nor_repeated() {
    let mut desk = Desk::with_pack();
    let mirror = desk.mirror();
    desk.root_version = 3;
    mirror.put_metadata("2.root.json", desk.root().to_bytes());
    let refused = desk.client(mirror.clone()).refresh(start());
    assert!(matches!(refused, Err(ClientError::RootVersion { trusted: 1, offered: 3 })), "{refused:?}");
    mirror.put_metadata("2.root.json", mirror.metadata("1.root.json"));
    let refused = desk.client(mirror).refresh(start());
    assert!(matches!(refused, Err(ClientError::RootVersion { trusted: 1, offered: 1 })), "{refused:?}");
}

#[test]
fn indefinite_freeze_whatever_has_expired_is_refused_by_name() {
    let desk = Desk::with_pack();
    for (days, role) in [(2, "timestamp"), (400, "root")] {
        let refused = desk.client(desk.mirror()).refresh(start().plus_s(days * DAY_S));
        let Err(ClientError::Expired { role: named, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(named, role);
    }
    // Whoever holds the snapshot back has the timestamp's key, or the timestamp would have gone first.
    let mirror = desk.mirror();
    let timestamp = forge(&mirror.metadata("timestamp.json"), &desk.keys["timestamp"], |signed| {
        signed["expires"] = json!("2027-06-01T00:00:00Z");
    });
    mirror.put_metadata("timestamp.json", timestamp);
    let refused = desk.client(mirror).refresh(start().plus_s(30 * DAY_S));
    assert!(matches!(&refused, Err(ClientError::Expired { role, .. }) if role == "snapshot"), "{refused:?}");
}

#[test]
fn indefinite_freeze_a_client_that_refreshed_once_does_not_find_for_ever() {
    let desk = Desk::with_pack();
    let mut client = desk.client(desk.mirror());
    client.refresh(start()).expect("a good repository");
    assert!(client.find("content/linux/1.pack", start()).expect("fresh").is_some());
    let refused = client.find("content/linux/1.pack", start().plus_s(2 * DAY_S));
    assert!(matches!(refused, Err(ClientError::Expired { .. })), "{refused:?}");
}

#[test]
fn mix_and_match_documents_of_two_publications_are_refused() {
    let mut desk = Desk::with_pack();
    let old = desk.mirror();
    desk.release(2, b"pack two");
    desk.publish_content(start());
    for name in ["2.snapshot.json", "2.content.json"] {
        let mirror = desk.mirror();
        mirror.put_metadata(name, old.metadata(&name.replace('2', "1")));
        let mut client = desk.client(mirror);
        let refused = client.refresh(start()).and_then(|()| client.find("content/linux/2.pack", start()).map(|_| ()));
        assert!(matches!(refused, Err(ClientError::Mismatch { .. })), "{name}: {refused:?}");
    }
}

#[test]
fn a_root_at_the_last_version_there_is_does_not_wrap() {
    let mut desk = Desk::with_pack();
    desk.root_version = u64::MAX;
    let root = desk.root().to_bytes();
    let store = Store::new(MemoryDisk::default());
    let mut client = Client::open(store, desk.mirror(), Some(&root), Limits::default()).expect("a root");
    assert!(matches!(client.refresh(start()), Err(ClientError::LastRoot)));
}

#[test]
fn fast_forward_versions_that_a_thief_ran_up_are_forgotten_with_his_keys() {
    let mut desk = Desk::with_pack();
    let disk = Arc::new(MemoryDisk::default());
    let mirror = desk.mirror();
    let stolen = forge(&mirror.metadata("timestamp.json"), &desk.keys["timestamp"], |signed| {
        signed["version"] = (u64::MAX - 1).into();
    });
    let good = mirror.metadata("timestamp.json");
    mirror.put_metadata("timestamp.json", stolen);
    desk.client_on(Arc::clone(&disk), mirror.clone()).expect("a root").refresh(start()).expect("it is signed");
    // The good repository can't go on for this client ...
    mirror.put_metadata("timestamp.json", good.clone());
    let refused = desk.client_on(Arc::clone(&disk), mirror.clone()).expect("a store").refresh(start());
    assert!(matches!(refused, Err(ClientError::Rollback { .. })), "{refused:?}");
    // ... until a root takes the stolen key away.
    desk.keys.insert("timestamp", vec![key()]);
    desk.root_version = 2;
    mirror.put_metadata("2.root.json", desk.root().to_bytes());
    mirror.put_metadata("timestamp.json", forge(&good, &desk.keys["timestamp"], |_| {}));
    let mut client = desk.client_on(disk, mirror).expect("a store");
    client.refresh(start()).expect("recovered");
    assert_eq!(client.versions().timestamp, Some(1));
}

#[test]
fn fast_forward_a_snapshot_that_a_thief_ran_up_is_forgotten_with_his_keys() {
    let mut desk = Desk::with_pack();
    let (disk, mirror) = (Arc::new(MemoryDisk::default()), desk.mirror());
    let good = mirror.fork();
    resign(&mirror, &desk.keys["snapshot"], &desk.keys["timestamp"], |meta| {
        meta["director.json"] = json!({ "version": 1_000_000 });
    });
    desk.client_on(Arc::clone(&disk), mirror).expect("a root").refresh(start()).expect("it is signed");
    desk.keys.insert("snapshot", vec![key()]);
    desk.root_version = 2;
    good.put_metadata("2.root.json", desk.root().to_bytes());
    good.put_metadata("1.snapshot.json", forge(&good.metadata("1.snapshot.json"), &desk.keys["snapshot"], |_| {}));
    let timestamp = forge(&good.metadata("timestamp.json"), &desk.keys["timestamp"], |signed| {
        signed["meta"]["snapshot.json"] = json!({ "version": 1 });
    });
    good.put_metadata("timestamp.json", timestamp);
    let mut client = desk.client_on(disk, good).expect("a store");
    client.refresh(start()).expect("recovered");
    assert_eq!(client.versions().snapshot, Some(1));
}
