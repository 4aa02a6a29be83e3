//! A real fleet on one machine: a server, agents with process trees, state folders and TLS of their own, and content that kills the
//! engine. What stops it is the product: nothing here tells the gate, the agents or the server what to do.
//!
//! ```text
//! scenes.rs    what is done to the fleet, and what must follow     timeline.rs, picture.rs   what was seen
//! fleet.rs     server, agents and content together
//! server.rs, agents.rs, release.rs, api.rs                         the product's programs
//! clock.rs, disk.rs, proxy.rs                                      what goes wrong beside: time, disk, network
//! ```
//!
//! Content that kills needs a `watertight` with debug assertions: only such a build does what the title of a rule says
//! (`host/src/worker/fault.rs`). No canary meets it, so that it passes every check before its release, as in July 2024.

mod agents;
mod api;
mod clock;
mod disk;
mod fleet;
mod picture;
mod place;
mod proxy;
mod release;
mod scenes;
mod server;
mod timeline;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

pub use self::picture::picture;
pub use self::scenes::Scene;
pub use self::timeline::{Note, Run, Timeline};

/// What the trial is made of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// A `watertight` with debug assertions; `watertight-server` lies beside it.
    pub watertight: PathBuf,
    /// An empty folder.
    pub folder: PathBuf,
    /// What the hosts take their events from, as `watertight run -o json` writes it. Its first shell is what content fires on.
    pub recording: PathBuf,
    /// How many hosts: 10 to 99, so that the first cohort goes one at a time and the gate has somebody to compare with.
    pub hosts: usize,
    /// What is done, in this order.
    pub scenes: Vec<Scene>,
}

/// How often hosts check in.
const CHECK_IN: Duration = Duration::from_secs(1);

/// Begins the fleet, plays the scenes, and ends it.
///
/// # Errors
/// Something did not follow that must, in words; or this machine can't hold the fleet.
pub fn play(setting: &Setting, timeline: &Timeline) -> Result<()> {
    fleet::play(setting, timeline)
}
