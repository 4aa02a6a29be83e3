//! What the processes of a fetch say to one another.
//!
//! The one that was started has the files: it parses nothing that came from elsewhere. The `update` worker reads all of it and asks for each
//! file; the `download` worker gets them from a web server. Neither has a right to anything else.

use serde::{Deserialize, Serialize};
use watertight_content_repo::director::Host;
use watertight_content_repo::release::ContentId;
use watertight_content_repo::source::{HttpLimits, Tree};
use watertight_content_repo::time::Moment;

use super::answered::Answer;

/// What the `update` worker is to do; behind it the root that came with the product, if one was named.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Task {
    /// The place, as it was named.
    pub(super) from: String,
    pub(super) now: Moment,
    pub(super) has_root: bool,
    /// Packs are wanted.
    pub(super) hands_out: bool,
    pub(super) names: Vec<String>,
    /// Who asks the director.
    pub(super) host: Option<Host>,
}

/// What the `update` worker asks.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Ask {
    /// What is kept under this name.
    Kept { name: String, size_bytes_max: u64 },
    /// To keep what is behind this.
    Keep { name: String },
    /// A file of the repository.
    Fetch { wanted: Wanted },
    /// To keep this out of the slots of this host.
    KeepOut { recalled: Vec<ContentId> },
    /// Whether this pack is there already.
    IsThere { file: String, content: ContentId, size_bytes: u64 },
    /// To hand out the pack that is behind this.
    HandOut { file: String, content: ContentId },
    /// How things stand.
    Stands { answer: Box<Answer> },
    /// That was all; why none is to be trusted, if none is.
    End { answer: Box<Answer>, error: Option<String> },
}

/// What it is answered; bytes are behind it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Reply {
    /// Done; of a question: yes.
    Done,
    /// There is none; of a question: no.
    None,
    /// It could not be done, or had.
    Failed { why: String },
    /// So many bytes have come of it; more is said.
    Going { bytes: u64 },
}

/// What the `download` worker is to do; behind it the authorities, if some were named.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) has_authorities: bool,
    /// How long it may say nothing.
    pub(super) wait_ms_max: u64,
}

impl Server {
    pub(super) fn limits(&self) -> HttpLimits {
        HttpLimits { wait_ms_max: self.wait_ms_max, ..HttpLimits::default() }
    }
}

/// A file of a repository.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Wanted {
    is_target: bool,
    pub(super) path: String,
    pub(super) size_bytes_max: u64,
}

impl Wanted {
    pub(super) fn new(tree: Tree, path: &str, size_bytes_max: u64) -> Self {
        Self { is_target: tree == Tree::Targets, path: path.to_owned(), size_bytes_max }
    }

    pub(super) fn tree(&self) -> Tree {
        match self.is_target {
            true => Tree::Targets,
            false => Tree::Metadata,
        }
    }
}
