//! Rules, their tests and a policy to a pack: all of it, or every reason why not.
//!
//! Nothing is left out: one rule that is refused and there is no pack, because a release that lacks a rule in silence looks like
//! protection. The events beside the rules become the pack's canaries, and they have come out as they must before there is a pack.
//! The same sources give the same bytes, wherever and whenever.

mod folder;
mod release;
mod tests_file;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use watertight_content_pack::{write, Canary, Document, Kind, Pack, PackError, Parts};
use watertight_engine::Image;
use watertight_policy::{refuse_vital_by_name, StopsByName};

pub use folder::{read_folder, Folder, FolderError, MANIFEST, POLICY};
pub use release::{parse_release, Release};
pub use watertight_content_pack::Engines;
pub use watertight_policy::Policy;
pub use wrong::Wrong;

use crate::image::CompileError;
use crate::sigma::exception::apply;
use crate::sigma::host::types_here;
use crate::sigma::supply::supply;
use crate::sigma::verdict::{rows, Row, Verdict};
use crate::sigma::{self, load_texts, same_id, Library, LoadError, LoadedException, Reason, Rejection, Source, Span};

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
    /// A file says what can't be understood, or what does not hold.
    #[error("{0}")]
    File(Box<Wrong>),
    /// The compiler refused the rules together.
    #[error("compiling the rules: {0}")]
    Compile(CompileError),
    /// A deny rule would stop what machines are started or mended with.
    #[error("the policy: {0}")]
    Vital(StopsByName),
    /// What was built is none that a host would take.
    #[error(transparent)]
    Pack(#[from] PackError),
}

// Not as causes: these words repeat what they were made of, and who prints causes would print it twice.
impl From<CompileError> for BuildError {
    fn from(error: CompileError) -> Self {
        Self::Compile(error)
    }
}

impl From<Box<Wrong>> for BuildError {
    fn from(wrong: Box<Wrong>) -> Self {
        Self::File(wrong)
    }
}

impl From<StopsByName> for BuildError {
    fn from(error: StopsByName) -> Self {
        Self::Vital(error)
    }
}

/// A document of the pack, and where it came from.
struct Told<'l> {
    id: &'l str,
    kind: Kind,
    file: &'l str,
    line: usize,
}

/// The pack of these sources.
///
/// # Errors
/// Something of them is refused, or an event does not come out as it must.
pub fn build(sources: &Sources<'_>) -> Result<Built, BuildError> {
    let mut library = load_texts(sources.rules.iter().copied());
    let image = library.host_image()?;
    if !library.rejections.is_empty() {
        return Err(BuildError::Rejected(library.rejections));
    }
    if !library.unreadable.is_empty() {
        return Err(BuildError::Unreadable(library.unreadable));
    }
    let told = told(&library);
    let ids = ids_by_file(&told);
    let mut canaries = Vec::new();
    for tests in &sources.tests {
        canaries.extend(tests_file::canaries(*tests, &ids)?);
    }
    let lopsided = lopsided(&told, &canaries, &image, &sources.rules)?;
    let proves_nothing = canaries.iter().all(|canary| canary.fires.is_empty());
    // What a canary shows is told first, if there is one.
    let lopsided = match lopsided {
        Some(wrong) if proves_nothing => return Err(wrong.into()),
        lopsided => lopsided,
    };
    let parts = Parts {
        name: &sources.release.name,
        version: sources.release.version,
        engines: sources.release.engines,
        is_urgent: sources.release.is_urgent,
        image: &image,
        documents: documents(&told, &sources.rules),
        canaries,
        policy: sources.policy,
    };
    sources.policy.map_or(Ok(()), refuse_vital_by_name)?;
    let bytes = write(&parts)?;
    let pack = Pack::open(&bytes)?;
    pack.check_canaries(&types_here).map_err(|error| placed(error, &sources.tests))?;
    pack.self_test().map_err(|error| placed(error, &sources.tests))?;
    if let Some(wrong) = lopsided {
        return Err(wrong.into());
    }
    let mut warnings = findings(&library);
    warnings.extend(rows(&library, &supply()).iter().filter_map(not_here));
    warnings.extend(pack.unproven().iter().map(|document| no_test(&told, document)));
    Ok(Built { bytes, warnings })
}

