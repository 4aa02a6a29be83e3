//! What the client trusts, on a disk that may lose power at any write.
//!
//! A file changes in four steps: written beside its name, synced, renamed, folder synced. After a cut at any of them the name holds
//! the old bytes or the new ones, and once `put` has returned, the new ones for good: the versions in these files are the floor
//! below which no repository can take the client. Every step goes through `Disk`, so a test can cut between any two.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::regular;

/// What the store needs of a folder. Names are single file names.
pub trait Disk: Send + Sync {
    /// The file's bytes, `None` if there is none.
    ///
    /// # Errors
    /// It can't be read, or has more bytes than `size_bytes_max`.
    fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Option<Vec<u8>>>;
    /// Creates or truncates the file and writes it.
    ///
    /// # Errors
    /// It can't be written: no room, for one.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's bytes durable.
    ///
    /// # Errors
    /// The disk failed.
    fn sync_file(&self, name: &str) -> io::Result<()>;
    /// Renames, replacing what has the name.
    ///
    /// # Errors
    /// The disk failed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes names durable.
    ///
    /// # Errors
    /// The disk failed.
    fn sync_folder(&self) -> io::Result<()>;
    /// Removes the file if it is there.
    ///
    /// # Errors
    /// The disk failed.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A real folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held as long as the folder is in use; the system lets go of it when the process ends, however it ends.
    _lock: Option<File>,
}

/// The lock's name. It has no `.json`: that is metadata.
const LOCK: &str = ".lock";

impl Folder {
    /// Opens the folder, which is made if it is missing, and keeps others that open it so out.
    ///
    /// # Errors
    /// The folder can't be made, or another client has it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = Self::unlocked(path)?;
        let failed = |source| StoreError { what: format!("folder {}", path.display()), source, before: TRUSTED };
        let lock = regular::make_own(&path.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|_| failed(io::Error::other("another update is at work in it: wait for its end")))?;
        Ok(Self { _lock: Some(lock), ..folder })
    }

    /// Opens the folder, which is made if it is missing, for one who knows that nobody else writes to it.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn unlocked(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError { what: format!("folder {}", path.display()), source, before: TRUSTED };
        let has_been = path.ancestors().position(|folder| folder.as_os_str().is_empty() || folder.is_dir());
        fs::create_dir_all(path).map_err(failed)?;
        // The name of each folder that is new stands in the one above it.
        for folder in path.ancestors().skip(1).take(has_been.unwrap_or_default()) {
            sync_path(folder).map_err(failed)?;
        }
        Ok(Self { path: path.to_owned(), _lock: None })
    }
}

