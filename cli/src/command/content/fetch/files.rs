//! The files of a fetch: what is trusted, the repository, and packs. Here alone is a disk; nothing of what is in them is read here but the digest
//! of a pack.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use watertight_content_repo::regular;
use watertight_content_repo::release::ContentId;
use watertight_content_repo::source::{FolderSource, HttpLimits, HttpSource, Source as _};
use watertight_content_repo::store::{Store, StoreError};
use watertight_host::updating::Updater;

use super::super::{read, INPUT_SIZE_BYTES_MAX};
use super::words::{Reply, Server, Wanted};
use super::FetchArgs;

/// Longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// Bytes that an answer has, and the answer.
pub(super) type Answered = (Reply, Vec<u8>);

/// Where the repository is.
pub(super) enum Place {
    Folder(FolderSource),
    Web(Box<Updater>, HttpLimits),
}

impl Place {
    /// The place that was named.
    ///
    /// # Errors
    /// It is none, or nobody can be started to ask there.
    pub(super) fn of(args: &FetchArgs) -> anyhow::Result<Self> {
        if !args.from.starts_with("http://") && !args.from.starts_with("https://") {
            return Ok(Self::Folder(FolderSource::at(Path::new(&args.from))));
        }
        let authorities = args.ca.as_deref().map(|path| read(path, INPUT_SIZE_BYTES_MAX)).transpose()?;
        let wait_ms_max = u64::try_from(args.wait.as_millis()).unwrap_or(u64::MAX);
        let server = Server { url: args.from.clone(), has_authorities: authorities.is_some(), wait_ms_max };
        // Refused here what is no place: the worker would say it later.
        HttpSource::new(&args.from, authorities.as_deref(), server.limits())?;
        let worker = Updater::start("download", &server, &authorities.unwrap_or_default())?;
        Ok(Self::Web(Box::new(worker), server.limits()))
    }

    /// A file of it, unread.
    pub(super) fn fetch(&mut self, wanted: &Wanted) -> Answered {
        let failed = |why| (Reply::Failed { why }, Vec::new());
        match self {
            Self::Folder(folder) => match folder.fetch(wanted.tree(), &wanted.path, wanted.size_bytes_max) {
                Ok(Some(bytes)) => (Reply::Done, bytes),
                Ok(None) => (Reply::None, Vec::new()),
                Err(error) => failed(error.to_string()),
            },
            Self::Web(worker, limits) => {
                let asked = worker.send(wanted, &[]);
                asked.and_then(|()| answer_of(worker, *limits, wanted.size_bytes_max)).unwrap_or_else(failed)
            }
        }
    }
}

/// The answer of who gets a file. While bytes come, that is told; a worker that says nothing for longer than its own waits hangs, and one
/// that says so for longer than the least speed allows lies.
fn answer_of(worker: &mut Updater, limits: HttpLimits, size_bytes_max: u64) -> Result<Answered, String> {
    let silence = Duration::from_millis(limits.silence_ms_max());
    let until = Instant::now() + Duration::from_millis(limits.longest_ms(size_bytes_max));
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match worker.receive(silence.min(left))? {
            (Reply::Going { .. }, _) => {}
            answered => return Ok(answered),
        }
    }
}

/// What is trusted.
pub(super) struct Trusted(pub(super) Store);

impl Trusted {
    pub(super) fn kept(&self, name: &str, size_bytes_max: u64) -> Answered {
        match checked(name).and_then(|()| self.0.get(name, size_bytes_max).map_err(|error| cause(&error))) {
            Ok(Some(bytes)) => (Reply::Done, bytes),
            Ok(None) => (Reply::None, Vec::new()),
            Err(why) => (Reply::Failed { why }, Vec::new()),
        }
    }

    pub(super) fn keep(&self, name: &str, bytes: &[u8]) -> Answered {
        told(checked(name).and_then(|()| self.0.put(name, bytes).map_err(|error| cause(&error))))
    }
}

