//! The content repository as files: whatever `watertight content publish --to STATE/content` has put there.
//!
//! The server neither signs nor believes these files; hosts verify them. It may not serve anything beside them: a name is taken apart
//! and each part must be plain, links are not followed.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// One file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Files that are kept in memory, so that a fleet that fetches one pack shares one copy of it.
const KEPT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The one file whose change says that something was published.
const TIMESTAMP: &str = "metadata/timestamp.json";

/// The folder.
#[derive(Debug)]
pub struct Content {
    folder: PathBuf,
    kept: Mutex<HashMap<String, Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    of: Stamp,
    bytes: Bytes,
}

/// A file that was changed has another.
type Stamp = (u64, i64, i64, u64);

/// A file, and how long whoever gets it may keep it.
pub struct Served {
    /// The file.
    pub bytes: Bytes,
    /// The header `cache-control`.
    pub cache_control: &'static str,
}

impl Content {
    /// Of a folder that may come later.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, kept: Mutex::default() }
    }

    /// A word for what is published: another after each publication.
    #[must_use]
    pub fn published(&self) -> String {
        self.open(TIMESTAMP).and_then(|file| stamp(&file)).map_or_else(String::new, |stamp| format!("{stamp:?}"))
    }

    /// A file of the repository. It may be read from disk: not for a thread that serves others.
    #[must_use]
    pub fn serve(&self, path: &str) -> Option<Served> {
        let file = self.open(path)?;
        let of = stamp(&file)?;
        let cache_control = cache_control(path);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(kept) = kept.filter(|kept| kept.of == of) {
            return Some(Served { bytes: kept.bytes, cache_control });
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return None;
        }
        let bytes = Bytes::from(bytes);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let sum: usize = kept.values().map(|kept| kept.bytes.len()).sum();
        if sum.saturating_add(bytes.len()) > KEPT_BYTES_MAX {
            kept.clear();
        }
        kept.insert(path.to_owned(), Kept { of, bytes: bytes.clone() });
        Some(Served { bytes, cache_control })
    }

    fn open(&self, path: &str) -> Option<File> {
        let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\0', '\\']);
        if !path.split('/').all(is_plain) || !(path.starts_with("metadata/") || path.starts_with("targets/")) {
            return None;
        }
        let folder = File::open(&self.folder).ok()?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat2(&folder, Path::new(path), flags, Mode::empty(), resolve).ok()?);
        file.metadata().ok()?.is_file().then_some(file)
    }
}

fn stamp(file: &File) -> Option<Stamp> {
    let is = file.metadata().ok()?;
    Some((is.ino(), is.mtime(), is.mtime_nsec(), is.len()))
}

/// What has a number or a digest in its name never changes; the timestamp is asked for by every host.
fn cache_control(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_numbered = name.split('.').next().is_some_and(|start| start.parse::<u64>().is_ok());
    let is_digest =
        name.split('.').next().is_some_and(|start| start.len() == 64 && start.bytes().all(|b| b.is_ascii_hexdigit()));
    if path == TIMESTAMP {
        "public, max-age=30"
    } else if is_numbered || is_digest {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, Content) {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("content");
        std::fs::create_dir_all(folder.join("metadata")).expect("a folder");
        std::fs::create_dir_all(folder.join("targets")).expect("a folder");
        std::fs::write(dir.path().join("secret"), "s").expect("a file");
        std::fs::write(folder.join("metadata/timestamp.json"), "1").expect("a file");
        std::fs::write(folder.join("metadata/7.root.json"), "r").expect("a file");
        std::fs::write(folder.join("notes"), "n").expect("a file");
        std::os::unix::fs::symlink("../../secret", folder.join("targets/link")).expect("a link");
        let content = Content::new(folder);
        (dir, content)
    }

    #[test]
    fn nothing_beside_the_repository_is_served() {
        let (_dir, content) = repository();
        for path in [
            "../secret",
            "metadata/../../secret",
            "targets/link",
            "notes",
            "metadata",
            "metadata/",
            "/etc/passwd",
            "metadata//timestamp.json",
            "metadata/.hidden",
            "",
            "targets/none",
            "metadata/timestamp.json\0",
        ] {
            assert!(content.serve(path).is_none(), "{path:?}");
        }
        assert!(content.serve("metadata/7.root.json").is_some());
    }

    #[test]
    fn what_never_changes_may_be_kept_and_the_timestamp_hardly() {
        let digest = format!("targets/{}.linux.pack", "a".repeat(64));
        for (path, word) in [
            ("metadata/timestamp.json", "max-age=30"),
            ("metadata/7.root.json", "immutable"),
            (digest.as_str(), "immutable"),
            ("metadata/root.json", "no-cache"),
            ("targets/linux.pack", "no-cache"),
        ] {
            assert!(cache_control(path).contains(word), "{path}");
        }
    }

    #[test]
    fn a_file_that_was_published_anew_is_served_anew_and_noticed() {
        let (dir, content) = repository();
        let before = content.published();
        assert_eq!(content.serve(TIMESTAMP).expect("the file").bytes.as_ref(), b"1");
        assert_eq!(content.published(), before);
        let fresh = dir.path().join("fresh");
        std::fs::write(&fresh, "22").expect("a file");
        std::fs::rename(&fresh, dir.path().join("content/metadata/timestamp.json")).expect("published");
        assert_ne!(content.published(), before);
        assert_eq!(content.serve(TIMESTAMP).expect("the file").bytes.as_ref(), b"22");
    }
}
