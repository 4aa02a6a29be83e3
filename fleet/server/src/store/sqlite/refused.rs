//! Files that are not opened as the database: each refusal names the file, what is wrong with it, and the mend.

use std::path::Path;

use super::StoreError;

/// What helps whatever is wrong with the file.
const MEND: &str =
    "put back a copy of it, with the `-wal` beside it if the copy has one, or else the newest of the folder `backups` \
    as `state.db` without `-wal` and `-shm`; hosts that were enrolled since then enrol again";

/// Refuses what is not there, empty, no file, or not ours to read and write. SQLite would say of all of it that it can't be opened, and
/// would wait for ever for the other end of a pipe.
pub(super) fn is_file(path: &Path) -> Result<(), StoreError> {
    can_be_used(path)?;
    let size_bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    if size_bytes > 0 {
        return Ok(());
    }
    Err(StoreError::Missing {
        why: format!(
            "{}: the database is gone, though the folder is that of a fleet: put it back from the folder `backups`, or name an empty \
             folder to begin a new fleet (every host then enrols again)",
            path.display()
        ),
    })
}

/// The same of a file that may be empty, or not there yet.
pub(super) fn can_be_used(path: &Path) -> Result<(), StoreError> {
    let no_file = |what: &str| {
        let why = format!("{}: {what} in the place of the database: move it away, and {MEND}", path.display());
        Err(StoreError::Missing { why })
    };
    match std::fs::metadata(path) {
        Ok(file) if file.is_dir() => no_file("a folder"),
        Ok(file) if !file.is_file() => no_file("something that is no file"),
        Ok(_) => std::fs::OpenOptions::new().read(true).write(true).open(path).map(|_| ()).map_err(|error| {
            let mend = "whoever runs the server must be able to read and write it";
            StoreError::Missing { why: format!("{}: {error}: {mend}", path.display()) }
        }),
        Err(_) => Ok(()),
    }
}

/// What SQLite says of a file that it did not open or read, with the file's name and the mend.
pub(super) fn of_file(path: &Path, error: StoreError) -> StoreError {
    let path = path.display();
    match error {
        StoreError::Damaged { why } => StoreError::Damaged { why: format!("{path}: {why}") },
        StoreError::Failed { why } => {
            let look = "see that it and what lies beside it as `-wal` and `-shm` are files that the server can read and write; if they are";
            StoreError::Missing { why: format!("{path}: can't be opened: {why}: {look}, {MEND}") }
        }
        error => error,
    }
}

/// A file in which SQLite wrote no more than its head: a fleet that is young has all of its tables in the log beside it.
pub(super) fn without_its_log(path: &Path) -> StoreError {
    let path = path.display();
    let why = format!(
        "{path}: there is nothing in it: what it had was in the file `{path}-wal` beside it, which is gone or damaged: {MEND}"
    );
    StoreError::Missing { why }
}

pub(super) fn of_something_else(path: &Path) -> StoreError {
    StoreError::Missing { why: format!("{}: a database of something else: {MEND}", path.display()) }
}
