//! Debian's makedumpfile as the judge of our reader: it takes the log out of a core by itself, and writes a core in the forms in which
//! administrators keep them. Unpacked into the cache and never installed.
//!
//! Debian 12's compresses by zlib and LZO; snappy and zstd are left out of it.

use crate::bench::packages;
use crate::tool;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PACKAGE: &str = "makedumpfile";

/// A form in which a core can be written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Behind the file's name.
    pub suffix: &'static str,
    arguments: &'static [&'static str],
    /// To standard output, as a core goes over ssh.
    is_flattened: bool,
}

/// Every form that we read. `-d 31` leaves out pages of zeros, of files, of programs, and free ones: what distributions ask for.
pub const FORMS: [Form; 4] = [
    Form { suffix: "plain", arguments: &["-d", "0"], is_flattened: false },
    Form { suffix: "zlib", arguments: &["-c", "-d", "31"], is_flattened: false },
    Form { suffix: "flattened", arguments: &["-F", "-d", "31"], is_flattened: true },
    Form { suffix: "flattened-zlib", arguments: &["-F", "-c", "-d", "31"], is_flattened: true },
];
/// The form that is refused by name.
pub const LZO: Form = Form { suffix: "lzo", arguments: &["-l", "-d", "31"], is_flattened: false };

/// The program with the libraries that its packages brought.
pub struct Makedumpfile {
    program: PathBuf,
    libraries: OsString,
}

impl Makedumpfile {
    /// Fetched once, then taken from the cache.
    pub fn unpacked(cache: &Path) -> Result<Self> {
        let root = packages::unpacked(&[PACKAGE], cache)?;
        let folders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
        let libraries = std::env::join_paths(folders).context("naming the libraries' folders")?;
        Ok(Self { program: root.join("usr/bin/makedumpfile"), libraries })
    }

    /// The kernel's log as makedumpfile finds it in the core.
    pub fn dmesg(&self, core: &Path) -> Result<String> {
        let log = core.with_extension("dmesg");
        // It asks before it writes over a file.
        let _ = fs::remove_file(&log);
        self.run(&["--dump-dmesg"], &[core, &log], Stdio::null())?;
        let text = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The core in another form, beside it.
    pub fn written(&self, core: &Path, form: Form) -> Result<PathBuf> {
        let file = core.with_extension(form.suffix);
        if form.is_flattened {
            let to = File::create(&file).with_context(|| format!("making {}", file.display()))?;
            self.run(form.arguments, &[core], to.into())?;
        } else {
            let _ = fs::remove_file(&file);
            self.run(form.arguments, &[core, &file], Stdio::null())?;
        }
        Ok(file)
    }

    /// What it says while it works is shown only when it fails.
    fn run(&self, arguments: &[&str], files: &[&Path], to: Stdio) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.env("LD_LIBRARY_PATH", &self.libraries).args(arguments).args(files);
        tool::into(command.stdin(Stdio::null()), to)
    }
}
