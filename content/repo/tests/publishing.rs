//! A publisher that errs, and one that is cut off: clients see the repository from before.

mod support;

use std::fs;
use std::process::Command;

use support::{release, start, Desk, DAY_S};
use watertight_content_repo::client::ClientError;
use watertight_content_repo::publish::{publish, published_document, Document, Publication, PublishError};
use watertight_content_repo::release::{signed_packs, Release};
use watertight_content_repo::sha256_hex;
use watertight_content_repo::source::{FolderSource, SourceError};

fn refused(desk: &Desk, publication: &Publication) -> PublishError {
    let folder = desk.folder.path();
    let before = fs::read(folder.join("metadata/timestamp.json")).expect("it is published");
    let error = publish(folder, publication, desk.online(), start()).expect_err("it does not fit");
    assert_eq!(fs::read(folder.join("metadata/timestamp.json")).expect("it is still there"), before);
    error
}

#[test]
fn a_folder_works_as_a_repository_by_itself() {
    let desk = Desk::with_pack();
    let mut client = desk.client(FolderSource::new(desk.folder.path()).expect("a repository"));
    client.refresh(start()).expect("a good repository");
    let packs = signed_packs(&mut client, start()).expect("good packs");
    assert_eq!(client.download(&packs[0].target).expect("its bytes"), b"pack one");
}

#[test]
fn a_folder_that_was_tampered_with_on_its_way_is_refused_as_a_web_server_would_be() {
    let desk = Desk::with_pack();
    let file = |name: &str| desk.folder.path().join(name);
    let fetch = || {
        let mut client = desk.client(FolderSource::new(desk.folder.path()).expect("a repository"));
        client.refresh(start())?;
        let packs = signed_packs(&mut client, start())?;
        client.download(&packs[0].target)
    };
    let mut names = vec![
        "metadata/timestamp.json",
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
        "metadata/1.content.json",
    ];
    let pack = format!("targets/content/linux/{}.1.pack", sha256_hex(b"pack one"));
    names.push(&pack);
    for name in names {
        let good = fs::read(file(name)).expect("it is published");
        let changed = String::from_utf8(good.clone()).expect("text").replace('1', "2").replace("one", "two");
        for bad in [changed.into_bytes(), Vec::new(), vec![b' '; 6 * 1024 * 1024]] {
            fs::write(file(name), bad).expect("a file");
            fetch().expect_err(name);
        }
        fs::write(file(name), good).expect("a file");
    }
    assert_eq!(fetch().expect("all as it was"), b"pack one");
}

#[test]
fn a_folder_with_a_pipe_in_the_place_of_a_file_does_not_hold_the_client() {
    let desk = Desk::with_pack();
    let timestamp = desk.folder.path().join("metadata/timestamp.json");
    fs::remove_file(&timestamp).expect("it is published");
    assert!(Command::new("mkfifo").arg(&timestamp).status().expect("every Linux has it").success());
    let mut client = desk.client(FolderSource::new(desk.folder.path()).expect("a repository"));
    let refused = client.refresh(start());
    assert!(matches!(refused, Err(ClientError::Source(SourceError::Failed { .. }))), "{refused:?}");
}

#[test]
fn the_same_or_an_older_version_is_never_published() {
    let mut desk = Desk::with_pack();
    let old = published_document(desk.folder.path(), "content").expect("a repository").expect("it is published");
    desk.release(2, b"pack two");
    desk.publish_content(start());
    let publication = Publication { roles: [("content".to_owned(), old)].into(), ..desk.publication() };
    let error = refused(&desk, &publication);
    assert!(matches!(error, PublishError::NotHigher { offered: 1, published: 2, .. }), "{error}");
    let publication = Publication { root: Some(desk.root()), ..desk.publication() };
    assert!(matches!(refused(&desk, &publication), PublishError::NotHigher { offered: 1, published: 1, .. }));
    desk.root_version = 3;
    let publication = Publication { root: Some(desk.root()), ..desk.publication() };
    assert!(matches!(refused(&desk, &publication), PublishError::RootGap { offered: 3, published: 1 }));
}

