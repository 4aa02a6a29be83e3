//! What became of content on this host, for the gate: it came into force, lived through its trial, was fallen back from, or refused.
//! Noticed by looking, so that it does not matter who changed what, and remembered, so that a restart tells nothing twice.
//!
//! Content with which the machine goes down leaves nobody to tell of a crash. What the host has then is its count of tries that began:
//! once they are used up, that is told as a failure of the engine with that content, whether or not the fleet ever heard that it was
//! here. A try alone is not: a host without the content has no trial, and nobody would count its power cuts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use watertight_fleet_wire::checkin::ContentPart;
use watertight_fleet_wire::limits::TEXT_BYTES_MAX;
use watertight_fleet_wire::records::{Body, Health, Outcome, Stream};

use crate::clock::now_ms;
use crate::folder::{Folder, FolderError};
use crate::intake::ENGINE_CRASH;
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
    /// Told of as content whose trials had no end, as long as it is in quarantine.
    #[serde(default)]
    unended: BTreeSet<String>,
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

    /// This content runs now, and no trial of that came to an end.
    pub(super) fn saw(
        &mut self,
        content: &ContentPart,
        unended: &[(String, String)],
        now_ms: u64,
        quarantined: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<(), FolderError> {
        let mut next = self.seen.clone();
        for (id, why) in unended {
            if next.unended.insert(id.clone()) {
                let is_seen = *id == next.content;
                let watched_ms = if is_seen { now_ms.saturating_sub(next.since_ms) } else { 0 };
                self.tell(id, Outcome::FellBack, watched_ms, ENGINE_CRASH, why, now_ms);
                next.is_on_trial &= !is_seen; // how its trial ended is told
            }
        }
        // Where the run has not said yet, or is not there, nothing more is known.
        if !content.id.is_empty() {
            next.unended.retain(|told| unended.iter().any(|(id, _)| id == told));
            self.went_over(content, &mut next, now_ms, quarantined);
        }
        self.health.flush();
        if next != self.seen {
            self.state.write_json(WATCHED, &next)?;
            self.seen = next;
        }
        Ok(())
    }

    /// Tells what this content in force says of the one before and of itself.
    fn went_over(
        &mut self,
        content: &ContentPart,
        next: &mut Seen,
        now_ms: u64,
        quarantined: &mut dyn FnMut(&str) -> Option<String>,
    ) {
        let is_on_trial = content.slot == CANDIDATE;
        let watched_ms = now_ms.saturating_sub(next.since_ms);
        if content.id != next.content {
            if let Some(why) = quarantined(&next.content).filter(|_| next.is_on_trial) {
                self.tell(&next.content, Outcome::FellBack, watched_ms, "", &why, now_ms);
            }
            if is_on_trial {
                self.tell(&content.id, Outcome::Activated, 0, "", "", now_ms);
            }
            next.content.clone_from(&content.id);
            (next.since_ms, next.is_on_trial) = (now_ms, is_on_trial);
        } else if next.is_on_trial && content.slot == LAST_KNOWN_GOOD {
            self.tell(&content.id, Outcome::Healthy, watched_ms, "", "", now_ms);
            next.is_on_trial = false;
        }
    }

    /// These were not taken.
    pub(super) fn refused(&mut self, refused: &[(String, String)]) -> Result<(), FolderError> {
        for (content, why) in refused {
            self.tell(content, Outcome::RefusedIt, 0, "", why, now_ms());
        }
        self.health.flush();
        Ok(())
    }

    fn tell(&mut self, content: &str, outcome: Outcome, watched_ms: u64, metric: &str, why: &str, now_ms: u64) {
        let why = why.chars().take(TEXT_BYTES_MAX / 4).collect(); // a character has four bytes at most
        let (content, outcome, metric) = (content.to_owned(), outcome as i32, metric.to_owned());
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
        told_whole(state).into_iter().map(|health| (health.content, health.outcome)).collect()
    }

    fn told_whole(state: &Folder) -> Vec<Health> {
        let (spool, mut all) = (state.folder("spool").expect("there"), Vec::new());
        while let Some((name, batch)) = oldest(&spool, Stream::Health, &boot_id()).expect("readable") {
            for record in batch.records {
                if let Some(Body::Health(health)) = record.body {
                    all.push(health);
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
            watch.saw(&part(id, slot), &[], now_ms, &mut quarantined).expect("kept");
        }
        let expected = [
            ("one", Outcome::Activated),
            ("one", Outcome::Healthy),
            ("two", Outcome::Activated),
            ("two", Outcome::FellBack),
        ];
        assert_eq!(told(&state), expected.map(|(id, outcome)| (id.to_owned(), outcome as i32)));
    }

    #[test]
    fn content_that_takes_the_machine_down_is_told_once_as_a_failure_of_the_engine_also_where_nobody_saw_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = Folder::make(dir.path()).expect("made");
        let (seen, unseen) =
            (("one".to_owned(), "it went down".to_owned()), ("two".to_owned(), "so did it".to_owned()));
        let both = [seen.clone(), unseen];
        for (id, slot, now_ms, unended) in [
            ("f", "factory", 1, &[][..]),
            ("one", CANDIDATE, 2, &[]),
            ("", "none", 3, &[]),
            ("", "none", 9, &both[..1]), // the run has begun and says nothing yet
            ("f", "factory", 10, &both[..1]),
            ("f", "factory", 11, &both),
            ("", "none", 12, &[]), // the updater gives no answer
            ("f", "factory", 13, &both),
        ] {
            let mut watch = Watch::read(&state).expect("readable");
            let mut quarantined = |id: &str| (id == "one").then(|| seen.1.clone());
            watch.saw(&part(id, slot), unended, now_ms, &mut quarantined).expect("kept");
        }
        let all: Vec<_> = told_whole(&state)
            .into_iter()
            .map(|Health { content, outcome, metric, watched_ms, .. }| (content, outcome, metric, watched_ms))
            .collect();
        let row = |id: &str, outcome, metric: &str, watched_ms| {
            (id.to_owned(), outcome as i32, metric.to_owned(), watched_ms)
        };
        let expected = [
            row("one", Outcome::Activated, "", 0),
            row("one", Outcome::FellBack, ENGINE_CRASH, 7),
            row("two", Outcome::FellBack, ENGINE_CRASH, 0),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn what_the_version_before_kept_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = Folder::make(dir.path()).expect("made");
        state.write(WATCHED, br#"{"content":"one","since_ms":2,"is_on_trial":true}"#).expect("kept");
        let watch = Watch::read(&state).expect("readable");
        assert!(watch.seen.is_on_trial && watch.seen.unended.is_empty(), "{:?}", watch.seen);
    }
}
