//! The update client: the workflow of the TUF specification, section 5.3 to 5.7, over a source that is believed in nothing.
//!
//! Signatures, versions, expiry and pins are judged by the verification core of `sigstore-tuf`; here is the order of the steps, what
//! is kept durably between them, and the floors that hold after a power cut between two of them. The core's own driver is not used:
//! it passes over failed writes, and after a cut between timestamp and snapshot it forgets the older snapshot's versions.

mod error;
mod floor;
mod freshness;
mod search;
pub mod spread;

use sigstore_tuf::{Error as Core, TrustedMetadataSet};

pub use self::error::ClientError;
pub use self::freshness::{Freshness, Health};
pub use self::search::Target;

use self::error::refused;
use self::floor::Floor;
use self::freshness::Refreshed;
use crate::path::encode_name;
use crate::source::{Source, Tree};
use crate::store::Store;
use crate::time::Moment;

/// What a repository may ask of a client.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A root.
    pub root_size_bytes_max: u64,
    /// A timestamp: it names one file.
    pub timestamp_size_bytes_max: u64,
    /// A snapshot: it names a file for each role.
    pub snapshot_size_bytes_max: u64,
    /// A targets role.
    pub targets_size_bytes_max: u64,
    /// A target: the content packs that this client fetches are far smaller.
    pub target_size_bytes_max: u64,
    /// New roots in one refresh.
    pub root_rotations_max: u32,
    /// Roles that are looked at for one target.
    pub delegations_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root_size_bytes_max: 512 * 1024,
            timestamp_size_bytes_max: 16 * 1024,
            snapshot_size_bytes_max: 2 * 1024 * 1024,
            targets_size_bytes_max: 5 * 1024 * 1024,
            target_size_bytes_max: 64 * 1024 * 1024,
            root_rotations_max: 256,
            delegations_max: 32,
        }
    }
}

/// The versions that a client trusts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Versions {
    /// Root: there is always one.
    pub root: u64,
    /// Timestamp.
    pub timestamp: Option<u64>,
    /// Snapshot.
    pub snapshot: Option<u64>,
    /// Top-level targets.
    pub targets: Option<u64>,
}

/// A client with its trusted state and its source.
pub struct Client {
    trusted: TrustedMetadataSet,
    floor: Floor,
    store: Store,
    source: Box<dyn Source>,
    limits: Limits,
    refreshed: Option<Refreshed>,
    /// The refresh before the last.
    refreshed_before: Option<Refreshed>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("versions", &self.versions()).finish_non_exhaustive()
    }
}

/// Names in the store.
const ROOT: &str = "root.json";
const TIMESTAMP: &str = "timestamp.json";
const SNAPSHOT: &str = "snapshot.json";
const TARGETS: &str = "targets.json";

impl Client {
    /// Makes `root` the store's trusted root, as an administrator does once.
    ///
    /// # Errors
    /// It is no root that its own keys signed, or the disk failed.
    pub fn init(store: &Store, root: &[u8]) -> Result<(), ClientError> {
        crate::crypto::install();
        TrustedMetadataSet::from_root(root).map_err(|error| refused("root", error))?;
        Ok(store.put(ROOT, root)?)
    }

    /// A client that starts from the store's root, or from `shipped` where the store has none that verifies, or an older one.
    ///
    /// # Errors
    /// Neither is a root that its own keys signed, or the disk failed.
    pub fn open(
        store: Store,
        source: impl Source + 'static,
        shipped: Option<&[u8]>,
        limits: Limits,
    ) -> Result<Self, ClientError> {
        crate::crypto::install();
        let kept = store.get(ROOT, limits.root_size_bytes_max)?;
        let kept = kept.map(|root| TrustedMetadataSet::from_root(&root));
        let trusted = match (kept, shipped.map(TrustedMetadataSet::from_root)) {
            (Some(Ok(kept)), Some(Ok(shipped))) if shipped.root().version > kept.root().version => shipped,
            (Some(Ok(kept)), _) => kept,
            (_, Some(Ok(shipped))) => shipped,
            (Some(Err(error)), _) | (None, Some(Err(error))) => return Err(refused("root", error)),
            (None, None) => return Err(ClientError::NoRoot),
        };
        store.put_if_new(ROOT, trusted.root_bytes(), limits.root_size_bytes_max)?;
        let refreshed = Refreshed::read(&store)?;
        let (floor, source) = (Floor::default(), Box::new(source));
        let mut client = Self { trusted, floor, store, source, limits, refreshed, refreshed_before: refreshed };
        client.load_kept()?;
        Ok(client)
    }