#[test]
fn what_a_client_would_refuse_is_not_published() {
    let mut desk = Desk::with_pack();
    desk.release(2, b"pack two");
    let unsigned = Document::content(2, desk.expires(), &desk.packs).expect("good releases");
    let publication = Publication { roles: [("content".to_owned(), unsigned)].into(), ..desk.publication() };
    let error = refused(&desk, &publication);
    assert!(
        matches!(error, PublishError::Refused(ClientError::BelowThreshold { found: 0, threshold: 2, .. })),
        "{error:?}"
    );
    let expired = Document::content(2, start().plus_s(-1), &desk.packs).expect("good releases");
    let expired = desk.signed("content", expired);
    let publication = Publication { roles: [("content".to_owned(), expired)].into(), ..desk.publication() };
    assert!(matches!(refused(&desk, &publication), PublishError::Refused(ClientError::Expired { .. })));
}

#[test]
fn a_file_that_nobody_gave_is_missed_by_name() {
    let mut desk = Desk::with_pack();
    desk.release(2, b"pack two");
    let roles = [("content".to_owned(), desk.content())].into();
    let publication = Publication { roles, files: Vec::new(), ..desk.publication() };
    let error = refused(&desk, &publication);
    assert!(matches!(&error, PublishError::MissingFile { path, .. } if path == "content/linux/2.pack"), "{error}");
}

#[test]
fn a_first_publication_lacks_nothing() {
    let mut desk = Desk::new();
    desk.release(1, b"pack one");
    let roles = [("content".to_owned(), desk.content())].into();
    let publication = Publication { roles, ..desk.publication() };
    let outcome = publish(desk.folder.path(), &publication, desk.online(), start());
    assert!(matches!(outcome, Err(PublishError::Missing { .. })), "{outcome:?}");
}

#[test]
fn time_goes_on_without_anything_new_and_the_snapshot_is_renewed_before_it_ends() {
    let desk = Desk::with_pack();
    let mut snapshots = Vec::new();
    for day in 0..10 {
        let now = start().plus_s(day * DAY_S);
        let published = desk.publish_again(now);
        snapshots.push(published.versions["snapshot"]);
        let mut client = desk.client(desk.mirror());
        client.refresh(now).expect("a good repository");
    }
    assert!(snapshots.is_sorted() && snapshots[0] == 1 && snapshots[9] > 1, "{snapshots:?}");
}

#[test]
fn a_publisher_that_was_cut_off_before_the_timestamp_has_changed_nothing() {
    let mut desk = Desk::with_pack();
    let timestamp = desk.folder.path().join("metadata/timestamp.json");
    let before = fs::read(&timestamp).expect("it is published");
    desk.release(2, b"pack two");
    desk.publish_content(start());
    // Everything but the last step was done.
    fs::write(&timestamp, before).expect("a file");
    let mut client = desk.client(desk.mirror());
    client.refresh(start()).expect("the repository from before");
    assert_eq!(signed_packs(&mut client, start()).expect("good packs").len(), 1);
    // Done again, with other words under the same version: nobody has seen the ones before.
    desk.content_version = 1;
    desk.release(3, b"pack three");
    desk.publish_content(start());
    let mut client = desk.client(desk.mirror());
    client.refresh(start()).expect("a good repository");
    assert_eq!(signed_packs(&mut client, start()).expect("good packs").len(), 3);
}

