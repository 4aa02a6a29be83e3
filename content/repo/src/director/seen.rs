//! What a host has seen of the director, durably: the epoch that may not go back, and every recall.
//!
//! An epoch belongs to the keys that may sign plans. Whoever steals them can run it up to where no plan follows any more; once offline
//! keys have put others in their place, epochs begin anew, and what the thief signed is nobody's word.
//!
//! A recall that a host has seen holds for good. If later plans no longer name it, or no plan comes any more, it is still recalled:
//! whoever steals the director's key, or cuts the host off, can't bring a recalled pack back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::SignedPlan;
use crate::release::ContentId;
use crate::store::{Store, StoreError};

/// What was seen of the director.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The keys whose epoch it is.
    pub authority: String,
    /// The greatest epoch.
    pub epoch: u64,
    /// The plan of that epoch.
    pub plan_sha256: String,
    /// Every pack that was ever recalled, up to a limit.
    pub recalled: BTreeSet<ContentId>,
}

/// What was seen can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SeenError {
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not what this client wrote.
    #[error("{FILE}: {why}: what was seen of the director is lost; remove the file only if you know its last epoch")]
    Malformed {
        /// What is wrong.
        why: String,
    },
}

const FILE: &str = "director-seen";
/// 10,000 recalls are more than a product's life sees; a thief who fills them recalls, which starts nothing.
const RECALLED_MAX: usize = 10_000;
const SIZE_BYTES_MAX: u64 = 1024 * 1024;

impl Seen {
    /// What the store has; nothing where it has nothing.
    ///
    /// # Errors
    /// The file is there and can't be read: its epoch is unknown then, which is not the same as none.
    pub fn read(store: &Store) -> Result<Self, SeenError> {
        match store.get(FILE, SIZE_BYTES_MAX)? {
            None => Ok(Self::default()),
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| SeenError::Malformed { why: error.to_string() })
            }
        }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// The disk failed.
    pub fn write(&self, store: &Store) -> Result<(), SeenError> {
        let text = serde_json::to_vec(self).map_err(|error| SeenError::Malformed { why: error.to_string() })?;
        Ok(store.put(FILE, &text)?)
    }

    /// The greatest epoch that was seen of these keys.
    pub(super) fn epoch_of(&self, authority: &str) -> u64 {
        if self.authority == authority {
            self.epoch
        } else {
            0
        }
    }

    pub(super) fn take_in(&mut self, signed: &SignedPlan) {
        self.authority.clone_from(&signed.authority);
        self.epoch = signed.plan.epoch;
        self.plan_sha256.clone_from(&signed.sha256);
        self.take_recalls(signed);
    }

    /// What a plan recalls, for one who asks for no host. Its epoch, lease and clock don't matter: to stop is always safe.
    pub fn take_recalls(&mut self, signed: &SignedPlan) {
        for content in &signed.plan.recall {
            if self.recalled.len() < RECALLED_MAX {
                self.recalled.insert(*content);
            }
        }
    }
}
