//! When the repository was last asked and heard, as `content fetch` leaves it for `status`: a fetch that is no longer made goes stale there
//! like one that fails.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value as Json};
use watertight_content_repo::client::{Freshness, Health};
use watertight_content_repo::regular;
use watertight_content_repo::store::Store;
use watertight_content_repo::time::Moment;
use watertight_host::printable::printable;

const FILE: &str = "repository.json";
/// What is there instead where the disk took no word of the last fetch: a name needs no room.
const UNWRITTEN: &str = "repository.unwritten";
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
    /// What was recalled may still run here.
    #[serde(default, skip_serializing_if = "is_false")]
    is_recall_open: bool,
    /// This is the word of a fetch before, for that of the last one could not be written.
    #[serde(skip)]
    is_unwritten: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(is: &bool) -> bool {
    !is
}

impl Heard {
    /// Asked just now.
    #[must_use]
    pub fn new(from: &str, asked: Moment, freshness: Freshness, refresh_failed: Option<&str>) -> Self {
        let refresh_failed = refresh_failed.map(|why| why.chars().take(CAUSE_CHARACTERS_MAX).collect());
        let (is_recall_open, is_unwritten) = (false, false);
        Self { from: from.to_owned(), asked, freshness, refresh_failed, is_recall_open, is_unwritten }
    }

    /// Whether what was recalled is kept out.
    #[must_use]
    pub fn with_recall(self, is_kept_out: bool) -> Self {
        Self { is_recall_open: !is_kept_out, ..self }
    }

    /// Durably, in the state folder of the run.
    ///
    /// # Errors
    /// The disk says no. `status` sees as much if names can still be given there.
    pub fn leave(&self, state: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self)?;
        // Fetches of other states may say theirs at the same time.
        let left = Store::shared(state).and_then(|store| store.put(FILE, &bytes));
        let (word, unwritten) = (state.join(FILE), state.join(UNWRITTEN));
        if left.is_ok() {
            let _ = fs::remove_file(unwritten); // mostly it is not there
        } else if fs::rename(word, &unwritten).is_err() {
            let _ = regular::make_own(&unwritten); // if not even this can be done, nothing can
        }
        Ok(left?)
    }

    /// What lies there. `None` where nobody fetched for this run; what is no word of ours counts as never heard.
    #[must_use]
    pub fn read(state: &Path) -> Option<Self> {
        let is_unwritten = state.join(UNWRITTEN).exists();
        let name = if is_unwritten { UNWRITTEN } else { FILE };
        if !state.join(name).exists() {
            return None;
        }
        let bytes = Store::shared(state).and_then(|store| store.get(name, SIZE_BYTES_MAX));
        let heard = bytes.ok().flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let unreadable = "what the last fetch left can't be read";
        let unknown = || Self::new("unknown", Moment::from_unix_s(0), Freshness::default(), Some(unreadable));
        let heard: Self = heard.unwrap_or_else(unknown);
        let unwritten =
            "what it heard, a recall perhaps, could not be written: make room in the state folder and fetch again";
        let refresh_failed = if is_unwritten { Some(unwritten.to_owned()) } else { heard.refresh_failed.clone() };
        Some(Self { is_unwritten, refresh_failed, ..heard })
    }

    /// Whether nothing of it needs anybody's attention.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.health().is_fresh() && !self.is_recall_open && !self.is_unwritten
    }

    /// What it is worth now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.freshness.health(Moment::now())
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let Self { from, asked, freshness, refresh_failed, .. } = self;
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
        let of = if self.is_unwritten { format!("after that of {asked}") } else { format!("of {asked}") };
        let why = refresh_failed.as_ref().map(|why| format!("; the fetch {of} failed: {why}")).unwrap_or_default();
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
        assert_eq!(fs::read_dir(folder.path()).expect("our own").count(), 1, "nothing is left beside it");
        let broken = Heard::read(folder.path()).expect("something is there");
        assert_eq!(broken.health(), Health::Never);
    }

    #[test]
    fn what_was_recalled_and_is_not_kept_out_needs_attention_however_fresh_it_was_heard() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Moment::now();
        let freshness = Freshness { refreshed: Some(now), expires: Some(now.plus_s(3_600)), life_s: Some(3_600) };
        let heard = Heard::new("repository", now, freshness, Some("no room"));
        for (is_kept_out, is_well) in [(true, true), (false, false)] {
            heard.clone().with_recall(is_kept_out).leave(folder.path()).expect("a disk");
            assert_eq!(Heard::read(folder.path()).map(|heard| heard.is_well()), Some(is_well));
        }
    }

    #[test]
    fn a_word_that_found_no_room_is_missed_and_the_next_one_is_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Moment::now();
        let freshness = Freshness { refreshed: Some(now), expires: Some(now.plus_s(3_600)), life_s: Some(3_600) };
        let heard = Heard::new("repository", now, freshness, None);
        heard.leave(folder.path()).expect("a disk");
        fs::rename(folder.path().join(FILE), folder.path().join(UNWRITTEN)).expect("our own folder");
        let before = Heard::read(folder.path()).expect("something is there");
        assert!(!before.is_well() && before.to_text().contains("make room"), "{}", before.to_text());
        heard.leave(folder.path()).expect("a disk");
        assert_eq!(Heard::read(folder.path()).map(|heard| heard.is_well()), Some(true));
    }
}
