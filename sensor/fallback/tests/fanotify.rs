//! Fanotify on the filesystem of the temporary folder, with notification marks only.

mod support;

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use support::{collect, permitted, Scratch};
use watertight_sensor_fallback::fanotify::{Options, Places};
use watertight_sensor_fallback::{Fanotify, FileChange, Kind, Observed, OperationSet};

/// Names changed in quick succession.
const FILES: usize = 100;

fn open(scratch: &Scratch) -> Option<Fanotify> {
    let places = Places::Holding(vec![scratch.path().to_owned()]);
    permitted(Fanotify::open(Options { places, ..Options::default() }))
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).expect("pids are positive i32")
}

/// The file changes at or below a folder.
fn changes<'a>(seen: &'a [Observed], folder: &'a Path) -> impl Iterator<Item = &'a FileChange> {
    seen.iter().filter_map(move |observed| match observed {
        Observed::File(change) if change.directory.as_deref().is_some_and(|path| path.starts_with(folder)) => {
            Some(change)
        }
        _ => None,
    })
}

fn has(seen: &[Observed], folder: &Path, name: &str, operation: OperationSet) -> bool {
    changes(seen, folder).any(|change| change.name == name.as_bytes() && change.operations.contains(operation))
}

fn mkfifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no NUL in the path");
    // SAFETY: the path is NUL-terminated and lives through the call.
    let result = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(result, 0, "mkfifo works in the temporary folder");
}

#[test]
fn each_of_100_files_is_seen_created_renamed_and_unlinked() {
    let scratch = Scratch::new("succession");
    let Some(mut source) = open(&scratch) else { return };
    let folder = scratch.path();
    for number in 0..FILES {
        let (old, new) = (folder.join(format!("old-{number}")), folder.join(format!("new-{number}")));
        fs::write(&old, b"x").expect("create");
        fs::rename(&old, &new).expect("rename");
        fs::remove_file(&new).expect("unlink");
    }
    let last = format!("new-{}", FILES - 1);
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, folder, &last, OperationSet::UNLINK));
    for number in 0..FILES {
        let (old, new) = (format!("old-{number}"), format!("new-{number}"));
        assert!(has(&seen, folder, &old, OperationSet::CREATE), "{old} was created");
        assert!(has(&seen, folder, &old, OperationSet::RENAME_FROM), "{old} was renamed");
        assert!(has(&seen, folder, &new, OperationSet::UNLINK), "{new} was unlinked");
        if source.has_rename_pairs() {
            let renamed = changes(&seen, folder).find(|change| change.new_name.as_deref() == Some(new.as_bytes()));
            let renamed = renamed.expect("both sides in one event");
            assert_eq!(renamed.name, old.as_bytes());
            assert_eq!(renamed.new_directory.as_deref(), Some(folder));
            assert!(!renamed.merged);
        }
    }
    assert!(changes(&seen, folder).all(|change| change.pid == Some(own_pid())));
}

#[test]
fn events_of_one_name_that_the_kernel_merged_are_marked_as_a_set_without_order() {
    let scratch = Scratch::new("merged");
    let Some(mut source) = open(&scratch) else { return };
    let path = scratch.path().join("file");
    fs::write(&path, b"x").expect("create");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, scratch.path(), "file", OperationSet::ATTRIBUTES));
    let told: Vec<_> = changes(&seen, scratch.path()).map(|change| (change.operations, change.merged)).collect();
    assert_eq!(told, [(OperationSet::CREATE.with(OperationSet::ATTRIBUTES), true)]);
}

