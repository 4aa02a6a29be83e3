//! Why a file gave no report. The text names the file's fault and the mend; the report that carries it names the file.

use std::io;

use crate::format::Format;

/// Why a file gave no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened or its size not be told.
    #[error("opening: {source}")]
    Open {
        /// What the system said.
        source: io::Error,
    },
    /// Reading failed at a place in the file.
    #[error("reading at byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a socket or the like.
    #[error("not a regular file: give the dump or log itself")]
    NotAFile,
    /// A format that is known and has no reader.
    #[error("{format}: this version has no reader for it")]
    NoReader {
        /// The format.
        format: Format,
    },
    /// A dump whose own structure can't be followed.
    #[error("{what} at byte {offset}: {mend}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
        /// What to do about it.
        mend: &'static str,
    },
}
