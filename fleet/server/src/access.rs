//! Tokens of people and programs, in memory: every request of the operator API looks here.
//!
//! A command on the server's machine makes tokens too (`tokens.rs`), in the store alone. So a token that is not known here is looked for
//! there before it is refused: it is good from the moment in which it was made. Whoever guesses tokens causes no more than a few readings
//! a second, and nobody whose token is known waits for them.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use tokio::sync::Mutex;

use crate::admission::Admission;
use crate::clock::{hex, now_ms, random, sha256_hex};
use crate::roles::Role;
use crate::store::{AuditEntry, OperatorToken, StateStore, StoreError};

/// Readings of the store a second for tokens that are not known.
const LOOKS_PER_S: f64 = 2.0;
/// As many at once: people try the old token, then the new one.
const LOOKS_AT_ONCE: f64 = 10.0;
/// What a token of the operator API begins with.
const KIND: &str = "operator";
/// Random bytes of a token.
const RANDOM_BYTES: usize = 32;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name in the audit log.
    pub name: String,
    /// What it may.
    pub role: Role,
}

/// All tokens that are good, by their digest.
#[derive(Debug)]
pub struct Access {
    by_hash: RwLock<HashMap<String, Actor>>,
    /// Held while memory follows the store: what is revoked meanwhile must not come back from a reading that is older.
    changing: Mutex<()>,
    looks: Admission,
}

/// Why it is not known whose token this is.
#[derive(Debug, thiserror::Error)]
pub enum NotLooked {
    /// Too many tokens that nobody knows: again after this time.
    #[error("this server does not know the token, and has looked for too many such: come again")]
    Busy {
        /// Milliseconds.
        wait_ms: u64,
    },
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Access {
    /// Those that are stored.
    #[must_use]
    pub fn new(tokens: Vec<OperatorToken>) -> Self {
        let by_hash = RwLock::new(by_hash(tokens));
        Self { by_hash, changing: Mutex::default(), looks: Admission::new(LOOKS_PER_S, LOOKS_AT_ONCE) }
    }

    /// Whose token this is. The digest is looked up, so the time it takes tells nothing of the token.
    ///
    /// # Errors
    /// It is not known, and can't be looked for now.
    pub async fn actor(&self, token: &str, store: &dyn StateStore) -> Result<Option<Actor>, NotLooked> {
        let hash = sha256_hex(token.as_bytes());
        let known = self.known(&hash);
        if known.is_some() || !has_form(token) {
            return Ok(known);
        }
        let _changing = self.changing.lock().await;
        if let Some(known) = self.known(&hash) {
            return Ok(Some(known)); // found for another request
        }
        self.looks.take(now_ms()).map_err(|wait_ms| NotLooked::Busy { wait_ms })?;
        let tokens = store.operator_tokens().await?;
        *self.by_hash.write().unwrap_or_else(PoisonError::into_inner) = by_hash(tokens);
        Ok(self.known(&hash))
    }

    /// One more, stored first.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn give(&self, row: OperatorToken, entry: &AuditEntry, store: &dyn StateStore) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        store.put_operator_token(&row, entry).await?;
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner).extend(by_hash(vec![row]));
        Ok(())
    }

    /// One less. It is taken out of memory first: where whoever asks for it hangs up in the middle, the store has the word.
    ///
    /// # Errors
    /// The store refuses: all stays as it was.
    pub async fn revoke(&self, name: &str, entry: &AuditEntry, store: &dyn StateStore) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let is_its = |_: &String, actor: &mut Actor| actor.name == name;
        let taken: Vec<_> = self.by_hash.write().unwrap_or_else(PoisonError::into_inner).extract_if(is_its).collect();
        let revoked = store.revoke_operator_token(name, entry).await;
        if revoked.is_err() {
            self.by_hash.write().unwrap_or_else(PoisonError::into_inner).extend(taken);
        }
        revoked
    }

    fn known(&self, hash: &str) -> Option<Actor> {
        self.by_hash.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }
}

fn by_hash(tokens: Vec<OperatorToken>) -> HashMap<String, Actor> {
    tokens.into_iter().map(|token| (token.hash, Actor { name: token.name, role: token.role })).collect()
}

