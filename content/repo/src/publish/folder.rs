//! Puts signed documents into a folder, so that a client sees the old repository or the new one, never a mixture.
//!
//! Every file but the timestamp has its version or its hash in its name and is never changed once a timestamp has led to it. They are
//! written and synced first; the timestamp is renamed into place last. Before anything is written a client of ours runs against what
//! would be there: what it refuses is not published.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::Document;
use super::error::PublishError;
use crate::client::{Client, ClientError, Limits};
use crate::crypto::sha256_hex;
use crate::key::SigningKey;
use crate::path::{encode_name, unsafe_reason};
use crate::source::{FolderSource, Source, SourceError, Tree, METADATA, TARGETS};
use crate::store::{MemoryDisk, Store};
use crate::time::Moment;

/// The keys that are online: they say which versions belong together now, and nothing of what is in them.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnlineKeys<'a> {
    /// Sign snapshots.
    pub snapshot: &'a [SigningKey],
    /// Sign timestamps.
    pub timestamp: &'a [SigningKey],
}

/// What is published. What is not given stays as it is in the folder.
#[derive(Debug, Default)]
pub struct Publication {
    /// A new root.
    pub root: Option<Document>,
    /// New top-level targets.
    pub targets: Option<Document>,
    /// New delegated roles, by name.
    pub roles: BTreeMap<String, Document>,
    /// Files that the documents name, found by their hash.
    pub files: Vec<Vec<u8>>,
    /// How long the snapshot is good.
    pub snapshot_lifetime_s: i64,
    /// How long the timestamp is good.
    pub timestamp_lifetime_s: i64,
}

/// What is in the folder now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The versions of root, timestamp, snapshot and every role.
    pub versions: BTreeMap<String, u64>,
    /// Until when clients take it without a new timestamp.
    pub expires: Moment,
}

/// A document in the folder can't be larger: a client would not take it.
const DOCUMENT_SIZE_BYTES_MAX: u64 = 5 * 1024 * 1024;

/// Publishes into `folder`, which is made if it is missing.
///
/// # Errors
/// Something does not fit; clients see the folder as it was.
pub fn publish(
    folder: &Path,
    publication: &Publication,
    keys: OnlineKeys<'_>,
    now: Moment,
) -> Result<Published, PublishError> {
    for tree in [METADATA, TARGETS] {
        fs::create_dir_all(folder.join(tree)).map_err(|source| failed(&folder.join(tree), source))?;
    }
    let _lock = lock(folder)?;
    let present = Present::read(folder)?;
    let draft = present.with(publication, keys, now)?;
    draft.check(folder, &present, now)?;
    draft.write(folder)?;
    Ok(draft.published)
}

/// The document of a role as it is published, `None` where the folder has none. For whoever drafts the next: it is not verified.
///
/// # Errors
/// The folder is no repository.
pub fn published_document(folder: &Path, role: &str) -> Result<Option<Document>, PublishError> {
    let present = Present::read(folder)?;
    if role == "root" {
        return present.root.map(|(_, root)| Ok(Document::parse(&root)?)).transpose();
    }
    let Some(version) = present.roles.get(role) else { return Ok(None) };
    let name = format!("{version}.{}.json", encode_name(role));
    let bytes = FolderSource::new(folder)?.fetch(Tree::Metadata, &name, DOCUMENT_SIZE_BYTES_MAX)?;
    let bytes = bytes.ok_or(PublishError::Missing { role: name })?;
    Ok(Some(Document::parse(&bytes)?))
}

/// What the folder holds, as far as its timestamp leads.
#[derive(Debug, Default)]
struct Present {
    /// The latest root, and its bytes.
    root: Option<(u64, Vec<u8>)>,
    timestamp: Option<Document>,
    snapshot: Option<(Document, Vec<u8>)>,
    roles: BTreeMap<String, u64>,
}

impl Present {
    fn read(folder: &Path) -> Result<Self, PublishError> {
        let source = FolderSource::new(folder)?;
        let get = |name: &str| source.fetch(Tree::Metadata, name, DOCUMENT_SIZE_BYTES_MAX);
        let mut present = Self::default();
        let mut version = 1;
        while let Some(root) = get(&format!("{version}.root.json"))? {
            present.root = Some((version, root));
            version = version.saturating_add(1);
        }
        let Some(timestamp) = get("timestamp.json")? else { return Ok(present) };
        let timestamp = Document::parse(&timestamp)?;
        let version = timestamp.pinned().get("snapshot").copied().unwrap_or_default();
        let name = format!("{version}.snapshot.json");
        let bytes = get(&name)?.ok_or(PublishError::Missing { role: name })?;
        let snapshot = Document::parse(&bytes)?;
        present.roles = snapshot.pinned();
        present.timestamp = Some(timestamp);
        present.snapshot = Some((snapshot, bytes));
        Ok(present)
    }

