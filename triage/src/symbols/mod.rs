//! Where symbol files come from: folders that somebody named, never a network. Whoever reads dumps in a sandbox opens nothing by itself and
//! asks who may.

pub(crate) mod pdb;

use std::fmt;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// Largest symbol file that is opened; the largest of Windows' own are a tenth of it.
pub const SYMBOL_BYTES_MAX: u64 = 1 << 30;

/// A symbol file that is open.
#[derive(Debug)]
pub struct Opened {
    /// The file, at its start.
    pub file: File,
    /// Its size.
    pub size_bytes: u64,
}

/// Opens symbol files.
pub trait SymbolFiles: fmt::Debug + Send + Sync {
    /// The first file of that path below one of the folders. A path that leads out of them is none.
    fn open(&self, relative: &Path) -> Option<Opened>;

    /// Whether there are folders at all.
    fn is_any(&self) -> bool;
}

/// Folders on this machine.
#[derive(Clone, Debug, Default)]
pub struct Folders(pub Vec<PathBuf>);

impl SymbolFiles for Folders {
    fn open(&self, relative: &Path) -> Option<Opened> {
        // The path is made of names that the dump's writer chose.
        let is_within = relative.components().all(|part| matches!(part, Component::Normal(_)));
        self.0.iter().filter(|_| is_within).find_map(|folder| {
            let path = folder.join(relative);
            // What it is comes first: opening a FIFO would wait for whoever writes it.
            if !std::fs::metadata(&path).ok()?.is_file() {
                return None;
            }
            let file = File::open(path).ok()?;
            let size_bytes = file.metadata().ok()?.len();
            (size_bytes <= SYMBOL_BYTES_MAX).then_some(Opened { file, size_bytes })
        })
    }

    fn is_any(&self) -> bool {
        !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_of_the_folders_is_not_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("symbols")).expect("a folder");
        for name in ["symbols/a.sym", "secret"] {
            std::fs::write(folder.path().join(name), "MODULE").expect("written");
        }
        let folders = Folders(vec![folder.path().join("symbols")]);
        assert_eq!(folders.open(Path::new("a.sym")).map(|opened| opened.size_bytes), Some(6));
        for out in ["../secret", "/etc/passwd", "./../secret", "gone", "."] {
            assert!(folders.open(Path::new(out)).is_none(), "{out}");
        }
    }
}
