//! What is to be reported of a run, as JSON Lines into a pipe beside its output: alerts, and what the sensor says of itself. So a run that
//! shows its events to a person, or in another form, is one of a fleet all the same.
//!
//! Its reader is waited for as that of standard output is. A line that a detector had begun when it was killed is ended by the next one.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use watertight_event::{Class, Kind};

use crate::outlet::Outlet;
use crate::patience::{now_ms, wait, wait_no_more};
use crate::worker::tally::Tally;

/// How often the end of the run is looked for while the reader takes nothing.
const LOOK: Duration = Duration::from_millis(50);

/// Whether events of this kind are reported; of all others their alerts are.
#[must_use]
pub fn is_reported(kind: Kind) -> bool {
    kind.class() == Class::Sensor || kind == Kind::PolicyDenied
}

/// Writes to the pipe.
pub struct Records<W = OwnedFd> {
    to: Outlet<W>,
    tally: Arc<Tally>,
    is_given_up: bool,
}

impl<W: AsFd> Records<W> {
    /// To be made while the privileges to open `to` anew are still there.
    pub fn new(to: W, tally: Arc<Tally>) -> Self {
        let mut records = Self { to: Outlet::new(to), tally, is_given_up: false };
        records.write(b"\n");
        records
    }

    /// A line with its end. Once the end of the run was asked for, a reader that takes nothing is given up; one that is gone is at once.
    pub fn write(&mut self, line: &[u8]) {
        let (mut rest, mut since_ms) = (line, now_ms());
        while !rest.is_empty() && !self.is_given_up {
            match self.to.write_within(rest, LOOK) {
                Ok(Some(length)) => (rest, since_ms) = (rest.get(length..).unwrap_or_default(), now_ms()),
                Ok(None) => self.is_given_up = wait(&self.tally, since_ms),
                Err(error) => {
                    self.is_given_up = true;
                    crate::say!("watertight: what is to be reported goes nowhere: {error}");
                }
            }
        }
        wait_no_more(&self.tally);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::patience::Asked;

    #[test]
    fn each_detector_begins_a_line_of_its_own_after_one_that_was_killed() {
        let tally = Arc::new(Tally::create().expect("memory"));
        let (mut from, to) = std::io::pipe().expect("a pipe");
        Records::new(&to, Arc::clone(&tally)).write(b"{\"ha");
        Records::new(&to, tally).write(b"{}\n");
        drop(to);
        let mut brought = String::new();
        from.read_to_string(&mut brought).expect("text");
        assert_eq!(brought, "\n{\"ha\n{}\n");
    }

    #[test]
    fn a_reader_that_takes_nothing_does_not_hold_up_the_end_of_the_run() {
        let tally = Arc::new(Tally::create().expect("memory"));
        let (_from, to) = std::io::pipe().expect("a pipe");
        let filled = Outlet::new(&to);
        while filled.write_within(&[b'x'; 4_096], Duration::ZERO).expect("a reader").is_some() {}
        // Both long ago: nobody has to wait here.
        Asked { first_ms: 1, again_ms: 1, moved_ms: 0 }.tell(&tally);
        let mut records = Records::new(&to, Arc::clone(&tally));
        records.write(b"{}\n");
        assert!(records.is_given_up && !crate::patience::is_waiting(&tally), "it goes on");
    }

    #[test]
    fn ordinary_events_are_not_reported() {
        assert!(is_reported(Kind::SensorLoss) && is_reported(Kind::PolicyDenied) && is_reported(Kind::HostCrash));
        assert!(!is_reported(Kind::ProcessExec));
    }
}
