//! Copies of the database beside it, so that one that is damaged can be mended: on the same disk, so they are no protection against its
//! loss.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::{StateStore, StoreError};

/// A new copy is made when the newest is older.
pub const EVERY_MS: u64 = 6 * 3_600_000;
/// Copies that are kept.
pub const KEPT: usize = 4;

/// Makes a copy if it is time for one, and takes the oldest away. A copy has its name only when it is whole.
///
/// # Errors
/// It can't be made.
pub async fn keep(store: &dyn StateStore, folder: &Path, now_ms: u64) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Failed { why: format!("{}: {error}", folder.display()) };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut copies = copies(folder).map_err(failed)?;
    // One of the future was made before the clock was set back: it counts as made now.
    let newest_ms = copies.last().map_or(0, |(made_ms, _)| *made_ms);
    if !copies.is_empty() && now_ms < newest_ms.saturating_add(EVERY_MS) {
        return Ok(());
    }
    let fresh = folder.join("fresh");
    let _ = fs::remove_file(&fresh); // one that was cut off
    store.back_up(&fresh).await?;
    let path = folder.join(format!("state-{now_ms}.db"));
    fs::rename(&fresh, &path).map_err(failed)?;
    copies.push((now_ms, path));
    let surplus = copies.len().saturating_sub(KEPT);
    copies.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path)).map_err(failed)
}

/// Copies with the time in their names, the oldest first.
fn copies(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let made_ms = name.to_str().and_then(|name| name.strip_prefix("state-")?.strip_suffix(".db")?.parse().ok());
        copies.extend(made_ms.map(|made_ms| (made_ms, entry.path())));
    }
    copies.sort();
    Ok(copies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn the_last_four_copies_are_kept_and_each_opens() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::create(&dir.path().join("state.db")).await.expect("a store");
        let folder = dir.path().join("backups");
        for turn in 1..=6 {
            store.set_generation(turn, "x").await.expect("set");
            for part in 0..2 {
                keep(&store, &folder, turn * EVERY_MS + part).await.expect("a copy");
            }
        }
        let copies = copies(&folder).expect("copies");
        assert_eq!(copies.iter().map(|(made_ms, _)| made_ms / EVERY_MS).collect::<Vec<_>>(), [3, 4, 5, 6]);
        for (turn, (_, path)) in (3..).zip(&copies) {
            let copy = SqliteStore::open(path).await.expect("it opens");
            assert_eq!(copy.generation().await.expect("a generation"), turn);
        }
    }
}
