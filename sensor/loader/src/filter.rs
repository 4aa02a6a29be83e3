//! What the administrator wants to go without events: a typed list, resolved here into what the kernel programs look up.
//! A path is resolved once, to the identity of the file that it names now; a file put into its place later is another one.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use rustix::fs::fstatfs;
use serde::Deserialize;
use watertight_sensor_abi::{
    FilterKey, FilterKind, FilterRule, Identity, Settings, CLASS_FILE, CLASS_NET, FILTERS_MAX, USER_RANGES_MAX,
};

use crate::identify::identify;

/// Magic number of cgroup v2, include/uapi/linux/magic.h.
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// One filter as the host gives it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    classes: Vec<Class>,
    by: By,
}

/// A class of events that can be left out. No other can.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Class {
    File,
    Net,
}

/// By what an operation is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum By {
    Executable(PathBuf),
    Under(PathBuf),
    Users { first: u32, last: u32 },
    Cgroup(PathBuf),
}

/// A filter as the map has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it looks for.
    pub key: FilterKey,
    /// What it leaves out.
    pub rule: FilterRule,
}

/// Reads the list that the host gives, and resolves its paths.
///
/// # Errors
/// The list is not of this form, names what does not exist, or is longer than the map.
pub fn resolve(json: &str) -> Result<Vec<Entry>> {
    let filters: Vec<Filter> = serde_json::from_str(json).context("reading --filters: a JSON list of filters")?;
    ensure!(
        filters.len() <= FILTERS_MAX as usize,
        "{} filters are more than the {FILTERS_MAX} that fit",
        filters.len()
    );
    let mut entries = Vec::with_capacity(filters.len());
    let mut ranges = 0;
    for filter in &filters {
        entries.push(entry(filter, ranges)?);
        ranges += u64::from(matches!(filter.by, By::Users { .. }));
    }
    ensure!(
        ranges <= u64::from(USER_RANGES_MAX),
        "{ranges} ranges of users are more than the {USER_RANGES_MAX} that are compared: join some"
    );
    Ok(entries)
}

fn entry(filter: &Filter, ranges_before: u64) -> Result<Entry> {
    let classes = filter.classes.iter().fold(0, |bits, class| {
        bits | match class {
            Class::File => CLASS_FILE,
            Class::Net => CLASS_NET,
        }
    });
    let rule = FilterRule { classes, ..FilterRule::default() };
    Ok(match &filter.by {
        By::Executable(path) => Entry { key: key_of(FilterKind::Executable, &identity_of(path)?), rule },
        By::Under(path) => {
            ensure!(path.is_dir(), "{} is no folder: a filter `under` names one", path.display());
            Entry { key: key_of(FilterKind::Under, &identity_of(path)?), rule }
        }
        By::Users { first, last } => {
            ensure!(first <= last, "the range of users {first}-{last} is empty");
            let key = FilterKey { kind: kind(FilterKind::Users), number: ranges_before, ..FilterKey::default() };
            Entry { key, rule: FilterRule { low: *first, high: *last, ..rule } }
        }
        By::Cgroup(path) => {
            let key = FilterKey { kind: kind(FilterKind::Cgroup), number: cgroup_id(path)?, ..FilterKey::default() };
            Entry { key, rule }
        }
    })
}

fn kind(kind: FilterKind) -> u32 {
    u32::from(kind as u16)
}

fn key_of(of: FilterKind, file: &Identity) -> FilterKey {
    FilterKey { kind: kind(of), dev: file.dev, number: file.inode, generation: file.generation, reserved: 0 }
}

fn identity_of(path: &Path) -> Result<Identity> {
    let file = open(path)?;
    identify(&[file.as_fd()])?.first().copied().context("the kernel told no identity")
}

/// A cgroup's id is the number of its folder's inode (kernfs).
fn cgroup_id(path: &Path) -> Result<u64> {
    let folder = open(path)?;
    let kind = fstatfs(&folder).with_context(|| format!("looking at {}", path.display()))?;
    #[allow(clippy::unnecessary_cast)] // the field's type differs between libc versions
    let is_cgroup = kind.f_type as i64 == CGROUP2_SUPER_MAGIC;
    ensure!(is_cgroup, "{} is no cgroup: name a folder of the cgroup v2 tree (/sys/fs/cgroup/...)", path.display());
    Ok(folder.metadata().with_context(|| format!("looking at {}", path.display()))?.ino())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}: a filter names it", path.display()))
}

/// How many there are of each kind: what the programs need not look for costs them nothing.
#[must_use]
pub fn settings(entries: &[Entry]) -> Settings {
    let count = |of| {
        let count = entries.iter().filter(|entry| entry.key.kind == kind(of)).count();
        u32::try_from(count).unwrap_or(FILTERS_MAX)
    };
    Settings {
        executables: count(FilterKind::Executable),
        folders: count(FilterKind::Under),
        users: count(FilterKind::Users),
        cgroups: count(FilterKind::Cgroup),
    }
}

/// Fills the filter map and freezes it.
///
/// # Errors
/// The map takes no more entries, or can't be frozen.
pub fn fill(map: &MapHandle, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        let (mut key, mut rule) = (Vec::new(), Vec::new());
        entry.key.write(&mut key);
        entry.rule.write(&mut rule);
        map.update(&key, &rule, MapFlags::ANY).context("filling the filters")?;
    }
    map.freeze().context("freezing the filters: they must not stay writable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_users_are_numbered_and_counted() {
        let list = r#"[{"classes":["file"],"by":{"users":{"first":1000,"last":1999}}},
                       {"classes":["file","net"],"by":{"users":{"first":5,"last":5}}}]"#;
        let entries = resolve(list).expect("a good list");
        let numbers: Vec<_> =
            entries.iter().map(|entry| (entry.key.number, entry.rule.low, entry.rule.classes)).collect();
        assert_eq!(numbers, [(0, 1000, CLASS_FILE), (1, 5, CLASS_FILE | CLASS_NET)]);
        assert_eq!(settings(&entries), Settings { users: 2, ..Settings::default() });
    }

    #[test]
    fn classes_that_may_not_be_muted_and_things_that_do_not_exist_are_refused() {
        let refused = |list: &str| format!("{:#}", resolve(list).expect_err("must be refused"));
        assert!(refused(r#"[{"classes":["process"],"by":{"users":{"first":1,"last":2}}}]"#).contains("process"));
        assert!(refused(r#"[{"classes":["file"],"by":{"users":{"first":9,"last":2}}}]"#).contains("empty"));
        assert!(refused(r#"[{"classes":["file"],"by":{"under":"/no/such/folder"}}]"#).contains("/no/such/folder"));
        assert!(refused(r#"[{"classes":["net"],"by":{"cgroup":"/proc"}}]"#).contains("no cgroup"));
        assert!(refused(r#"[{"classes":["file"],"by":{"comm":"sh"}}]"#).contains("comm"));
    }

    #[test]
    fn more_ranges_than_are_compared_are_refused() {
        let one = r#"{"classes":["file"],"by":{"users":{"first":1,"last":2}}}"#;
        let list = format!("[{}]", vec![one; USER_RANGES_MAX as usize + 1].join(","));
        assert!(resolve(&list).expect_err("too many").to_string().contains("join some"));
    }
}
