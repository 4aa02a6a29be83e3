//! Watches on named folders.

mod support;

use std::fs;

use support::{collect, Scratch};
use watertight_sensor_fallback::{FileChange, Inotify, Kind, Observed, OperationSet};

fn files(seen: &[Observed]) -> Vec<FileChange> {
    seen.iter().filter_map(|o| if let Observed::File(change) = o { Some(change.clone()) } else { None }).collect()
}

#[test]
fn create_rename_and_unlink_are_seen_and_a_rename_is_one_event() {
    let (here, there) = (Scratch::new("inotify-here"), Scratch::new("inotify-there"));
    let mut source = Inotify::open(&[here.path().to_owned(), there.path().to_owned()]).expect("folders that we own");
    fs::write(here.path().join("a"), b"x").expect("create");
    fs::rename(here.path().join("a"), there.path().join("b")).expect("rename");
    fs::remove_file(there.path().join("b")).expect("unlink");
    fs::create_dir(here.path().join("folder")).expect("mkdir");
    let seen = collect(|sink| source.drain(sink), |seen| files(seen).iter().any(|change| change.name == b"folder"));
    let changes = files(&seen);
    let renamed = changes.iter().find(|change| change.new_name.is_some()).expect("one event with both sides");
    assert_eq!((renamed.name.as_slice(), renamed.new_name.as_deref()), (&b"a"[..], Some(&b"b"[..])));
    assert_eq!(renamed.new_directory.as_deref(), Some(there.path()));
    assert!(!renamed.merged && renamed.pid.is_none());
    let has = |name: &[u8], operation| changes.iter().any(|c| c.name == name && c.operations.contains(operation));
    assert!(has(b"a", OperationSet::CREATE) && has(b"b", OperationSet::UNLINK));
    assert!(changes.iter().any(|change| change.name == b"folder" && change.kind == Some(Kind::Directory)));
}

#[test]
fn a_watched_folder_that_is_moved_away_is_told_to_be_no_longer_watched() {
    let scratch = Scratch::new("inotify-moved");
    let folder = scratch.path().join("watched");
    fs::create_dir(&folder).expect("mkdir");
    let mut source = Inotify::open(std::slice::from_ref(&folder)).expect("a folder that we own");
    fs::rename(&folder, scratch.path().join("elsewhere")).expect("rename");
    let ended =
        |seen: &[Observed]| seen.iter().any(|o| matches!(o, Observed::WatchEnded { place, .. } if *place == folder));
    let seen = collect(|sink| source.drain(sink), ended);
    assert!(ended(&seen), "{seen:?}");
}

#[test]
fn a_folder_that_is_not_there_is_refused_by_name() {
    let error = Inotify::open(&["/nonexistent/folder".into()]).expect_err("there is nothing to watch");
    assert!(error.to_string().contains("/nonexistent/folder"), "{error}");
}
