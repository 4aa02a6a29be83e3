//! Several tests about one story: it happens when the first of them asks, and the others look at what was seen.

use anyhow::{anyhow, Result};
use std::sync::OnceLock;

/// What was seen, or why nothing was.
pub struct Story<T>(OnceLock<Result<T, String>>);

impl<T> Story<T> {
    /// One that has not happened yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// What was seen. The first call makes it happen; after a failure each gets that failure.
    pub fn told(&'static self, happen: impl FnOnce() -> Result<T>) -> Result<&'static T> {
        let seen = self.0.get_or_init(|| happen().map_err(|error| format!("{error:#}")));
        seen.as_ref().map_err(|error| anyhow!("{error}"))
    }
}
