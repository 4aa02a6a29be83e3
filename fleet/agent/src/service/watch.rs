//! What became of content on this host, for the gate: it came into force, lived through its trial, was fallen back from, or refused.
//! Noticed by looking, so that it does not matter who changed what, and remembered, so that a restart tells nothing twice.

use serde::{Deserialize, Serialize};
use watertight_fleet_wire::checkin::ContentPart;
use watertight_fleet_wire::limits::TEXT_BYTES_MAX;
use watertight_fleet_wire::records::{Body, Health, Outcome, Stream};

use crate::clock::now_ms;
use crate::folder::{Folder, FolderError};
use crate::machine::boot_id;
use crate::spool::{Writer, STREAM_BYTES_MAX};

const WATCHED: &str = "watched.json";
const LAST_KNOWN_GOOD: &str = "last-known-good";
const CANDIDATE: &str = "candidate";

/// The content that was seen last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    content: String,
    since_ms: u64,
    is_on_trial: bool,
}

/// Looks.
#[derive(Debug)]
pub(super) struct Watch {
    state: Folder,
    seen: Seen,
    health: Writer,
}

impl Watch {
    pub(super) fn read(state: &Folder) -> Result<Self, FolderError> {
        let health = Writer::new(&state.folder("spool")?, Stream::Health, &boot_id(), STREAM_BYTES_MAX)?;
        Ok(Self { state: state.clone(), seen: state.read_json(WATCHED)?.unwrap_or_default(), health })
    }

    /// This content runs now.
    pub(super) fn saw(
        &mut self,
        content: &ContentPart,
        now_ms: u64,
        quarantined: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<(), FolderError> {
        if content.id.is_empty() {
            return Ok(()); // the run has not said yet, or is not there: nothing is known
        }
        let is_on_trial = content.slot == CANDIDATE;
        let watched_ms = now_ms.saturating_sub(self.seen.since_ms);
        let mut next = self.seen.clone();
        if content.id != self.seen.content {
            if let Some(why) = quarantined(&self.seen.content).filter(|_| self.seen.is_on_trial) {
                self.tell(&self.seen.content.clone(), Outcome::FellBack, watched_ms, &why, now_ms);
            }
            if is_on_trial {
                self.tell(&content.id, Outcome::Activated, 0, "", now_ms);
            }
            next = Seen { content: content.id.clone(), since_ms: now_ms, is_on_trial };
        } else if self.seen.is_on_trial && content.slot == LAST_KNOWN_GOOD {
            self.tell(&content.id, Outcome::Healthy, watched_ms, "", now_ms);
            next.is_on_trial = false;
        }
        self.health.flush();
        if next != self.seen {
            self.state.write_json(WATCHED, &next)?;
            self.seen = next;
        }
        Ok(())
    }

    /// These were not taken.
    pub(super) fn refused(&mut self, refused: &[(String, String)]) -> Result<(), FolderError> {
        for (content, why) in refused {
            self.tell(content, Outcome::RefusedIt, 0, why, now_ms());
        }
        self.health.flush();
        Ok(())
    }

    fn tell(&mut self, content: &str, outcome: Outcome, watched_ms: u64, why: &str, now_ms: u64) {
        let why = why.chars().take(TEXT_BYTES_MAX / 4).collect(); // a character has four bytes at most
        let (content, outcome, metric) = (content.to_owned(), outcome as i32, String::new());
        self.health.add(now_ms, Body::Health(Health { content, outcome, watched_ms, metric, why }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{done, oldest};

    fn part(id: &str, slot: &str) -> ContentPart {
        ContentPart { id: id.into(), slot: slot.into(), ..ContentPart::default() }
    }

    fn told(state: &Folder) -> Vec<(String, i32)> {
        let (spool, mut all) = (state.folder("spool").expect("there"), Vec::new());
        while let Some((name, batch)) = oldest(&spool, Stream::Health, &boot_id()).expect("readable") {
            for record in batch.records {
                if let Some(Body::Health(health)) = record.body {
                    all.push((health.content, health.outcome));
                }
            }
            done(&spool, Stream::Health, &name).expect("taken away");
        }
        all
    }

    #[test]
    fn a_trial_is_told_from_its_beginning_to_its_end_and_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = Folder::make(dir.path()).expect("made");
        for (id, slot, now_ms) in [
            ("f", "factory", 1),
            ("one", CANDIDATE, 2),
            ("one", CANDIDATE, 3),
            ("one", LAST_KNOWN_GOOD, 4),
            ("one", LAST_KNOWN_GOOD, 5),
            ("two", CANDIDATE, 6),
            ("", "none", 7),
            ("one", LAST_KNOWN_GOOD, 8),
        ] {
            // Each time anew, as after a restart.
            let mut watch = Watch::read(&state).expect("readable");
            let mut quarantined = |id: &str| (id == "two").then(|| "it crashed".to_owned());
            watch.saw(&part(id, slot), now_ms, &mut quarantined).expect("kept");
        }
        let expected = [
            ("one", Outcome::Activated),
            ("one", Outcome::Healthy),
            ("two", Outcome::Activated),
            ("two", Outcome::FellBack),
        ];
        assert_eq!(told(&state), expected.map(|(id, outcome)| (id.to_owned(), outcome as i32)));
    }
}
