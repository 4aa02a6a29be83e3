//! Documents on their way to be published: drafted without a signature, signed one key at a time, wherever the keys are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};
use sigstore_tuf::canonical_json::to_canonical_bytes;

use crate::crypto::sha256_hex;
use crate::director::DIRECTOR_ROLE;
use crate::key::{PublicKey, SigningKey};
use crate::release::{Release, ReleaseError, CONTENT_ROLE};
use crate::time::Moment;

/// The specification that the documents follow.
const SPEC_VERSION: &str = "1.0.31";
/// What the `content` role may name.
const CONTENT_PATHS: &str = "content/*/*";
/// What the `director` role may name: never a pack.
const DIRECTOR_PATHS: &str = "director/*";
/// Keys of one role.
const KEYS_MAX: usize = 64;

/// A document and its signatures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    signatures: Vec<Signature>,
    signed: Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

/// Why a document can't be drafted, read or signed.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is none.
    #[error("no document of a repository: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// More signatures wanted than keys are there.
    #[error("role {role}: {keys} keys can't give {threshold} signatures: give at least as many `--key {role}=FILE`")]
    Threshold {
        /// The role.
        role: String,
        /// Its distinct keys.
        keys: usize,
        /// What is wanted.
        threshold: u32,
    },
    /// The key may not sign this.
    #[error(
        "key {key} is none of those that may sign this {kind}: sign with one of them, or draft roles that name this one (an old root's key \
         signs a new root by --old-root-key)"
    )]
    ForeignKey {
        /// The key's id.
        key: String,
        /// The document's type.
        kind: String,
    },
    /// One key that is to lie in a drawer and to be at hand.
    #[error(
        "role {offline}, which stays offline, and role {online} have the key {key} in common: whoever takes the server could sign what may \
         run; make another one with `watertight content keys new`"
    )]
    OfflineKeyOnline {
        /// The role of people.
        offline: String,
        /// The role of a server.
        online: String,
        /// The key's id.
        key: String,
    },
    /// What is said of a pack is wrong.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

/// Who may sign for a role, and how many of them must.
#[derive(Clone, Debug, Default)]
pub struct Authority {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many.
    pub threshold: u32,
}

impl Authority {
    fn checked(&self, role: &str) -> Result<BTreeMap<String, &PublicKey>, DocumentError> {
        let keys: BTreeMap<_, _> = self.keys.iter().map(|key| (key.id(), key)).collect();
        let is_possible = (1..=keys.len()).contains(&(self.threshold as usize)) && keys.len() <= KEYS_MAX;
        if is_possible {
            Ok(keys)
        } else {
            Err(DocumentError::Threshold { role: role.into(), keys: keys.len(), threshold: self.threshold })
        }
    }
}

/// Roles whose keys people have, and those whose keys servers have.
const OFFLINE_AND_ONLINE: [[&str; 3]; 2] =
    [["root", "targets", CONTENT_ROLE], [DIRECTOR_ROLE, "snapshot", "timestamp"]];

/// Refuses roles that one key would have both offline and online: who may sign what runs and who chooses among it would be one.
///
/// # Errors
/// The first two such roles.
pub fn keep_apart(authorities: &BTreeMap<String, Authority>) -> Result<(), DocumentError> {
    let [offline, online] = OFFLINE_AND_ONLINE.map(|roles| {
        let keys = |role: &str| authorities.get(role).map(|authority| authority.keys.clone()).unwrap_or_default();
        roles
            .into_iter()
            .flat_map(move |role| keys(role).into_iter().map(move |key| (key.id(), role)))
            .collect::<Vec<_>>()
    });
    let shared = offline.iter().find_map(|(key, offline)| {
        let (_, online) = online.iter().find(|(other, _)| other == key)?;
        let (offline, online) = ((*offline).to_owned(), (*online).to_owned());
        Some(DocumentError::OfflineKeyOnline { offline, online, key: key.clone() })
    });
    shared.map_or(Ok(()), Err)
}

/// The roles that a root names.
pub const ROOT_ROLES: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];
/// The roles that the top-level targets delegate to.
pub const DELEGATED_ROLES: [&str; 2] = [CONTENT_ROLE, DIRECTOR_ROLE];

impl Document {
    /// A root: who may sign the four top-level roles.
    ///
    /// # Errors
    /// A role has fewer keys than signatures are wanted.
    pub fn root(
        version: u64,
        expires: Moment,
        authorities: &BTreeMap<String, Authority>,
    ) -> Result<Self, DocumentError> {
        let (mut keys, mut roles) = (Map::new(), Map::new());
        for role in ROOT_ROLES {
            let authority = authorities.get(role).cloned().unwrap_or_default();
            let of_role = authority.checked(role)?;
            let ids: Vec<_> = of_role.keys().collect();
            roles.insert(role.into(), json!({ "keyids": ids, "threshold": authority.threshold }));
            keys.extend(of_role.into_iter().map(|(id, key)| (id, json!(key))));
        }
        let body = json!({ "consistent_snapshot": true, "keys": keys, "roles": roles });
        Ok(Self::unsigned("root", version, expires, body))
    }

