//! A publisher's desk with all its keys, the repository that it writes, and a mirror that can do with its files what it likes.

#![allow(dead_code)] // each test file uses its part of it

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{json, Value};
use tempfile::TempDir;
use watertight_content_repo::client::{Client, ClientError, Limits};
use watertight_content_repo::key::SigningKey;
use watertight_content_repo::publish::{
    publish, Authority, Document, OnlineKeys, Publication, PublishError, Published,
};
use watertight_content_repo::release::{EngineRange, Release, Ring, Step, WHOLE_PER_MILLION};
use watertight_content_repo::source::{Source, SourceError, Tree};
use watertight_content_repo::store::{Disk, MemoryDisk, Store};
use watertight_content_repo::time::Moment;

pub const DAY_S: i64 = 24 * 3600;
pub const ROLES: [&str; 6] = ["root", "targets", "content", "director", "snapshot", "timestamp"];

/// When all of it happens: tests move their clock, not the machine's.
pub fn start() -> Moment {
    "2026-11-22T00:00:00Z".parse().expect("a time")
}

/// A key that is nobody's yet.
pub fn key() -> SigningKey {
    SigningKey::generate().expect("random bytes")
}

/// A publisher with keys for every role.
pub struct Desk {
    pub keys: BTreeMap<&'static str, Vec<SigningKey>>,
    pub thresholds: BTreeMap<&'static str, u32>,
    pub folder: TempDir,
    pub packs: Vec<(Release, Vec<u8>)>,
    pub root_version: u64,
    pub content_version: u64,
    pub director_version: u64,
}

impl Desk {
    /// Root and content need two of three keys, all others one; nothing is published yet.
    pub fn new() -> Self {
        let count = |role| if matches!(role, "root" | "content") { 3 } else { 1 };
        let key = |_| key();
        let threshold = |role| if matches!(role, "root" | "content") { 2 } else { 1 };
        Self {
            keys: ROLES.map(|role| (role, (0..count(role)).map(key).collect())).into(),
            thresholds: ROLES.map(|role| (role, threshold(role))).into(),
            folder: tempfile::tempdir().expect("a folder"),
            packs: Vec::new(),
            root_version: 1,
            content_version: 0,
            director_version: 0,
        }
    }

    /// A desk that has published one pack.
    pub fn with_pack() -> Self {
        let mut desk = Self::new();
        desk.release(1, b"pack one");
        desk.publish_first(start()).expect("a good repository");
        desk
    }

    pub fn authorities(&self) -> BTreeMap<String, Authority> {
        let authority = |role: &&'static str| Authority {
            keys: self.keys[role].iter().map(SigningKey::public).collect(),
            threshold: self.thresholds[role],
        };
        self.keys.keys().map(|role| ((*role).to_owned(), authority(role))).collect()
    }

    /// The document with as many of the role's signatures as the role needs.
    pub fn signed(&self, role: &str, mut document: Document) -> Document {
        for key in self.keys[role].iter().take(self.thresholds[role] as usize) {
            document.sign(key, true).expect("a document");
        }
        document
    }

    pub fn expires(&self) -> Moment {
        start().plus_s(365 * DAY_S)
    }

    pub fn root(&self) -> Document {
        self.signed("root", Document::root(self.root_version, self.expires(), &self.authorities()).expect("keys"))
    }

    pub fn targets(&self, version: u64) -> Document {
        self.signed("targets", Document::targets(version, self.expires(), &self.authorities()).expect("keys"))
    }

    /// Adds a pack to what the content role will name.
    pub fn release(&mut self, version: u64, pack: &[u8]) {
        self.packs.push((release("linux", version), pack.to_vec()));
    }

    pub fn content(&mut self) -> Document {
        self.content_version += 1;
        let document = Document::content(self.content_version, self.expires(), &self.packs).expect("good releases");
        self.signed("content", document)
    }

    pub fn online(&self) -> OnlineKeys<'_> {
        OnlineKeys { snapshot: &self.keys["snapshot"], timestamp: &self.keys["timestamp"] }
    }

    pub fn publication(&self) -> Publication {
        Publication {
            files: self.packs.iter().map(|(_, pack)| pack.clone()).collect(),
            snapshot_lifetime_s: 7 * DAY_S,
            timestamp_lifetime_s: DAY_S,
            ..Publication::default()
        }
    }

    pub fn publish_first(&mut self, now: Moment) -> Result<Published, PublishError> {
        let roles = [("content".to_owned(), self.content())].into();
        let (root, targets) = (Some(self.root()), Some(self.targets(1)));
        let publication = Publication { root, targets, roles, ..self.publication() };
        publish(self.folder.path(), &publication, self.online(), now)
    }

    /// Publishes what the desk has now.
    pub fn publish_content(&mut self, now: Moment) -> Published {
        let roles = [("content".to_owned(), self.content())].into();
        let publication = Publication { roles, ..self.publication() };
        publish(self.folder.path(), &publication, self.online(), now).expect("a good publication")
    }

    /// Publishes a director's plan.
    pub fn publish_plan(&mut self, plan: &Value, now: Moment) -> Result<Published, PublishError> {
        let publication = self.plan(plan);
        publish(self.folder.path(), &publication, self.online(), now)
    }

    /// The same, with new top-level targets.
    pub fn publish_targets_and_plan(
        &mut self,
        targets_version: u64,
        plan: &Value,
        now: Moment,
    ) -> Result<Published, PublishError> {
        let publication = Publication { targets: Some(self.targets(targets_version)), ..self.plan(plan) };
        publish(self.folder.path(), &publication, self.online(), now)
    }

    fn plan(&mut self, plan: &Value) -> Publication {
        self.director_version += 1;
        let bytes = serde_json::to_vec(plan).expect("a plan");
        let document = Document::director(self.director_version, self.expires(), "director/plan.json", &bytes);
        let roles = [("director".to_owned(), self.signed("director", document))].into();
        Publication { roles, files: vec![bytes], ..self.publication() }
    }

    /// Publishes nothing new: only the time goes on.
    pub fn publish_again(&self, now: Moment) -> Published {
        publish(self.folder.path(), &self.publication(), self.online(), now).expect("nothing to refuse")
    }

    pub fn mirror(&self) -> Mirror {
        Mirror::of(self.folder.path())
    }

    /// A root of the first version, as it ships with the product.
    pub fn shipped(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("metadata/1.root.json")).expect("it is published")
    }

    /// A client with nothing but the shipped root.
    pub fn client(&self, source: impl Source + 'static) -> Client {
        self.client_on(MemoryDisk::default(), source).expect("a good root")
    }

    pub fn client_on(&self, disk: impl Disk + 'static, source: impl Source + 'static) -> Result<Client, ClientError> {
        Client::open(Store::new(disk), source, Some(&self.shipped()), Limits::default())
    }
}