#[test]
fn on_a_kernel_without_rename_pairs_each_side_is_still_seen() {
    let scratch = Scratch::new("old-kernel");
    let places = Places::Holding(vec![scratch.path().to_owned()]);
    let options = Options { places, rename_pairs: false, ..Options::default() };
    let Some(mut source) = permitted(Fanotify::open(options)) else { return };
    assert!(!source.has_rename_pairs());
    let folder = scratch.path();
    for number in 0..FILES {
        let (old, new) = (folder.join(format!("old-{number}")), folder.join(format!("new-{number}")));
        fs::write(&old, b"x").expect("create");
        fs::rename(&old, &new).expect("rename");
        fs::remove_file(&new).expect("unlink");
    }
    mkfifo(&folder.join("fifo"));
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, folder, "fifo", OperationSet::CREATE));
    for number in 0..FILES {
        let (old, new) = (format!("old-{number}"), format!("new-{number}"));
        assert!(has(&seen, folder, &old, OperationSet::CREATE.with(OperationSet::RENAME_FROM)), "{old} is one set");
        assert!(has(&seen, folder, &new, OperationSet::RENAME_TO.with(OperationSet::UNLINK)), "{new} is one set");
    }
    assert!(changes(&seen, folder).all(|change| change.merged == (change.name != b"fifo")));
    let fifo = changes(&seen, folder).find(|change| change.name == b"fifo").expect("seen");
    assert_eq!(fifo.kind, Some(Kind::Fifo));
}

#[test]
fn what_was_created_is_told_by_kind() {
    let scratch = Scratch::new("kinds");
    let Some(mut source) = open(&scratch) else { return };
    let folder = scratch.path();
    mkfifo(&folder.join("fifo"));
    fs::create_dir(folder.join("folder")).expect("mkdir");
    fs::write(folder.join("file"), b"x").expect("create");
    fs::hard_link(folder.join("file"), folder.join("hard-link")).expect("link");
    std::os::unix::fs::symlink("file", folder.join("symlink")).expect("symlink");
    let _listener = std::os::unix::net::UnixListener::bind(folder.join("socket")).expect("bind");
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, folder, "socket", OperationSet::CREATE));
    let created = |name: &str| {
        changes(&seen, folder)
            .find(|change| change.name == name.as_bytes() && change.operations.contains(OperationSet::CREATE))
            .unwrap_or_else(|| panic!("{name} was created"))
    };
    assert_eq!(created("fifo").kind, Some(Kind::Fifo));
    assert_eq!(created("folder").kind, Some(Kind::Directory));
    assert_eq!(created("file").kind, Some(Kind::File));
    assert_eq!(created("symlink").kind, Some(Kind::Symlink));
    assert_eq!(created("socket").kind, Some(Kind::Socket));
    assert_eq!(created("hard-link").links, Some(2));
    assert_eq!(created("fifo").links, Some(1));
}

#[test]
fn a_fifo_that_was_renamed_before_we_looked_is_still_told_to_be_one() {
    let scratch = Scratch::new("renamed-fifo");
    let Some(mut source) = open(&scratch) else { return };
    if !source.has_rename_pairs() {
        return println!("skipped: this kernel gives no handle of the created file");
    }
    let folder = scratch.path();
    mkfifo(&folder.join("before"));
    fs::rename(folder.join("before"), folder.join("after")).expect("rename");
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, folder, "before", OperationSet::CREATE));
    let created = changes(&seen, folder).find(|change| change.operations.contains(OperationSet::CREATE));
    assert_eq!(created.expect("seen").kind, Some(Kind::Fifo));
}

#[test]
fn after_a_folder_is_renamed_files_in_it_are_told_under_the_new_path() {
    let scratch = Scratch::new("moved-folder");
    let Some(mut source) = open(&scratch) else { return };
    let folder = scratch.path();
    fs::create_dir(folder.join("before")).expect("mkdir");
    fs::write(folder.join("before/first"), b"x").expect("create");
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, folder, "first", OperationSet::CREATE));
    assert!(changes(&seen, &folder.join("before")).any(|change| change.name == b"first"));

    fs::rename(folder.join("before"), folder.join("after")).expect("rename");
    fs::write(folder.join("after/second"), b"x").expect("create");
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, folder, "second", OperationSet::CREATE));
    assert!(changes(&seen, &folder.join("after")).any(|change| change.name == b"second"));
}

#[test]
fn changed_attributes_are_seen_and_plain_writes_are_not() {
    let scratch = Scratch::new("attributes");
    let path = scratch.path().join("file");
    fs::write(&path, b"x").expect("create");
    let Some(mut source) = open(&scratch) else { return };
    fs::write(&path, b"written again").expect("write");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, scratch.path(), "file", OperationSet::ATTRIBUTES));
    let operations: Vec<_> = changes(&seen, scratch.path()).map(|change| change.operations).collect();
    assert_eq!(operations, [OperationSet::ATTRIBUTES]);
}

