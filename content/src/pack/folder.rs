//! A folder with the sources of a pack: `pack.yml`, `policy.yml` if there are deny rules, rules and their tests below it.
//!
//! Files are named by their path within the folder, so that the pack does not depend on where it was built.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::sigma::LoadError;

/// The file that says what the release is.
pub const MANIFEST: &str = "pack.yml";

/// The file with deny rules; who calls reads it.
pub const POLICY: &str = "policy.yml";

/// Largest file, as rules may have.
const FILE_SIZE_BYTES_MAX: u64 = 4 << 20;

/// Most files: no release has as many, and a wrong folder may have millions.
const FILES_MAX: usize = 100_000;

/// Deepest folder looked into.
const DEPTH_MAX: usize = 32;

/// What lies in a folder, in the order of the paths.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// The text of `pack.yml`.
    pub manifest: String,
    /// Where the policy is, if there is one.
    pub policy: Option<PathBuf>,
    /// Rule files: path within the folder, and text.
    pub rules: Vec<(String, String)>,
    /// Files with tests.
    pub tests: Vec<(String, String)>,
}

/// Why a folder can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// No release without a name and a number.
    #[error("{} has no {MANIFEST}: write one with `name: linux` and `version: 1`", path.display())]
    NoManifest {
        /// The folder.
        path: PathBuf,
    },
    /// More files than any release has.
    #[error("{} has more than {FILES_MAX} files with rules: is it the right folder?", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder in it can't be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Reads a folder.
///
/// # Errors
/// Something in it can't be read: nothing is passed over.
pub fn read_folder(path: &Path) -> Result<Folder, FolderError> {
    let mut files = Vec::new();
    collect(path, path, 0, &mut files)?;
    files.sort();
    let mut folder = Folder::default();
    let manifest = files.iter().position(|name| name == MANIFEST);
    let manifest = manifest.ok_or_else(|| FolderError::NoManifest { path: path.to_owned() })?;
    folder.manifest = read_text(&path.join(files.remove(manifest)))?;
    if let Some(policy) = files.iter().position(|name| name == POLICY) {
        folder.policy = Some(path.join(files.remove(policy)));
    }
    for name in &files {
        let text = read_text(&path.join(name))?;
        let is_tests = tested(name).is_some_and(|rule| files.iter().any(|other| stem(other) == Some(rule)));
        if is_tests { &mut folder.tests } else { &mut folder.rules }.push((name.clone(), text));
    }
    Ok(folder)
}

fn stem(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(stem, _)| stem)
}

/// `a/x` for `a/x.tests.yml`.
fn tested(name: &str) -> Option<&str> {
    stem(name)?.strip_suffix(".tests")
}

/// Names of files with rules and tests, within `root`. Links to folders are not followed: they may lead in circles.
fn collect(root: &Path, path: &Path, depth: usize, files: &mut Vec<String>) -> Result<(), FolderError> {
    let failed = |path: &Path, cause| LoadError::Io { path: path.to_owned(), cause };
    if depth > DEPTH_MAX {
        return Err(LoadError::TooDeep { path: path.to_owned() }.into());
    }
    for entry in std::fs::read_dir(path).map_err(|cause| failed(path, cause))? {
        let entry = entry.map_err(|cause| failed(path, cause))?;
        let inner = entry.path();
        if entry.file_type().map_err(|cause| failed(&inner, cause))?.is_dir() {
            collect(root, &inner, depth.saturating_add(1), files)?;
            continue;
        }
        if !inner
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("yml") || ending.eq_ignore_ascii_case("yaml"))
        {
            continue;
        }
        if files.len() >= FILES_MAX {
            return Err(FolderError::TooMany { path: root.to_owned() });
        }
        let name = inner.strip_prefix(root).ok().and_then(Path::to_str);
        files.push(name.ok_or_else(|| LoadError::NotText { path: inner.clone() })?.to_owned());
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<String, LoadError> {
    let failed = |cause| LoadError::Io { path: path.to_owned(), cause };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(LoadError::NoFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_SIZE_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_SIZE_BYTES_MAX {
        let size_bytes = std::fs::metadata(path).map_or(bytes.len() as u64, |told| told.len());
        return Err(LoadError::TooLarge { path: path.to_owned(), size_bytes });
    }
    String::from_utf8(bytes).map_err(|_| LoadError::NotText { path: path.to_owned() })
}
