//! Whether pins that an earlier run left are what this build would have pinned. They lie in a folder that root can write to:
//! a map of another size under a name of ours would be read as what it is not.

use std::path::{Path, PathBuf};

use anyhow::{ensure, Context as _, Result};
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{Link, MapCore as _, MapHandle, OpenObject};

use crate::pin::is_pinned_map;

/// The kernel keeps this many bytes of a program's name.
const NAME_BYTES_MAX: usize = 15;

/// Every map of the object is pinned with the type and sizes that the object gives it.
///
/// # Errors
/// Names the first map that is missing or different.
pub fn maps(directory: &Path, object: &OpenObject) -> Result<()> {
    for wanted in object.maps() {
        let name = wanted.name().to_string_lossy().into_owned();
        if !is_pinned_map(&name) {
            continue;
        }
        let pinned = MapHandle::from_pinned_path(directory.join(&name))
            .with_context(|| format!("the pinned map {name} is missing or is no map"))?;
        let found = pinned.info().with_context(|| format!("asking about the pinned map {name}"))?.info;
        let sizes = (found.type_, found.key_size, found.value_size);
        let wanted_sizes = (u32::from(wanted.map_type()), wanted.key_size(), wanted.value_size());
        // An object says 0 where the loader sizes the map at its making.
        let is_as_long = wanted.max_entries() == 0 || wanted.max_entries() == found.max_entries;
        ensure!(
            sizes == wanted_sizes && is_as_long,
            "the pinned map {name} has type, key and value {sizes:?} and {} entries, not {wanted_sizes:?} and {}",
            found.max_entries,
            wanted.max_entries()
        );
    }
    Ok(())
}

/// Every link is one, and leads to the program that it is named for.
///
/// # Errors
/// Names the first that does not.
pub fn links(pinned: &[PathBuf]) -> Result<()> {
    let programs: Vec<(u32, String)> =
        ProgInfoIter::default().map(|program| (program.id, program.name.to_string_lossy().into_owned())).collect();
    for path in pinned {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let info = Link::open(path)
            .and_then(|link| link.info())
            .with_context(|| format!("the pinned link {name} is no link"))?;
        let found = programs.iter().find(|(id, _)| *id == info.prog_id).map(|(_, found)| found.as_str());
        let kept = name.get(..NAME_BYTES_MAX.min(name.len())).unwrap_or_default();
        ensure!(found == Some(kept), "the pinned link {name} leads to the program {}", found.unwrap_or("of nobody"));
    }
    Ok(())
}
