//! Why nothing was published: one variant for each check.

use std::io;

use super::document::DocumentError;
use crate::client::ClientError;
use crate::source::SourceError;

/// Why nothing was published. The folder is as it was for every client.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A document is not what it is given as.
    #[error("{role}: given is a document of type {kind:?}")]
    WrongKind {
        /// As what it is given.
        role: String,
        /// What it is.
        kind: String,
    },
    /// The folder has this version or a higher one.
    #[error(
        "{role}: version {offered} is not higher than {published}, which is published: draft it anew with `--after`"
    )]
    NotHigher {
        /// The document.
        role: String,
        /// What is given.
        offered: u64,
        /// What is published.
        published: u64,
    },
    /// Roots follow each other without a gap.
    #[error("root: version {offered} does not follow {published}, which is published")]
    RootGap {
        /// What is given.
        offered: u64,
        /// What is published.
        published: u64,
    },
    /// A document names a file that is neither given nor published.
    #[error("{path}: neither given nor published yet: give the file whose SHA-256 is {sha256}")]
    MissingFile {
        /// Its path.
        path: String,
        /// Its hash.
        sha256: String,
    },
    /// A document names a path that no client would write.
    #[error("{path:?}: {why}")]
    UnsafePath {
        /// The path.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// A first publication needs all of it.
    #[error("the folder has no {role} yet: give one")]
    Missing {
        /// What is missing.
        role: String,
    },
    /// A client would refuse it.
    #[error("a client would refuse this")]
    Refused(#[from] ClientError),
    /// A document can't be made or read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The folder can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The folder can't be written, or another publisher is at work.
    #[error("{place}: {source}")]
    Io {
        /// Which file.
        place: String,
        /// Why.
        source: io::Error,
    },
}
