//! The module that crashes a guest, built for its kernel: with the headers that Debian has for it, unpacked into the cache and never
//! installed.

use crate::bench::packages;
use crate::kernel::Kernel;
use crate::tool;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The source, with what the kernel's build wants beside it.
const SOURCE: &str = include_str!("../../core/wt_crash.c");
const KBUILD: &str = include_str!("../../core/Kbuild");

/// The module's file.
pub fn built(kernel: &Kernel, cache: &Path) -> Result<Vec<u8>> {
    let release = kernel.package.trim_start_matches("linux-image-");
    let package = format!("linux-headers-{release}");
    let root = packages::unpacked(&[&package], cache)?;
    let headers = root.join("usr/src").join(&package);
    // The package's file names its place on a machine where it is installed.
    let makefile = headers.join("Makefile");
    let text = fs::read_to_string(&makefile).with_context(|| format!("reading {}", makefile.display()))?;
    let here = format!("include {}/usr/src/", root.display());
    if !text.contains(&here) {
        fs::write(&makefile, text.replace("include /usr/src/", &here))?;
    }
    let folder = cache.join("core").join(&package);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let lock = fs::File::create(folder.join("lock"))?;
    lock.lock().with_context(|| format!("waiting for another lab at {}", folder.display()))?;
    let (source, module) = (folder.join("wt_crash.c"), folder.join("wt_crash.ko"));
    let is_built = fs::read_to_string(&source).is_ok_and(|old| old == SOURCE) && module.exists();
    if !is_built {
        let _ = fs::remove_file(&module);
        fs::write(folder.join("Kbuild"), KBUILD)?;
        fs::write(&source, SOURCE)?;
        // Without types of its own, which would want one more program.
        let mut make = Command::new("make");
        make.arg("-s").arg("-C").arg(&headers).arg(format!("M={}", folder.display()));
        tool::run(make.args(["CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]))?;
    }
    fs::read(&module).with_context(|| format!("reading {}", module.display()))
}