    /// The top-level targets: who may sign `content` and `director`, and which paths each may name.
    ///
    /// # Errors
    /// A role has fewer keys than signatures are wanted.
    pub fn targets(
        version: u64,
        expires: Moment,
        authorities: &BTreeMap<String, Authority>,
    ) -> Result<Self, DocumentError> {
        let (mut keys, mut roles) = (Map::new(), Vec::new());
        for (role, paths) in DELEGATED_ROLES.into_iter().zip([CONTENT_PATHS, DIRECTOR_PATHS]) {
            let authority = authorities.get(role).cloned().unwrap_or_default();
            let of_role = authority.checked(role)?;
            let ids: Vec<_> = of_role.keys().collect();
            roles.push(json!({
                "name": role, "keyids": ids, "threshold": authority.threshold, "terminating": true, "paths": [paths],
            }));
            keys.extend(of_role.into_iter().map(|(id, key)| (id, json!(key))));
        }
        let body = json!({ "targets": {}, "delegations": { "keys": keys, "roles": roles } });
        Ok(Self::unsigned("targets", version, expires, body))
    }

    /// The `content` role: the packs that may run.
    ///
    /// # Errors
    /// What is said of one is out of bounds, or two are the same.
    pub fn content(version: u64, expires: Moment, packs: &[(Release, Vec<u8>)]) -> Result<Self, DocumentError> {
        let mut targets = Map::new();
        for (release, pack) in packs {
            release.check()?;
            let known = targets.insert(release.path(), target(pack, Some(json!(release))));
            if known.is_some() {
                return Err(DocumentError::Malformed { why: format!("{} is given twice", release.path()) });
            }
        }
        Ok(Self::unsigned("targets", version, expires, json!({ "targets": targets })))
    }

    /// A `content` role that also has the packs of `older`, but for those that the floors of this one have ended.
    ///
    /// # Errors
    /// A pack of a name is not newer than one of `older`: two packs could go by one name and version.
    pub fn with_packs_of(mut self, older: &Self) -> Result<Self, DocumentError> {
        let releases: Vec<Release> = self.packs().map(|(_, release, _)| release).collect();
        let mut kept = Vec::new();
        for (path, old, target) in older.packs() {
            let mut of_name = releases.iter().filter(|release| release.name == old.name);
            if let Some(release) = of_name.clone().find(|release| release.version <= old.version) {
                let (name, version) = (&old.name, release.version);
                let why =
                    format!("{name} has version {} already, {version} is not higher: give a higher one", old.version);
                return Err(DocumentError::Malformed { why });
            }
            if of_name.all(|release| release.floor <= old.version) {
                kept.push((path, target));
            }
        }
        if let Some(targets) = self.signed.get_mut("targets").and_then(Value::as_object_mut) {
            targets.extend(kept);
        }
        Ok(self)
    }

