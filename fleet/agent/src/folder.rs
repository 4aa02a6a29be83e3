//! The agent's state folder. A file has its old content or its new one after a power cut, never a part: written beside, synced, renamed,
//! and the folder synced. For its owner alone: the key is in it. What root writes into somebody's folder is that one's.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{fchown, DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::Serialize;

/// Any file of ours is smaller.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// How long another may hold the folder: far longer than a write of ours takes. Who holds it for longer does not mean well.
const LOCK_MAX: Duration = Duration::from_secs(5);
const LOCK_LOOK: Duration = Duration::from_millis(5);

/// Why something could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk says no.
    #[error("{}: {cause}", place.display())]
    Disk {
        /// Where.
        place: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What lies there is none of ours.
    #[error("{}: {why}: put back a copy, or remove the file", place.display())]
    Damaged {
        /// Where.
        place: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// As people know it.
    shown: PathBuf,
}

impl Folder {
    /// Makes it, if it is not there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn make(path: &Path) -> Result<Self, FolderError> {
        let disk = |cause| FolderError::Disk { place: path.to_owned(), cause };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(disk)?;
        Ok(Self { path: path.to_owned(), shown: path.to_owned() })
    }

    /// The working directory, which people know by this name: it takes no right to the folders above it.
    #[must_use]
    pub fn here(shown: &Path) -> Self {
        Self { path: PathBuf::from("."), shown: shown.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it.
    ///
    /// # Errors
    /// It can't be made.
    pub fn folder(&self, name: &str) -> Result<Self, FolderError> {
        let made = Self::make(&self.path.join(name)).map_err(|error| match error {
            FolderError::Disk { cause, .. } => FolderError::Disk { place: self.shown.join(name), cause },
            damaged => damaged,
        })?;
        Ok(Self { shown: self.shown.join(name), ..made })
    }

    /// A file's bytes; `None` where there is none.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
        let place = self.shown.join(name);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(self.path.join(name))?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(FolderError::Disk { place, cause }),
        }
    }

    /// What was kept as JSON; `None` where there is none.
    ///
    /// # Errors
    /// It can't be read, or is none of ours.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let damaged =
            |why: serde_json::Error| FolderError::Damaged { place: self.shown.join(name), why: why.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// Keeps a file.
    ///
    /// # Errors
    /// The disk says no: what was there before is still there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let place = self.shown.join(name);
        // Two processes of ours never write one name, so that this name is ours too.
        let beside = self.path.join(format!(".{name}.new"));
        let write = || -> io::Result<()> {
            let _ = fs::remove_file(&beside); // of one that was killed, who may have been another user
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            self.give_to_owner(&file)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, self.path.join(name))?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|cause| {
            let _ = fs::remove_file(&beside); // it may have taken the last room
            FolderError::Disk { place, cause }
        })
    }

    /// A file that root has made becomes that of the folder's owner, who has to read it.
    fn give_to_owner(&self, file: &File) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let of = fs::metadata(&self.path)?;
        if of.uid() == 0 {
            return Ok(());
        }
        fchown(file, Some(of.uid()), Some(of.gid()))
    }

    /// Keeps something as JSON.
    ///
    /// # Errors
    /// As `write`.
    pub fn write_json(&self, name: &str, kept: &impl Serialize) -> Result<(), FolderError> {
        // Plain structures of texts and numbers always have a JSON form.
        self.write(name, &serde_json::to_vec(kept).unwrap_or_default())
    }

    /// As long as what is given is held, no other process has it.
    ///
    /// # Errors
    /// The disk says no, or another has held it for five seconds.
    pub fn lock(&self) -> Result<File, FolderError> {
        let disk = |cause| FolderError::Disk { place: self.shown.clone(), cause };
        let folder = File::open(&self.path).map_err(disk)?;
        let begun = Instant::now();
        loop {
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(folder),
                Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < LOCK_MAX => std::thread::sleep(LOCK_LOOK),
                Err(error) => return Err(disk(error.into())),
            }
        }
    }

    /// Takes a file away, if it is there.
    ///
    /// # Errors
    /// The disk says no.
    pub fn remove(&self, name: &str) -> Result<(), FolderError> {
        match fs::remove_file(self.path.join(name)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(FolderError::Disk { place: self.shown.join(name), cause })
            }
            _ => Ok(()),
        }
    }

    /// Names and sizes of its files, but for those that are being written.
    ///
    /// # Errors
    /// It can't be listed.
    pub fn list(&self) -> Result<Vec<(String, u64)>, FolderError> {
        let disk = |cause| FolderError::Disk { place: self.shown.clone(), cause };
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(disk)? {
            let entry = entry.map_err(disk)?;
            // One that has gone meanwhile was acknowledged.
            let Ok(is) = entry.metadata() else { continue };
            match entry.file_name().into_string() {
                Ok(name) if is.is_file() && !name.starts_with('.') => files.push((name, is.len())),
                _ => {}
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_for_its_owner_alone_and_comes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(&dir.path().join("a/b")).expect("made");
        assert_eq!(folder.read_json::<u32>("x").expect("readable"), None);
        folder.write_json("x", &7).expect("written");
        folder.write_json("x", &8).expect("written");
        assert_eq!(folder.read_json::<u32>("x").expect("readable"), Some(8));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&folder.path().join("x"))), (0o700, 0o600));
        assert_eq!(folder.list().expect("a list"), [("x".to_owned(), 1)]);
        folder.remove("x").expect("removed");
        folder.remove("x").expect("removed before");
    }

    #[test]
    fn what_root_writes_into_the_folder_of_another_is_that_ones_and_a_link_leads_it_nowhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(&dir.path().join("theirs")).expect("made");
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "as it was").expect("a file");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(".x.new")).expect("a link");
        let owner = if rustix::process::geteuid().is_root() { 61_184 } else { rustix::process::geteuid().as_raw() };
        std::os::unix::fs::chown(folder.path(), Some(owner), None).expect("given away");
        folder.write_json("x", &7).expect("written");
        assert_eq!(fs::metadata(folder.path().join("x")).expect("there").uid(), owner);
        assert_eq!(fs::read_to_string(&elsewhere).expect("there"), "as it was");
    }

    #[test]
    fn what_is_damaged_is_refused_with_the_mend() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(dir.path()).expect("made");
        folder.write("x", b"{").expect("written");
        let why = folder.read_json::<u32>("x").expect_err("no JSON").to_string();
        assert!(why.contains("put back a copy"), "{why}");
    }
}
