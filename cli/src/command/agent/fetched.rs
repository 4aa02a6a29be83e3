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
    /// Why the director's document is refused, where it was heard.
    pub(super) director_refused: Option<String>,
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
    // Where the repository was not heard, what is missing of the director's word is no refusal of it.
    let (refused, unheard) = (text(&answer, "director_refused"), text(&answer, "refresh_failed"));
    let director_refused = refused.filter(|refused| unheard.is_none_or(|unheard| unheard == *refused));
    Ok(Wanted { packs: packs.collect(), failed: failed.or(of_a_pack), director_refused })
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

    #[test]
    fn a_director_that_was_not_heard_is_not_refused() {
        let found = |answer: serde_json::Value| {
            let found = wanted(answer.to_string().as_bytes()).expect("an answer");
            (found.failed, found.director_refused)
        };
        let word = |text: &str| Some(text.to_owned());
        let refused = json!({ "packs": [], "director_refused": "epoch 7 was seen" });
        assert_eq!(found(refused), (word("epoch 7 was seen"), word("epoch 7 was seen")));
        let unsigned = json!({ "packs": [], "director_refused": "no signature", "refresh_failed": "no signature" });
        assert_eq!(found(unsigned), (word("no signature"), word("no signature")));
        let unheard = json!({ "packs": [], "director_refused": "no plan", "refresh_failed": "nobody answers" });
        assert_eq!(found(unheard), (word("nobody answers"), None));
    }
}