#[test]
fn whichever_files_of_a_publication_are_there_clients_see_the_one_before_until_the_timestamp_is() {
    let mut desk = Desk::with_pack();
    let before = desk.mirror();
    desk.release(2, b"pack two");
    desk.root_version = 2;
    let roles = [("content".to_owned(), desk.content())].into();
    let publication = Publication { root: Some(desk.root()), roles, ..desk.publication() };
    publish(desk.folder.path(), &publication, desk.online(), start()).expect("a good publication");
    let new = desk.mirror().beyond(&before);
    assert_eq!(new.len(), 5, "root, content, snapshot, pack, timestamp: {:?}", new.keys());
    let rest: Vec<_> = new.iter().filter(|((_, name), _)| name != "timestamp.json").collect();
    for kept in 0..1_u32 << rest.len() {
        let mirror = before.fork();
        for (place, ((is_target, name), bytes)) in rest.iter().enumerate() {
            if kept & (1 << place) != 0 && *is_target {
                mirror.put_target(name, bytes.to_vec());
            } else if kept & (1 << place) != 0 {
                mirror.put_metadata(name, bytes.to_vec());
            }
        }
        let mut client = desk.client(mirror);
        client.refresh(start()).expect("the repository from before");
        let packs = signed_packs(&mut client, start()).expect("good packs");
        assert_eq!(packs.len(), 1);
        client.download(&packs[0].target).expect("its bytes");
    }
}

#[test]
fn a_document_in_the_place_of_another_is_refused() {
    let desk = Desk::with_pack();
    let publication = Publication { root: Some(desk.targets(2)), ..desk.publication() };
    assert!(matches!(refused(&desk, &publication), PublishError::WrongKind { .. }));
    let publication = Publication { targets: Some(desk.root()), ..desk.publication() };
    assert!(matches!(refused(&desk, &publication), PublishError::WrongKind { .. }));
}

#[test]
fn keys_are_rotated_by_a_root_that_old_and_new_keys_signed() {
    let mut desk = Desk::with_pack();
    let old = desk.keys.remove("root").expect("keys");
    let new = || watertight_content_repo::key::SigningKey::generate().expect("random bytes");
    desk.keys.insert("root", vec![new(), new()]);
    desk.keys.insert("timestamp", vec![new()]);
    desk.root_version = 2;
    let by_new = Publication { root: Some(desk.root()), ..desk.publication() };
    assert!(matches!(refused(&desk, &by_new), PublishError::Refused(ClientError::BelowThreshold { .. })));
    let mut root = desk.root();
    for key in old.iter().take(2) {
        root.sign(key, true).expect("a document");
    }
    let by_both = Publication { root: Some(root), ..desk.publication() };
    publish(desk.folder.path(), &by_both, desk.online(), start()).expect("old and new keys");
    let mut client = desk.client(desk.mirror());
    client.refresh(start()).expect("a client from before follows");
    assert_eq!(client.versions().root, 2);
}

#[test]
fn a_foreign_key_does_not_sign_a_root_by_mistake() {
    let desk = Desk::with_pack();
    let mut root = desk.root();
    assert!(root.sign(&desk.keys["timestamp"][0], false).is_err());
    assert_eq!(root.signers().len(), 2);
}

#[test]
fn the_next_release_keeps_the_packs_before_but_for_those_that_its_floor_ends() {
    let content = |version, packs: &[(u64, u64)]| {
        let packs: Vec<_> = packs
            .iter()
            .map(|(version, floor)| (Release { floor: *floor, ..release("linux", *version) }, b"a pack".to_vec()))
            .collect();
        Document::content(version, start(), &packs).expect("good releases")
    };
    let published = content(1, &[(1, 0), (2, 0), (3, 0)]);
    let paths = |document: Document| -> Vec<_> {
        document.named_targets().expect("sizes and hashes").into_iter().map(|(path, _, _)| path).collect()
    };
    let next = content(2, &[(4, 2)]).with_packs_of(&published).expect("it is newer");
    assert_eq!(paths(next), ["content/linux/2.pack", "content/linux/3.pack", "content/linux/4.pack"]);
    for version in [1, 2, 3] {
        let again = content(2, &[(version, 0)]).with_packs_of(&published);
        assert!(again.is_err(), "two packs by the name and version {version}");
    }
}

#[test]
fn two_packs_of_one_name_and_version_are_refused() {
    let packs = [(release("linux", 1), b"a".to_vec()), (release("linux", 1), b"b".to_vec())];
    assert!(Document::content(1, start(), &packs).is_err());
}
