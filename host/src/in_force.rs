//! What the kernel's own pins say is in force: which build speaks, and what its filters leave out. Read back, never
//! remembered: a filter that is not in the map is not in force, whatever was asked for.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use watertight_sensor_abi::{FilterKey, FilterKind, FilterRule, Phase, CLASS_FILE, CLASS_NET};
use watertight_sensor_reader::{lookup, next_key, open_pinned, MapError};

/// The folder of the build whose programs tell what happens: whole, and not silenced by another.
#[must_use]
pub fn build(pins: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(pins).ok()?;
    let folders = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut whole: Vec<PathBuf> = folders.filter(|folder| folder.join("complete").exists()).collect();
    // While one takes the other's place both are there: the new one, once it is active, counts.
    whole.sort_by_key(|folder| phase(folder) != Some(Phase::Active));
    whole.into_iter().next()
}

/// What a build's programs do; `None` where they have no such variable.
fn phase(folder: &Path) -> Option<Phase> {
    let map = open_pinned(&folder.join("stop")).ok()?;
    let value = lookup(map.as_fd(), &[0; 4], 4).ok()??;
    Phase::from_number(u16::try_from(u32::from_ne_bytes(value.first_chunk().copied()?)).ok()?)
}

/// The filters of a build, each in words.
///
/// # Errors
/// The map of filters can't be read: then it is not known what is left out.
pub fn muted(folder: &Path) -> Result<Vec<String>, MapError> {
    let map = open_pinned(&folder.join("filters"))?;
    let mut words = Vec::new();
    let mut key = next_key(map.as_fd(), None, FilterKey::BYTES)?;
    while let Some(at) = key {
        let rule = lookup(map.as_fd(), &at, FilterRule::BYTES)?.and_then(|bytes| FilterRule::read(&bytes));
        if let (Some(key), Some(rule)) = (FilterKey::read(&at), rule) {
            words.push(in_words(&key, &rule));
        }
        key = next_key(map.as_fd(), Some(&at), FilterKey::BYTES)?;
    }
    words.sort();
    Ok(words)
}

fn in_words(key: &FilterKey, rule: &FilterRule) -> String {
    let class = match (rule.classes & CLASS_FILE != 0, rule.classes & CLASS_NET != 0) {
        (true, true) => "",
        (true, false) => "file:",
        (false, true) => "net:",
        (false, false) => "nothing:",
    };
    let file = format!("inode {} of device {}:{}", key.number, key.dev >> 20, key.dev & 0xf_ffff);
    let what = match u16::try_from(key.kind).ok().and_then(FilterKind::from_number) {
        Some(FilterKind::Executable) => format!("exe={file}"),
        Some(FilterKind::Under) => format!("under={file}"),
        Some(FilterKind::Users) => format!("uid={}-{}", rule.low, rule.high),
        Some(FilterKind::Cgroup) => format!("cgroup=id {}", key.number),
        None => format!("of a kind that this version does not know ({})", key.kind),
    };
    format!("{class}{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_told_as_the_kernel_has_it() {
        let rule = FilterRule { classes: CLASS_FILE, low: 5, high: 9, ..FilterRule::default() };
        let key = |kind: FilterKind| FilterKey {
            kind: u32::from(kind as u16),
            dev: (8 << 20) | 1,
            number: 77,
            ..FilterKey::default()
        };
        assert_eq!(in_words(&key(FilterKind::Users), &rule), "file:uid=5-9");
        assert_eq!(in_words(&key(FilterKind::Under), &rule), "file:under=inode 77 of device 8:1");
        let unknown = FilterKey { kind: 99, ..FilterKey::default() };
        assert!(in_words(&unknown, &rule).contains("does not know"), "unknown is never called nothing");
    }
}
