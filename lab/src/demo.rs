//! `watertight-lab demo`: the product with full enforcement in a guest, playing a story of two minutes.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::kernel::Series;
use crate::lab::Lab;
use crate::machine::{Clock, Terms};
use crate::programs::ProductArgs;

/// What the guest's shell plays.
const STORY: &str = include_str!("demo.sh");
/// The story takes two minutes; a machine with other work may need more.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Boots the kernel and plays the story.
///
/// # Errors
/// The guest could not be built or went away.
pub fn run(kernel: Series, product: &ProductArgs, accelerator: String) -> Result<ExitCode> {
    let terms =
        Terms { clock: Clock::Real, accelerator, time_max: TIME_MAX, kernel_args: String::new(), hardware: Vec::new() };
    Lab::prepare(product, terms)?.run_command(kernel, STORY)
}
