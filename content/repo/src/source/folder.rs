//! A repository in a local folder: `metadata/` and `targets/` below it, as `watertight content publish` writes them.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::{Source, SourceError, Tree};
use crate::path::unsafe_reason;
use crate::regular;

/// Files from a folder.
#[derive(Debug)]
pub struct FolderSource {
    folder: PathBuf,
}

impl FolderSource {
    /// The repository in this folder.
    ///
    /// # Errors
    /// There is no folder `metadata` in it.
    pub fn new(folder: &Path) -> Result<Self, SourceError> {
        let source = Self::at(folder);
        source.check().map(|()| source)
    }

    /// The repository in a folder that need not be there now, as one on a disk that is not mounted: each fetch says so.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn check(&self) -> Result<(), SourceError> {
        if self.folder.join(METADATA).is_dir() {
            return Ok(());
        }
        let why = "it has no folder `metadata`: name the folder that `watertight content publish --to` wrote".into();
        Err(SourceError::Place { place: self.folder.display().to_string(), why })
    }
}

/// The tree of metadata.
pub(crate) const METADATA: &str = "metadata";
/// The tree of files.
pub(crate) const TARGETS: &str = "targets";

impl Source for FolderSource {
    fn fetch(&self, tree: Tree, path: &str, size_bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        if let Some(why) = unsafe_reason(path) {
            return Err(SourceError::Place { place: path.into(), why: why.into() });
        }
        self.check()?;
        let tree = match tree {
            Tree::Metadata => METADATA,
            Tree::Targets => TARGETS,
        };
        let path = self.folder.join(tree).join(path);
        let place = path.display().to_string();
        // Whoever can write the folder could have put a pipe or a device there.
        let file = match regular::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SourceError::Failed { place, why: error.to_string() }),
        };
        let mut bytes = Vec::new();
        match file.take(size_bytes_max.saturating_add(1)).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > size_bytes_max => Err(SourceError::TooLarge { place, size_bytes_max }),
            Ok(_) => Ok(Some(bytes)),
            Err(error) => Err(SourceError::Failed { place, why: error.to_string() }),
        }
    }
}
