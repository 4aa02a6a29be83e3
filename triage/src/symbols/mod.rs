//! Where symbol files come from: folders that somebody named, never a network. Whoever reads dumps in a sandbox opens nothing by itself and
//! asks who may.

pub(crate) mod pdb;

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use crate::format::{Format, HEAD_BYTES};

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

/// What a file with symbols begins with: ELF, PDB, Breakpad's. A folder may be a whole file system, and whoever made the dump chooses which of
/// its files are asked for: no other kind is handed to who reads the dump, nor another process's core.
const BEGINNINGS: [&[u8]; 3] = [b"\x7fELF", b"Microsoft C/C++ ", b"MODULE "];

fn has_symbols(file: &File) -> bool {
    let mut head = [0; HEAD_BYTES];
    let read = file.read_at(&mut head, 0).unwrap_or_default();
    let head = head.get(..read).unwrap_or_default();
    BEGINNINGS.iter().any(|beginning| head.starts_with(beginning)) && Format::of(head) != Format::ElfCore
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
            (size_bytes <= SYMBOL_BYTES_MAX && has_symbols(&file)).then_some(Opened { file, size_bytes })
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
    fn a_path_that_leads_out_of_the_folders_or_to_something_else_is_not_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("symbols")).expect("a folder");
        for name in ["symbols/a.sym", "secret"] {
            std::fs::write(folder.path().join(name), "MODULE Linux").expect("written");
        }
        std::fs::write(folder.path().join("symbols/key"), "-----BEGIN PRIVATE KEY-----").expect("written");
        std::fs::write(folder.path().join("symbols/core"), b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0")
            .expect("written");
        let folders = Folders(vec![folder.path().join("symbols")]);
        assert_eq!(folders.open(Path::new("a.sym")).map(|opened| opened.size_bytes), Some(12));
        for out in ["key", "core", "../secret", "/etc/passwd", "./../secret", "gone", "."] {
            assert!(folders.open(Path::new(out)).is_none(), "{out}");
        }
    }
}
