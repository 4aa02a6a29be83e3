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
    /// A file that the kernel makes while it is read, and whose size is told as zero.
    #[error("a file of /proc, which has no size: copy what it holds to a file and give that")]
    NoSize,
    /// A format that is known and has no reader.
    #[error("{format}: this version has no reader for it")]
    NoReader {
        /// The format.
        format: Format,
    },
    /// A core of a processor that is not known.
    #[error("{what}: read it on a machine of its own kind, or give its log")]
    OtherMachine {
        /// What it is of.
        what: &'static str,
    },
    /// Pages that are compressed in a way that is not read.
    #[error(
        "its pages are compressed with {method}: write it again with makedumpfile -c (zlib), -p (snappy) or -z (zstd)"
    )]
    Compression {
        /// The method.
        method: &'static str,
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