/// The first document that is not tried both ways: what only ever has to fire may fire on everything, and nobody would see it here.
/// A correlation that needs more events than anybody writes may do without canaries, as may a rule that is no alert by itself.
fn lopsided(
    told: &[Told<'_>],
    canaries: &[Canary],
    image: &[u8],
    rules: &[Source<'_>],
) -> Result<Option<Box<Wrong>>, CompileError> {
    let image = Image::open(image)?;
    let silenced: BTreeSet<String> = (0..)
        .zip(image.rules())
        .filter(|(position, _)| image.is_silenced(*position))
        .map(|(_, rule)| same_id(rule.id()))
        .collect();
    let named = |of: fn(&Canary) -> &[String]| -> BTreeSet<String> {
        canaries.iter().flat_map(of).map(|id| same_id(id)).collect()
    };
    let (fires, silent) = (named(|canary| &canary.fires), named(|canary| &canary.silent));
    let found = told.iter().filter(|told| told.kind != Kind::Filter).find_map(|told| {
        let id = same_id(told.id);
        let lacks = match (fires.contains(&id), silent.contains(&id)) {
            (true, true) => return None,
            (true, false) => "must not fire",
            (false, _) if told.kind == Kind::Correlation || silenced.contains(&id) => return None,
            (false, _) => "must fire",
        };
        let list = if lacks == "must fire" { "fires" } else { "silent" };
        let (kind, id) = (told.kind.name(), told.id);
        let why = if list == "fires" { "nothing proves that it works" } else { "it may fire on everything" };
        let what = format!("no event {lacks} {kind} {id}, so that {why}");
        let mend = format!("add one under `{list}` in NAME.tests.yml beside it");
        let text = rules.iter().find(|source| source.file == told.file).map_or("", |source| source.text);
        let at = Reason::OnlyOneWay { what, mend }.at(Span::whole(text, told.line));
        Some(Wrong::of(Source { file: told.file, text }, at))
    });
    Ok(found)
}

/// What canaries show to be wrong, told at the case in the file with tests.
fn placed(error: PackError, tests: &[Source<'_>]) -> BuildError {
    let (canary, field) = match &error {
        PackError::DidNotFire { canary, .. } | PackError::Fired { canary, .. } => (canary, None),
        PackError::CanaryField { canary, field, .. } => (canary, Some(field)),
        _ => return error.into(),
    };
    let found = tests.iter().find_map(|tests| Some((tests, tests_file::place_of(*tests, canary, field)?)));
    let Some((tests, place)) = found else { return error.into() };
    let case = canary.strip_prefix(tests.file).unwrap_or(canary).trim_start();
    let (what, label, mend) = match &error {
        PackError::DidNotFire { rule, .. } => (
            format!("rule {rule} does not fire on {case}, which must fire it"),
            "must fire it",
            "mend the rule or the event",
        ),
        PackError::Fired { rule, .. } => (
            format!("rule {rule} fires on {case}, which must not fire it"),
            "must not fire it",
            "mend the rule or the event",
        ),
        PackError::CanaryField { field, logsource, .. } => (
            format!("{case} has the field {field}, which events of {logsource} do not have here: it would prove a rule that can never fire"),
            "not supplied",
            "correct the field or take it out",
        ),
        _ => return error.into(),
    };
    let mend = mend.to_owned();
    Wrong::of(*tests, Reason::TestCase { what, label, mend }.at(place)).into()
}

/// Every document of a library.
fn told(library: &Library) -> Vec<Told<'_>> {
    let rules = library.rules.iter().map(|loaded| Told {
        id: &loaded.rule.id,
        kind: Kind::Rule,
        file: &loaded.file,
        line: loaded.line,
    });
    let exceptions = library.exceptions.iter().map(|loaded| Told {
        id: &loaded.exception.id,
        kind: Kind::Filter,
        file: &loaded.file,
        line: loaded.line,
    });
    let together = library.correlations.iter().map(|loaded| Told {
        id: &loaded.correlation.id,
        kind: Kind::Correlation,
        file: &loaded.file,
        line: loaded.line,
    });
    let mut told: Vec<Told<'_>> = rules.chain(exceptions).chain(together).collect();
    told.sort_by_key(|told| (told.file, told.line));
    told
}

/// What is wrong with exceptions, by their places.
fn findings(library: &Library) -> Vec<String> {
    let applied = apply(library);
    let found = library.exceptions.iter().zip(&applied.exceptions);
    let in_words = found.flat_map(|(LoadedException { exception, file, line }, found)| {
        let said = move |finding| format!("{file}:{line}: {} {}: {finding}", exception.word, exception.id);
        found.findings.iter().map(said)
    });
    in_words.collect()
}

/// What of a rule never comes true on a host whose events are this sensor's, whatever its canaries prove.
fn not_here(row: &Row) -> Option<String> {
    let what = match (row.verdict, row.kind) {
        (_, sigma::Kind::Exception) => return None, // told by their findings
        (Verdict::Never, _) => "can never fire",
        (Verdict::Degraded, _) => "is degraded",
        (Verdict::CanFire | Verdict::Rejected, _) => return None,
    };
    Some(format!("{}: {} {what} by this sensor's events: {}", row.file, row.rule, row.reason))
}

fn no_test(told: &[Told<'_>], document: &Document<'_>) -> String {
    let place = told.iter().find(|told| told.id == document.id);
    let place = place.map(|told| format!("{}:{}: ", told.file, told.line)).unwrap_or_default();
    let (kind, id) = (document.kind.name(), document.id);
    format!("{place}no event must fire {kind} {id}: nothing proves that it works; write NAME.tests.yml beside it")
}

/// Every document with the digest of its lines.
fn documents<'l>(told: &[Told<'l>], sources: &[Source<'_>]) -> Vec<Document<'l>> {
    let texts: BTreeMap<&str, &str> = sources.iter().map(|source| (source.file, source.text)).collect();
    let mut lines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for told in told {
        lines.entry(told.file).or_default().push(told.line);
    }
    let digest = |file: &str, line: usize| {
        let next = lines.get(file).and_then(|lines| lines.iter().copied().filter(|other| *other > line).min());
        let text = texts.get(file).copied().unwrap_or_default();
        Sha256::digest(lines_of(text, line, next)).into()
    };
    told.iter().map(|told| Document { id: told.id, kind: told.kind, sha256: digest(told.file, told.line) }).collect()
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

/// The ids of what can fire in each file, in the order of the file.
fn ids_by_file(told: &[Told<'_>]) -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for told in told.iter().filter(|told| told.kind != Kind::Filter) {
        ids.entry(told.file.to_owned()).or_default().push(told.id.to_owned());
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
