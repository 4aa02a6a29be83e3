//! What is in the guest's root: our init, the product, a few programs of this machine with their libraries, and the
//! kernel modules that tests need. The smallest world in which real programs run.

use crate::archive::Archive;
use crate::kernel::Kernel;
use crate::programs::Programs;
use crate::tool;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use watertight_lab_guest::{Job, JOB_PATH};

/// Programs of this machine that every guest has. Debian's shell is dash: small, with no library but libc.
const MACHINE_PROGRAMS: [&str; 20] = [
    "/bin/true",
    "/bin/sh",
    "/bin/cat",
    "/bin/ls",
    "/bin/cp",
    "/bin/mv",
    "/bin/rm",
    "/bin/mkdir",
    "/bin/mount",
    "/bin/umount",
    "/bin/dmesg",
    "/bin/grep",
    "/bin/uname",
    "/usr/bin/sleep",
    "/usr/bin/id",
    "/usr/bin/head",
    "/usr/bin/tail",
    "/usr/bin/wc",
    "/usr/bin/timeout",
    "/usr/bin/sha256sum",
];

/// Modules in the order in which they can be loaded. A name that a kernel lacks is built in there.
const MODULES: [&str; 9] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
    "overlay",
    "loop",
    "dummy",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n";
/// Groups that every guest has.
pub const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// The guest's root, the same for every boot of one kernel.
pub fn base(kernel: &Kernel, programs: &Programs) -> Result<Archive> {
    let mut archive = Archive::default();
    for folder in ["/dev", "/proc", "/sys", "/run", "/mnt", "/etc", "/var/lib", "/var/tmp"] {
        archive.directory(folder, 0o755);
    }
    archive.directory("/tmp", 0o1777);
    archive.directory("/root", 0o700);
    // The kernel opens the console before init can mount anything; Rust's start-up wants null if that fails.
    archive.device("/dev/console", 0o600, 5, 1);
    archive.device("/dev/null", 0o666, 1, 3);
    archive.file("/etc/passwd", 0o644, PASSWD.into());
    archive.file("/etc/group", 0o644, GROUP.into());
    archive.file("/init", 0o755, read(&programs.init)?);
    archive.symlink("/bin/wt-act", "/init");
    archive.file("/bin/wt-nothing", 0o755, read(&programs.nothing)?);

    for program in MACHINE_PROGRAMS {
        add_program(&mut archive, program, Path::new(program), None)?;
    }
    for (name, file) in &programs.product {
        add_program(&mut archive, &format!("/usr/bin/{name}"), file, None)?;
    }
    add_modules(&mut archive, kernel)?;
    Ok(archive)
}

/// What only one boot has.
pub fn job(job: &Job) -> Result<Archive> {
    let mut archive = Archive::default();
    archive.file(JOB_PATH, 0o644, serde_json::to_vec(job)?);
    Ok(archive)
}

/// A program and its libraries; `root` is the folder of unpacked packages that it came from, if it did.
pub fn add_program(archive: &mut Archive, path: &str, file: &Path, root: Option<&Path>) -> Result<()> {
    archive.file(path, 0o755, read(file)?);
    for library in libraries(file, root)? {
        let place = match root.and_then(|root| library.strip_prefix(root).ok()) {
            Some(inside) => Path::new("/").join(inside),
            None => library.clone(),
        };
        let place = place.to_string_lossy();
        if !archive.contains(&place) {
            archive.file(&place, 0o755, read(&library)?);
        }
    }
    Ok(())
}

/// The shared libraries and the interpreter that `ldd` names; none for a static program.
fn libraries(file: &Path, root: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    if let Some(root) = root {
        let folders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
        ldd.env("LD_LIBRARY_PATH", std::env::join_paths(folders).context("naming the libraries' folders")?);
    }
    let output = ldd.arg(file).output().context("starting ldd")?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = listing.lines().filter_map(|line| {
        let place = line.split_once("=>").map_or(line, |(_, place)| place);
        place.split_whitespace().next().filter(|word| word.starts_with('/'))
    });
    Ok(paths.map(PathBuf::from).collect())
}

fn add_modules(archive: &mut Archive, kernel: &Kernel) -> Result<()> {
    let found = module_files(&kernel.modules)?;
    let mut order = String::new();
    for name in MODULES {
        let Some(file) = found.get(name) else { continue };
        archive.file(&format!("/lab/modules/{name}.ko"), 0o644, unpacked(file)?);
        order.push_str(name);
        order.push('\n');
    }
    archive.file("/lab/modules/order", 0o644, order.into());
    Ok(())
}

/// A module of the kernel's package.
pub fn module(kernel: &Kernel, name: &str) -> Result<Vec<u8>> {
    let found = module_files(&kernel.modules)?;
    unpacked(found.get(name).with_context(|| format!("{} has no module {name}", kernel.package))?)
}

/// A module's file, which may be compressed.
fn unpacked(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "xz") {
        tool::bytes(Command::new("xz").arg("-dc").arg(file))
    } else {
        read(file)
    }
}

/// Module name (with `_`) to file, for all of a kernel's modules.
fn module_files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if let Some((name, _)) = path.file_name().and_then(|name| name.to_str()?.split_once(".ko")) {
                found.insert(name.replace('-', "_"), path.clone());
            }
        }
    }
    Ok(found)
}

/// A file of this machine.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}
