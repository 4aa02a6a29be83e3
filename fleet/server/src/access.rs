//! Tokens of people and programs, in memory: every request of the operator API looks here.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::clock::{hex, random, sha256_hex};
use crate::roles::Role;
use crate::store::OperatorToken;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name in the audit log.
    pub name: String,
    /// What it may.
    pub role: Role,
}

/// All tokens that are good, by their digest.
#[derive(Debug, Default)]
pub struct Access {
    by_hash: RwLock<HashMap<String, Actor>>,
}

impl Access {
    /// Those that are stored.
    #[must_use]
    pub fn new(tokens: Vec<OperatorToken>) -> Self {
        let access = Self::default();
        tokens.into_iter().for_each(|token| access.put(token));
        access
    }

    /// One more.
    pub fn put(&self, token: OperatorToken) {
        let actor = Actor { name: token.name, role: token.role };
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner).insert(token.hash, actor);
    }

    /// One less.
    pub fn remove(&self, name: &str) {
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner).retain(|_, actor| actor.name != name);
    }

    /// Whose token this is. The digest is looked up, so the time it takes tells nothing of the token.
    #[must_use]
    pub fn actor(&self, token: &str) -> Option<Actor> {
        self.by_hash.read().unwrap_or_else(PoisonError::into_inner).get(&sha256_hex(token.as_bytes())).cloned()
    }
}

/// A new token: what it is for, and 256 random bits.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn new_token(kind: &str) -> anyhow::Result<String> {
    Ok(format!("wt-{kind}-{}", hex(&random::<32>()?)))
}
