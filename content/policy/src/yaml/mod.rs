//! A policy file to a [`Policy`]: all of it, or every problem that it has.
//!
//! A rule that is left out because of a typing error is a door left open, so nothing is skipped: one problem anywhere and
//! there is no policy. The reader goes on after each problem all the same, so that one pass tells everything to mend.

mod problem;
mod rules;
mod target;
mod tree;

use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use problem::{Problem, Refusal};

use crate::by_name::{vital_by_name, StopsByName};
use crate::Policy;

/// Largest file read: 4,096 rules of 256 bytes, which is twice what they need.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system did not let us read the file.
    #[error("{} can't be read: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is too large to be a policy.
    #[error(
        "{} is larger than the {FILE_BYTES_MAX} bytes that a policy file may have: is it the right file? Otherwise name folders (under) instead of files",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file was read and is not a policy.
    #[error("{0}")]
    Refused(Box<Refusal>),
}

/// Reads a policy file.
///
/// # Errors
/// The file can't be read, is too large, or has problems: then all of them are told.
pub fn load(path: &Path) -> Result<Policy, LoadError> {
    parse(&path.to_string_lossy(), &read(path)?).map_err(LoadError::Refused)
}

/// Reads a policy that is for a fleet: it may name nothing that machines are started and mended with.
///
/// # Errors
/// As [`load`], or rules would stop such things: then all of them are told.
pub fn load_for_fleet(path: &Path) -> Result<Policy, LoadError> {
    parse_for_fleet(&path.to_string_lossy(), &read(path)?).map_err(LoadError::Refused)
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |cause| LoadError::Io { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Reads a policy from memory; `file` names it in problems.
///
/// # Errors
/// Every problem that it has.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Policy, Box<Refusal>> {
    let mut problems = problem::Problems::default();
    let policy = match std::str::from_utf8(bytes) {
        Ok(text) => tree::read(text, &mut problems).and_then(|root| rules::policy(&root, &mut problems)),
        Err(error) => {
            problems.add(problem::after(bytes, error.valid_up_to()), "the file is not UTF-8 text", "this byte", UTF8);
            None
        }
    };
    match policy {
        Some(policy) if problems.is_empty() => Ok(policy),
        _ => Err(Box::new(problems.refusal(file, bytes))),
    }
}

/// As [`parse`], of a policy for a fleet.
///
/// # Errors
/// Every problem that it has.
pub fn parse_for_fleet(file: &str, bytes: &[u8]) -> Result<Policy, Box<Refusal>> {
    let policy = parse(file, bytes)?;
    let mut problems = problem::Problems::default();
    // It was text, and had a rule at each of these positions.
    let root = std::str::from_utf8(bytes).ok().and_then(|text| tree::read(text, &mut problem::Problems::default()));
    for (at, StopsByName { rule, what, why }) in vital_by_name(&policy) {
        problems.in_rule(Some(rule));
        let place = root.as_ref().and_then(|root| rules::place_of_match(root, at)).unwrap_or(problem::START);
        let mend =
            "take the rule out, or narrow what it matches; a machine's owner may deny more by a policy of its own";
        problems.add(place, format!("this would stop {what}: {why}"), "too much for a fleet", mend);
    }
    if problems.is_empty() {
        return Ok(policy);
    }
    Err(Box::new(problems.refusal(file, bytes)))
}

const UTF8: &str = "save the file as UTF-8; a path with other bytes can't be named, name its folder with under";

#[cfg(test)]
mod tests;
