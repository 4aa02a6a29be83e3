//! Which role may name a target, and the target's bytes: the specification's section 5.6.7 and 5.7.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::error::refused;
use super::{at_most, role_file, Client, ClientError};
use crate::crypto::{from_hex, to_hex};
use crate::path::unsafe_reason;
use crate::source::Tree;
use crate::time::Moment;

/// A file that signed metadata names.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    path: String,
    role: String,
    size_bytes: u64,
    hashes: BTreeMap<String, String>,
    custom: Option<Value>,
}

impl Target {
    /// Its path in the repository.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The role that names it.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Its size.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Its SHA-256, where the metadata has one.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.hashes.get("sha256").map(String::as_str)
    }

    /// What the signer said of it beside size and hashes.
    #[must_use]
    pub fn custom(&self) -> Option<&Value> {
        self.custom.as_ref()
    }

    /// Whether these are its bytes: the size, and every hash that we can compute, of which there must be one.
    ///
    /// # Errors
    /// They are not.
    pub fn check(&self, bytes: &[u8]) -> Result<(), ClientError> {
        let mismatch = |what: String| Err(ClientError::Mismatch { what: format!("target {:?}: {what}", self.path) });
        if bytes.len() as u64 != self.size_bytes {
            return mismatch(format!("{} bytes, signed are {}", bytes.len(), self.size_bytes));
        }
        let mut is_checked = false;
        for (name, expected) in &self.hashes {
            let algorithm = match name.as_str() {
                "sha256" => &ring::digest::SHA256,
                "sha512" => &ring::digest::SHA512,
                _ => continue,
            };
            let found = to_hex(ring::digest::digest(algorithm, bytes).as_ref());
            if !found.eq_ignore_ascii_case(expected) {
                return mismatch(format!("{name} {found}, signed is {expected}"));
            }
            is_checked = true;
        }
        if is_checked {
            Ok(())
        } else {
            mismatch("no hash that we know is signed".into())
        }
    }

    /// Where the repository keeps the bytes: with consistent snapshots a hash is in front of the file's name.
    fn place(&self, is_consistent: bool) -> Result<String, ClientError> {
        if !is_consistent {
            return Ok(self.path.clone());
        }
        let hash = ["sha256", "sha512"].iter().find_map(|name| self.hashes.get(*name));
        let hash = hash.or_else(|| self.hashes.values().next());
        // It becomes part of a path, so it is a hash or nothing.
        let hash = hash.filter(|hash| from_hex(hash).is_some_and(|bytes| !bytes.is_empty()));
        let hash = hash.ok_or_else(|| ClientError::malformed(&self.role, "a target without a hash"))?;
        Ok(match self.path.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/{hash}.{name}"),
            None => format!("{hash}.{}", self.path),
        })
    }
}

