//! Tries mutants of packs as a host does: `cargo run --release --example pack_mutants -- [HOW_MANY] [SEED]`.
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
use std::process::ExitCode;
use std::time::Instant;

use mutants::{other_pack, outcome, Mutants, Outcome, SEED};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Ok(how_many), Ok(seed)) = (arguments.next().unwrap_or(Ok(1_000_000)), arguments.next().unwrap_or(Ok(SEED)))
    else {
        let _ = writeln!(std::io::stderr(), "usage: pack_mutants [HOW_MANY] [SEED], both whole numbers");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let mut mutants = Mutants::of(vec![support::pack(), other_pack()], seed.max(1));
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
    let _ = writeln!(
        std::io::stdout(),
        "{how_many} mutants in {:.0} s: {refused} refused, {failed} fail their canaries, {accepted} accepted; accepted and then \
         failed {escaped}, panics {panicked}",
        began.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(escaped + panicked > 0))
}