    /// The versions that are trusted now.
    #[must_use]
    pub fn versions(&self) -> Versions {
        Versions {
            root: self.trusted.root().version,
            timestamp: self.trusted.timestamp().map(|timestamp| timestamp.version),
            snapshot: self.trusted.snapshot().map(|snapshot| snapshot.version),
            targets: self.trusted.targets_role("targets").map(|targets| targets.version),
        }
    }

    /// How old and how long valid what is trusted is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let expires = self.trusted.timestamp().map(|timestamp| Moment::from_core(timestamp.expires));
        let life_s = self.refreshed.and_then(|refreshed| refreshed.life_s);
        Freshness { refreshed: self.refreshed.map(|refreshed| refreshed.at), expires, life_s }
    }

    /// Brings what is trusted up to date, or leaves it as far as it verified.
    ///
    /// # Errors
    /// One step failed: its error says which document and why. Every step before it holds.
    pub fn refresh(&mut self, now: Moment) -> Result<(), ClientError> {
        self.refresh_root()?; // 5.3
        self.trusted.check_root_expired(now.to_core()).map_err(|error| refused("root", error))?; // 5.3.10
        self.load_kept()?;
        let heard_before = self.versions().timestamp;
        self.refresh_timestamp(now)?; // 5.4
        self.refresh_snapshot(now)?; // 5.5
        self.refresh_targets(now)?; // 5.6
        let refreshed = Refreshed { at: now, life_s: self.life_s(heard_before, now) };
        refreshed.write(&self.store)?;
        self.refreshed_before = self.refreshed.replace(refreshed);
        Ok(())
    }

    /// The last refresh went through, but a role that was wanted behind it can't be had: for [`Self::freshness`] it is as if it had not been.
    /// Else a mirror that passes on who is fresh and holds back the rest would never be found out.
    ///
    /// # Errors
    /// The disk failed.
    pub fn was_not_whole(&mut self) -> Result<(), ClientError> {
        self.refreshed = self.refreshed_before;
        match self.refreshed {
            Some(before) => before.write(&self.store),
            None => Refreshed::forget(&self.store),
        }
    }

    /// How long the timestamp had to live when it was heard first, which is now if it is another one than before.
    fn life_s(&self, heard_before: Option<u64>, now: Moment) -> Option<i64> {
        let timestamp = self.trusted.timestamp()?;
        let known = self.refreshed.filter(|_| heard_before == Some(timestamp.version));
        known.and_then(|refreshed| refreshed.life_s).or_else(|| Some(Moment::from_core(timestamp.expires).since_s(now)))
    }

    /// 5.3: root by root, each signed by the one before and by itself, each durable before the next is asked for.
    fn refresh_root(&mut self) -> Result<(), ClientError> {
        for _ in 0..self.limits.root_rotations_max {
            let next = self.trusted.root().version.checked_add(1).ok_or(ClientError::LastRoot)?;
            let name = format!("{next}.{ROOT}");
            let Some(root) = self.source.fetch(Tree::Metadata, &name, self.limits.root_size_bytes_max)? else {
                return Ok(());
            };
            self.accept("root", ROOT, &root, |trusted| trusted.update_root(&root))?;
        }
        Err(ClientError::TooManyRoots { count: self.limits.root_rotations_max })
    }

    /// What is kept sets the floor, expired or not. 5.3.11: what the root's keys of today did not sign is forgotten, and if either
    /// timestamp or snapshot is, both are: that is how a repository recovers from versions that a thief ran up.
    fn load_kept(&mut self) -> Result<(), ClientError> {
        if self.trusted.timestamp().is_some() {
            return Ok(()); // a new root has emptied the set, an old one has not
        }
        let timestamp = self.store.get(TIMESTAMP, self.limits.timestamp_size_bytes_max)?;
        let snapshot = self.store.get(SNAPSHOT, self.limits.snapshot_size_bytes_max)?;
        let targets = self.store.get(TARGETS, self.limits.targets_size_bytes_max)?;
        self.floor = Floor::of(self.trusted.root(), timestamp.as_deref(), snapshot.as_deref());
        if self.floor.is_recovery {
            return Ok(());
        }
        // Each is a floor though it has expired, so it is looked at as of a time when nothing had. Whether it may still be
        // relied on is asked where it is used.
        let any_time = jiff::Timestamp::MIN;
        // A file that the disk spoiled is one that is not there: the repository has it.
        let has_timestamp = timestamp.is_some_and(|bytes| self.trusted.update_timestamp(&bytes, any_time).is_ok());
        let has_snapshot =
            has_timestamp && snapshot.is_some_and(|bytes| self.trusted.update_snapshot(&bytes, any_time).is_ok());
        if has_snapshot {
            let _ = targets.map(|bytes| self.trusted.update_targets(&bytes, any_time).is_ok());
        }
        Ok(())
    }

    /// 5.4
    fn refresh_timestamp(&mut self, now: Moment) -> Result<(), ClientError> {
        let timestamp = self.fetch_metadata(TIMESTAMP, self.limits.timestamp_size_bytes_max)?;
        self.floor.check_timestamp(&timestamp)?;
        self.accept("timestamp", TIMESTAMP, &timestamp, |trusted| trusted.update_timestamp(&timestamp, now.to_core()))?;
        self.trusted.check_timestamp_expired(now.to_core()).map_err(|error| refused("timestamp", error))
    }

    /// 5.5
    fn refresh_snapshot(&mut self, now: Moment) -> Result<(), ClientError> {
        let pin = self.trusted.timestamp().and_then(|timestamp| timestamp.snapshot_meta());
        let pin = pin.ok_or_else(|| ClientError::malformed("timestamp", "it names no snapshot.json"))?;
        let (version, size_bytes_max) = (pin.version, at_most(pin.length, self.limits.snapshot_size_bytes_max));
        let is_same = self.trusted.snapshot().is_some_and(|snapshot| snapshot.version == version);
        if is_same && self.trusted.check_snapshot_expired(now.to_core()).is_ok() {
            return Ok(());
        }
        let snapshot = self.fetch_metadata(&self.versioned(version, SNAPSHOT), size_bytes_max)?;
        self.floor.check_snapshot(&snapshot)?;
        self.accept("snapshot", SNAPSHOT, &snapshot, |trusted| trusted.update_snapshot(&snapshot, now.to_core()))
    }

    /// 5.6
    fn refresh_targets(&mut self, now: Moment) -> Result<(), ClientError> {
        let (version, size_bytes_max) = self.pin("targets")?;
        let kept = self.trusted.targets_role("targets");
        if kept.is_some_and(|kept| kept.version == version && kept.expires >= now.to_core()) {
            return Ok(());
        }
        let targets = self.fetch_metadata(&self.versioned(version, TARGETS), size_bytes_max)?;
        self.accept("targets", TARGETS, &targets, |trusted| trusted.update_targets(&targets, now.to_core()).map(|_| ()))
    }

    /// Trusts a document that verifies, once it is durable: what is acted on is never above the floor of the next start.
    fn accept(
        &mut self,
        role: &str,
        file: &str,
        bytes: &[u8],
        verify: impl FnOnce(&mut TrustedMetadataSet) -> Result<(), Core>,
    ) -> Result<(), ClientError> {
        let mut trusted = self.trusted.clone();
        match verify(&mut trusted) {
            Ok(()) => {}
            // Nothing new. Whether the old one still holds is asked where it is used.
            Err(Core::EqualVersion { .. }) => return Ok(()),
            Err(error) => return Err(refused(role, error)),
        }
        self.store.put(file, bytes)?;
        self.trusted = trusted;
        Ok(())
    }

    /// Version and greatest size of a targets role, as the snapshot has them.
    fn pin(&self, role: &str) -> Result<(u64, u64), ClientError> {
        let pin = self.trusted.snapshot().and_then(|snapshot| snapshot.meta.get(&format!("{role}.json")));
        let pin = pin.ok_or_else(|| ClientError::malformed("snapshot", &format!("it does not name {role}.json")))?;
        Ok((pin.version, at_most(pin.length, self.limits.targets_size_bytes_max)))
    }

    /// The file name of a document in the repository.
    fn versioned(&self, version: u64, name: &str) -> String {
        if self.trusted.root().consistent_snapshot {
            format!("{version}.{name}")
        } else {
            name.into()
        }
    }

    fn fetch_metadata(&self, name: &str, size_bytes_max: u64) -> Result<Vec<u8>, ClientError> {
        let found = self.source.fetch(Tree::Metadata, name, size_bytes_max)?;
        found.ok_or_else(|| ClientError::Missing { name: name.into() })
    }

    /// The store, for what else must outlive a power cut.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// A size that metadata gives never raises the limit.
fn at_most(pinned: Option<u64>, size_bytes_max: u64) -> u64 {
    pinned.map_or(size_bytes_max, |pinned| pinned.min(size_bytes_max))
}

/// The name of a delegated role's document in store and repository: a role's name can hold anything.
fn role_file(role: &str) -> String {
    format!("{}.json", encode_name(role))
}
