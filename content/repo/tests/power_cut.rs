//! A power cut at every write, rename and sync of a client's life, and a disk that takes no more.
//!
//! The disk below records every operation. For each prefix of them, and for each choice of those that were not synced yet, it gives the
//! files that a machine could find after a cut there: data that was not synced may be there whole, by half or not at all, names likewise.

mod support;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{json, Value};
use support::{forge, start, Desk, Mirror};
use watertight_content_repo::client::{ClientError, Versions};
use watertight_content_repo::director::Seen;
use watertight_content_repo::store::{Disk, MemoryDisk, Store};

#[derive(Clone, Debug)]
enum Operation {
    Create {
        name: String,
        inode: usize,
    },
    Write {
        inode: usize,
        bytes: Vec<u8>,
    },
    SyncFile {
        inode: usize,
    },
    Rename {
        from: String,
        to: String,
        inode: usize,
    },
    SyncFolder,
    Remove {
        name: String,
    },
    /// The client has said that it is done: from here on what it wrote so far is there for good.
    Promise,
}

/// What a machine finds after a cut.
type Found = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct RecordingDisk {
    log: Mutex<(Vec<Operation>, BTreeMap<String, usize>, usize)>,
    files: MemoryDisk,
}

impl RecordingDisk {
    fn promise(&self) {
        self.log.lock().expect("whole").0.push(Operation::Promise);
    }

    fn operations(&self) -> Vec<Operation> {
        self.log.lock().expect("whole").0.clone()
    }
}

impl Disk for RecordingDisk {
    fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        self.files.read(name, size_bytes_max)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut log = self.log.lock().expect("whole");
        let inode = log.2;
        log.2 += 1;
        log.1.insert(name.to_owned(), inode);
        log.0.push(Operation::Create { name: name.to_owned(), inode });
        log.0.push(Operation::Write { inode, bytes: bytes.to_vec() });
        self.files.write(name, bytes)
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        let mut log = self.log.lock().expect("whole");
        let inode = log.1[name];
        log.0.push(Operation::SyncFile { inode });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut log = self.log.lock().expect("whole");
        let inode = log.1.remove(from).expect("it was written");
        log.1.insert(to.to_owned(), inode);
        log.0.push(Operation::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        self.files.rename(from, to)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.log.lock().expect("whole").0.push(Operation::SyncFolder);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut log = self.log.lock().expect("whole");
        log.1.remove(name);
        log.0.push(Operation::Remove { name: name.to_owned() });
        self.files.remove(name)
    }
}

/// Whether the operation at `place` is durable by the end of `done`.
fn is_durable(done: &[Operation], place: usize) -> bool {
    let later = &done[place + 1..];
    match &done[place] {
        Operation::Write { inode, .. } => {
            later.iter().any(|operation| matches!(operation, Operation::SyncFile { inode: synced } if synced == inode))
        }
        Operation::SyncFile { .. } | Operation::SyncFolder | Operation::Promise => true,
        _ => later.iter().any(|operation| matches!(operation, Operation::SyncFolder)),
    }
}

/// The files as they were when the client last said that it was done.
fn promised(done: &[Operation]) -> Found {
    let end = done.iter().rposition(|operation| matches!(operation, Operation::Promise)).unwrap_or_default();
    found(&done[..end], u32::MAX, false)
}