    /// The files that lead from what is there to what is wanted, nothing written yet.
    fn with(&self, publication: &Publication, keys: OnlineKeys<'_>, now: Moment) -> Result<Draft, PublishError> {
        let mut draft = Draft::default();
        let mut roles = self.roles.clone();
        let root_version = match (&publication.root, &self.root) {
            (Some(root), present) => draft.add_root(root, present.as_ref().map(|(version, _)| *version))?,
            (None, Some((version, _))) => *version,
            (None, None) => return Err(PublishError::Missing { role: "root".into() }),
        };
        let targets = publication.targets.iter().map(|targets| ("targets", targets));
        for (role, document) in
            targets.chain(publication.roles.iter().map(|(role, document)| (role.as_str(), document)))
        {
            draft.add_role(role, document, roles.get(role).copied(), &publication.files)?;
            roles.insert(role.into(), document.version());
        }
        if !roles.contains_key("targets") {
            return Err(PublishError::Missing { role: "targets".into() });
        }
        let snapshot_version = self.add_snapshot(&mut draft, &roles, publication, keys, now)?;
        let version = self.timestamp.as_ref().map_or(0, Document::version).saturating_add(1);
        let snapshot = draft.snapshot.as_ref().or(self.snapshot.as_ref().map(|(_, bytes)| bytes));
        let expires = now.plus_s(publication.timestamp_lifetime_s);
        let mut timestamp =
            Document::timestamp(version, expires, snapshot_version, snapshot.map_or(&[], Vec::as_slice));
        keys.timestamp.iter().try_for_each(|key| timestamp.sign(key, false))?;
        draft.timestamp = timestamp.to_bytes();
        roles.extend([
            ("root".into(), root_version),
            ("snapshot".into(), snapshot_version),
            ("timestamp".into(), version),
        ]);
        draft.published = Published { versions: roles, expires };
        Ok(draft)
    }

    /// A new snapshot where something changed or the old one ends soon; its version in any case.
    fn add_snapshot(
        &self,
        draft: &mut Draft,
        roles: &BTreeMap<String, u64>,
        publication: &Publication,
        keys: OnlineKeys<'_>,
        now: Moment,
    ) -> Result<u64, PublishError> {
        let present = self.snapshot.as_ref().map(|(snapshot, _)| snapshot);
        let ends_after = now.plus_s(publication.timestamp_lifetime_s.saturating_mul(2));
        let is_good = present.is_some_and(|snapshot| snapshot.expires() > Some(ends_after));
        let version = present.map_or(0, Document::version);
        if is_good && *roles == self.roles && publication.root.is_none() {
            return Ok(version);
        }
        let version = version.saturating_add(1);
        let mut snapshot = Document::snapshot(version, now.plus_s(publication.snapshot_lifetime_s), roles);
        keys.snapshot.iter().try_for_each(|key| snapshot.sign(key, false))?;
        let bytes = snapshot.to_bytes();
        draft.files.push((Tree::Metadata, format!("{version}.snapshot.json"), bytes.clone()));
        draft.snapshot = Some(bytes);
        Ok(version)
    }
}

/// Files to be written.
#[derive(Debug)]
struct Draft {
    /// In the order in which they are written.
    files: Vec<(Tree, String, Vec<u8>)>,
    /// What must be there already: path, size and hash.
    named: Vec<(String, u64, String)>,
    snapshot: Option<Vec<u8>>,
    timestamp: Vec<u8>,
    published: Published,
}

impl Default for Draft {
    fn default() -> Self {
        let published = Published { versions: BTreeMap::new(), expires: Moment::from_unix_s(0) };
        Self { files: Vec::new(), named: Vec::new(), snapshot: None, timestamp: Vec::new(), published }
    }
}

impl Draft {
    fn add_root(&mut self, root: &Document, published: Option<u64>) -> Result<u64, PublishError> {
        check_kind("root", root, "root")?;
        let (offered, published) = (root.version(), published.unwrap_or_default());
        if offered <= published {
            return Err(PublishError::NotHigher { role: "root".into(), offered, published });
        }
        if offered != published.saturating_add(1) {
            return Err(PublishError::RootGap { offered, published });
        }
        self.files.push((Tree::Metadata, format!("{offered}.root.json"), root.to_bytes()));
        Ok(offered)
    }

