//! What `content fetch` answers.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use watertight_content_repo::client::{Freshness, Health, Versions};
use watertight_content_repo::director::Verdict;
use watertight_content_repo::release::{ContentId, SignedPack};
use watertight_host::printable::printable;

/// The answer, as far as the fetch got. What the `update` worker knows of it, it tells in this form.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Answer {
    #[serde(skip_deserializing, default = "kind")]
    pub(super) kind: &'static str,
    pub(super) versions: Versions,
    #[serde(flatten)]
    pub(super) freshness: Freshness,
    #[serde(skip_deserializing, default = "unheard")]
    pub(super) health: Health,
    /// Why the refresh ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_failed: Option<String>,
    pub(super) packs: Vec<Row>,
    /// What the director wants of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) director: Option<Verdict>,
    /// Why the plan as a whole is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) director_refused: Option<String>,
    /// What this host may not run any more, by any plan that it has seen.
    pub(super) recalled: Vec<ContentId>,
    /// What of it was in a slot of this host, and is in quarantine now.
    pub(super) taken_out: Vec<ContentId>,
    /// Why what was recalled could not be kept out of the slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) not_taken_out: Option<String>,
}

fn kind() -> &'static str {
    "content_fetched"
}

/// Whoever tells of a fetch says how fresh it is, not what that is worth.
fn unheard() -> Health {
    Health::Never
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            kind: kind(),
            versions: Versions::default(),
            freshness: Freshness::default(),
            health: unheard(),
            refresh_failed: None,
            packs: Vec::new(),
            director: None,
            director_refused: None,
            recalled: Vec::new(),
            taken_out: Vec::new(),
            not_taken_out: None,
        }
    }
}

/// A pack that offline keys signed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Row {
    pub(super) content: ContentId,
    pub(super) name: String,
    pub(super) version: u64,
    size_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<PathBuf>,
    /// Why it was wanted and could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<String>,
}

impl Row {
    pub(super) fn of(pack: &SignedPack) -> Self {
        Self {
            content: pack.id,
            name: pack.release.name.clone(),
            version: pack.release.version,
            size_bytes: pack.target.size_bytes(),
            file: None,
            failed: None,
        }
    }
}

impl Answer {
    /// Whether something of what was wanted did not go through.
    pub(super) fn is_partial(&self) -> bool {
        self.refresh_failed.is_some()
            || self.director_refused.is_some()
            || self.director.as_ref().is_some_and(Verdict::has_refusal)
            || self.not_taken_out.is_some()
            || self.packs.iter().any(|row| row.failed.is_some())
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.health);
        for Row { content, name, version, file, failed, .. } in &self.packs {
            let file = file.as_ref().map(|file| printable(&format!("  {}", file.display()))).unwrap_or_default();
            let failed = failed.as_ref().map(|why| printable(&format!("  failed: {why}"))).unwrap_or_default();
            let _ = writeln!(text, "{content}  {} {version}{file}{failed}", printable(name));
        }
        if let Some(refusal) = &self.director_refused {
            let _ = writeln!(text, "director refused: {}", printable(refusal));
        }
        if let Some(verdict) = &self.director {
            text.push_str(&verdict.to_string());
        }
        for content in &self.recalled {
            let taken_out = if self.taken_out.contains(content) { ": taken out of its slot" } else { "" };
            let _ = writeln!(text, "recalled {content}{taken_out}");
        }
        text
    }
}