/// The files after a cut behind `done`: of what is not durable, what `kept` chooses is there; of data that is not, nothing or a half.
fn found(done: &[Operation], kept: u32, is_torn: bool) -> Found {
    let (mut names, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    let mut open = 0;
    for (place, operation) in done.iter().enumerate() {
        let is_there = is_durable(done, place) || {
            open += 1;
            kept & (1 << (open - 1)) != 0
        };
        match operation {
            Operation::Create { name, inode } if is_there => {
                names.insert(name.clone(), *inode);
            }
            Operation::Write { inode, bytes } if is_there => {
                inodes.insert(*inode, bytes.clone());
            }
            Operation::Write { inode, bytes } if is_torn => {
                inodes.insert(*inode, bytes[..bytes.len() / 2].to_vec());
            }
            Operation::Rename { from, to, inode } if is_there => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Operation::Remove { name } if is_there => {
                names.remove(name);
            }
            _ => {}
        }
    }
    names.into_iter().map(|(name, inode)| (name, inodes.get(&inode).cloned().unwrap_or_default())).collect()
}

fn open_operations(done: &[Operation]) -> u32 {
    (0..done.len()).filter(|place| !is_durable(done, *place)).count().try_into().expect("few")
}

fn version(files: &Found, name: &str) -> u64 {
    let Some(bytes) = files.get(name) else { return 0 };
    let document: Value = serde_json::from_slice(bytes).expect("a file under its name is whole");
    document["signed"]["version"].as_u64().expect("a version")
}

fn disk(files: &Found) -> MemoryDisk {
    let disk = MemoryDisk::default();
    for (name, bytes) in files {
        disk.write(name, bytes).expect("memory");
    }
    disk
}

/// The mirrors after the first, second and third publication, and one of a thief who has both online keys and takes the content back.
struct World {
    desk: Desk,
    mirrors: [Mirror; 3],
    thief: Mirror,
}

impl World {
    fn new() -> Self {
        let mut desk = Desk::with_pack();
        let first = desk.mirror();
        desk.release(2, b"pack two");
        desk.publish_content(start());
        desk.root_version = 2;
        let publication =
            watertight_content_repo::publish::Publication { root: Some(desk.root()), ..desk.publication() };
        watertight_content_repo::publish::publish(desk.folder.path(), &publication, desk.online(), start())
            .expect("a good root");
        let second = desk.mirror();
        desk.release(3, b"pack three");
        desk.publish_content(start());
        let third = desk.mirror();
        let thief = third.fork();
        let snapshot = forge(&thief.metadata("4.snapshot.json"), &desk.keys["snapshot"], |signed| {
            signed["version"] = 9.into();
            signed["meta"]["content.json"] = json!({ "version": 1 });
        });
        thief.put_metadata("9.snapshot.json", snapshot);
        let timestamp = forge(&thief.metadata("timestamp.json"), &desk.keys["timestamp"], |signed| {
            signed["version"] = 9.into();
            signed["meta"]["snapshot.json"] = json!({ "version": 9 });
        });
        thief.put_metadata("timestamp.json", timestamp);
        Self { desk, mirrors: [first, second, third], thief }
    }

    /// A client's life: three refreshes, each in a process of its own, and the role that names the packs.
    fn live(&self, disk: &Arc<impl Disk + 'static>, done: impl Fn()) -> Result<Versions, ClientError> {
        let mut versions = Versions::default();
        for (mirror, path) in
            self.mirrors.iter().zip(["content/linux/1.pack", "content/linux/2.pack", "content/linux/3.pack"])
        {
            let mut client = self.desk.client_on(Arc::clone(disk), mirror.clone())?;
            client.refresh(start())?;
            let target = client.find(path, start())?;
            assert!(target.is_some(), "{path} is named");
            versions = client.versions();
            done();
        }
        Ok(versions)
    }

    /// After a cut: the client starts, is not below what was durable, can't be taken back, and goes on.
    fn check(&self, files: &Found, durable: &Found) {
        for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json"] {
            assert!(version(files, name) >= version(durable, name), "{name} went back");
        }
        if version(durable, "timestamp.json") >= 2 {
            let mut client = self.desk.client_on(disk(files), self.mirrors[0].clone()).expect("it starts");
            let refused = client.refresh(start());
            assert!(matches!(refused, Err(ClientError::Rollback { .. })), "an older repository: {refused:?}");
        }
        if version(durable, "snapshot.json") >= 2 {
            let mut client = self.desk.client_on(disk(files), self.thief.clone()).expect("it starts");
            let refused = client.refresh(start());
            assert!(matches!(refused, Err(ClientError::Rollback { .. })), "older content by a thief: {refused:?}");
        }
        let mut client = self.desk.client_on(disk(files), self.mirrors[2].clone()).expect("it starts");
        client.refresh(start()).expect("it goes on");
        assert!(client.find("content/linux/3.pack", start()).expect("no refusal").is_some());
        assert_eq!(client.versions().root, 2);
    }
}

#[test]
fn a_power_cut_at_any_write_leaves_a_client_that_starts_goes_on_and_can_not_be_taken_back() {
    let world = World::new();
    let recorder = Arc::new(RecordingDisk::default());
    world.live(&recorder, || recorder.promise()).expect("good repositories");
    let operations = recorder.operations();
    let mut cuts = 0;
    for end in 0..=operations.len() {
        let done = &operations[..end];
        let mut durable = promised(done);
        durable.extend(found(done, 0, false)); // what is synced is at least what was promised, or the check below says so
        let (promised, open) = (promised(done), open_operations(done));
        assert!(open <= 8, "{open} operations are not synced: too many to try every choice");
        let mut seen = Vec::new();
        for kept in 0..1 << open {
            for is_torn in [false, true] {
                let files = found(done, kept, is_torn);
                if !seen.contains(&files) {
                    for (name, bytes) in promised.iter().filter(|(name, _)| name.ends_with(".json")) {
                        assert!(
                            version(&files, name) >= version(&[(name.clone(), bytes.clone())].into(), name),
                            "{name}"
                        );
                    }
                    world.check(&files, &durable);
                    seen.push(files);
                    cuts += 1;
                }
            }
        }
    }
    println!("{} operations, {cuts} different cuts", operations.len());
    assert!(cuts > operations.len(), "every operation gives at least one state of its own");
}

