//! What the administrator wants to go without events, as a typed list. The kernel programs leave it out, so it costs nothing;
//! it is counted as filtered, and the matrix says that it is in force.
//!
//! Only file and network events can be left out: the type has no other class.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One filter, as `--mute` has it: `[file:|net:]exe=FILE`, `under=FOLDER`, `uid=FIRST-LAST` or `cgroup=FOLDER`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// Which events are left out.
    pub classes: Vec<Class>,
    /// By what they are told.
    pub by: By,
}

/// A class of events that can be left out.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Files, pipes and their names.
    File,
    /// Sockets.
    Net,
}

/// By what an operation is told.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The process runs this file.
    Executable(PathBuf),
    /// The file lies under this folder.
    Under(PathBuf),
    /// Real and effective user are in this range.
    Users {
        /// First user.
        first: u32,
        /// Last user.
        last: u32,
    },
    /// The process is in this cgroup or one below it.
    Cgroup(PathBuf),
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No `=`.
    #[error("{text:?} names nothing to mute: write exe=FILE, under=FOLDER, uid=FIRST-LAST or cgroup=FOLDER")]
    NoKind {
        /// The text.
        text: String,
    },
    /// A word before `=` that is none of ours.
    #[error("{kind:?} is nothing that can be muted by: exe, under, uid and cgroup are")]
    Kind {
        /// The word.
        kind: String,
    },
    /// A class that can't be muted.
    #[error("events of class {class:?} can't be muted, only `file` and `net`")]
    Class {
        /// The word.
        class: String,
    },
    /// A relative path: the loader's folder is not the user's.
    #[error("{path:?} is not absolute: write the whole path")]
    Relative {
        /// The path.
        path: String,
    },
    /// No range of numbers.
    #[error("{text:?} is no range of users: write uid=1000 or uid=1000-1999")]
    Users {
        /// The text.
        text: String,
    },
    /// What it names is not there.
    #[error("--mute {filter}: {why}")]
    Missing {
        /// The filter.
        filter: String,
        /// What was found instead.
        why: String,
    },
    /// A network event has no folder.
    #[error("network events lie under no folder: write under=FOLDER or file:under=FOLDER")]
    NetUnder,
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (what, value) = text.split_once('=').ok_or_else(|| FilterError::NoKind { text: text.to_owned() })?;
        let (class, kind) = match what.split_once(':') {
            Some((class, kind)) => (Some(class), kind),
            None => (None, what),
        };
        let classes = match class {
            None if kind == "under" => vec![Class::File],
            None => vec![Class::File, Class::Net],
            Some("file") => vec![Class::File],
            Some("net") if kind == "under" => return Err(FilterError::NetUnder),
            Some("net") => vec![Class::Net],
            Some(class) => return Err(FilterError::Class { class: class.to_owned() }),
        };
        let by = match kind {
            "exe" => By::Executable(absolute(value)?),
            "under" => By::Under(absolute(value)?),
            "cgroup" => By::Cgroup(absolute(value)?),
            "uid" => users(value)?,
            _ => return Err(FilterError::Kind { kind: kind.to_owned() }),
        };
        Ok(Self { classes, by })
    }
}

fn absolute(path: &str) -> Result<PathBuf, FilterError> {
    if !path.starts_with('/') {
        return Err(FilterError::Relative { path: path.to_owned() });
    }
    Ok(path.into())
}

fn users(text: &str) -> Result<By, FilterError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(By::Users { first, last }),
        _ => Err(FilterError::Users { text: text.to_owned() }),
    }
}

impl Filter {
    /// Looks whether what it names is there, before anything is loaded for it.
    ///
    /// # Errors
    /// It is not, or it is of another kind.
    pub fn check(&self) -> Result<(), FilterError> {
        let (path, wants_folder) = match &self.by {
            By::Executable(path) => (path, false),
            By::Under(path) | By::Cgroup(path) => (path, true),
            By::Users { .. } => return Ok(()),
        };
        let failed = |why: String| FilterError::Missing { filter: self.to_string(), why };
        let found = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
        match (wants_folder, found.is_dir(), found.is_file()) {
            (true, true, _) | (false, _, true) => Ok(()),
            (true, ..) => Err(failed("it is no folder".into())),
            (false, ..) => Err(failed("it is no file".into())),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.classes.as_slice() {
            [Class::File] => f.write_str("file:")?,
            [Class::Net] => f.write_str("net:")?,
            _ => {}
        }
        match &self.by {
            By::Executable(path) => write!(f, "exe={}", path.display()),
            By::Under(path) => write!(f, "under={}", path.display()),
            By::Users { first, last } => write!(f, "uid={first}-{last}"),
            By::Cgroup(path) => write!(f, "cgroup={}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_and_written_the_same() {
        for text in ["exe=/usr/bin/make", "file:under=/var/cache", "net:uid=1000-1999", "cgroup=/sys/fs/cgroup/build"] {
            let filter: Filter = text.parse().expect(text);
            assert_eq!(filter.to_string(), text);
        }
        let short: Filter = "uid=33".parse().expect("one user");
        assert_eq!(short.by, By::Users { first: 33, last: 33 });
    }

    #[test]
    fn what_may_not_be_muted_and_what_is_no_filter_is_refused_by_name() {
        let refused = |text: &str| text.parse::<Filter>().expect_err(text).to_string();
        assert!(refused("process:exe=/bin/sh").contains("\"process\" can't be muted"));
        assert!(refused("comm=sh").contains("\"comm\""));
        assert!(refused("exe=make").contains("not absolute"));
        assert!(refused("uid=9-3").contains("no range"));
        assert!(refused("/tmp").contains("write exe=FILE"));
        assert!(refused("net:under=/tmp").contains("no folder"));
    }

    #[test]
    fn the_loader_gets_the_form_that_it_reads() {
        let filter: Filter = "uid=5-6".parse().expect("good");
        let json = serde_json::to_string(&[filter]).expect("plain data");
        assert_eq!(json, r#"[{"classes":["file","net"],"by":{"users":{"first":5,"last":6}}}]"#);
    }
}
