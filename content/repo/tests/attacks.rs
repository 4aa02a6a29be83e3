//! Attacks by other bytes, other keys and other names: each tried on a repository that our own publisher wrote.

mod support;

use std::sync::Arc;

use serde_json::{json, Value};
use support::{forge, key, start, Desk};
use watertight_content_repo::client::ClientError;
use watertight_content_repo::release::signed_packs;
use watertight_content_repo::store::{MemoryDisk, Store};

#[test]
fn a_client_gets_the_pack_that_was_published() {
    let desk = Desk::with_pack();
    let mut client = desk.client(desk.mirror());
    client.refresh(start()).expect("a good repository");
    let packs = signed_packs(&mut client, start()).expect("good packs");
    assert_eq!(packs.iter().map(|pack| pack.target.path()).collect::<Vec<_>>(), ["content/linux/1.pack"]);
    assert_eq!(client.download(&packs[0].target).expect("its bytes"), b"pack one");
}

#[test]
fn arbitrary_installation_a_pack_with_other_bytes_is_refused() {
    let desk = Desk::with_pack();
    for bytes in [&b"pack 0ne"[..], b"pack one and more", b""] {
        let mirror = desk.mirror();
        mirror.spoil_targets(bytes);
        let mut client = desk.client(mirror);
        client.refresh(start()).expect("the metadata is good");
        let target = client.find("content/linux/1.pack", start()).expect("no refusal").expect("it is named");
        client.download(&target).expect_err("other bytes");
    }
}

#[test]
fn wrong_keys_a_document_of_foreign_keys_is_refused_whatever_its_role() {
    let desk = Desk::with_pack();
    for (role, file) in [
        ("timestamp", "timestamp.json"),
        ("snapshot", "1.snapshot.json"),
        ("targets", "1.targets.json"),
        ("content", "1.content.json"),
    ] {
        let mirror = desk.mirror();
        mirror.put_metadata(file, forge(&mirror.metadata(file), &[key(), key()], |_| {}));
        if role == "snapshot" {
            // The timestamp's hash would refuse it before the signature is looked at: the thief has that key.
            let timestamp = forge(&mirror.metadata("timestamp.json"), &desk.keys["timestamp"], |signed| {
                signed["meta"]["snapshot.json"] = json!({ "version": 1 });
            });
            mirror.put_metadata("timestamp.json", timestamp);
        }
        let mut client = desk.client(mirror);
        let refused = client.refresh(start()).and_then(|()| client.find("content/linux/1.pack", start()).map(|_| ()));
        let Err(ClientError::BelowThreshold { role: named, found: 0, .. }) = refused else {
            panic!("{role}: {refused:?}")
        };
        assert_eq!(named, role);
    }
}

#[test]
fn wrong_keys_the_key_of_one_role_signs_nothing_of_another() {
    let desk = Desk::with_pack();
    let mirror = desk.mirror();
    let content = forge(&mirror.metadata("1.content.json"), &desk.keys["director"], |_| {});
    mirror.put_metadata("1.content.json", content);
    let mut client = desk.client(mirror);
    client.refresh(start()).expect("the top level is good");
    let refused = client.find("content/linux/1.pack", start());
    assert!(matches!(refused, Err(ClientError::BelowThreshold { .. })), "{refused:?}");
}

#[test]
fn below_threshold_one_signature_of_two_is_not_enough_and_twice_the_same_is_one() {
    let desk = Desk::with_pack();
    let mirror = desk.mirror();
    let one = forge(&mirror.metadata("1.content.json"), &desk.keys["content"][..1], |_| {});
    let mut twice: Value = serde_json::from_slice(&one).expect("JSON");
    let signature = twice["signatures"][0].clone();
    twice["signatures"] = json!([signature, signature]);
    for bytes in [one, twice.to_string().into_bytes()] {
        mirror.put_metadata("1.content.json", bytes);
        let mut client = desk.client(mirror.fork());
        client.refresh(start()).expect("the top level is good");
        client.find("content/linux/1.pack", start()).expect_err("too few keys");
    }
}

#[test]
fn below_threshold_a_new_root_needs_the_old_keys_and_its_own() {
    let mut desk = Desk::with_pack();
    let mirror = desk.mirror();
    let old: Vec<_> = desk.keys.remove("root").expect("keys");
    desk.keys.insert("root", vec![key(), key(), key()]);
    desk.root_version = 2;
    let by_new_keys = desk.root().to_bytes();
    let by_both = forge(&by_new_keys, &[], |_| {});
    let by_both = {
        let mut document = watertight_content_repo::publish::Document::parse(&by_both).expect("a document");
        for key in desk.keys["root"].iter().take(2).chain(old.iter().take(2)) {
            document.sign(key, true).expect("a document");
        }
        document.to_bytes()
    };
    let by_old_keys = forge(&by_new_keys, &old, |_| {});
    for (root, is_good) in [(by_new_keys, false), (by_old_keys, false), (by_both, true)] {
        mirror.put_metadata("2.root.json", root);
        let mut client = desk.client(mirror.fork());
        assert_eq!(client.refresh(start()).is_ok(), is_good);
        assert_eq!(client.versions().root, if is_good { 2 } else { 1 });
    }
}

