//! The tests by name, each with the claim that it proves.

mod account;
mod actions;
mod boot;
mod guard;
mod harness;
mod hooks;
mod identity;
mod product;
mod routes;
mod tamper;

use crate::report::Report;
use crate::world;
use anyhow::{bail, Result};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use watertight_lab_guest::Line;

/// Starting and stopping the product may each take a minute in emulation; a test that needs more hangs.
const TEST_TIME_MAX: Duration = Duration::from_secs(150);

/// One claim and the code that tries to break it.
pub struct Test {
    /// Dotted, as the filter and the report have it.
    pub name: &'static str,
    /// What is true if it passes.
    pub claim: &'static str,
    /// The trial.
    pub run: fn() -> Result<()>,
}

/// Groups in the order in which they run: what later groups rely on comes first.
const GROUPS: [&[Test]; 10] = [
    boot::TESTS,
    actions::TESTS,
    routes::TESTS,
    harness::TESTS,
    product::TESTS,
    hooks::TESTS,
    identity::TESTS,
    account::TESTS,
    guard::TESTS,
    tamper::TESTS,
];

/// Why a test could not be tried; neither passed nor failed.
#[derive(Debug)]
struct Skipped(&'static str);

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Skipped {}

/// Ends a test as not tried.
pub fn skip(reason: &'static str) -> Result<()> {
    Err(Skipped(reason).into())
}

/// Runs one test on a thread of its own, so that a panic is its failure and a hang costs only its own verdict.
fn try_out(run: fn() -> Result<()>) -> Result<()> {
    let (sender, verdict) = mpsc::channel();
    thread::spawn(move || sender.send(run()));
    match verdict.recv_timeout(TEST_TIME_MAX) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Disconnected) => bail!("panicked, see the console"),
        Err(RecvTimeoutError::Timeout) => bail!("no end within {} s", TEST_TIME_MAX.as_secs()),
    }
}

/// Runs what the filter leaves and says each verdict.
pub fn run_all(report: &Report, filter: &str) {
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for test in GROUPS.into_iter().flatten().filter(|test| test.name.contains(filter)) {
        let name = test.name.to_owned();
        report.say(&Line::Start(name.clone()));
        eprintln!("== {name}");
        let troubles_before = world::kernel_troubles();
        let mut verdict = match try_out(test.run) {
            Ok(()) => Line::Passed(name),
            Err(error) if error.is::<Skipped>() => Line::Skipped(name, error.to_string()),
            Err(error) => Line::Failed(name, format!("{error:#} (claim: {})", test.claim)),
        };
        if world::kernel_troubles() != troubles_before {
            let reason = format!("the kernel warned, crashed or hung: see the console (claim: {})", test.claim);
            verdict = Line::Failed(test.name.to_owned(), reason);
        }
        match verdict {
            Line::Passed(_) => passed = passed.saturating_add(1),
            Line::Failed(..) => failed = failed.saturating_add(1),
            _ => {}
        }
        report.say(&verdict);
        world::reap_orphans();
    }
    report.say(&Line::Done(passed, failed));
}