/// What of the disk's error its own process does not say.
fn cause(error: &StoreError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Where packs go.
pub(super) struct Packs {
    folder: Option<PathBuf>,
    pub(super) handed: BTreeMap<ContentId, PathBuf>,
}

impl Packs {
    pub(super) fn of(args: &FetchArgs) -> Self {
        Self { folder: args.to.clone(), handed: BTreeMap::new() }
    }

    /// Whether the pack is there already, by its digest.
    pub(super) fn is_there(&mut self, file: &str, content: ContentId, size_bytes: u64) -> Answered {
        let present = self.store(file).and_then(|(store, path)| {
            // What can't be read is written anew, and so is a link; a pipe or a device is somebody's.
            if regular::is_taken(&path) {
                return Err(regular::refused(&path).to_string());
            }
            let bytes = store.get(file, size_bytes).ok().flatten();
            Ok(bytes.filter(|bytes| ContentId::of(bytes) == content).map(|_| path))
        });
        match present {
            Ok(Some(path)) => {
                self.handed.insert(content, path);
                (Reply::Done, Vec::new())
            }
            Ok(None) => (Reply::None, Vec::new()),
            Err(why) => (Reply::Failed { why }, Vec::new()),
        }
    }

    /// Writes a pack. That it is the one that was told is seen to here: the name of its file and its place in quarantine go by that.
    pub(super) fn hand_out(&mut self, file: &str, content: ContentId, bytes: &[u8]) -> Answered {
        let put = self.store(file).and_then(|(store, path)| {
            if ContentId::of(bytes) != content {
                return Err(format!("these are not the bytes of {content}"));
            }
            store.put(file, bytes).map_err(|error| error.to_string())?;
            Ok(path)
        });
        told(put.map(|path| {
            self.handed.insert(content, path);
        }))
    }

    fn store(&self, file: &str) -> Result<(Store, PathBuf), String> {
        checked(file)?;
        let folder = self.folder.as_ref().ok_or("no folder was named for packs")?;
        let store = Store::shared(folder).map_err(|error| error.to_string())?;
        Ok((store, folder.join(file)))
    }
}

fn told(done: Result<(), String>) -> Answered {
    match done {
        Ok(()) => (Reply::Done, Vec::new()),
        Err(why) => (Reply::Failed { why }, Vec::new()),
    }
}

/// Whether this is the name of one file of ours: it becomes part of a path, and a worker says it.
fn checked(name: &str) -> Result<(), String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.~%".contains(letter);
    let is_taken = name.starts_with('.'); // folders, and what is the store's own
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !is_taken && name.chars().all(is_letter);
    is_name.then_some(()).ok_or_else(|| format!("{name:?} is no name of a file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_names_no_file_elsewhere() {
        for name in ["", ".", "..", ".lock", ".new", "../x", "a/b", "/etc/passwd", "a\0b", "a b", &"x".repeat(256)] {
            assert!(checked(name).is_err(), "{name:?}");
        }
        for name in ["root.json", "3.snapshot.json", "director-seen", "linux-2.pack", "%2E%2E%2Fx.json"] {
            assert!(checked(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn what_is_not_the_pack_that_it_is_called_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut packs = Packs { folder: Some(folder.path().join("to")), handed: BTreeMap::new() };
        let content = ContentId::of(b"pack");
        let is_failed = |answered: Answered| matches!(answered.0, Reply::Failed { .. });
        assert!(is_failed(packs.hand_out("linux-1.pack", content, b"other")));
        assert!(is_failed(packs.hand_out("../linux-1.pack", content, b"pack")));
        assert!(packs.handed.is_empty() && !folder.path().join("to/linux-1.pack").exists());
        assert!(matches!(packs.is_there("linux-1.pack", content, 4).0, Reply::None));
        assert!(!is_failed(packs.hand_out("linux-1.pack", content, b"pack")));
        assert!(matches!(packs.is_there("linux-1.pack", content, 4).0, Reply::Done));
        assert_eq!(packs.handed.get(&content), Some(&folder.path().join("to/linux-1.pack")));
        std::fs::write(folder.path().join("to/linux-1.pack"), "pacK").expect("our own folder");
        assert!(matches!(packs.is_there("linux-1.pack", content, 4).0, Reply::None), "somebody changed it");
    }
}
