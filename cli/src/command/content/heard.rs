//! When the repository was last asked and heard, as `content fetch` leaves it for `status`: a fetch that is no longer made goes stale there
//! like one that fails.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value as Json};
use watertight_content_repo::client::{Freshness, Health};
use watertight_content_repo::store::{Folder, Store};
use watertight_content_repo::time::Moment;
use watertight_host::printable::printable;

const FILE: &str = "repository.json";
const SIZE_BYTES_MAX: u64 = 64 << 10;
/// A cause holds what strangers said.
const CAUSE_CHARACTERS_MAX: usize = 1_000;

/// What is known of the repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Heard {
    from: String,
    asked: Moment,
    #[serde(flatten)]
    freshness: Freshness,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_failed: Option<String>,
}

impl Heard {
    /// Asked just now.
    #[must_use]
    pub fn new(from: &str, asked: Moment, freshness: Freshness, refresh_failed: Option<&str>) -> Self {
        let refresh_failed = refresh_failed.map(|why| why.chars().take(CAUSE_CHARACTERS_MAX).collect());
        Self { from: from.to_owned(), asked, freshness, refresh_failed }
    }

    /// Durably, in the state folder of the run.
    ///
    /// # Errors
    /// The disk says no.
    pub fn leave(&self, state: &Path) -> Result<()> {
        Ok(Store::new(Folder::unlocked(state)?).put(FILE, &serde_json::to_vec(self)?)?)
    }

    /// What lies there. `None` where nobody fetched for this run; what is no word of ours counts as never heard.
    #[must_use]
    pub fn read(state: &Path) -> Option<Self> {
        if !state.join(FILE).exists() {
            return None;
        }
        let bytes = Folder::unlocked(state).map(Store::new).and_then(|store| store.get(FILE, SIZE_BYTES_MAX));
        let heard = bytes.ok().flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let unreadable = "what the last fetch left can't be read";
        Some(
            heard.unwrap_or_else(|| {
                Self::new("unknown", Moment::from_unix_s(0), Freshness::default(), Some(unreadable))
            }),
        )
    }

    /// What it is worth now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.freshness.health(Moment::now())
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let Self { from, asked, freshness, refresh_failed } = self;
        let mut json =
            json!({ "from": from, "asked": asked, "refresh_failed": refresh_failed, "health": self.health() });
        if let (Some(all), Ok(Json::Object(freshness))) = (json.as_object_mut(), serde_json::to_value(freshness)) {
            all.extend(freshness);
        }
        json
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { from, asked, refresh_failed, .. } = self;
        let why =
            refresh_failed.as_ref().map(|why| format!("; the fetch of {asked} failed: {why}")).unwrap_or_default();
        format!("repository: {} (from {}{})\n", self.health(), printable(from), printable(&why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fetch_left_is_read_back_and_what_is_no_word_of_ours_was_never_heard() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Heard::read(folder.path()), None);
        let now = Moment::now();
        let freshness = Freshness { refreshed: Some(now), expires: Some(now.plus_s(3_600)), life_s: Some(3_600) };
        let heard = Heard::new("repository", now, freshness, Some("nobody answers"));
        heard.leave(folder.path()).expect("a disk");
        assert_eq!(Heard::read(folder.path()).as_ref(), Some(&heard));
        assert!(heard.health().is_fresh() && heard.to_text().contains("nobody answers"), "{}", heard.to_text());
        std::fs::write(folder.path().join(FILE), "{").expect("a file");
        let broken = Heard::read(folder.path()).expect("something is there");
        assert_eq!(broken.health(), Health::Never);
    }
}