/// A release for every ring and hour.
pub fn release(name: &str, version: u64) -> Release {
    let steps = vec![Step { after_h: 0, per_million: WHOLE_PER_MILLION }];
    Release {
        release: format!("{name}-{version}"),
        name: name.into(),
        version,
        floor: 0,
        engine: EngineRange { min: 1, max: 3 },
        rings: [("broad".into(), Ring { earliest: start(), steps })].into(),
    }
}

/// A document with something changed in it, signed by these keys and no others.
pub fn forge(bytes: &[u8], keys: &[SigningKey], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bytes).expect("a document");
    change(&mut value["signed"]);
    value["signatures"] = json!([]);
    let mut document = Document::parse(value.to_string().as_bytes()).expect("still a document");
    for key in keys {
        document.sign(key, true).expect("a document");
    }
    document.to_bytes()
}

type Files = BTreeMap<(bool, String), Vec<u8>>;

/// A mirror: it has a repository's files and does with them what a test says. Copies share the files.
#[derive(Clone, Default)]
pub struct Mirror {
    files: Arc<Mutex<Files>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    pub fn of(folder: &Path) -> Self {
        let mirror = Self::default();
        mirror.copy(folder);
        mirror
    }

    /// Makes the mirror what the folder is now; what it had before stays beside.
    pub fn copy(&self, folder: &Path) {
        for (is_target, tree) in [(false, "metadata"), (true, "targets")] {
            let mut folders = vec![folder.join(tree)];
            while let Some(found) = folders.pop() {
                for entry in std::fs::read_dir(found).expect("a folder") {
                    let path = entry.expect("an entry").path();
                    if path.is_dir() {
                        folders.push(path);
                        continue;
                    }
                    let name = path.strip_prefix(folder.join(tree)).expect("below it").to_str().expect("text");
                    let bytes = std::fs::read(&path).expect("a file");
                    self.files.lock().expect("whole").insert((is_target, name.to_owned()), bytes);
                }
            }
        }
    }

    pub fn metadata(&self, name: &str) -> Vec<u8> {
        self.files.lock().expect("whole")[&(false, name.to_owned())].clone()
    }

    pub fn put_metadata(&self, name: &str, bytes: Vec<u8>) {
        self.files.lock().expect("whole").insert((false, name.to_owned()), bytes);
    }

    pub fn put_target(&self, path: &str, bytes: Vec<u8>) {
        self.files.lock().expect("whole").insert((true, path.to_owned()), bytes);
    }

    /// Every file of a tree whose name ends so has these bytes now.
    pub fn spoil_targets(&self, bytes: &[u8]) {
        let mut files = self.files.lock().expect("whole");
        files.iter_mut().filter(|((is_target, _), _)| *is_target).for_each(|(_, file)| *file = bytes.to_vec());
    }

    pub fn remove_metadata(&self, name: &str) {
        self.files.lock().expect("whole").remove(&(false, name.to_owned()));
    }

    /// What this mirror has and the other has not, or has otherwise.
    pub fn beyond(&self, other: &Self) -> BTreeMap<(bool, String), Vec<u8>> {
        let other = other.files.lock().expect("whole");
        let mut files = self.files.lock().expect("whole").clone();
        files.retain(|name, bytes| other.get(name) != Some(bytes));
        files
    }

    /// The same files, apart from these from now on.
    pub fn fork(&self) -> Self {
        Self { files: Arc::new(Mutex::new(self.files.lock().expect("whole").clone())), asked: Arc::default() }
    }
}

impl Source for Mirror {
    fn fetch(&self, tree: Tree, path: &str, size_bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.asked.lock().expect("whole").push(path.to_owned());
        match self.files.lock().expect("whole").get(&(tree == Tree::Targets, path.to_owned())) {
            Some(bytes) if bytes.len() as u64 > size_bytes_max => {
                Err(SourceError::TooLarge { place: path.into(), size_bytes_max })
            }
            found => Ok(found.cloned()),
        }
    }
}
