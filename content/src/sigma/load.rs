//! Many files to one library of rules: what was understood, what was refused, what could not be read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::correlation::problem;
use super::document::{parse, Document};
use super::exception::{apply, Exception};
use super::find::{find, Found, FILE_SIZE_BYTES_MAX, FOLDER_DEPTH_MAX};
use super::host::refuse_unsupplied;
use super::link::link;
use super::rejection::{At, Kind, Reason, Rejection};
use crate::image::{compile_for, CompileError, Target};
use crate::rule::{Correlation, Rule};

/// A rule file held in memory: embedded content.
#[derive(Clone, Copy, Debug)]
pub struct Source<'s> {
    /// The name that refusals and verdicts use.
    pub file: &'s str,
    /// What is in it.
    pub text: &'s str,
}

/// A rule and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The rule.
    pub rule: Rule,
    /// The file it is in.
    pub file: String,
    /// The line its document begins at, from 1.
    pub line: usize,
    /// The name that correlations may call it by.
    pub name: Option<String>,
}

/// A correlation and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedCorrelation {
    /// The correlation.
    pub correlation: Correlation,
    /// The file it is in.
    pub file: String,
    /// The line its document begins at, from 1.
    pub line: usize,
    /// The name that others may call it by.
    pub name: Option<String>,
}

/// A filter or an exception, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedException {
    /// It.
    pub exception: Exception,
    /// The file it is in.
    pub file: String,
    /// The line its document begins at, from 1.
    pub line: usize,
}

/// Rules read, with everything that went wrong: nothing is left out in silence.
#[derive(Debug, Default)]
pub struct Library {
    /// The rules that were understood. In the order of their files.
    pub rules: Vec<Loaded>,
    /// The correlations that were understood. What they refer to is looked up when all is compiled.
    pub correlations: Vec<LoadedCorrelation>,
    /// What is left out of them; it is put into them when they are compiled. In the order of its files.
    pub exceptions: Vec<LoadedException>,
    /// The documents that were refused.
    pub rejections: Vec<Rejection>,
    /// The files and folders that could not be read.
    pub unreadable: Vec<LoadError>,
    /// Files that were left out because they hold the tests of the rule beside them.
    pub tests: usize,
    /// What was read, by file: to show the line of what is refused later.
    pub texts: HashMap<String, String>,
}

/// A file or folder that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system said no.
    #[error("{} can't be read: {cause}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is too large for a rule file.
    #[error("{} has {size_bytes} bytes, more than the {FILE_SIZE_BYTES_MAX} that a rule file may have: split it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
    },
    /// A pipe, a device or a socket: reading one may never end.
    #[error("{} is no file but a pipe, a socket or a device: rules are read from plain files", path.display())]
    NoFile {
        /// What it is called.
        path: PathBuf,
    },
    /// Not text at all.
    #[error("{} is not UTF-8 text: rules are YAML in UTF-8, save it so or take it out of the folder", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Nothing was refused, and there is nothing.
    #[error("no rules in {}: they are read from files that end in .yml or .yaml", path.display())]
    NoRules {
        /// The folder or file that was named.
        path: PathBuf,
    },
    /// Folders nest too deep.
    #[error("{} lies deeper than {FOLDER_DEPTH_MAX} folders: move it up", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
}

impl Library {
    /// The rules compiled for any sensor's events, with the exceptions in them. One that takes more than a rule may is moved to the rejections, so that it does not take the others
    /// with it.
    ///
    /// # Errors
    /// The compiler wrote what the engine does not read.
    pub fn image(&mut self) -> Result<Vec<u8>, CompileError> {
        self.compiled(Target::Foreign)
    }

    /// The same for this host: a rule or exception that asks for what its events do not have, or for what it can't do, is
    /// moved to the rejections, too.
    ///
    /// # Errors
    /// The compiler wrote what the engine does not read.
    pub fn host_image(&mut self) -> Result<Vec<u8>, CompileError> {
        refuse_unsupplied(self);
        self.compiled(Target::Host)
    }

    fn compiled(&mut self, target: Target) -> Result<Vec<u8>, CompileError> {
        loop {
            let applied = apply(self);
            let linked = link(&self.rules, &applied.rules, &applied.correlations);
            if !linked.failed.is_empty() {
                let mut failed = linked.failed;
                failed.sort_by_key(|(position, _)| std::cmp::Reverse(*position));
                for (position, at) in failed {
                    self.refuse_correlation(position, at);
                }
                continue; // others may stand on them
            }
            let error = match compile_for(target, linked.sources, &linked.correlations) {
                Err(error) => error,
                compiled => return compiled,
            };
            // A stage's rule has the id of its correlation, and its own name behind it.
            let id = error.rule().map(|id| id.split_once('#').map_or(id, |(id, _)| id));
            let is_of_state = matches!(error, CompileError::NoRoom { .. } | CompileError::TooMuchState { .. });
            let reason = match is_of_state {
                true => problem(error.to_string()),
                false => Reason::NotCompiled { what: error.to_string() },
            };
            let rule = id.and_then(|id| self.rules.iter().position(|loaded| loaded.rule.id == id));
            let correlation = id.and_then(|id| self.correlations.iter().position(|one| one.correlation.id == id));
            match (rule, correlation) {
                (Some(position), _) => {
                    let Loaded { rule, file, line, .. } = self.rules.remove(position);
                    self.reject(Kind::Rule, rule.id, &file, reason.at(line));
                }
                (None, Some(position)) => {
                    let place = |one: &LoadedCorrelation| match is_of_state {
                        true => one.correlation.state_span,
                        false => one.line.into(),
                    };
                    let place = self.correlations.get(position).map_or(0.into(), place);
                    self.refuse_correlation(position, reason.at(place));
                }
                (None, None) => return Err(error),
            }
        }
    }

