//! Words for people on standard error. Whoever reads them may be gone and their disk may be full: that must end nothing, and
//! `eprintln!` panics then, with programs attached and pins left behind. So lints keep it out of what we ship.

use std::fmt::Arguments;
use std::io::{self, Stderr};
use std::sync::OnceLock;
use std::time::Duration;

use crate::outlet::Outlet;

/// Writes a line to standard error, or loses it.
#[macro_export]
macro_rules! say {
    ($($words:tt)+) => { $crate::say::line(format_args!($($words)+)) };
}

/// How long a line waits for whoever reads it; then it is lost.
const READER_MAX: Duration = Duration::from_secs(1);

static STDERR: OnceLock<Outlet<Stderr>> = OnceLock::new();

/// Gets ready to speak, while the privileges to open standard error anew are still there.
pub fn prepare() {
    STDERR.get_or_init(|| Outlet::new(io::stderr()));
}

/// Writes a line to standard error at once, so that the words of two processes don't mix; where it can't be written, or nobody
/// reads, it is lost.
pub fn line(words: Arguments<'_>) {
    let out = STDERR.get_or_init(|| Outlet::new(io::stderr()));
    let line = format!("{words}\n");
    let mut rest = line.as_bytes();
    while let (false, Ok(Some(length))) = (rest.is_empty(), out.write_within(rest, READER_MAX)) {
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// What a command says when standard output does not take `what`.
pub fn not_written(what: &'static str) -> impl FnOnce(io::Error) -> anyhow::Error {
    move |error| {
        anyhow::anyhow!("writing {what} to standard output: {error}: send it where there is room and where it is read")
    }
}
