//! Writes what the fuzz targets of crash files begin with, a folder for each target: `fuzz_seeds FOLDER`. They are the files of the tests.

#[path = "../../tests/process/writer.rs"]
#[allow(dead_code)] // the tests use the rest of it
mod process;
#[path = "../bucket_quality/variants.rs"]
mod variants;
#[allow(dead_code)]
mod vmcore;
#[allow(dead_code)]
mod windows;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use process::System;
use vmcore::writer::Compression;
use windows::{scene, writer};

/// Logs of one crash each.
const LOGS: usize = 64;

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("give a folder"));
    };
    for (number, (_, text)) in variants::all().step_by(7).take(LOGS).enumerate() {
        keep(&folder, "crash_text", &format!("log-{number}"), text.as_bytes())?;
    }
    let machine = scene::machine();
    keep(&folder, "windows_dump", "small", &writer::small(&machine, &scene::pieces()))?;
    keep(&folder, "windows_dump", "bitmap", &writer::bitmap(&machine, 5))?;
    keep(&folder, "windows_dump", "ranges", &writer::ranges(&machine, 8))?;
    for (name, system) in [("linux", System::Linux), ("windows", System::Windows)] {
        keep(&folder, "minidump", name, &process::minidump(system, &[]))?;
    }
    keep(&folder, "elf_core", "core", &process::core())?;
    for levels in [4, 5] {
        let kernel = vmcore::kernel::kernel(levels);
        keep(&folder, "linux_core", &format!("elf-{levels}"), &vmcore::writer::elf(&kernel))?;
        for (name, compression) in [
            ("plain", Compression::None),
            ("zlib", Compression::Zlib),
            ("snappy", Compression::Snappy),
            ("zstd", Compression::Zstd),
        ] {
            let core = vmcore::writer::kdump(&kernel, compression);
            keep(&folder, "linux_core", &format!("kdump-{levels}-{name}"), &core)?;
            keep(&folder, "linux_core", &format!("flattened-{levels}-{name}"), &vmcore::writer::flattened(&core))?;
        }
    }
    Ok(())
}

fn keep(folder: &Path, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}