#[test]
fn malicious_mirror_missing_documents_are_named_and_nothing_is_lost() {
    let desk = Desk::with_pack();
    for name in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let mirror = desk.mirror();
        mirror.remove_metadata(name);
        let refused = desk.client(mirror).refresh(start());
        assert!(matches!(&refused, Err(ClientError::Missing { name: named }) if named == name), "{refused:?}");
    }
}

#[test]
fn malicious_mirror_bytes_that_are_no_document_never_end_the_client() {
    let desk = Desk::with_pack();
    let good = desk.mirror().metadata("timestamp.json");
    let mut spoiled: Vec<Vec<u8>> =
        vec![b"".to_vec(), b"null".to_vec(), b"{}".to_vec(), vec![0xff; 100], b"[".repeat(10_000)];
    spoiled.extend((0..good.len()).step_by(7).map(|end| good[..end].to_vec()));
    for bytes in spoiled {
        let mirror = desk.mirror();
        mirror.put_metadata("timestamp.json", bytes);
        assert!(matches!(desk.client(mirror).refresh(start()), Err(ClientError::Malformed { .. })));
    }
}

#[test]
fn malicious_mirror_a_bit_that_flips_is_refused_or_means_the_same() {
    let desk = Desk::with_pack();
    for name in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let good = desk.mirror().metadata(name);
        for place in (0..good.len()).step_by(3) {
            let mirror = desk.mirror();
            let mut flipped = good.clone();
            flipped[place] ^= 1 << (place % 8);
            mirror.put_metadata(name, flipped);
            let mut client = desk.client(mirror);
            if client.refresh(start()).is_ok() {
                // The case of a signature's digits, and what stands beside what is signed.
                let target = client.find("content/linux/1.pack", start()).expect("no refusal").expect("it is named");
                assert_eq!(client.download(&target).expect("its bytes"), b"pack one", "{name} at {place}");
            }
        }
    }
}

#[test]
fn endless_data_no_document_may_be_larger_than_its_limit() {
    let desk = Desk::with_pack();
    for name in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let mirror = desk.mirror();
        mirror.put_metadata(name, vec![b' '; 6 * 1024 * 1024]);
        let refused = desk.client(mirror).refresh(start());
        assert!(matches!(refused, Err(ClientError::Source(_))), "{name}: {refused:?}");
    }
}

#[test]
fn endless_data_a_signed_size_above_the_limit_is_refused_before_a_byte_is_fetched() {
    let desk = Desk::with_pack();
    let mirror = desk.mirror();
    let content = forge(&mirror.metadata("1.content.json"), &desk.keys["content"], |signed| {
        signed["targets"]["content/linux/1.pack"]["length"] = u64::MAX.into();
    });
    mirror.put_metadata("1.content.json", content);
    let mut client = desk.client(mirror.clone());
    client.refresh(start()).expect("the top level is good");
    let target = client.find("content/linux/1.pack", start()).expect("a size is a size").expect("it is named");
    mirror.asked.lock().expect("whole").clear();
    assert!(matches!(client.download(&target), Err(ClientError::TooLarge { size_bytes: u64::MAX, .. })));
    assert!(mirror.asked.lock().expect("whole").is_empty());
}

#[test]
fn sizes_and_versions_above_64_bits_are_refused_and_never_wrap() {
    let desk = Desk::with_pack();
    let mirror = desk.mirror();
    let text = String::from_utf8(mirror.metadata("timestamp.json")).expect("text");
    for number in ["18446744073709551616", "1e3", "-1", "1.0", "340282366920938463463374607431768211457"] {
        let spoiled = text.replacen("\"version\": 1", &format!("\"version\": {number}"), 1);
        assert_ne!(spoiled, text);
        mirror.put_metadata("timestamp.json", spoiled.into_bytes());
        let refused = desk.client(mirror.fork()).refresh(start());
        assert!(matches!(refused, Err(ClientError::Malformed { .. })), "{number}: {refused:?}");
    }
}

