//! Where a repository's files come from: a web server, or a folder that somebody carried in. Neither is believed in anything.

mod folder;
mod http;

pub use folder::FolderSource;
pub(crate) use folder::{METADATA, TARGETS};
pub use http::{HttpLimits, HttpSource};

/// A repository's two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Signed metadata.
    Metadata,
    /// The files that metadata names.
    Targets,
}

/// Gives files by path, at most so many bytes.
pub trait Source: Send + Sync {
    /// The file, or `None` where there is none. A target's `path` has `/` between its parts and is not encoded in any way; a document's
    /// is one name of letters, digits and `-_.~%`.
    ///
    /// # Errors
    /// The file can't be had, or has more bytes than `size_bytes_max`.
    fn fetch(&self, tree: Tree, path: &str, size_bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError>;
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// More bytes than the file may have.
    #[error("{place} sends more than the {size_bytes_max} bytes that it may have")]
    TooLarge {
        /// URL or path.
        place: String,
        /// What it may have.
        size_bytes_max: u64,
    },
    /// Nothing came for too long, or it comes too slowly to ever end.
    #[error("{place} sends too slowly: {why}")]
    TooSlow {
        /// URL.
        place: String,
        /// Which limit.
        why: String,
    },
    /// The server sends the client elsewhere.
    #[error("{place} redirects to {target:?}: {why}")]
    Redirect {
        /// URL.
        place: String,
        /// Where to.
        target: String,
        /// Why it is not followed.
        why: &'static str,
    },
    /// The server answers with an error.
    #[error("{place} answers with status {status}")]
    Status {
        /// URL.
        place: String,
        /// The HTTP status.
        status: u16,
    },
    /// The place is no place.
    #[error("{place:?} is no repository: {why}")]
    Place {
        /// What was given.
        place: String,
        /// What is wrong, and the mend.
        why: String,
    },
    /// As another process has told it, which asked the server.
    #[error("{why}")]
    Told {
        /// Its words.
        why: String,
    },
    /// Anything else.
    #[error("{place}: {why}")]
    Failed {
        /// URL or path.
        place: String,
        /// What happened.
        why: String,
    },
}