#[test]
fn a_power_cut_never_loses_an_epoch_or_a_recall_that_was_seen() {
    let recorder = Arc::new(RecordingDisk::default());
    let store = Store::new(Arc::clone(&recorder));
    let seen = |epoch: u64, recalled: &[&str]| Seen {
        authority: "director".into(),
        epoch,
        plan_sha256: "00".into(),
        recalled: recalled.iter().map(|id| id.repeat(32).parse().expect("an id")).collect(),
    };
    for seen in [seen(1, &[]), seen(2, &["aa"]), seen(3, &["aa", "bb"])] {
        seen.write(&store).expect("memory");
        recorder.promise();
    }
    let operations = recorder.operations();
    for end in 0..=operations.len() {
        let done = &operations[..end];
        let read = |files: &Found| Seen::read(&Store::new(disk(files))).expect("whole or not there");
        let durable = read(&promised(done));
        for kept in 0..1 << open_operations(done) {
            for is_torn in [false, true] {
                let after = read(&found(done, kept, is_torn));
                assert!(after.epoch >= durable.epoch && after.recalled.is_superset(&durable.recalled));
            }
        }
    }
}

/// A disk that is full from the n-th write on, until it is emptied.
struct FullDisk {
    files: MemoryDisk,
    room: AtomicI64,
}

impl FullDisk {
    fn take(&self) -> io::Result<()> {
        if self.room.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Ok(());
        }
        Err(io::ErrorKind::StorageFull.into())
    }
}

impl Disk for FullDisk {
    fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        self.files.read(name, size_bytes_max)
    }
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.take().is_err() {
            self.files.write(name, &bytes[..bytes.len() / 2])?; // as far as there was room
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.files.write(name, bytes)
    }
    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.take().and_then(|()| self.files.sync_file(name))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.take().and_then(|()| self.files.rename(from, to))
    }
    fn sync_folder(&self) -> io::Result<()> {
        self.take().and_then(|()| self.files.sync_folder())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }
}

#[test]
fn a_full_disk_is_told_and_a_client_with_room_again_goes_on() {
    let world = World::new();
    let mut failures = 0;
    for room in 0.. {
        let disk = Arc::new(FullDisk { files: MemoryDisk::default(), room: AtomicI64::new(room) });
        match world.live(&disk, || ()) {
            Err(ClientError::Store(error)) => assert!(error.to_string().contains("what was trusted before still is")),
            Err(other) => panic!("the disk is named, not {other}"),
            Ok(_) => break,
        }
        failures += 1;
        disk.room.store(i64::MAX, Ordering::Relaxed);
        let mut client = world.desk.client_on(disk, world.mirrors[2].clone()).expect("it starts");
        client.refresh(start()).expect("it goes on");
        assert_eq!(client.versions().root, 2);
    }
    assert!(failures > 30, "every step of every write failed once: {failures}");
}

#[test]
fn nothing_is_acted_on_that_a_full_disk_did_not_take() {
    let world = World::new();
    let mut failures = 0;
    for room in 0.. {
        let disk = Arc::new(FullDisk { files: MemoryDisk::default(), room: AtomicI64::new(i64::MAX) });
        let mut client = world.desk.client_on(Arc::clone(&disk), world.mirrors[2].clone()).expect("a root");
        disk.room.store(room, Ordering::Relaxed);
        if client.refresh(start()).is_ok() {
            break;
        }
        failures += 1;
        // The same client, once there is room again; then another after it has ended.
        disk.room.store(i64::MAX, Ordering::Relaxed);
        client.refresh(start()).expect("it goes on");
        let next = world.desk.client_on(disk, Mirror::default()).expect("it starts without any network");
        assert_eq!(next.versions(), client.versions(), "after {room} operations");
    }
    assert!(failures > 15, "every step of every write failed once: {failures}");
}
