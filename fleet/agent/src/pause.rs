//! `watertight pause`: nothing new comes onto this host until `resume` or the time is over. A file that the agent looks at before it
//! installs: it needs no server, and no server can take it back.

use serde::{Deserialize, Serialize};

use crate::folder::{Folder, FolderError};

const FILE: &str = "pause.json";

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Milliseconds since 1970, by the host's clock.
    pub since_ms: u64,
    /// The same; without an end when `None`.
    pub until_ms: Option<u64>,
}

impl Pause {
    fn is_on(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }
}

/// Begins one, in the place of any other.
///
/// # Errors
/// It can't be kept.
pub fn begin(state: &Folder, now_ms: u64, for_ms: Option<u64>) -> Result<Pause, FolderError> {
    let pause = Pause { since_ms: now_ms, until_ms: for_ms.map(|for_ms| now_ms.saturating_add(for_ms)) };
    state.write_json(FILE, &pause)?;
    Ok(pause)
}

/// Ends it; says whether there was one.
///
/// # Errors
/// The disk says no.
pub fn end(state: &Folder, now_ms: u64) -> Result<bool, FolderError> {
    let was_paused = is_paused(state, now_ms);
    state.remove(FILE)?;
    Ok(was_paused)
}

/// Whether one is on. What can't be read is one: somebody wanted it.
#[must_use]
pub fn is_paused(state: &Folder, now_ms: u64) -> bool {
    state.read_json::<Pause>(FILE).map_or(true, |pause| pause.is_some_and(|pause| pause.is_on(now_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_by_its_time_or_by_hand_and_one_that_is_damaged_holds() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = Folder::make(dir.path()).expect("made");
        assert!(!is_paused(&state, 0));
        begin(&state, 1_000, Some(500)).expect("kept");
        assert!(is_paused(&state, 1_499) && !is_paused(&state, 1_500));
        begin(&state, 1_000, None).expect("kept");
        assert!(is_paused(&state, u64::MAX));
        assert!(end(&state, 2_000).expect("ended"));
        assert!(!end(&state, 2_000).expect("none was there"));
        state.write(FILE, b"half a wo").expect("written");
        assert!(is_paused(&state, 0));
    }
}
