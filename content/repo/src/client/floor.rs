//! The versions that the kept files set, also where a power cut came between two of them.
//!
//! A timestamp is durable before the snapshot that it names was even asked for. After a cut there, the kept snapshot is no longer the
//! one that the kept timestamp names, so the core can't load it; the versions in it are a floor all the same.

use std::collections::BTreeMap;

use sigstore_tuf::metadata::Role;
use sigstore_tuf::{Error as Core, Metadata, Root, Snapshot, Timestamp};

use super::error::ClientError;

/// What no new document may fall below.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    snapshot: Option<u64>,
    roles: BTreeMap<String, u64>,
    /// The keys of a kept document were taken out of the root: nothing that is kept holds any more.
    pub(crate) is_recovery: bool,
}

impl Floor {
    /// The floor that the kept documents set under this root.
    pub(crate) fn of(root: &Root, timestamp: Option<&[u8]>, snapshot: Option<&[u8]>) -> Self {
        let (timestamp, snapshot) = (kept::<Timestamp>(root, timestamp), kept::<Snapshot>(root, snapshot));
        if matches!(timestamp, Kept::Disowned) || matches!(snapshot, Kept::Disowned) {
            return Self { is_recovery: true, ..Self::default() };
        }
        match snapshot {
            Kept::Good(snapshot) => Self {
                snapshot: Some(snapshot.version),
                roles: snapshot.meta.into_iter().map(|(name, pin)| (name, pin.version)).collect(),
                is_recovery: false,
            },
            _ => Self::default(),
        }
    }

    /// Refuses a timestamp that names an older snapshot. What can't be read is the core's to refuse.
    pub(crate) fn check_timestamp(&self, timestamp: &[u8]) -> Result<(), ClientError> {
        let Ok(timestamp) = Metadata::<Timestamp>::from_slice(timestamp) else { return Ok(()) };
        match (self.snapshot, timestamp.signed().snapshot_meta()) {
            (Some(trusted), Some(pin)) if pin.version < trusted => {
                Err(ClientError::Rollback { role: "snapshot".into(), trusted, offered: pin.version })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a snapshot that names older roles, or fewer.
    pub(crate) fn check_snapshot(&self, snapshot: &[u8]) -> Result<(), ClientError> {
        let Ok(snapshot) = Metadata::<Snapshot>::from_slice(snapshot) else { return Ok(()) };
        for (name, &trusted) in &self.roles {
            match snapshot.signed().meta.get(name) {
                None => return Err(ClientError::Mismatch { what: format!("the snapshot no longer names {name}") }),
                Some(pin) if pin.version < trusted => {
                    return Err(ClientError::Rollback { role: name.clone(), trusted, offered: pin.version })
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

enum Kept<T> {
    /// None, or one that the disk spoiled.
    Absent,
    /// Signed by keys that the root does not have any more.
    Disowned,
    Good(T),
}

fn kept<T: Role>(root: &Root, bytes: Option<&[u8]>) -> Kept<T> {
    let Some(document) = bytes.and_then(|bytes| Metadata::<T>::from_slice(bytes).ok()) else { return Kept::Absent };
    let Some(keys) = root.role(T::TYPE) else { return Kept::Disowned };
    match document.verify_threshold(&root.keys, keys, T::TYPE) {
        Ok(()) => Kept::Good(document.into_signed()),
        Err(Core::ThresholdNotMet { .. }) => Kept::Disowned,
        Err(_) => Kept::Absent,
    }
}