#[test]
fn wrong_software_a_pack_under_another_packs_path_is_refused() {
    let mut desk = Desk::with_pack();
    desk.release(2, b"pack two");
    desk.publish_content(start());
    let mirror = desk.mirror();
    // A signed target says of itself which pack it is: under another path the whole role is refused.
    let content = forge(&mirror.metadata("2.content.json"), &desk.keys["content"], |signed| {
        signed["targets"]["content/linux/2.pack"] = signed["targets"]["content/linux/1.pack"].clone();
    });
    mirror.put_metadata("2.content.json", content);
    let mut client = desk.client(mirror.clone());
    client.refresh(start()).expect("the top level is good");
    let refused = signed_packs(&mut client, start());
    assert!(matches!(refused, Err(ClientError::Malformed { .. })), "{refused:?}");
    // A mirror that gives the one for the other meets the hash.
    let mirror = desk.mirror();
    mirror.spoil_targets(b"pack one");
    let mut client = desk.client(mirror);
    client.refresh(start()).expect("a good repository");
    let target = client.find("content/linux/2.pack", start()).expect("no refusal").expect("it is named");
    assert!(matches!(client.download(&target), Err(ClientError::Mismatch { .. })));
}

#[test]
fn extraneous_paths_lead_nowhere() {
    let desk = Desk::with_pack();
    for path in ["../../etc/cron.d/x", "/etc/passwd", "content/../x", "a\0b", "content//x", "content/linux/..", "a\\b"]
    {
        let mirror = desk.mirror();
        let targets = forge(&mirror.metadata("1.targets.json"), &desk.keys["targets"], |signed| {
            signed["targets"][path] = json!({ "length": 1, "hashes": { "sha256": "00".repeat(32) } });
        });
        mirror.put_metadata("1.targets.json", targets);
        let mut client = desk.client(mirror.clone());
        client.refresh(start()).expect("the signatures are good");
        let target = client.find(path, start()).expect("no refusal").expect("it is named");
        mirror.asked.lock().expect("whole").clear();
        assert!(matches!(client.download(&target), Err(ClientError::UnsafePath { .. })), "{path:?}");
        assert!(mirror.asked.lock().expect("whole").is_empty(), "{path:?}");
    }
}

#[test]
fn extraneous_paths_do_not_come_in_by_a_hash() {
    let desk = Desk::with_pack();
    for hash in ["../../../etc/passwd", "", "0", "zz"] {
        let mirror = desk.mirror();
        let content = forge(&mirror.metadata("1.content.json"), &desk.keys["content"], |signed| {
            signed["targets"]["content/linux/1.pack"]["hashes"] = json!({ "sha256": hash });
        });
        mirror.put_metadata("1.content.json", content);
        let mut client = desk.client(mirror.clone());
        client.refresh(start()).expect("the signatures are good");
        let target = client.find("content/linux/1.pack", start()).expect("no refusal").expect("it is named");
        mirror.asked.lock().expect("whole").clear();
        assert!(matches!(client.download(&target), Err(ClientError::Malformed { .. })), "{hash:?}");
        assert!(mirror.asked.lock().expect("whole").is_empty(), "{hash:?}");
    }
}

#[test]
fn unknown_fields_are_signed_over_and_change_nothing() {
    let desk = Desk::with_pack();
    let mirror = desk.mirror();
    let timestamp = forge(&mirror.metadata("timestamp.json"), &desk.keys["timestamp"], |signed| {
        signed["x-note"] = json!({ "a": [1, "\n\"ä"], "b": null });
    });
    mirror.put_metadata("timestamp.json", timestamp.clone());
    desk.client(mirror.fork()).refresh(start()).expect("a field that is not ours is the signer's business");
    // Changed after it was signed, it is a document that nobody signed.
    let changed = String::from_utf8(timestamp).expect("text").replace("x-note", "y-note");
    mirror.put_metadata("timestamp.json", changed.into_bytes());
    assert!(matches!(desk.client(mirror).refresh(start()), Err(ClientError::BelowThreshold { .. })));
}

#[test]
fn a_store_that_somebody_spoiled_is_not_believed() {
    let desk = Desk::with_pack();
    for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json", "content.json", "refreshed"] {
        for bytes in [&b""[..], b"{}", &[0xff; 64]] {
            let disk = Arc::new(MemoryDisk::default());
            let mut client = desk.client_on(Arc::clone(&disk), desk.mirror()).expect("a root");
            client.refresh(start()).expect("a good repository");
            client.find("content/linux/1.pack", start()).expect("no refusal").expect("it is named");
            Store::new(Arc::clone(&disk)).put(name, bytes).expect("a disk");
            let mut client = desk.client_on(disk, desk.mirror()).expect("the shipped root");
            client.refresh(start()).expect("the repository has it all");
            assert!(client.find("content/linux/1.pack", start()).expect("no refusal").is_some(), "{name}");
        }
    }
}
