//! Words for people on standard error. Whoever reads them may be gone and their disk may be full: that must end nothing, and
//! `eprintln!` panics then, with programs attached and pins left behind. So lints keep it out of what we ship.

use std::fmt::Arguments;
use std::io::{self, Write as _};

/// Writes a line to standard error, or loses it.
#[macro_export]
macro_rules! say {
    ($($words:tt)+) => { $crate::say::line(format_args!($($words)+)) };
}

/// Writes a line to standard error at once, so that the words of two processes don't mix; where it can't be written, it is lost.
pub fn line(words: Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{words}\n").as_bytes()); // nobody to tell
}

/// What a command says when standard output does not take `what`.
pub fn not_written(what: &'static str) -> impl FnOnce(io::Error) -> anyhow::Error {
    move |error| {
        anyhow::anyhow!("writing {what} to standard output: {error}: send it where there is room and where it is read")
    }
}
