//! Which executables are our own: the entries of the map `manifest`, from which `trust.h` gives processes their bit.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use watertight_sensor_abi::{identity_bits, Identity, Role, TrustSettings};

use crate::identify::identify;

/// An executable of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file as the kernel knows it.
    pub file: Identity,
    /// What it is.
    pub role: Role,
}

/// This executable, and each of `watertight`; without any, the `watertight` that lies beside this executable, if one does.
///
/// # Errors
/// A file can't be opened, or the kernel does not say what it has behind it.
pub fn ours(watertight: &[PathBuf]) -> Result<Vec<Entry>> {
    let mut files = vec![(open(Path::new("/proc/self/exe"))?, Role::Loader)];
    for path in watertight {
        files.push((open(path)?, Role::Watertight));
    }
    if watertight.is_empty() {
        let beside = std::env::current_exe().context("finding our own executable")?.with_file_name("watertight");
        if beside.is_file() {
            files.push((open(&beside)?, Role::Watertight));
        }
    }
    let fds: Vec<_> = files.iter().map(|(file, _)| file.as_fd()).collect();
    let identities = identify(&fds)?;
    Ok(identities.into_iter().zip(&files).map(|(file, (_, role))| Entry { file, role: *role }).collect())
}

/// Section of what the programs are told of the manifest before they are loaded.
pub const SETTINGS: &str = ".rodata.trust";

/// That section's bytes.
#[must_use]
pub fn settings(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    TrustSettings { own_bits: identity_bits(entries.iter().map(|entry| entry.file)) }.write(&mut bytes);
    bytes
}

/// Fills a manifest map and freezes it: from then on nobody changes it, we included.
///
/// # Errors
/// The map takes no more entries, or can't be frozen.
pub fn fill(map: &MapHandle, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        let mut key = Vec::with_capacity(Identity::BYTES);
        entry.file.write(&mut key);
        let role = u32::from(entry.role as u16).to_ne_bytes();
        map.update(&key, &role, MapFlags::ANY).context("filling the manifest of our own executables")?;
    }
    map.freeze().context("freezing the manifest: it must not stay writable")
}

fn open(path: &Path) -> Result<File> {
    File::open(path)
        .with_context(|| format!("opening {}: it is to be in the manifest of our own executables", path.display()))
}
