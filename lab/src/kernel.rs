//! Stock Debian kernels: found by pattern, downloaded and unpacked into the cache, never installed.
//!
//! By pattern, because the package's name carries the version and old ones leave the mirror. The signature chain is apt's:
//! `apt-get download` checks the package against the signed index; the sum is kept beside it so that a result can be
//! traced to the exact kernel.

use crate::tool;
use anyhow::{bail, Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernel lines that the lab knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Series {
    /// Debian 12's own.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 12's backported line.
    #[value(name = "6.12")]
    V6_12,
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The package it came from; carries the version.
    pub package: String,
    /// SHA-256 of the package file.
    pub sha256: String,
    /// The bzImage.
    pub image: PathBuf,
    /// The folder with `kernel/`, where modules lie.
    pub modules: PathBuf,
}

impl Series {
    /// Both, oldest first.
    pub const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// How people say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    fn pattern(self) -> &'static str {
        match self {
            Self::V6_1 => r"^linux-image-6\.1\.0-[0-9]+-cloud-amd64$",
            Self::V6_12 => r"^linux-image-6\.12\.[0-9]+\+deb12-cloud-amd64$",
        }
    }
}

impl Kernel {
    /// The newest package of the series, downloaded if the cache has it not.
    pub fn fetch(series: Series, cache: &Path) -> Result<Self> {
        let package = newest(series)?;
        let folder = cache.join("kernels").join(&package);
        let archive = folder.join("package.deb");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock().with_context(|| format!("waiting for another lab at {}", folder.display()))?;
        let sum_file = folder.join("package.sha256");
        if !sum_file.exists() {
            download(&package, &folder, &archive)?;
            fs::write(&sum_file, sha256(&archive)?).with_context(|| format!("writing {}", sum_file.display()))?;
        }
        let sha256 = sha256(&archive)?;
        let recorded = fs::read_to_string(&sum_file).with_context(|| format!("reading {}", sum_file.display()))?;
        if recorded != sha256 {
            bail!("{} has changed since it was downloaded: remove {}", archive.display(), folder.display());
        }
        let root = folder.join("root");
        if !root.exists() {
            unpack(&archive, &root)?;
        }
        let release = package.trim_start_matches("linux-image-");
        let image = root.join("boot").join(format!("vmlinuz-{release}"));
        let modules = ["lib/modules", "usr/lib/modules"]
            .iter()
            .map(|place| root.join(place).join(release))
            .find(|place| place.exists())
            .with_context(|| format!("{package} has no modules folder"))?;
        if !image.exists() {
            bail!("{package} has no {}", image.display());
        }
        Ok(Self { package, sha256, image, modules })
    }
}

fn newest(series: Series) -> Result<String> {
    let mut names = search(series)?;
    if names.is_empty() {
        tool::run(Command::new("apt-get").arg("-q").arg("update"))?;
        names = search(series)?;
    }
    names
        .into_iter()
        .max_by_key(|name| numbers(name))
        .with_context(|| format!("no package matches {}: is a Debian 12 mirror among apt's sources?", series.pattern()))
}

fn search(series: Series) -> Result<Vec<String>> {
    let listing = tool::output(Command::new("apt-cache").args(["search", "--names-only", series.pattern()]))?;
    Ok(listing.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// The numbers in a name, which order versions as people mean it: 6.12.9 before 6.12.117.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn download(package: &str, folder: &Path, archive: &Path) -> Result<()> {
    let staging = folder.join("download");
    let _ = fs::remove_dir_all(&staging);
    fs::create_dir_all(&staging).with_context(|| format!("making {}", staging.display()))?;
    tool::run(Command::new("apt-get").args(["-q", "download", package]).current_dir(&staging))?;
    let downloaded = fs::read_dir(&staging)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download left no package in {}", staging.display()))?;
    fs::rename(&downloaded, archive)?;
    fs::remove_dir_all(&staging)?;
    Ok(())
}

fn unpack(archive: &Path, root: &Path) -> Result<()> {
    let staging = root.with_extension("partial");
    let _ = fs::remove_dir_all(&staging);
    tool::run(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&staging))?;
    fs::rename(&staging, root).with_context(|| format!("naming {}", root.display()))
}

fn sha256(file: &Path) -> Result<String> {
    let line = tool::output(Command::new("sha256sum").arg(file))?;
    let sum = line.split_whitespace().next().context("sha256sum printed nothing")?;
    Ok(sum.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_newest_by_number_and_not_by_letter() {
        assert!(numbers("linux-image-6.12.117+deb12-cloud-amd64") > numbers("linux-image-6.12.9+deb12-cloud-amd64"));
        assert!(numbers("linux-image-6.1.0-56-cloud-amd64") > numbers("linux-image-6.1.0-9-cloud-amd64"));
    }
}
