//! What the tests on a real kernel share: a folder of their own, waiting with a limit, and saying why a test was skipped.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::panic, reason = "a test that can not go on says why")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use watertight_sensor_fallback::{Counts, Error, Observed};

/// Longest wait for an event. Far above what is ever needed, so that a busy machine fails no test.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A folder that is removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("watertight-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be written");
        Self(path.canonicalize().expect("it was just made"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The source, or `None` with a line that says why, where this machine doesn't permit it.
pub fn permitted<T>(opened: Result<T, Error>) -> Option<T> {
    match opened {
        Ok(source) => Some(source),
        Err(
            error @ (Error::NotPermitted { .. }
            | Error::NotInKernel { .. }
            | Error::NoAnswer { .. }
            | Error::OtherPidNamespace { .. }),
        ) => {
            println!("skipped: needs root: {error}");
            None
        }
        Err(Error::NothingToWatch { refused, .. }) => {
            println!("skipped: the temporary folder's filesystem can't be marked: {}", refused[0]);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Drains until `is_enough` or the limit, checking that every record is accounted for.
pub fn collect(
    mut drain: impl FnMut(&mut dyn FnMut(Observed)) -> Result<Counts, Error>,
    mut is_enough: impl FnMut(&[Observed]) -> bool,
) -> Vec<Observed> {
    let mut seen = Vec::new();
    let deadline = Instant::now() + WAIT_MAX;
    while Instant::now() < deadline {
        let counts = drain(&mut |observed| seen.push(observed)).expect("draining works");
        assert_eq!(counts.records, counts.delivered + counts.filtered + counts.malformed);
        assert_eq!(counts.malformed, 0, "the kernel's own records are well formed");
        if is_enough(&seen) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    seen
}
