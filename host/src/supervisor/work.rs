//! What a detector is doing with which content, for the dump of one that has crashed: the page that it shares says it in numbers, and
//! what they stand for is kept here.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::dumps::{note, Noter, Notes, CONTENT_ID, CONTENT_NAME, CONTENT_VERSION, PHASE, RULE_ID};
use super::ladder::Active;
use crate::slots::ContentId;
use crate::worker::content::Header;
use crate::worker::tally::{Phase, Tally};

/// Contents that one detector can have to do with: what is in force, what it goes over to, and what it has left.
const KEPT_MAX: usize = 3;

/// Content as the shared page names it.
struct Known {
    word: u64,
    id: ContentId,
    header: Arc<Header>,
}

/// What detectors of a run have been given.
#[derive(Clone)]
pub struct Work {
    tally: Arc<Tally>,
    known: Arc<Mutex<Vec<Known>>>,
}

impl Work {
    /// Of nothing yet.
    #[must_use]
    pub fn new(tally: Arc<Tally>) -> Self {
        Self { tally, known: Arc::default() }
    }

    /// A detector gets this content.
    pub fn give(&self, active: &Active) {
        let Some(content) = &active.content else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.word != active.word());
        if known.len() >= KEPT_MAX {
            known.remove(0);
        }
        known.push(Known { word: active.word(), id: content.id, header: Arc::clone(&content.header) });
    }

    /// Tells it when it is asked.
    #[must_use]
    pub fn noter(&self) -> Noter {
        let work = self.clone();
        Box::new(move || work.notes())
    }

    fn notes(&self) -> Notes {
        let tally = &self.tally;
        let (next, current) = (tally.preparing().load(Ordering::SeqCst), tally.content().load(Ordering::SeqCst));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |word: u64| known.iter().find(|known| word != 0 && known.word == word);
        let (content, phase) = match (named(next), tally.last_phase()) {
            (Some(next), _) => (Some(next), "making ready"),
            (None, Phase::Opening) => (named(current), "opening"),
            (None, Phase::Evaluating) => (named(current), "evaluating"),
            (None, Phase::Elsewhere) => (named(current), "elsewhere"),
        };
        let mut notes = vec![note(PHASE, phase)];
        let Some(Known { id, header, .. }) = content else { return notes };
        notes.push(note(CONTENT_ID, id.to_string()));
        notes.push(note(CONTENT_NAME, header.name.clone()));
        notes.push(note(CONTENT_VERSION, header.version.to_string()));
        if let (Some(rule), "evaluating") = (tally.last_rule().and_then(|rule| header.rules.get(rule)), phase) {
            notes.push(note(RULE_ID, rule.clone()));
        }
        notes
    }
}
