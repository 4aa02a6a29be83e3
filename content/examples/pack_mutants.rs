//! Tries mutants of packs as a host does: `cargo run --release --example pack_mutants -- [HOW_MANY] [SEED]
//! [--out FILE]`.
//!
//! Says how many were refused, failed their own canaries and were accepted; ends with an error if one was accepted and then
//! failed, or panicked. The tests try the first ten thousand.

#![allow(clippy::panic)] // the tests' own code is used here

#[path = "../tests/support/mutants.rs"]
mod mutants;
#[allow(dead_code)] // what only the tests need
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use mutants::{other_pack, outcome, Mutants, Outcome, SEED};
use serde_json::json;

/// What is asked for.
struct Asked {
    how_many: u64,
    seed: u64,
    out: Option<PathBuf>,
}

fn asked() -> Option<Asked> {
    let mut asked = Asked { how_many: 1_000_000, seed: SEED, out: None };
    let mut numbers = 0;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), numbers) {
            ("--out", _) => asked.out = Some(arguments.next()?.into()),
            (number, 0) => asked.how_many = number.parse().ok()?,
            (number, 1) => asked.seed = number.parse::<u64>().ok()?.max(1),
            _ => return None,
        }
        numbers += usize::from(argument != "--out");
    }
    Some(asked)
}

fn main() -> ExitCode {
    let Some(Asked { how_many, seed, out }) = asked() else {
        let _ = writeln!(
            std::io::stderr(),
            "usage: pack_mutants [HOW_MANY] [SEED] [--out FILE], the first two whole numbers"
        );
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let mut mutants = Mutants::of(vec![support::pack(), other_pack()], seed);
    let (mut refused, mut failed, mut accepted, mut escaped, mut panicked) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    for number in 0..how_many {
        let mutant = mutants.next();
        match catch_unwind(|| outcome(&mutant)) {
            Ok(Outcome::Refused) => refused += 1,
            Ok(Outcome::FailsItsTest) => failed += 1,
            Ok(Outcome::Accepted) => accepted += 1,
            Ok(Outcome::AcceptedThenFails) => {
                escaped += 1;
                let _ = writeln!(std::io::stderr(), "mutant {number} was accepted and then fails");
            }
            Err(_) => {
                panicked += 1;
                let _ = writeln!(std::io::stderr(), "mutant {number} panics");
            }
        }
    }
    let seconds = began.elapsed().as_secs();
    let _ = writeln!(
        std::io::stdout(),
        "{how_many} mutants in {seconds} s: {refused} refused, {failed} fail their canaries, {accepted} accepted; accepted and then \
         failed {escaped}, panics {panicked}"
    );
    let found = json!({
        "mutants": how_many, "seed": seed, "refused": refused, "fail_canaries": failed, "accepted": accepted,
        "accepted_then_failed": escaped, "panics": panicked, "seconds": seconds,
    });
    if let Some(Err(error)) = out.map(|out| std::fs::write(out, found.to_string())) {
        let _ = writeln!(std::io::stderr(), "what was found can't be written: {error}");
        return ExitCode::from(2);
    }
    ExitCode::from(u8::from(escaped + panicked > 0))
}
