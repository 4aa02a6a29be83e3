//! What a check-in says: the parts of the state that changed since the server last knew it, with digests by which both sides notice
//! that they speak of the same; and a sequence that grows over restarts.

use watertight_fleet_wire::checkin::State;
use watertight_fleet_wire::{CheckIn, CheckInAnswer};

use crate::clock::{digest, now_ms, random_id};
use crate::folder::{Folder, FolderError};
use crate::machine::boot_id;

const SEQUENCE: &str = "sequence.json";
/// Numbers that are set aside at once: a check-in costs no write to disk, a restart skips at most this many.
const SEQUENCES_AT_ONCE: u64 = 1_000;

/// What the server was told.
#[derive(Debug)]
pub struct Reporter {
    state: Folder,
    instance: String,
    boot: String,
    sequence: u64,
    sequence_end: u64,
    /// The state that the server has acknowledged.
    known: Option<State>,
}

impl Reporter {
    /// At the start of the agent.
    ///
    /// # Errors
    /// The sequence is damaged.
    pub fn new(state: Folder) -> Result<Self, FolderError> {
        let sequence = state.read_json(SEQUENCE)?.unwrap_or(0);
        Ok(Self { state, instance: random_id(), boot: boot_id(), sequence, sequence_end: sequence, known: None })
    }

    /// The next check-in.
    ///
    /// # Errors
    /// Its number can't be set aside.
    pub fn next(&mut self, now: &State, generation: u64) -> Result<CheckIn, FolderError> {
        if self.sequence >= self.sequence_end {
            let end = self.sequence.saturating_add(SEQUENCES_AT_ONCE);
            self.state.write_json(SEQUENCE, &end)?;
            self.sequence_end = end;
        }
        self.sequence = self.sequence.saturating_add(1);
        let (base_hash, changed) = match &self.known {
            None => (None, Some(now.clone())),
            Some(known) if known == now => (None, None),
            Some(known) => (Some(hash(known)), Some(difference(known, now))),
        };
        Ok(CheckIn {
            sequence: self.sequence,
            instance: self.instance.clone(),
            boot: self.boot.clone(),
            clock_ms: now_ms(),
            generation,
            state_hash: hash(now),
            base_hash,
            changed,
        })
    }

    /// The server has answered to a check-in that told this state.
    pub fn told(&mut self, now: State, answer: &CheckInAnswer) {
        self.known = (!answer.need_full_state).then_some(now);
    }
}

fn hash(state: &State) -> String {
    // Plain structures of texts and numbers always have a JSON form.
    digest(&serde_json::to_vec(state).unwrap_or_default())
}

/// The parts that are new.
fn difference(old: &State, new: &State) -> State {
    fn part<T: Clone + PartialEq>(old: &Option<T>, new: &Option<T>) -> Option<T> {
        if old == new {
            None
        } else {
            new.clone()
        }
    }
    State {
        host: part(&old.host, &new.host),
        content: part(&old.content, &new.content),
        protection: part(&old.protection, &new.protection),
    }
}

#[cfg(test)]
mod tests {
    use watertight_fleet_wire::checkin::{ContentPart, HostPart};

    use super::*;

    fn state(version: u64) -> State {
        let content = ContentPart { version, ..ContentPart::default() };
        State { host: Some(HostPart::default()), content: Some(content), protection: None }
    }

    #[test]
    fn only_what_changed_is_sent_and_all_of_it_when_the_server_asks() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut reporter = Reporter::new(Folder::make(dir.path()).expect("made")).expect("a start");
        let first = reporter.next(&state(1), 0).expect("a check-in");
        assert_eq!((first.base_hash, first.changed), (None, Some(state(1))), "the whole");
        reporter.told(state(1), &CheckInAnswer::default());

        let steady = reporter.next(&state(1), 0).expect("a check-in");
        assert_eq!((steady.changed, &steady.state_hash), (None, &first.state_hash));

        let changed = reporter.next(&state(2), 0).expect("a check-in");
        assert_eq!(changed.base_hash.as_ref(), Some(&first.state_hash));
        let sent = changed.changed.expect("parts");
        assert_eq!((sent.host, sent.content), (None, state(2).content));

        reporter.told(state(2), &CheckInAnswer { need_full_state: true, ..CheckInAnswer::default() });
        assert_eq!(reporter.next(&state(2), 0).expect("a check-in").changed, Some(state(2)));
    }

    #[test]
    fn the_sequence_grows_over_restarts_without_a_write_for_each() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(dir.path()).expect("made");
        let mut last = 0;
        for _ in 0..3 {
            let mut reporter = Reporter::new(folder.clone()).expect("a start");
            for _ in 0..2_500 {
                let sequence = reporter.next(&state(1), 0).expect("a check-in").sequence;
                assert!(sequence > last);
                last = sequence;
            }
        }
        assert!(last <= 3 * 3_000, "{last}");
    }
}