    pub(super) fn refuse_correlation(&mut self, position: usize, at: At) {
        let LoadedCorrelation { correlation, file, .. } = self.correlations.remove(position);
        self.reject(Kind::Correlation, correlation.id, &file, at);
    }

    /// Notes that something which was read is refused after all.
    pub(super) fn reject(&mut self, kind: Kind, id: String, file: &str, at: At) {
        let text = self.texts.get(file).map(String::as_str).unwrap_or_default();
        let rejection = Rejection::new(kind, Some(id), file, text, at);
        self.rejections.push(rejection);
    }

    /// How many rules, and things that should have been rules, there are so far.
    fn seen(&self) -> usize {
        let read = self.rules.len().saturating_add(self.correlations.len()).saturating_add(self.exceptions.len());
        read.saturating_add(self.rejections.len()).saturating_add(self.unreadable.len())
    }
}

/// Reads rules held in memory.
pub fn load_texts<'s>(sources: impl IntoIterator<Item = Source<'s>>) -> Library {
    let mut loader = Loader::default();
    for source in sources {
        loader.add(source);
    }
    loader.library
}

/// Reads every `.yml` and `.yaml` file below a folder, in the order of their paths; or the one file that is named. A rule's
/// tests (`name.tests.yml` beside `name.yml`) are no rules and are counted alone. Where there is nothing that is or would be a
/// rule, that is told as [`LoadError::NoRules`].
#[must_use]
pub fn load_dir(path: &Path) -> Library {
    load_dirs([path])
}

/// Reads several folders as one library: an id that two of them have is refused the second time.
#[must_use]
pub fn load_dirs<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Library {
    load_found(paths.into_iter().map(|path| find(path.as_ref())))
}

/// The same of what [`find`] brought, for where the reading was another's.
#[must_use]
pub fn load_found(places: impl IntoIterator<Item = Found>) -> Library {
    let mut loader = Loader::default();
    for Found { path, texts, unreadable, tests } in places {
        let before = loader.library.seen();
        texts.iter().for_each(|(file, text)| loader.add(Source { file, text }));
        loader.library.unreadable.extend(unreadable);
        loader.library.tests = loader.library.tests.saturating_add(tests);
        if loader.library.seen() == before {
            loader.library.unreadable.push(LoadError::NoRules { path });
        }
    }
    loader.library
}

/// An id as it is compared with others: a UUID means the same in large and in small letters.
#[must_use]
pub fn same_id(id: &str) -> String {
    id.to_ascii_lowercase()
}

#[derive(Default)]
struct Loader {
    library: Library,
    /// By the id as it is compared.
    file_of_id: HashMap<String, String>,
}

impl Loader {
    fn add(&mut self, Source { file, text }: Source<'_>) {
        self.library.texts.insert(file.to_owned(), text.to_owned());
        for outcome in parse(file, text) {
            let parsed = match outcome {
                Ok(parsed) => parsed,
                Err(rejection) => {
                    self.library.rejections.push(*rejection);
                    continue;
                }
            };
            let (kind, id) = match &parsed.document {
                Document::Rule(rule) => (Kind::Rule, rule.id.clone()),
                Document::Exception(exception) => (Kind::Exception, exception.id.clone()),
                Document::Correlation(correlation) => (Kind::Correlation, correlation.id.clone()),
            };
            if let Some(other) = self.file_of_id.get(&same_id(&id)) {
                let reason = Reason::DuplicateId { id: id.clone(), other: other.clone() };
                self.library.rejections.push(Rejection::new(kind, Some(id), file, text, reason.at(parsed.id_span)));
                continue;
            }
            self.file_of_id.insert(same_id(&id), file.to_owned());
            let (file, line, name) = (file.to_owned(), parsed.line, parsed.name);
            match parsed.document {
                Document::Rule(rule) => self.library.rules.push(Loaded { rule: *rule, file, line, name }),
                Document::Exception(exception) => {
                    self.library.exceptions.push(LoadedException { exception: *exception, file, line });
                }
                Document::Correlation(correlation) => {
                    let correlation = *correlation;
                    self.library.correlations.push(LoadedCorrelation { correlation, file, line, name });
                }
            }
        }
    }
}
