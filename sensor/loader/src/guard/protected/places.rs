//! Folders and files that the package manager and the loader must be able to start programs from, and to write to.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Result};
use watertight_policy::vital::{
    candidates, Place, BOOK_FOLDERS, LOADER, PACKAGE_MANAGER, PROGRAMS, RUN_FOLDERS, WRITTEN_FILES, WRITTEN_FOLDERS,
};
use watertight_policy::{Operation as On, Target};

use super::super::entries::Resolved;
use crate::lock;

/// What changes a file or a folder.
const CHANGES: [On; 3] = [On::Write, On::Unlink, On::Rename];

/// What a rule names, links resolved as far as it exists.
struct Named {
    path: PathBuf,
    is_folder: bool,
}

impl Named {
    fn by(resolved: &Resolved) -> Option<Self> {
        let (Target::File(path) | Target::Under(path)) = &resolved.rule.target else { return None };
        Some(Self { path: real(path), is_folder: matches!(resolved.rule.target, Target::Under(_)) })
    }

    /// It is this place, or a folder above it.
    fn covers(&self, place: &Path) -> bool {
        if self.is_folder {
            place.starts_with(&self.path)
        } else {
            place == self.path
        }
    }

    /// The same, or it lies in this place.
    fn touches(&self, place: &Path) -> bool {
        self.path.starts_with(place) || self.covers(place)
    }
}

/// Links resolved; of what is not there yet, those of the folders above it.
fn real(path: &Path) -> PathBuf {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(found), _, _) => found,
        (Err(_), Some(folder), Some(name)) => real(folder).join(name),
        _ => path.to_owned(),
    }
}

/// Refuses a rule on starts that meets what packages bring and the package manager starts.
///
/// # Errors
/// Names the rule and the folder.
pub fn refuse_if_started_from(resolved: &Resolved) -> Result<()> {
    let Some(named) = Named::by(resolved) else { return Ok(()) };
    let is_met = |place: &&Place| Path::new(place.path).is_dir() && named.touches(&real(Path::new(place.path)));
    match RUN_FOLDERS.iter().find(is_met) {
        Some(place) => bail!(
            "rule {} would stop {PACKAGE_MANAGER} ({}: {}): name programs of your own",
            resolved.rule.id,
            place.path,
            place.why
        ),
        None => Ok(()),
    }
}

/// Refuses a rule on changes that keeps the package manager from its work, or the loader.
///
/// # Errors
/// Names the rule and the place.
pub fn refuse_if_written(resolved: &Resolved, pins: &[PathBuf]) -> Result<()> {
    let Some(named) = Named::by(resolved) else { return Ok(()) };
    if !resolved.rule.on.iter().any(|on| CHANGES.contains(on)) {
        return Ok(());
    }
    let ours = pins.iter().map(PathBuf::as_path).chain([Path::new(lock::FOLDER)]);
    if let Some(place) = ours.into_iter().find(|place| named.touches(&real(place))) {
        bail!(
            "rule {} would stop {LOADER}, which writes in {}: name single files or a folder of your own",
            resolved.rule.id,
            place.display()
        );
    }
    let covered = WRITTEN_FOLDERS.iter().filter(|_| named.is_folder).find(|place| named.covers(&at(place)));
    let in_books = BOOK_FOLDERS.iter().find(|place| named.touches(&at(place)));
    let file = WRITTEN_FILES.iter().find(|place| named.covers(&at(place)));
    if let Some(place) = covered.or(in_books).or(file) {
        bail!(
            "rule {} would stop {PACKAGE_MANAGER} ({}: {}): name single files or a folder of your own",
            resolved.rule.id,
            place.path,
            place.why
        );
    }
    // Where the vital programs lie packages are unpacked, wherever this system has put them.
    let programs = PROGRAMS.iter().filter(|programs| programs.what.is_some()).flat_map(|programs| programs.names);
    let found = programs
        .flat_map(|name| candidates(name))
        .filter(|_| named.is_folder)
        .filter_map(|path| fs::canonicalize(path).ok());
    let of_package = |path: &PathBuf| path.starts_with("/usr") && !path.starts_with("/usr/local");
    if let Some(program) = found.filter(of_package).find(|program| program.starts_with(&named.path)) {
        bail!(
            "rule {} would stop {PACKAGE_MANAGER}, which puts {} there: name single files or a folder of your own",
            resolved.rule.id,
            program.display()
        );
    }
    Ok(())
}

fn at(place: &Place) -> PathBuf {
    real(Path::new(place.path))
}
