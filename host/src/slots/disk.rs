//! The folder of slots on a disk that may lose power at any write: six operations, each a step at which a test may cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Names that are looked at: some twenty, and one for everything that was ever recalled, of which a client keeps 10,000.
const NAMES_MAX: usize = 16_384;
/// Content decides what is seen: nobody but its owner reads or writes it.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A file of this name with these bytes; one that has the name is replaced.
    Write {
        /// Its name.
        name: String,
        /// What is in it.
        bytes: Vec<u8>,
    },
    /// Its bytes are durable from here on.
    SyncFile {
        /// Its name.
        name: String,
    },
    /// Another name, at once or not at all.
    Rename {
        /// Its name.
        from: String,
        /// The new one; what has it is replaced.
        to: String,
    },
    /// Its name goes, if it is there.
    Unlink {
        /// Its name.
        name: String,
    },
    /// The names are durable from here on.
    SyncFolder,
}

/// A folder. Names are single file names.
pub trait Disk {
    /// The names in it.
    ///
    /// # Errors
    /// It can't be read.
    fn names(&self) -> io::Result<Vec<String>>;
    /// A file's bytes, if they are not too many.
    ///
    /// # Errors
    /// It is not there, can't be read, or is larger.
    fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Vec<u8>>;
    /// Does one step.
    ///
    /// # Errors
    /// The disk failed or is full; what was done before stays.
    fn apply(&mut self, op: &Op) -> io::Result<()>;
}

/// A folder of a file system.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder, made if it is not there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn make(path: &Path) -> io::Result<Self> {
        make_durably(path, &mut |folder| File::open(folder)?.sync_all())?;
        Ok(Self { path: path.to_owned() })
    }

    /// The folder, where it is there.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(self.path.join(name))
    }
}

/// Makes a folder and those above it. The name of each that is new stands in the one above, which is synced: else the first content of a
/// host could be gone after a power cut with the folder that it is in.
fn make_durably(path: &Path, sync: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let is_there = |folder: &&Path| folder.as_os_str().is_empty() || folder.is_dir();
    let new: Vec<&Path> = path.ancestors().take_while(|folder| !is_there(folder)).collect();
    fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    for folder in new.iter().rev() {
        // A relative path ends in an empty one, which stands for the working folder.
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
        sync(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

impl Disk for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)?.take(NAMES_MAX) {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?.take(size_bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > size_bytes_max {
            return Err(io::Error::other(format!("more than {size_bytes_max} bytes")));
        }
        Ok(bytes)
    }

    fn apply(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Write { name, bytes } => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(true).mode(FILE_MODE).custom_flags(libc::O_NOFOLLOW);
                options.open(self.path.join(name))?.write_all(bytes)
            }
            Op::SyncFile { name } => self.open(name)?.sync_all(),
            Op::Rename { from, to } => fs::rename(self.path.join(from), self.path.join(to)),
            Op::Unlink { name } => match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            Op::SyncFolder => File::open(&self.path)?.sync_all(),
        }
    }
}

/// Carries out a plan, step by step.
///
/// # Errors
/// A step failed; those after it are not done, and what it had begun to write goes: that would keep a full disk full.
pub fn carry_out(disk: &mut dyn Disk, plan: &[Op]) -> io::Result<()> {
    let mut begun: Vec<&String> = Vec::new();
    for op in plan {
        if let Op::Write { name, .. } = op {
            begun.push(name);
        }
        if let Err(error) = disk.apply(op) {
            for name in begun {
                let _ = disk.apply(&Op::Unlink { name: name.clone() }); // what fails here is taken away by the next run
            }
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder on a disk that takes half of a file.
    struct Full(Folder);

    impl Disk for Full {
        fn names(&self) -> io::Result<Vec<String>> {
            self.0.names()
        }

        fn read(&self, name: &str, size_bytes_max: u64) -> io::Result<Vec<u8>> {
            self.0.read(name, size_bytes_max)
        }

        fn apply(&mut self, op: &Op) -> io::Result<()> {
            let Op::Write { name, bytes } = op else { return self.0.apply(op) };
            let half = bytes.iter().take(bytes.len() / 2).copied().collect();
            self.0.apply(&Op::Write { name: name.clone(), bytes: half })?;
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        }
    }

    #[test]
    fn what_a_full_disk_took_half_of_does_not_keep_it_full() {
        let place = tempfile::tempdir().expect("a folder");
        let mut full = Full(Folder::make(place.path()).expect("its own"));
        let plan = [
            Op::Write { name: "incoming".into(), bytes: b"rules".to_vec() },
            Op::Rename { from: "incoming".into(), to: "named".into() },
        ];
        let failed = carry_out(&mut full, &plan).expect_err("there is no room");
        assert_eq!(failed.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(full.names().expect("a disk"), Vec::<String>::new());
    }

    #[test]
    fn a_folder_that_is_new_is_durable_in_every_one_above_it() {
        let place = tempfile::tempdir().expect("a folder");
        let mut synced = Vec::new();
        let mut sync = |folder: &Path| {
            assert!(folder.is_dir(), "it is made before it is synced");
            synced.push(folder.to_owned());
            Ok(())
        };
        make_durably(&place.path().join("state/slots"), &mut sync).expect("its own");
        make_durably(&place.path().join("state/slots"), &mut sync).expect("its own");
        assert_eq!(synced, [place.path().to_owned(), place.path().join("state")]);
    }

    #[test]
    fn a_folder_does_what_a_plan_says_and_reads_nothing_too_large() {
        let place = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::make(&place.path().join("a/b")).expect("its own");
        let plan = [
            Op::Write { name: "new".into(), bytes: b"rules".to_vec() },
            Op::SyncFile { name: "new".into() },
            Op::Rename { from: "new".into(), to: "named".into() },
            Op::Unlink { name: "never was".into() },
            Op::SyncFolder,
        ];
        carry_out(&mut folder, &plan).expect("a disk");
        assert_eq!(folder.names().expect("a disk"), ["named"]);
        assert_eq!(folder.read("named", 5).expect("a disk"), b"rules");
        assert!(folder.read("named", 4).is_err());
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).expect("our own folder");
        assert!(folder.read("link", 1 << 20).is_err(), "a link is followed nowhere");
    }
}
