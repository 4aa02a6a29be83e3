//! What a release is, as its author writes it: `pack.yml`.
//!
//! ```yaml
//! name: linux
//! version: 7
//! urgent: true            # may be left out: new deny rules are enforced at once
//! engine: {min: 2, max: 3} # may be left out: this program's engine alone
//! ```

use watertight_content_pack::{is_name, Engines, NAME_RULE};

use super::Wrong;
use crate::sigma::reason::did_you_mean;
use crate::sigma::rejection::At;
use crate::sigma::yaml::{read, Content, Node};
use crate::sigma::{Reason, Source};

/// What a release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// What kind of content: one pack of a name is active at a time.
    pub name: String,
    /// The release's number, from 1; it grows.
    pub version: u64,
    /// The engines that it is for.
    pub engines: Engines,
    /// Its new deny rules are enforced at once.
    pub is_urgent: bool,
}

const KEYS: [&str; 4] = ["name", "version", "urgent", "engine"];

/// The same in words.
const HOLDS: &str = "name, version, urgent, engine";

/// The release that a file tells of.
///
/// # Errors
/// It says something else, or not all of it.
pub fn parse_release(source: Source<'_>) -> Result<Release, Box<Wrong>> {
    parsed(source.text).map_err(|at| Wrong::of(source, at))
}

fn parsed(text: &str) -> Result<Release, At> {
    let documents = read(text)?;
    let [document] = documents.as_slice() else {
        return Err(Reason::OneDocument { found: documents.len(), holds: HOLDS }.at(1));
    };
    let Some(entries) = document.map() else {
        return Err(wrong("the file", "a mapping with name, version, urgent, engine", document));
    };
    if let Some((key, _)) = entries.iter().find(|(key, _)| !KEYS.contains(&key.text.as_str())) {
        let mend = did_you_mean(&key.text, KEYS, format!("use {HOLDS}"));
        return Err(key.at(Reason::UnknownKey { key: key.text.clone(), mend }));
    }
    let need = |field: &'static str| document.get(field).ok_or_else(|| Reason::Missing { field }.at(document.span));
    let name = need("name")?;
    let text = name.text().filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| wrong("name", "text", name))?;
    if !is_name(text) {
        return Err(name.at(Reason::PackName { name: text.to_owned(), rule: NAME_RULE }));
    }
    let is_urgent = match document.get("urgent") {
        None => false,
        Some(Node { content: Content::Bool(truth), .. }) => *truth,
        Some(other) => return Err(wrong("urgent", "true or false", other)),
    };
    let engines = document.get("engine").map_or(Ok(Engines::OF_THIS), engines)?;
    let version = need("version")?;
    let version = number(version).ok_or_else(|| wrong("version", VERSIONS, version))?;
    Ok(Release { name: text.to_owned(), version, engines, is_urgent })
}

fn engines(node: &Node) -> Result<Engines, At> {
    let engine = |key: &str, node: &Node| {
        let number = number(node).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| wrong(key, ENGINES, node))
    };
    let engines = match (node.get("min"), node.get("max"), node.map().map(<[_]>::len)) {
        (Some(min), Some(max), Some(2)) => Engines { min: engine("min", min)?, max: engine("max", max)? },
        _ => return Err(wrong("engine", "{min: NUMBER, max: NUMBER}", node)),
    };
    let (Engines { min, max }, needed) = (engines, Engines::OF_THIS.min);
    if min > max {
        let what = format!("min {min} is greater than max {max}: no engine is both");
        return Err(node.at(Reason::Engines { what, mend: "write the smaller one as min".to_owned() }));
    }
    if min < needed {
        let what = format!("min {min} could not load what this program compiles");
        let at = node.get("min").unwrap_or(node);
        return Err(at.at(Reason::Engines { what, mend: format!("write {needed} or a later one") }));
    }
    if min > needed {
        let what =
            format!("min {min} is newer than engine {needed}, which this program compiles for and tries the pack with");
        let at = node.get("min").unwrap_or(node);
        return Err(at.at(Reason::Engines {
            what,
            mend: format!("write {needed}, or build it by a program with engine {min}"),
        }));
    }
    Ok(engines)
}