    /// The packs that a `content` role names, with path and target. What says no release is none.
    fn packs(&self) -> impl Iterator<Item = (String, Release, Value)> + '_ {
        let targets = self.signed.get("targets").and_then(Value::as_object);
        targets.into_iter().flatten().filter_map(|(path, target)| {
            let release = Release::from_custom(path, target.get("custom")?).ok()?;
            Some((path.clone(), release, target.clone()))
        })
    }

    /// The `director` role: the file that says who runs what when.
    #[must_use]
    pub fn director(version: u64, expires: Moment, path: &str, file: &[u8]) -> Self {
        let targets = Map::from_iter([(path.to_owned(), target(file, None))]);
        Self::unsigned("targets", version, expires, json!({ "targets": targets }))
    }

    /// The snapshot: the version of every role.
    pub(crate) fn snapshot(version: u64, expires: Moment, roles: &BTreeMap<String, u64>) -> Self {
        let meta: Map<_, _> =
            roles.iter().map(|(role, version)| (format!("{role}.json"), json!({ "version": version }))).collect();
        Self::unsigned("snapshot", version, expires, json!({ "meta": meta }))
    }

    /// The timestamp: which snapshot is the present one.
    pub(crate) fn timestamp(version: u64, expires: Moment, snapshot_version: u64, snapshot: &[u8]) -> Self {
        let pin = json!({
            "version": snapshot_version, "length": snapshot.len(), "hashes": { "sha256": sha256_hex(snapshot) },
        });
        Self::unsigned("timestamp", version, expires, json!({ "meta": { "snapshot.json": pin } }))
    }

    fn unsigned(kind: &str, version: u64, expires: Moment, body: Value) -> Self {
        let mut signed = Map::from_iter([
            ("_type".to_owned(), json!(kind)),
            ("spec_version".to_owned(), json!(SPEC_VERSION)),
            ("version".to_owned(), json!(version)),
            ("expires".to_owned(), json!(expires)),
        ]);
        if let Value::Object(body) = body {
            signed.extend(body);
        }
        Self { signatures: Vec::new(), signed: Value::Object(signed) }
    }

    /// Reads a document. What it says is not checked here: whoever publishes or fetches does.
    ///
    /// # Errors
    /// It is no document with type, version and expiry.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: Self =
            serde_json::from_slice(bytes).map_err(|error| DocumentError::Malformed { why: error.to_string() })?;
        let is_whole = document.signed.get("_type").is_some_and(Value::is_string)
            && document.signed.get("version").is_some_and(Value::is_u64)
            && document.expires().is_some();
        if is_whole {
            Ok(document)
        } else {
            Err(DocumentError::Malformed { why: "it has no `_type`, `version` or `expires`".into() })
        }
    }

    /// The document as a file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{:#}", json!(self));
        text.push('\n');
        text.into_bytes()
    }

    /// `root`, `targets`, `snapshot` or `timestamp`; a delegated role is of type `targets`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.signed.get("_type").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whose document it is: its kind, but of delegated roles by what they name. `None` where it names nothing.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        if self.kind() != "targets" || self.signed.get("delegations").is_some() {
            return Some(self.kind());
        }
        let first = self.signed.get("targets").and_then(Value::as_object)?.keys().next()?;
        DELEGATED_ROLES.into_iter().find(|role| first.split('/').next() == Some(role))
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.signed.get("version").and_then(Value::as_u64).unwrap_or_default()
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> Option<Moment> {
        self.signed.get("expires").and_then(Value::as_str)?.parse().ok()
    }

    /// The ids of the keys that have signed.
    #[must_use]
    pub fn signers(&self) -> Vec<&str> {
        self.signatures.iter().map(|signature| signature.keyid.as_str()).collect()
    }

    /// The targets that it names: path, size, SHA-256.
    ///
    /// # Errors
    /// One has no size or no SHA-256.
    pub fn named_targets(&self) -> Result<Vec<(String, u64, String)>, DocumentError> {
        let targets = self.signed.get("targets").and_then(Value::as_object);
        let named = targets.into_iter().flatten().map(|(path, target)| {
            let size_bytes = target.get("length").and_then(Value::as_u64);
            let sha256 = target.pointer("/hashes/sha256").and_then(Value::as_str);
            match (size_bytes, sha256) {
                (Some(size_bytes), Some(sha256)) => Ok((path.clone(), size_bytes, sha256.to_owned())),
                _ => Err(DocumentError::Malformed { why: format!("target {path:?} has no `length` or no SHA-256") }),
            }
        });
        named.collect()
    }

    /// The versions that a snapshot or a timestamp names, by role.
    pub(crate) fn pinned(&self) -> BTreeMap<String, u64> {
        let meta = self.signed.get("meta").and_then(Value::as_object);
        let pinned = meta
            .into_iter()
            .flatten()
            .filter_map(|(name, pin)| Some((name.strip_suffix(".json")?.to_owned(), pin.get("version")?.as_u64()?)));
        pinned.collect()
    }

    /// Who may sign each role that this document names, as it says.
    #[must_use]
    pub fn authorities(&self) -> BTreeMap<String, Authority> {
        let read = |keys: &Value, role: &Value| -> Option<Authority> {
            let ids = role.get("keyids")?.as_array()?.iter().filter_map(Value::as_str);
            let of_id = |id| serde_json::from_value(keys.get(id)?.clone()).ok();
            let threshold = u32::try_from(role.get("threshold")?.as_u64()?).ok()?;
            Some(Authority { keys: ids.filter_map(of_id).collect(), threshold })
        };
        if let (Some(keys), Some(roles)) =
            (self.signed.get("keys"), self.signed.get("roles").and_then(Value::as_object))
        {
            return roles.iter().filter_map(|(name, role)| Some((name.clone(), read(keys, role)?))).collect();
        }
        let delegations = self.signed.get("delegations");
        let (keys, roles) = (
            delegations.and_then(|found| found.get("keys")),
            delegations.and_then(|found| found.get("roles")?.as_array()),
        );
        let (Some(keys), Some(roles)) = (keys, roles) else { return BTreeMap::new() };
        roles.iter().filter_map(|role| Some((role.get("name")?.as_str()?.to_owned(), read(keys, role)?))).collect()
    }

    /// Adds the key's signature, or makes it anew.
    ///
    /// # Errors
    /// The document is a root in which the key signs nothing: an old root's key signs a new one only if `is_old_key` says so.
    pub fn sign(&mut self, key: &SigningKey, is_old_key: bool) -> Result<(), DocumentError> {
        let id = key.public().id();
        let may_sign = self.authorities().get("root").is_none_or(|root| root.keys.iter().any(|known| known.id() == id));
        if self.kind() == "root" && !may_sign && !is_old_key {
            return Err(DocumentError::ForeignKey { key: id, kind: "root".into() });
        }
        let canonical =
            to_canonical_bytes(&self.signed).map_err(|error| DocumentError::Malformed { why: error.to_string() })?;
        self.signatures.retain(|signature| signature.keyid != id);
        self.signatures.push(Signature { keyid: id, sig: key.sign(&canonical) });
        Ok(())
    }
}

fn target(bytes: &[u8], custom: Option<Value>) -> Value {
    let mut target = json!({ "length": bytes.len(), "hashes": { "sha256": sha256_hex(bytes) } });
    if let (Some(custom), Some(target)) = (custom, target.as_object_mut()) {
        target.insert("custom".into(), custom);
    }
    target
}
