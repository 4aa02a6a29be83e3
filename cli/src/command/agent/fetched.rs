//! Reads what `content fetch -o json` answers: which packs the director wants that are here now.

use anyhow::Context as _;
use serde_json::Value as Json;

/// A pack that is to be installed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pack {
    pub(super) content: String,
    pub(super) file: String,
}

/// What is wanted, and why not all of it is here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) packs: Vec<Pack>,
    pub(super) failed: Option<String>,
}

/// # Errors
/// It is no answer.
pub(super) fn wanted(answer: &[u8]) -> anyhow::Result<Wanted> {
    let answer: Json = serde_json::from_slice(answer).context("no answer of `content fetch`")?;
    let text = |value: &Json, name: &str| value.get(name).and_then(Json::as_str).map(str::to_owned);
    let rows = answer.get("packs").and_then(Json::as_array).context("an answer of `content fetch` without packs")?;
    // Only what was fetched has a file, and only what the director wants of this host is fetched.
    let packs = rows.iter().filter_map(|row| Some(Pack { content: text(row, "content")?, file: text(row, "file")? }));
    let of_a_pack = rows.iter().find_map(|row| text(row, "failed"));
    let failed = ["refresh_failed", "director_refused", "not_taken_out"].iter().find_map(|name| text(&answer, name));
    Ok(Wanted { packs: packs.collect(), failed: failed.or(of_a_pack) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_packs_that_are_here_are_installed_and_what_failed_is_told() {
        let answer = json!({ "packs": [{ "content": "a", "file": "/a" }, { "content": "b" }, { "content": "c", "failed": "full" }] });
        let found = wanted(answer.to_string().as_bytes()).expect("an answer");
        assert_eq!(found.packs, [Pack { content: "a".into(), file: "/a".into() }]);
        assert_eq!(found.failed.as_deref(), Some("full"));
        wanted(b"").expect_err("no answer");
    }
}