/// From 1.
fn number(node: &Node) -> Option<u64> {
    match node.content {
        Content::Int(number) if number >= 1 => u64::try_from(number).ok(),
        _ => None,
    }
}

/// What a version may be: the reader of YAML has no larger numbers.
const VERSIONS: &str = "a whole number from 1 to 9223372036854775807";
/// What an engine's number may be.
const ENGINES: &str = "a whole number from 1 to 4294967295";

fn wrong(field: &str, wanted: &'static str, node: &Node) -> At {
    node.at(Reason::BadValue { field: field.to_owned(), wanted, found: shown(node) })
}

fn shown(node: &Node) -> String {
    match &node.content {
        Content::Int(number) => number.to_string(),
        Content::Real(_, written) => written.clone(),
        Content::Text(text) => format!("{text:?}"),
        _ => node.kind().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Release, String> {
        parse_release(Source { file: "pack.yml", text }).map_err(|error| error.to_string())
    }

    #[test]
    fn a_release_is_read_and_what_it_leaves_out_is_the_cautious_choice() {
        let this = watertight_engine::VERSION;
        let cautious = Release {
            name: "linux".to_owned(),
            version: 7,
            engines: Engines { min: this, max: this },
            is_urgent: false,
        };
        assert_eq!(parse("name: linux\nversion: 7\n"), Ok(cautious.clone()));
        let urgent = Release { is_urgent: true, engines: Engines { min: this, max: this + 2 }, ..cautious };
        let text = format!("name: linux\nversion: 7\nurgent: true\nengine: {{min: {this}, max: {}}}\n", this + 2);
        assert_eq!(parse(&text), Ok(urgent));
    }

    #[test]
    fn what_is_no_release_is_refused_by_line_and_mend() {
        for (text, place, words) in [
            ("name: linux\n", "pack.yml:1", "version is missing"),
            ("name: linux\nversion: 0\n", "pack.yml:2", "from 1"),
            ("name: linux\nversion: '7'\n", "pack.yml:2", "whole number"),
            ("name: ' '\nversion: 7\n", "pack.yml:1", "text"),
            ("name: linux\nversion: 7\nurgent: yes\n", "pack.yml:3", "true or false"),
            ("name: linux\nversion: 7\nengine: 1\n", "pack.yml:3", "min: NUMBER"),
            ("name: linux\nversion: 7\nengine: {min: 1, max: 4294967296}\n", "pack.yml:3", "to 4294967295"),
            (
                "name: linux\nversion: 99999999999999999999\n",
                "pack.yml:2",
                "99999999999999999999 as value, where a whole number from 1 to 9223372036854775807",
            ),
            (
                "name: linux\nversion: 7\nengine: {min: 4294967295, max: 4294967295}\n",
                "pack.yml:3",
                "is newer than engine",
            ),
            ("name: linux\nversion: 7\nfloor: 1\n", "pack.yml:3", "unknown"),
            ("name: linux\nversion: 7\nengine: {min: 2, max: 1}\n", "pack.yml:3", "greater than max 1"),
            ("name: linux\nversion: 7\nengine: {min: 1, max: 9}\n", "pack.yml:3", "could not load what this program"),
            ("name: a/../../evil\nversion: 7\n", "pack.yml:1", "small letters"),
            ("name: Linux\nversion: 7\n", "pack.yml:1", "small letters"),
            ("- linux\n", "pack.yml:1", "a list"),
            ("", "pack.yml:1", "0 documents"),
            ("a: [\n", "pack.yml:2", "YAML"),
        ] {
            let refused = parse(text).expect_err(text);
            assert!(refused.starts_with(place) && refused.contains(words), "{text:?}: {refused}");
        }
    }
}
