//! Where rules lie: the texts of a folder's rule files. Nothing is parsed here, so that whoever may read the files need not be who
//! parses them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::load::LoadError;

/// Largest file read. Rules have a few kilobytes; lists of hashes a few hundred.
pub(super) const FILE_SIZE_BYTES_MAX: u64 = 4 << 20;

/// Endings of a file with rules, in letters of any case.
const ENDINGS: [&str; 2] = ["yml", "yaml"];

/// What stands before the ending of a file with events that the rule of the same name must and must not fire on.
const TESTS: &str = ".tests";

/// What a folder that a pack is built from has beside rules: the release, and its deny rules.
const OF_A_PACK: [&str; 2] = ["pack.yml", "policy.yml"];

/// Deepest folder looked into.
pub(super) const FOLDER_DEPTH_MAX: usize = 32;

/// What was found at a path.
#[derive(Debug, Default)]
pub struct Found {
    /// The folder or file that was named.
    pub path: PathBuf,
    /// Rule files and what is in them, in the order of their paths.
    pub texts: Vec<(String, String)>,
    /// Files and folders that could not be read.
    pub unreadable: Vec<LoadError>,
    /// Files that were left out because they hold the tests of the rule beside them.
    pub tests: usize,
}

/// Reads every rule file below a folder, or the one file that is named.
#[must_use]
pub fn find(path: &Path) -> Found {
    let mut found = Found { path: path.to_owned(), ..Found::default() };
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => found.folder(path, 0),
        Ok(_) => found.file(path),
        Err(cause) => found.unreadable.push(LoadError::Io { path: path.to_owned(), cause }),
    }
    found
}

impl Found {
    /// Links to folders are not followed: they may lead in circles.
    fn folder(&mut self, path: &Path, depth: usize) {
        if depth > FOLDER_DEPTH_MAX {
            self.unreadable.push(LoadError::TooDeep { path: path.to_owned() });
            return;
        }
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(cause) => {
                self.unreadable.push(LoadError::Io { path: path.to_owned(), cause });
                return;
            }
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let is_pack = depth == 0 && path.join(OF_A_PACK[0]).is_file();
        for entry in entries {
            let path = entry.path();
            if is_pack && OF_A_PACK.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.folder(&path, depth.saturating_add(1)),
                Ok(_) if is_rule_file(&path) && !path.is_dir() => {
                    if is_tests_file(&path) {
                        self.tests = self.tests.saturating_add(1);
                    } else {
                        self.file(&path);
                    }
                }
                Ok(_) => {}
                Err(cause) => self.unreadable.push(LoadError::Io { path, cause }),
            }
        }
    }

    fn file(&mut self, path: &Path) {
        match read_text(path) {
            Ok(text) => self.texts.push((path.to_string_lossy().into_owned(), text)),
            Err(error) => self.unreadable.push(error),
        }
    }
}

fn is_rule_file(path: &Path) -> bool {
    let Some(extension) = path.extension() else { return false };
    ENDINGS.iter().any(|ending| extension.eq_ignore_ascii_case(ending))
}

/// By its name and the rule beside it: a rule that only has such a name is not left out in silence.
fn is_tests_file(path: &Path) -> bool {
    let Some(rule) = path.file_stem().and_then(|stem| stem.to_str()).and_then(without_tests) else { return false };
    if ENDINGS.iter().any(|ending| path.with_file_name(format!("{rule}.{ending}")).is_file()) {
        return true;
    }
    // Its ending may be in large letters.
    let beside = path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten();
    let mut beside = beside.filter_map(|entry| Some(entry.ok()?.path()));
    beside.any(|other| other.file_stem().is_some_and(|stem| stem == rule) && is_rule_file(&other) && other.is_file())
}

fn without_tests(stem: &str) -> Option<&str> {
    let (rule, tests) = stem.split_at_checked(stem.len().checked_sub(TESTS.len())?)?;
    tests.eq_ignore_ascii_case(TESTS).then_some(rule)
}

fn read_text(path: &Path) -> Result<String, LoadError> {
    let failed = |cause| LoadError::Io { path: path.to_owned(), cause };
    let found = std::fs::metadata(path).map_err(failed)?;
    if !found.is_file() {
        return Err(LoadError::NoFile { path: path.to_owned() });
    }
    // Bounded as it is read, too: some files have more than they say.
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_SIZE_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    let size_bytes = found.len().max(bytes.len() as u64);
    if size_bytes > FILE_SIZE_BYTES_MAX {
        return Err(LoadError::TooLarge { path: path.to_owned(), size_bytes });
    }
    String::from_utf8(bytes).map_err(|_| LoadError::NotText { path: path.to_owned() })
}
