//! The tests by name, each with the claim that it proves.

mod actions;
mod boot;
mod harness;
mod product;

use crate::report::Report;
use crate::world;
use anyhow::Result;
use std::panic;
use watertight_lab_guest::Line;

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
const GROUPS: [&[Test]; 4] = [boot::TESTS, actions::TESTS, harness::TESTS, product::TESTS];

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

/// Runs what the filter leaves and says each verdict.
pub fn run_all(report: &Report, filter: &str) {
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for test in GROUPS.into_iter().flatten().filter(|test| test.name.contains(filter)) {
        let name = test.name.to_owned();
        report.say(&Line::Start(name.clone()));
        eprintln!("== {name}");
        let troubles_before = world::kernel_troubles();
        let mut verdict = match panic::catch_unwind(test.run) {
            Ok(Ok(())) => Line::Passed(name),
            Ok(Err(error)) if error.is::<Skipped>() => Line::Skipped(name, error.to_string()),
            Ok(Err(error)) => Line::Failed(name, format!("{error:#} (claim: {})", test.claim)),
            Err(_) => Line::Failed(name, format!("panicked, see the console (claim: {})", test.claim)),
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
