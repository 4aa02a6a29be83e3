//! Rules, their tests and a policy to a pack: all of it, or every reason why not.
//!
//! Nothing is left out: one rule that is refused and there is no pack, because a release that lacks a rule in silence looks like
//! protection. The events beside the rules become the pack's canaries, and they have come out as they must before there is a pack.
//! The same sources give the same bytes, wherever and whenever.

mod folder;
mod release;
mod tests_file;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use watertight_content_pack::{write, Document, Kind, Pack, PackError, Parts};

pub use folder::{read_folder, Folder, FolderError, MANIFEST, POLICY};
pub use release::{parse_release, Release};
pub use watertight_content_pack::Engines;
pub use watertight_policy::Policy;

use crate::image::CompileError;
use crate::sigma::{load_texts, Library, LoadError, Rejection, Source};

/// What a pack is built from, in memory.
#[derive(Clone, Debug)]
pub struct Sources<'s> {
    /// What the release is.
    pub release: &'s Release,
    /// Rule files.
    pub rules: Vec<Source<'s>>,
    /// Files with events that the rules of the file beside them must and must not fire on.
    pub tests: Vec<Source<'s>>,
    /// Deny rules.
    pub policy: Option<&'s Policy>,
}

/// A pack, and what is to be said of it.
#[derive(Clone, Debug)]
pub struct Built {
    /// The pack.
    pub bytes: Vec<u8>,
    /// What is no reason to refuse it.
    pub warnings: Vec<String>,
}

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Rules were refused.
    #[error("{} of the rules were refused, the first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Rejected(Vec<Rejection>),
    /// Files could not be read.
    #[error("{} files can't be read, the first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Unreadable(Vec<LoadError>),
    /// A file says what can't be understood.
    #[error("{file}:{line}: {what}")]
    File {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and the mend.
        what: String,
    },
    /// The compiler refused the rules together.
    #[error("compiling the rules: {0}")]
    Compile(#[from] CompileError),
    /// What was built is none that a host would take.
    #[error("{0}")]
    Pack(#[from] PackError),
}

/// The pack of these sources.
///
/// # Errors
/// Something of them is refused, or an event does not come out as it must.
pub fn build(sources: &Sources<'_>) -> Result<Built, BuildError> {
    let mut library = load_texts(sources.rules.iter().copied());
    let image = library.image()?;
    if !library.rejections.is_empty() {
        return Err(BuildError::Rejected(library.rejections));
    }
    if !library.unreadable.is_empty() {
        return Err(BuildError::Unreadable(library.unreadable));
    }
    let documents = documents(&library, &sources.rules);
    let ids = ids_by_file(&library);
    let mut canaries = Vec::new();
    for tests in &sources.tests {
        canaries.extend(tests_file::canaries(*tests, &ids)?);
    }
    let parts = Parts {
        name: &sources.release.name,
        version: sources.release.version,
        engines: sources.release.engines,
        is_urgent: sources.release.is_urgent,
        image: &image,
        documents,
        canaries,
        policy: sources.policy,
    };
    let bytes = write(&parts)?;
    let warnings = {
        let pack = Pack::open(&bytes)?;
        pack.self_test()?;
        let unproven = pack.unproven();
        unproven.iter().map(|document| no_test(&library, document)).collect()
    };
    Ok(Built { bytes, warnings })
}

fn no_test(library: &Library, document: &Document<'_>) -> String {
    let loaded = library.rules.iter().find(|loaded| loaded.rule.id == document.id);
    let place = loaded.map(|loaded| format!("{}:{}: ", loaded.file, loaded.line)).unwrap_or_default();
    let (kind, id) = (document.kind.name(), document.id);
    format!("{place}no event must fire {kind} {id}: nothing proves that it works; write NAME.tests.yml beside it")
}

/// Every document with the digest of its lines.
fn documents<'l>(library: &'l Library, sources: &[Source<'_>]) -> Vec<Document<'l>> {
    let texts: BTreeMap<&str, &str> = sources.iter().map(|source| (source.file, source.text)).collect();
    let mut lines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for loaded in &library.rules {
        lines.entry(&loaded.file).or_default().push(loaded.line);
    }
    for loaded in &library.correlations {
        lines.entry(&loaded.file).or_default().push(loaded.line);
    }
    let digest = |file: &str, line: usize| {
        let next = lines.get(file).and_then(|lines| lines.iter().copied().filter(|other| *other > line).min());
        let text = texts.get(file).copied().unwrap_or_default();
        Sha256::digest(lines_of(text, line, next)).into()
    };
    let document = |loaded: &'l crate::sigma::Loaded| Document {
        id: &loaded.rule.id,
        kind: Kind::Rule,
        sha256: digest(&loaded.file, loaded.line),
    };
    let together = |loaded: &'l crate::sigma::LoadedCorrelation| Document {
        id: &loaded.correlation.id,
        kind: Kind::Correlation,
        sha256: digest(&loaded.file, loaded.line),
    };
    library.rules.iter().map(document).chain(library.correlations.iter().map(together)).collect()
}

/// The lines of a document: from its own to the next one's, without what only separates them.
fn lines_of(text: &str, line: usize, next: Option<usize>) -> String {
    let count = next.map_or(usize::MAX, |next| next.saturating_sub(line));
    let mut lines: Vec<&str> = text.lines().skip(line.saturating_sub(1)).take(count).map(str::trim_end).collect();
    while lines.last().is_some_and(|last| last.is_empty() || *last == "---" || *last == "...") {
        lines.pop();
    }
    lines.join("\n")
}

/// The ids of the documents of each file, in the order of the file.
fn ids_by_file(library: &Library) -> BTreeMap<String, Vec<String>> {
    let rules = library.rules.iter().map(|loaded| (&loaded.file, loaded.line, &loaded.rule.id));
    let together = library.correlations.iter().map(|loaded| (&loaded.file, loaded.line, &loaded.correlation.id));
    let mut all: Vec<_> = rules.chain(together).collect();
    all.sort();
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, _, id) in all {
        ids.entry(file.clone()).or_default().push(id.clone());
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documents_digest_is_of_its_own_lines_alone() {
        let text = "a: 1\nb: 2  \n\n---\nc: 3\n---\n";
        assert_eq!(lines_of(text, 1, Some(5)), "a: 1\nb: 2");
        assert_eq!(lines_of(text, 5, None), "c: 3");
        assert_eq!(lines_of("a: 1\r\nb: 2\r\n", 1, None), "a: 1\nb: 2");
    }
}