impl Client {
    /// The target of this path, by the first role in the order of delegations that may name it and does.
    ///
    /// # Errors
    /// A role on the way is refused, or what is trusted has expired: a search never goes around a refusal.
    pub fn find(&mut self, path: &str, now: Moment) -> Result<Option<Target>, ClientError> {
        self.check_chain(now)?;
        let mut to_visit: VecDeque<(String, Option<String>)> = VecDeque::from([("targets".into(), None)]);
        let mut visited = BTreeSet::new();
        while let Some((role, delegator)) = to_visit.pop_front() {
            if visited.contains(&role) {
                continue;
            }
            if visited.len() >= self.limits.delegations_max as usize {
                break;
            }
            if let Some(delegator) = &delegator {
                if !self.load_role(&role, delegator, now)? {
                    continue;
                }
            }
            visited.insert(role.clone());
            let targets = self.trusted.targets_role(&role).ok_or(ClientError::NotRefreshed)?;
            if let Some(found) = targets.target(path) {
                return Ok(Some(Target {
                    path: path.into(),
                    role,
                    size_bytes: found.length,
                    hashes: found.hashes.clone(),
                    custom: found.custom.clone(),
                }));
            }
            let mut children = Vec::new();
            for child in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
                if is_top_level(&child.name) {
                    continue; // would share a file with the real one
                }
                if child.matches_path(path).map_err(|error| refused(&role, error))? {
                    children.push((child.name.clone(), Some(role.clone())));
                    if child.terminating {
                        to_visit.clear();
                        break;
                    }
                }
            }
            for child in children.into_iter().rev() {
                to_visit.push_front(child);
            }
        }
        Ok(None)
    }

    /// The paths that a role which the top-level targets delegate to directly names, in order. A path in it is no target yet:
    /// `find` says whether this role may name it.
    ///
    /// # Errors
    /// The role is refused, or what is trusted has expired.
    pub fn paths_of(&mut self, role: &str, now: Moment) -> Result<Vec<String>, ClientError> {
        self.check_chain(now)?;
        let top = self.trusted.targets_role("targets");
        let delegations = top.and_then(|top| top.delegations.as_ref());
        let is_delegated = delegations.is_some_and(|found| found.roles.iter().any(|child| child.name == role));
        if !is_delegated || is_top_level(role) || !self.load_role(role, "targets", now)? {
            return Ok(Vec::new());
        }
        Ok(self.trusted.targets_role(role).map(|role| role.targets.keys().cloned().collect()).unwrap_or_default())
    }

    /// The ids of the keys that may sign a role which the top-level targets delegate to directly, in order.
    #[must_use]
    pub fn key_ids_of(&self, role: &str) -> Vec<String> {
        let delegations = self.trusted.targets_role("targets").and_then(|top| top.delegations.as_ref());
        let child = delegations.and_then(|found| found.roles.iter().find(|child| child.name == role));
        let mut ids = child.map(|child| child.keyids.clone()).unwrap_or_default();
        ids.sort();
        ids
    }

    /// The target's bytes, verified.
    ///
    /// # Errors
    /// The repository does not have them, or has others.
    pub fn download(&self, target: &Target) -> Result<Vec<u8>, ClientError> {
        let size_bytes_max = self.limits.target_size_bytes_max;
        if target.size_bytes > size_bytes_max {
            let (path, size_bytes) = (target.path.clone(), target.size_bytes);
            return Err(ClientError::TooLarge { path, size_bytes, size_bytes_max });
        }
        if let Some(why) = unsafe_reason(&target.path) {
            return Err(ClientError::UnsafePath { path: target.path.clone(), why });
        }
        let place = target.place(self.trusted.root().consistent_snapshot)?;
        let bytes = self.source.fetch(Tree::Targets, &place, target.size_bytes)?;
        let bytes = bytes.ok_or(ClientError::Missing { name: place })?;
        target.check(&bytes)?;
        Ok(bytes)
    }

    /// The whole chain still holds at `now`, and its parts belong together: a refresh may have ended between two of them.
    fn check_chain(&self, now: Moment) -> Result<(), ClientError> {
        let at = now.to_core();
        self.trusted.check_root_expired(at).map_err(|error| refused("root", error))?;
        self.trusted.check_timestamp_expired(at).map_err(|error| refused("timestamp", error))?;
        self.trusted.check_snapshot_expired(at).map_err(|error| refused("snapshot", error))?;
        let (Some(timestamp), Some(snapshot), Some(targets)) =
            (self.trusted.timestamp(), self.trusted.snapshot(), self.trusted.targets_role("targets"))
        else {
            return Err(ClientError::NotRefreshed);
        };
        if targets.expires < at {
            let expires = Moment::from_core(targets.expires);
            return Err(ClientError::Expired { role: "targets".into(), expires });
        }
        let is_whole = timestamp.snapshot_meta().is_some_and(|pin| pin.version == snapshot.version)
            && snapshot.meta.get("targets.json").is_some_and(|pin| pin.version == targets.version);
        if is_whole {
            Ok(())
        } else {
            Err(ClientError::NotRefreshed)
        }
    }

    /// Makes a delegated role trusted, from the store or the repository; `false` where the snapshot does not name it.
    ///
    /// A role can be reached through several delegators with keys of their own: it is verified for each that it is reached through.
    fn load_role(&mut self, role: &str, delegator: &str, now: Moment) -> Result<bool, ClientError> {
        let at = now.to_core();
        if self.trusted.targets_role(role).is_some() {
            let verified = self.trusted.verify_delegated_targets(role, delegator, at);
            return verified.map(|_| true).map_err(|error| refused(role, error));
        }
        let pin = self.trusted.snapshot().and_then(|snapshot| snapshot.meta.get(&format!("{role}.json")));
        let Some((version, length)) = pin.map(|pin| (pin.version, pin.length)) else { return Ok(false) };
        let file = role_file(role);
        if let Some(kept) = self.store.get(&file, self.limits.targets_size_bytes_max)? {
            if self.trusted.update_delegated_targets(&kept, role, delegator, at).is_ok() {
                return Ok(true);
            }
        }
        let size_bytes_max = at_most(length, self.limits.targets_size_bytes_max);
        let bytes = self.fetch_metadata(&self.versioned(version, &file), size_bytes_max)?;
        self.accept(role, &file, &bytes, |trusted| {
            trusted.update_delegated_targets(&bytes, role, delegator, at).map(|_| ())
        })?;
        Ok(true)
    }
}

fn is_top_level(role: &str) -> bool {
    matches!(role, "root" | "timestamp" | "snapshot" | "targets")
}
