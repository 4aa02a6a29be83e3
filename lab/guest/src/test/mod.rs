//! The tests by name, each with the claim that it proves.

mod account;
mod actions;
mod boot;
mod bypass;
mod content;
mod deaths;
mod fields;
mod guard;
mod hardening;
mod harness;
mod hooks;
mod identity;
mod ledger;
mod mute;
mod overflow;
mod pins;
mod pressure;
mod product;
mod routes;
mod storms;
mod tamper;
mod upgrade;
mod whole;

use crate::report::Report;
use crate::shared;
use crate::world;
use anyhow::{bail, Result};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use watertight_lab_guest::{Line, BOOTED, PARTS};

/// Starting and stopping the product may each take a minute in emulation; a test that needs more hangs.
const TEST_TIME_MAX: Duration = Duration::from_secs(400);
/// A storm is 10 billion instructions and more, of which emulation does 70 million a second, and half when it shares.
const STORM_TIME_MAX: Duration = Duration::from_secs(1200);
/// Names of storms, and of what overruns a ring, begin so.
const STORMS: [&str; 2] = ["storm.", "overflow."];

/// One claim and the code that tries to break it.
pub struct Test {
    /// Dotted, as the filter and the report have it.
    pub name: &'static str,
    /// What is true if it passes.
    pub claim: &'static str,
    /// The trial.
    pub run: fn() -> Result<()>,
}

/// The groups by part, in the order in which they run: what later groups rely on comes first. Between two lists the run that
/// tests share ends.
const GROUPS: [&[&[&[Test]]]; PARTS] = [&[BEFORE, SHARING, ALONE], &[LONG], &[WAITING]];
const BEFORE: &[&[Test]] = &[boot::TESTS, actions::TESTS, routes::TESTS, harness::TESTS, product::ALONE];
/// Those that share one run of the product; the last ends it.
const SHARING: &[&[Test]] = &[
    product::TESTS,
    hooks::TESTS,
    fields::TESTS,
    bypass::TESTS,
    identity::TESTS,
    mute::OWN,
    hardening::SHARED,
    whole::TESTS,
];
const ALONE: &[&[Test]] = &[
    mute::FILTERS,
    pressure::TESTS,
    upgrade::TESTS,
    account::TESTS,
    hardening::TESTS,
    pins::TESTS,
    overflow::TESTS,
    deaths::TESTS,
    content::TESTS,
];
const LONG: &[&[Test]] = &[
    storms::TESTS,
    guard::exec::TESTS,
    guard::files::TESTS,
    guard::others::TESTS,
    tamper::TESTS,
    guard::upgrade::TESTS,
];
/// What waits more than it computes: for trials, and for the kernel to let go of what was removed.
const WAITING: &[&[Test]] =
    &[guard::remains::TESTS, guard::together::TESTS, guard::packs::TESTS, guard::actions::TESTS];

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
fn try_out(test: &Test) -> Result<()> {
    let run = test.run;
    let time_max = if STORMS.iter().any(|storm| test.name.starts_with(storm)) { STORM_TIME_MAX } else { TEST_TIME_MAX };
    let (sender, verdict) = mpsc::channel();
    thread::spawn(move || sender.send(run()));
    match verdict.recv_timeout(time_max) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Disconnected) => bail!("panicked, see the console"),
        Err(RecvTimeoutError::Timeout) => bail!("no end within {} s", time_max.as_secs()),
    }
}

/// Runs what the filter leaves and says each verdict.
pub fn run_all(report: &Report, filter: &str, variant: Option<&str>, part: usize) {
    let (mut passed, mut failed) = (0_u32, 0_u32);
    let mut say = |verdict: Line| {
        match verdict {
            Line::Passed(_) => passed = passed.saturating_add(1),
            Line::Failed(..) => failed = failed.saturating_add(1),
            _ => {}
        }
        report.say(&verdict);
    };
    let is_ours = |test: &&Test| match variant {
        Some(variant) => test.name.starts_with(&format!("{BOOTED}{variant}.")),
        None => !test.name.starts_with(BOOTED),
    };
    let is_wanted = |test: &&Test| filter.split(',').any(|part| test.name.contains(part));
    for groups in GROUPS.get(part).copied().unwrap_or_default() {
        for test in groups.iter().copied().flatten().filter(is_ours).filter(is_wanted) {
            report.say(&Line::Start(test.name.to_owned()));
            eprintln!("== {}", test.name);
            say(verdict(test));
            world::reap_orphans();
        }
        // A filter may have left out the test that ends it.
        if let Err(error) = shared::end() {
            say(Line::Failed("shared_run".to_owned(), format!("{error:#}")));
        }
    }
    report.say(&Line::Done(passed, failed));
}

fn verdict(test: &Test) -> Line {
    let name = test.name.to_owned();
    let troubles_before = world::kernel_troubles();
    let tried = try_out(test);
    if world::kernel_troubles() != troubles_before {
        return Line::Failed(
            name,
            format!("the kernel warned, crashed or hung: see the console (claim: {})", test.claim),
        );
    }
    match tried {
        Ok(()) => Line::Passed(name),
        Err(error) if error.is::<Skipped>() => Line::Skipped(name, error.to_string()),
        Err(error) => Line::Failed(name, format!("{error:#} (claim: {})", test.claim)),
    }
}
