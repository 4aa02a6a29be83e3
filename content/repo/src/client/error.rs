//! Why a client refused: one variant for each check.

use sigstore_tuf::Error as Core;

use crate::source::SourceError;
use crate::store::StoreError;
use crate::time::Moment;

/// Why a refresh, a search or a download was refused. What was trusted before still is.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither kept nor shipped.
    #[error("there is no trusted root: give the one that came with the product (`--root`)")]
    NoRoot,
    /// The version can't grow any more.
    #[error("the trusted root has the last version that there is")]
    LastRoot,
    /// More new roots than a refresh takes.
    #[error("the repository has more than {count} new roots: those so far are trusted, refresh again for the next")]
    TooManyRoots {
        /// The limit.
        count: u32,
    },
    /// Too few of the keys that may sign have signed.
    #[error("{role}: {found} of the {threshold} signatures that it needs")]
    BelowThreshold {
        /// The document.
        role: String,
        /// Valid signatures of distinct keys.
        found: usize,
        /// What it needs.
        threshold: usize,
    },
    /// Older than what was trusted.
    #[error("{role}: version {offered} is older than {trusted}, which was trusted already: a rollback")]
    Rollback {
        /// The document.
        role: String,
        /// What was trusted.
        trusted: u64,
        /// What the repository offers.
        offered: u64,
    },
    /// Its time is over.
    #[error("{role}: expired at {expires}: the repository is no longer kept up, or somebody holds it back")]
    Expired {
        /// The document.
        role: String,
        /// When.
        expires: Moment,
    },
    /// Not what the document above it says.
    #[error("not what the document above it says: {what}")]
    Mismatch {
        /// What differs.
        what: String,
    },
    /// A root whose version is not the next.
    #[error("root: version {offered} does not follow {trusted}")]
    RootVersion {
        /// What is trusted.
        trusted: u64,
        /// What the repository offers.
        offered: u64,
    },
    /// No document at all.
    #[error("{role}: malformed: {why}")]
    Malformed {
        /// The document.
        role: String,
        /// What is wrong.
        why: String,
    },
    /// The repository lacks a file that it must have.
    #[error("the repository has no {name}")]
    Missing {
        /// The file.
        name: String,
    },
    /// Nothing was refreshed yet.
    #[error("nothing is trusted yet: refresh first")]
    NotRefreshed,
    /// No role that may name it names it.
    #[error("no role that may sign it names the target {path:?}")]
    UnknownTarget {
        /// The target.
        path: String,
    },
    /// A target with such a path is never written.
    #[error("target {path:?}: {why}")]
    UnsafePath {
        /// The target.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// Larger than this client takes.
    #[error("target {path:?} has {size_bytes} bytes, more than {size_bytes_max}")]
    TooLarge {
        /// The target.
        path: String,
        /// Its signed size.
        size_bytes: u64,
        /// The limit.
        size_bytes_max: u64,
    },
    /// The file could not be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ClientError {
    pub(crate) fn malformed(role: &str, why: &str) -> Self {
        Self::Malformed { role: role.into(), why: why.into() }
    }
}

/// The core's refusal of a document in our words.
pub(crate) fn refused(role: &str, error: Core) -> ClientError {
    match error {
        Core::ThresholdNotMet { role, found, threshold } => ClientError::BelowThreshold { role, found, threshold },
        Core::Rollback { role, trusted, new } => ClientError::Rollback { role, trusted, offered: new },
        Core::BadRootVersion { trusted, new } => ClientError::RootVersion { trusted, offered: new },
        Core::Expired { role, expires } => ClientError::Expired { role, expires: Moment::from_core(expires) },
        Core::IntegrityMismatch(what) => ClientError::Mismatch { what },
        Core::NotRefreshed => ClientError::NotRefreshed,
        error => ClientError::Malformed { role: role.into(), why: with_causes(&error) },
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