fn sync_path(path: &Path) -> io::Result<()> {
    // Relative paths end in an empty ancestor, which stands for the working folder.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

impl Disk for Folder {
    fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match regular::open_own(&self.path.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(size_bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > size_bytes_max {
            return Err(io::Error::other(format!("larger than {size_bytes_max} bytes")));
        }
        Ok(Some(bytes))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = regular::make_own(&self.path.join(name))?;
        file.set_len(0)?;
        file.write_all(bytes)
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        regular::open_own(&self.path.join(name))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_path(&self.path)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A disk that is forgotten with the process: for a client that only looks.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryDisk {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        // Whoever panicked left whole files: every change is one insertion or removal.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.files().get(name).cloned();
        if bytes.as_ref().is_some_and(|bytes| bytes.len() as u64 > size_bytes_max) {
            return Err(io::Error::other(format!("larger than {size_bytes_max} bytes")));
        }
        Ok(bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.files().insert(name.into(), bytes.into());
        Ok(())
    }

    fn sync_file(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), bytes);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files().remove(name);
        Ok(())
    }
}

impl<D: Disk + ?Sized> Disk for Arc<D> {
    fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        (**self).read(name, size_bytes_max)
    }
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        (**self).write(name, bytes)
    }
    fn sync_file(&self, name: &str) -> io::Result<()> {
        (**self).sync_file(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }
    fn sync_folder(&self) -> io::Result<()> {
        (**self).sync_folder()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }
}

/// The disk failed. Whatever was there before still is.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}; {before}")]
pub struct StoreError {
    what: String,
    source: io::Error,
    /// What of that matters.
    before: &'static str,
}

/// Of a store that one client has for itself.
const TRUSTED: &str = "what was trusted before still is";
/// Of others.
const THERE: &str = "what was there before still is";

/// Files that are whole at any time.
pub struct Store {
    disk: Box<dyn Disk>,
    /// Where a file is written before it has its name.
    beside: String,
    before: &'static str,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Where a file is written before it has its name. One is enough where the folder has one client.
const BESIDE: &str = ".new";
/// Those of one process that shares a folder with others.
static SHARED: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// A store on this disk.
    #[must_use]
    pub fn new(disk: impl Disk + 'static) -> Self {
        Self { disk: Box::new(disk), beside: BESIDE.to_owned(), before: TRUSTED }
    }

    /// A store in a folder that others write to at the same time, which is made if it is missing.
    ///
    /// # Errors
    /// As `Folder::unlocked`.
    pub fn shared(path: &Path) -> Result<Self, StoreError> {
        let folder = Folder::unlocked(path).map_err(|error| StoreError { before: THERE, ..error })?;
        let beside = format!("{BESIDE}-{}-{}", std::process::id(), SHARED.fetch_add(1, Ordering::Relaxed));
        Ok(Self { beside, before: THERE, ..Self::new(folder) })
    }

    /// A store in this folder.
    ///
    /// # Errors
    /// As `Folder::open`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Folder::open(path).map(Self::new)
    }

    /// The file's bytes, `None` if there is none.
    ///
    /// # Errors
    /// It can't be read, or is too large.
    pub fn get(&self, name: &str, size_bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let failed = |source| StoreError { what: format!("reading {name}"), source, before: self.before };
        self.disk.read(name, size_bytes_max).map_err(failed)
    }

    /// As `put`, unless the file has these bytes already.
    ///
    /// # Errors
    /// As `put`.
    pub fn put_if_new(&self, name: &str, bytes: &[u8], size_bytes_max: u64) -> Result<(), StoreError> {
        match self.get(name, size_bytes_max) {
            Ok(Some(present)) if present == bytes => Ok(()),
            _ => self.put(name, bytes),
        }
    }

    /// Makes these bytes the file's, durably: when this has returned, no cut takes them away.
    ///
    /// # Errors
    /// The disk failed; the file is as before, or after a failed last step as it will be.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let beside = &self.beside;
        let written = self
            .disk
            .write(beside, bytes)
            .and_then(|()| self.disk.sync_file(beside))
            .and_then(|()| self.disk.rename(beside, name))
            .and_then(|()| self.disk.sync_folder());
        written.map_err(|source| {
            // What was begun is of no use; if even this fails, the next write takes its place.
            let _ = self.disk.remove(beside);
            StoreError { what: format!("writing {name}"), source, before: self.before }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_write_one_name_and_each_time_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = folder.path();
                scope.spawn(move || {
                    for _ in 0..20 {
                        let put = Store::shared(path).and_then(|store| store.put("word", &[writer; 5_000]));
                        put.expect("nobody takes what it writes beside");
                    }
                });
            }
        });
        let word = Store::shared(folder.path()).and_then(|store| store.get("word", 5_000));
        let word = word.expect("a disk").expect("it was written");
        assert!(word.len() == 5_000 && word.iter().all(|byte| Some(byte) == word.first()));
        assert_eq!(fs::read_dir(folder.path()).expect("our own folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn only_what_is_trusted_is_told_to_be() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("word")).expect("our own folder");
        let store = Store::shared(folder.path()).expect("a folder");
        let words = store.put("word", b"").expect_err("a folder is there").to_string();
        assert!(words.contains("what was there before still is"), "{words}");
    }
}
