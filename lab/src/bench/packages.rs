//! Debian packages that a benchmark compares with: downloaded with what they depend on and this machine lacks, unpacked into
//! the cache, never installed.

use crate::tool;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that holds the unpacked packages, made if the cache has it not.
pub fn unpacked(names: &[&str], cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("packages").join(names.join("+"));
    let archives = folder.join("archives");
    fs::create_dir_all(archives.join("partial")).with_context(|| format!("making {}", archives.display()))?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock().with_context(|| format!("waiting for another lab at {}", folder.display()))?;
    let root = folder.join("root");
    if root.exists() {
        return Ok(root);
    }
    let mut apt = Command::new("apt-get");
    apt.args(["-q", "-y", "-o", "Debug::NoLocking=1", "-o"])
        .arg(format!("Dir::Cache::archives={}", archives.display()))
        .args(["--no-install-recommends", "--reinstall", "--download-only", "install"])
        .args(names);
    tool::run(&mut apt)?;
    let staging = folder.join("root.partial");
    let _ = fs::remove_dir_all(&staging);
    for entry in fs::read_dir(&archives)? {
        let archive = entry?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            tool::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&staging))?;
        }
    }
    fs::rename(&staging, &root).with_context(|| format!("naming {}", root.display()))?;
    Ok(root)
}

/// Name and version of a package as apt would install it.
pub fn version(name: &str) -> Result<String> {
    let shown = tool::output(Command::new("apt-cache").args(["show", "--no-all-versions", name]))?;
    let version =
        shown.lines().find_map(|line| line.strip_prefix("Version: ")).context("apt-cache shows no version")?;
    Ok(format!("{name} {version}"))
}