#[test]
fn a_changed_link_count_is_not_told_as_an_event_without_a_name() {
    let scratch = Scratch::new("link-count");
    let Some(mut source) = open(&scratch) else { return };
    fs::write(scratch.path().join("file"), b"x").expect("create");
    fs::remove_file(scratch.path().join("file")).expect("unlink");
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, scratch.path(), "file", OperationSet::UNLINK));
    assert!(seen.iter().all(|o| !matches!(o, Observed::File(change) if change.name.is_empty())), "{seen:?}");
}

#[test]
fn our_own_output_is_not_answered_to() {
    let scratch = Scratch::new("ignored");
    let Some(mut source) = open(&scratch) else { return };
    let spool = scratch.path().join("spool");
    fs::create_dir(&spool).expect("mkdir");
    source.ignore_folder(fs::File::open(&spool).expect("open").as_fd()).expect("a handle");
    source.ignore_pid(own_pid());
    fs::write(scratch.path().join("by-us"), b"x").expect("create");
    let by_others = |path: &Path| assert!(Command::new("touch").arg(path).status().expect("touch").success());
    by_others(&spool.join("in-the-spool"));
    by_others(&scratch.path().join("elsewhere"));
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, scratch.path(), "elsewhere", OperationSet::CREATE));
    assert!(has(&seen, scratch.path(), "elsewhere", OperationSet::CREATE));
    assert!(!has(&seen, scratch.path(), "by-us", OperationSet::CREATE));
    assert!(!has(&seen, scratch.path(), "in-the-spool", OperationSet::CREATE));
}

#[test]
fn a_flood_beyond_a_bounded_queue_is_told_as_an_overflow() {
    let scratch = Scratch::new("flood");
    let places = Places::Holding(vec![scratch.path().to_owned()]);
    let options = Options { places, unlimited_queue: false, ..Options::default() };
    let Some(mut source) = permitted(Fanotify::open(options)) else { return };
    let limit =
        fs::read_to_string("/proc/sys/fs/fanotify/max_queued_events").ok().and_then(|text| text.trim().parse().ok());
    let Some(limit @ ..=100_000_usize) = limit else { return println!("skipped: the queue is too long to fill") };
    let is_overflow = |observed: &Observed| matches!(observed, Observed::Overflow { .. });
    let path = scratch.path().join("name");
    for number in 0..=limit {
        let other = scratch.path().join(format!("name-{number}"));
        fs::hard_link(&path, &other).or_else(|_| fs::write(&other, b"")).expect("create");
    }
    let seen = collect(|sink| source.drain(sink), |seen| seen.iter().any(is_overflow));
    assert!(seen.iter().any(is_overflow), "{} events and no overflow", seen.len());
}

#[test]
fn a_place_that_can_not_be_marked_is_refused_by_name() {
    let places = Places::Holding(vec!["/proc".into()]);
    match Fanotify::open(Options { places, ..Options::default() }) {
        Ok(_) => panic!("/proc has no file handles to mark"),
        Err(error) if error.is_not_permitted() => println!("skipped: needs root: {error}"),
        Err(error) => assert!(error.to_string().contains("/proc"), "{error}"),
    }
}

#[test]
fn a_name_renamed_away_and_given_again_is_not_taken_for_one_rename() {
    let scratch = Scratch::new("swapped");
    let folder = scratch.path();
    fs::write(folder.join("name"), b"x").expect("create");
    fs::write(folder.join("other"), b"x").expect("create");
    let places = Places::Holding(vec![folder.to_owned()]);
    let options = Options { places, rename_pairs: false, ..Options::default() };
    let Some(mut source) = permitted(Fanotify::open(options)) else { return };
    fs::rename(folder.join("name"), folder.join("away")).expect("rename");
    fs::rename(folder.join("other"), folder.join("name")).expect("rename");
    let seen = collect(|sink| source.drain(sink), |seen| has(seen, folder, "name", OperationSet::RENAME_TO));
    let swapped = changes(&seen, folder).find(|change| change.name == b"name").expect("seen");
    assert_eq!(swapped.operations, OperationSet::RENAME_FROM.with(OperationSet::RENAME_TO));
    assert!(swapped.merged && swapped.new_name.is_none());
}
