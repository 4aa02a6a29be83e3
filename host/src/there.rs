//! The processes that were there before a run: how they are read, and the row that `run`, `doctor` and `status` say of it.
//!
//! No table of the kernel tells afterwards how they were read. So a run leaves word for `status`, which believes it as long as
//! that run is at work.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::loader::{Loader, Reading, Report, Snapshot};
use crate::matrix::{row, Mend, Row, START};

/// The row's class.
pub const CLASS: &str = "processes from before";
/// File of the word in the state folder.
const WORD: &str = "processes.json";

/// How they are read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum There {
    /// By an iterator of the kernel.
    Iterator(Reading),
    /// From /proc.
    Proc {
        /// Why the kernel's iterator does not tell; empty where nothing of BPF is admitted.
        why: String,
        /// What to do about it, if it is not the kernel's fault.
        #[serde(default)]
        mend: String,
    },
    /// There is no run.
    Nobody,
    /// A run is at work that left no word.
    Unknown,
}

impl Default for There {
    fn default() -> Self {
        Self::Proc { why: String::new(), mend: String::new() }
    }
}

/// What a run tells.
#[derive(Deserialize, Serialize)]
struct Word {
    /// The run.
    pid: u32,
    how: There,
}

impl There {
    /// Reads them, by the kernel's iterator where it admits programs.
    #[must_use]
    pub fn read(loader: Option<&Loader>, kernel: Option<&Report>) -> (Self, Option<Snapshot>) {
        match (loader, kernel) {
            (Some(loader), Some(_)) => match loader.processes() {
                Ok(snapshot) => (Self::Iterator(snapshot.reading.clone()), Some(snapshot)),
                Err(error) => (Self::Proc { why: format!("{error:#}"), mend: String::new() }, None),
            },
            _ => (Self::default(), None),
        }
    }

    /// The same, where it is not the kernel but the loader that must be mended.
    #[must_use]
    pub fn with_mend(self, loader_mend: &str) -> Self {
        match self {
            Self::Proc { why, .. } => Self::Proc { why, mend: loader_mend.to_owned() },
            other => other,
        }
    }

    /// Leaves word of this run.
    ///
    /// # Errors
    /// The folder can't be written: `status` then says that it does not know.
    pub fn leave_word(&self, state: &Path) -> io::Result<()> {
        let word = Word { pid: std::process::id(), how: self.clone() };
        fs::write(state.join(WORD), serde_json::to_vec(&word)?)
    }

    /// What the run at work has left.
    #[must_use]
    pub fn word_of(run: Option<u32>, state: &Path) -> Self {
        let Some(run) = run else { return Self::Nobody };
        let word = fs::read(state.join(WORD)).ok().and_then(|bytes| serde_json::from_slice::<Word>(&bytes).ok());
        word.filter(|word| word.pid == run).map_or(Self::Unknown, |word| word.how)
    }

    /// The row of the matrix.
    #[must_use]
    pub fn row(&self, mend: &Mend) -> Row {
        match self {
            Self::Iterator(Reading { arguments: true, .. }) => row(CLASS, "BPF iterator", "", ""),
            Self::Iterator(Reading { refused, .. }) => {
                let why = refused.as_deref().unwrap_or_default();
                row(CLASS, "BPF iterator", &format!("arguments, taken from /proc ({why})"), &mend.bpf)
            }
            Self::Proc { why, mend: own } => {
                let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
                let mend = if own.is_empty() { &mend.bpf } else { own };
                row(CLASS, "/proc", &format!("start to the nanosecond{why}"), mend)
            }
            Self::Nobody => row(CLASS, "none", "everything", START),
            Self::Unknown => row(CLASS, "unknown", "the run's word of how it read them", ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_says_what_the_run_at_work_said_and_believes_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = Some(std::process::id());
        let mend = Mend::of_this_machine();
        assert_eq!(There::word_of(own, folder.path()), There::Unknown);
        let refused = Reading { arguments: false, refused: Some("no page".into()) };
        for there in [There::default(), There::default().with_mend("install it"), There::Iterator(refused)] {
            there.leave_word(folder.path()).expect("our own folder");
            let told = There::word_of(own, folder.path());
            assert_eq!(told, there);
            assert_eq!(told.row(&mend).source, there.row(&mend).source);
            assert_eq!(There::word_of(Some(1), folder.path()), There::Unknown, "another run");
            assert_eq!(There::word_of(None, folder.path()), There::Nobody);
        }
        fs::write(folder.path().join(WORD), "{").expect("our own folder");
        assert_eq!(There::word_of(own, folder.path()), There::Unknown);
    }
}