    fn add_role(
        &mut self,
        role: &str,
        document: &Document,
        published: Option<u64>,
        files: &[Vec<u8>],
    ) -> Result<(), PublishError> {
        check_kind(role, document, "targets")?;
        let offered = document.version();
        if let Some(published) = published.filter(|published| offered <= *published) {
            return Err(PublishError::NotHigher { role: role.into(), offered, published });
        }
        for (path, size_bytes, sha256) in document.named_targets()? {
            if let Some(why) = unsafe_reason(&path) {
                return Err(PublishError::UnsafePath { path, why });
            }
            let (folder, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(folder, name)| (folder, name));
            let place =
                if folder.is_empty() { format!("{sha256}.{name}") } else { format!("{folder}/{sha256}.{name}") };
            if let Some(file) = files.iter().find(|file| sha256_hex(file) == sha256) {
                self.files.push((Tree::Targets, place.clone(), file.clone()));
            }
            self.named.push((path, size_bytes, sha256));
        }
        self.files.push((Tree::Metadata, format!("{offered}.{}.json", encode_name(role)), document.to_bytes()));
        Ok(())
    }

    /// Runs a client of ours against what would be there, from the root that is there.
    fn check(&self, folder: &Path, present: &Present, now: Moment) -> Result<(), PublishError> {
        let mut files: BTreeMap<_, _> = self
            .files
            .iter()
            .map(|(tree, path, bytes)| ((*tree == Tree::Targets, path.clone()), bytes.clone()))
            .collect();
        files.insert((false, "timestamp.json".into()), self.timestamp.clone());
        let first = files.get(&(false, "1.root.json".into())).cloned();
        let root = present.root.as_ref().map(|(_, bytes)| bytes.clone()).or(first);
        let root = root.ok_or_else(|| PublishError::Missing { role: "1.root.json".into() })?;
        let overlay = Overlay { files, below: FolderSource::new(folder)? };
        let mut client = Client::open(Store::new(MemoryDisk::default()), overlay, Some(&root), Limits::default())?;
        client.refresh(now)?;
        for role in self.published.versions.keys().filter(|role| !super::ROOT_ROLES.contains(&role.as_str())) {
            client.paths_of(role, now)?;
        }
        for (path, _, sha256) in &self.named {
            let target = client.find(path, now)?;
            let target = target.filter(|target| target.sha256() == Some(sha256));
            let target = target.ok_or_else(|| ClientError::UnknownTarget { path: path.clone() })?;
            match client.download(&target) {
                Err(ClientError::Missing { .. }) => {
                    return Err(PublishError::MissingFile { path: path.clone(), sha256: sha256.clone() })
                }
                outcome => outcome?,
            };
        }
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<(), PublishError> {
        for (tree, path, bytes) in &self.files {
            let tree = if *tree == Tree::Metadata { METADATA } else { TARGETS };
            put(&folder.join(tree).join(path), bytes)?;
        }
        put(&folder.join(METADATA).join("timestamp.json"), &self.timestamp)
    }
}

fn check_kind(role: &str, document: &Document, kind: &str) -> Result<(), PublishError> {
    if document.kind() == kind {
        return Ok(());
    }
    Err(PublishError::WrongKind { role: role.into(), kind: document.kind().into() })
}

/// Writes a file beside its place, syncs it, and gives it its name. One that is there with these bytes stays.
fn put(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    let beside = parent.join(".new");
    let written = || {
        fs::create_dir_all(parent)?;
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        parent
            .ancestors()
            .take(3)
            .filter(|folder| folder.is_dir())
            .try_for_each(|folder| File::open(folder)?.sync_all())
    };
    written().map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> PublishError {
    PublishError::Io { place: path.display().to_string(), source }
}

/// Two publishers at once would each take the other's version.
fn lock(folder: &Path) -> Result<File, PublishError> {
    let path: PathBuf = folder.join(".publish-lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|source| failed(&path, source))?;
    let busy = |_| failed(&path, io::Error::other("another publisher is at work: wait for its end"));
    file.try_lock().map_err(busy)?;
    Ok(file)
}

/// The folder as it would be.
struct Overlay {
    /// By whether it is a target, and path.
    files: BTreeMap<(bool, String), Vec<u8>>,
    below: FolderSource,
}

impl Source for Overlay {
    fn fetch(&self, tree: Tree, path: &str, size_bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        match self.files.get(&(tree == Tree::Targets, path.to_owned())) {
            Some(bytes) if bytes.len() as u64 > size_bytes_max => {
                Err(SourceError::TooLarge { place: path.into(), size_bytes_max })
            }
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.below.fetch(tree, path, size_bytes_max),
        }
    }
}