/// Whether it can be a token of this API at all.
fn has_form(token: &str) -> bool {
    let random =
        token.strip_prefix("wt-").and_then(|rest| rest.strip_prefix(KIND)).and_then(|rest| rest.strip_prefix('-'));
    random.is_some_and(|hex| hex.len() == 2 * RANDOM_BYTES && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A new token with which hosts enrol, once or often.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn new_enrol_token() -> anyhow::Result<String> {
    new_token("enrol")
}

/// A new token of the operator API.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn new_operator_token() -> anyhow::Result<String> {
    new_token(KIND)
}

/// What it is for, and 256 random bits.
fn new_token(kind: &str) -> anyhow::Result<String> {
    Ok(format!("wt-{kind}-{}", hex(&random::<RANDOM_BYTES>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;

    fn entry() -> AuditEntry {
        AuditEntry { at_ms: 1, actor: "a".into(), action: "b".into(), subject: "c".into(), reason: "d".into() }
    }

    fn row(name: &str, token: &str) -> OperatorToken {
        OperatorToken { name: name.into(), hash: sha256_hex(token.as_bytes()), role: Role::Admin }
    }

    async fn begun(dir: &tempfile::TempDir) -> (SqliteStore, Access, String) {
        let store = SqliteStore::create(&dir.path().join("state.db")).await.expect("a store");
        let token = new_operator_token().expect("a token");
        store.put_operator_token(&row("ada", &token), &entry()).await.expect("stored");
        let access = Access::new(store.operator_tokens().await.expect("tokens"));
        (store, access, token)
    }

    async fn name_of(access: &Access, token: &str, store: &SqliteStore) -> Option<String> {
        access.actor(token, store).await.expect("looked for").map(|actor| actor.name)
    }

    #[tokio::test]
    async fn a_token_that_was_made_beside_the_server_is_good_at_once_and_others_stay_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, access, ada) = begun(&dir).await;
        let bob = new_operator_token().expect("a token");
        assert_eq!(name_of(&access, &bob, &store).await, None);
        let beside = SqliteStore::open_beside(&dir.path().join("state.db")).await.expect("the store");
        beside.put_operator_token(&row("bob", &bob), &entry()).await.expect("made");
        assert_eq!(name_of(&access, &bob, &store).await.as_deref(), Some("bob"));
        assert_eq!(name_of(&access, &ada, &store).await.as_deref(), Some("ada"));
    }

    #[tokio::test]
    async fn guessed_tokens_read_the_store_no_more_often_than_a_bound_and_known_ones_are_good_meanwhile() {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, access, ada) = begun(&dir).await;
        let before = store.uses().reads;
        for guess in ["", "x", "wt-operator-", "wt-operator-12", &ada.replace("operator", "enrol"), &ada[1..]] {
            assert_eq!(name_of(&access, guess, &store).await, None);
        }
        assert_eq!(store.uses().reads, before, "none of these can be one");
        let mut busy = 0;
        for _ in 0..200 {
            let guess = new_operator_token().expect("a token");
            busy += usize::from(matches!(access.actor(&guess, &store).await, Err(NotLooked::Busy { wait_ms: 1.. })));
            assert_eq!(name_of(&access, &ada, &store).await.as_deref(), Some("ada"));
        }
        let looks = usize::try_from(store.uses().reads - before).expect("few");
        assert_eq!((busy + looks, busy > 0), (200, true));
    }

    #[tokio::test]
    async fn a_revocation_that_is_refused_takes_nothing_away_and_one_that_is_not_ends_the_token() {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, access, ada) = begun(&dir).await;
        let refused = access.revoke("ada", &entry(), &store).await;
        assert!(matches!(refused, Err(StoreError::LastAdmin { .. })), "{refused:?}");
        assert_eq!(name_of(&access, &ada, &store).await.as_deref(), Some("ada"));
        let bob = new_operator_token().expect("a token");
        access.give(row("bob", &bob), &entry(), &store).await.expect("given");
        access.revoke("ada", &entry(), &store).await.expect("revoked");
        assert_eq!(name_of(&access, &ada, &store).await, None);
        assert_eq!(name_of(&access, &bob, &store).await.as_deref(), Some("bob"));
    }
}
