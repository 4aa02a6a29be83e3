//! A clock of the server's own that jumps: a library before the C library's, and a page that says by how much.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::place::output;

const SOURCE: &str = include_str!("clock.c");

/// What the server is started with.
#[derive(Debug)]
pub(crate) struct Clock {
    library: PathBuf,
    page: PathBuf,
}

impl Clock {
    /// Builds the library with the compiler that links Rust.
    ///
    /// # Errors
    /// There is no compiler, or the folder can't be written.
    pub(crate) fn build(folder: &Path) -> Result<Self> {
        let (source, library, page) = (folder.join("clock.c"), folder.join("clock.so"), folder.join("clock.page"));
        fs::write(&source, SOURCE)?;
        fs::write(&page, 0_i64.to_ne_bytes())?;
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        output(compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source))
            .context("building a clock")?;
        Ok(Self { library, page })
    }

    /// A program that is started so has this clock.
    pub(crate) fn give(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("WATERTIGHT_OUTAGE_CLOCK", &self.page);
    }

    /// From here on it is wrong by so many seconds.
    ///
    /// # Errors
    /// The page can't be written.
    pub(crate) fn be_ahead(&self, seconds: i64) -> Result<()> {
        let page = File::options().write(true).open(&self.page)?;
        Ok(page.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}
