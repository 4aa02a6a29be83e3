//! What is to be done in the folder of slots: from what lies there and what has happened, a list of operations. It does nothing
//! itself, so that a test can carry out any part of a plan and look at what is left.
//!
//! Every plan keeps to one order: what is new is whole and durable before it gets a name that counts, and what is old goes only
//! when the new name is durable. So after a cut at any point the folder says what it said before or what it is to say.

use std::collections::BTreeSet;

use super::content_id::ContentId;
use super::disk::Op;
use super::entry::{Entry, Held};
use super::tries::Tries;

/// Where content was that its loader did not survive, or that was recalled before it came.
pub(super) const NO_SLOT: &str = "not installed";
/// Mark behind the slot in the record of content whose tries were used up though its last trial never came to an end. In the line that is
/// ours alone: what stands in the cause may be anybody's words.
pub(super) const UNENDED: &str = " without an end";
/// Cause of a quarantine that is nobody's death.
pub(super) const RECALLED: &str = "it was recalled";

/// Where the content comes from that is in force. Each is stepped down from to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// New, on trial.
    Candidate,
    /// It lived through its trial.
    LastKnownGood,
    /// In the executable.
    Factory,
    /// No rules: the sensor's events are collected and handed on.
    CollectOnly,
}

impl Slot {
    /// As it is told everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::LastKnownGood => "last-known-good",
            Self::Factory => "factory",
            Self::CollectOnly => "collect-only",
        }
    }
}

/// The content to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// New content.
    Candidate(Held),
    /// Content that is known to live.
    Good(Held),
    /// That in the executable.
    Factory(ContentId),
    /// None.
    CollectOnly,
}

impl Choice {
    /// The slot that it is in.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match self {
            Self::Candidate(_) => Slot::Candidate,
            Self::Good(_) => Slot::LastKnownGood,
            Self::Factory(_) => Slot::Factory,
            Self::CollectOnly => Slot::CollectOnly,
        }
    }

    /// Its content.
    #[must_use]
    pub fn id(&self) -> Option<ContentId> {
        match self {
            Self::Candidate(held) | Self::Good(held) => Some(held.id),
            Self::Factory(id) => Some(*id),
            Self::CollectOnly => None,
        }
    }
}

/// What lies in the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The content of this executable.
    pub factory: ContentId,
    /// The youngest last. There is more than one only after a cut.
    pub candidates: Vec<Held>,
    /// The youngest last. There is more than one only after a cut.
    pub goods: Vec<Held>,
    /// Of the content of this executable, the fewest left first.
    pub factory_tries: Vec<Tries>,
    /// Not to be tried again.
    pub quarantined: BTreeSet<ContentId>,
    /// Names that count for nothing and can go.
    pub leftovers: Vec<String>,
    /// Names that are none of ours.
    pub foreign: Vec<String>,
}

/// What has happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'e> {
    /// A run begins: what a cut left over goes.
    Start,
    /// The candidate is about to be tried.
    Begun(Held),
    /// Its trial ended with the run, by nobody's fault.
    Ended(Held),
    /// A pack that the loader has taken.
    Installed {
        /// Its release number.
        version: u64,
        /// Its bytes.
        bytes: &'e [u8],
    },
    /// These bytes are those of the content whose file holds others.
    Mended(Choice, &'e [u8]),
    /// The engine died of this content.
    Died(Choice, &'e str),
    /// This content can't be used at all.
    Refused(Choice, &'e str),
    /// The file of this content holds other bytes, of this id: they are set aside, and what was meant may be installed again.
    Damaged(Choice, ContentId, &'e str),
    /// It has lived long enough to be trusted.
    Lived(Choice),
    /// The loader did not survive this content, which is in no slot.
    Fatal(ContentId, &'e str),
    /// The director has recalled it.
    Recalled(ContentId),
    /// The same where there is no room left on the disk: by names alone, which need none.
    Withdrawn(ContentId),
    /// The administrator lets it be tried again.
    Forgotten(ContentId),
}

/// Why nothing is to be done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// It failed here before.
    #[error("content {id} is in quarantine: `watertight content slots` says why, `watertight content forget {id}` lets it be tried again")]
    Quarantined {
        /// Its id.
        id: ContentId,
    },
    /// It is there already.
    #[error("content {id} is in the {slot} slot already")]
    There {
        /// Its id.
        id: ContentId,
        /// Where it is.
        slot: &'static str,
    },
    /// Nothing of that name.
    #[error("content {id} is not in quarantine")]
    NotQuarantined {
        /// Its id.
        id: ContentId,
    },
}

impl State {
    /// What these names say.
    pub fn of(names: impl IntoIterator<Item = String>, factory: ContentId) -> Self {
        let mut state = Self { factory, ..Self::default() };
        for name in names {
            match Entry::read(&name) {
                Some(Entry::Candidate(held)) => state.candidates.push(held),
                Some(Entry::Good(held)) => state.goods.push(held),
                Some(Entry::Factory(id, tries)) if id == factory => state.factory_tries.push(tries),
                Some(Entry::Quarantine(id)) => {
                    state.quarantined.insert(id);
                }
                // Of an executable that was replaced, or half written.
                Some(Entry::Factory(..) | Entry::Incoming) => state.leftovers.push(name),
                None => state.foreign.push(name),
            }
        }
        state.candidates.sort();
        state.goods.sort();
        state.factory_tries.sort();
        state
    }

    /// The content to be in force: the first of the ladder that may be tried and is not among `struck`.
    #[must_use]
    pub fn choose(&self, struck: &BTreeSet<ContentId>) -> Choice {
        let is_free = |id: &ContentId| !self.quarantined.contains(id) && !struck.contains(id);
        let youngest = |held: &[Held]| held.iter().rev().find(|held| is_free(&held.id)).copied();
        // Only the youngest candidate: an older one was replaced by it.
        let candidate = self.candidates.last().filter(|held| is_free(&held.id) && held.tries.left() > 0);
        if let Some(held) = candidate {
            return Choice::Candidate(*held);
        }
        if let Some(held) = youngest(&self.goods) {
            return Choice::Good(held);
        }
        if is_free(&self.factory) {
            return Choice::Factory(self.factory);
        }
        Choice::CollectOnly
    }

    /// What was at work when the machine went down: the candidate, if its trial was begun and has not ended, else what would be chosen
    /// without it. To be asked before a run begins.
    pub fn at_work(&self) -> ContentId {
        let is_begun = |held: &&Held| held.tries.used() > 0 && !self.quarantined.contains(&held.id);
        let candidate = self.candidates.last().filter(is_begun).map(|held| held.id);
        let without_it = || self.choose(&self.candidates.iter().map(|held| held.id).collect()).id();
        candidate.or_else(without_it).unwrap_or(self.factory)
    }

    fn sequence_next(&self) -> u64 {
        let all = self.candidates.iter().chain(&self.goods).map(|held| held.sequence);
        all.max().unwrap_or(0).saturating_add(1)
    }

    /// How the content of this executable has fared.
    #[must_use]
    pub fn factory_tries(&self) -> Tries {
        self.factory_tries.first().copied().unwrap_or_else(Tries::fresh)
    }
}

/// The operations that follow.
///
/// # Errors
/// The content may not be installed, or is not there to be forgotten.
pub fn plan(state: &State, event: Event<'_>) -> Result<Vec<Op>, Refusal> {
    match event {
        Event::Start => Ok(tidy(state)),
        Event::Begun(held) => Ok(held.tries.spend().map_or_else(Vec::new, |tries| {
            renamed(&Entry::Candidate(held), &Entry::Candidate(Held { tries, ..held }))
        })),
        Event::Ended(held) => Ok(held.tries.give_back().map_or_else(Vec::new, |tries| {
            renamed(&Entry::Candidate(held), &Entry::Candidate(Held { tries, ..held }))
        })),
        Event::Installed { version, bytes } => install(state, version, bytes),
        Event::Mended(choice, bytes) => Ok(mended(choice, bytes)),
        Event::Died(choice, cause) => Ok(died(state, choice, cause)),
        Event::Refused(choice, cause) => Ok(quarantine(state, choice, cause)),
        Event::Damaged(choice, found, cause) => Ok(set_aside(state, choice, found, cause)),
        Event::Lived(choice) => Ok(lived(state, choice)),
        Event::Fatal(id, cause) => Ok(fatal(state, id, cause)),
        Event::Recalled(id) => Ok(recalled(state, id)),
        Event::Withdrawn(id) => Ok(withdrawn(state, id)),
        Event::Forgotten(id) if state.quarantined.contains(&id) => {
            let marker = state.factory_tries.iter().filter(|_| id == state.factory);
            let gone = marker.map(|tries| Entry::Factory(id, *tries)).chain([Entry::Quarantine(id)]);
            Ok(removed(gone.map(|entry| entry.to_string())))
        }
        Event::Forgotten(id) => Err(Refusal::NotQuarantined { id }),
    }
}

/// What a cut left over.
fn tidy(state: &State) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut gone = state.leftovers.clone();
    if let Some((youngest, older)) = state.candidates.split_last() {
        gone.extend(older.iter().map(|held| Entry::Candidate(*held).to_string()));
        if state.quarantined.contains(&youngest.id) {
            gone.push(Entry::Candidate(*youngest).to_string());
        } else if youngest.tries.left() == 0 {
            ops.extend(unended(state, *youngest));
        }
    }
    let (bad, fine): (Vec<Held>, Vec<Held>) =
        state.goods.iter().copied().partition(|held| state.quarantined.contains(&held.id));
    let older = fine.split_last().map(|(_, older)| older).unwrap_or_default();
    gone.extend(bad.iter().chain(older).map(|held| Entry::Good(*held).to_string()));
    ops.extend(removed(gone));
    ops
}

fn install(state: &State, version: u64, bytes: &[u8]) -> Result<Vec<Op>, Refusal> {
    let id = ContentId::of(bytes);
    if state.quarantined.contains(&id) {
        return Err(Refusal::Quarantined { id });
    }
    let choice = state.choose(&BTreeSet::new());
    if choice.id() == Some(id) {
        return Err(Refusal::There { id, slot: choice.slot().name() });
    }
    // One that is on trial makes room: who sends another one does not want it any more.
    let replaced = removed(state.candidates.iter().map(|held| Entry::Candidate(*held).to_string()));
    if state.goods.last().is_some_and(|held| held.id == id) {
        return Ok(replaced); // back to what is known to live
    }
    let held = Held { sequence: state.sequence_next(), version, id, tries: Tries::fresh() };
    let mut ops = put(&Entry::Candidate(held), bytes);
    ops.extend(replaced);
    Ok(ops)
}

/// In the same place, with the tries that it has: what is known of the content is known by its id.
fn mended(choice: Choice, bytes: &[u8]) -> Vec<Op> {
    match choice {
        Choice::Candidate(held) => put(&Entry::Candidate(held), bytes),
        Choice::Good(held) => put(&Entry::Good(held), bytes),
        Choice::Factory(_) | Choice::CollectOnly => Vec::new(),
    }
}

fn died(state: &State, choice: Choice, cause: &str) -> Vec<Op> {
    let spent = |tries: Tries| tries.spend().filter(|tries| tries.left() > 0);
    match choice {
        // Its try was counted when it began.
        Choice::Candidate(held) if held.tries.left() > 0 => Vec::new(),
        Choice::Good(held) => match spent(held.tries) {
            Some(tries) => renamed(&Entry::Good(held), &Entry::Good(Held { tries, ..held })),
            None => quarantine(state, choice, cause),
        },
        Choice::Factory(id) => match (spent(state.factory_tries()), state.factory_tries.first()) {
            (Some(tries), Some(before)) => renamed(&Entry::Factory(id, *before), &Entry::Factory(id, tries)),
            (Some(tries), None) => put(&Entry::Factory(id, tries), b""),
            (None, _) => quarantine(state, choice, cause),
        },
        Choice::Candidate(_) => quarantine(state, choice, cause),
        Choice::CollectOnly => Vec::new(),
    }
}

/// It is trusted from now on, and its deaths of before are forgiven.
fn lived(state: &State, choice: Choice) -> Vec<Op> {
    match choice {
        Choice::Candidate(held) => {
            let mut ops = renamed(&Entry::Candidate(held), &Entry::Good(Held { tries: Tries::fresh(), ..held }));
            ops.extend(removed(state.goods.iter().map(|held| Entry::Good(*held).to_string())));
            ops
        }
        Choice::Good(held) if held.tries != Tries::fresh() => {
            renamed(&Entry::Good(held), &Entry::Good(Held { tries: Tries::fresh(), ..held }))
        }
        Choice::Factory(id) => removed(state.factory_tries.iter().map(|tries| Entry::Factory(id, *tries).to_string())),
        Choice::Good(_) | Choice::CollectOnly => Vec::new(),
    }
}

/// The cause is on record before the content goes.
fn quarantine(state: &State, choice: Choice, cause: &str) -> Vec<Op> {
    let Some(id) = choice.id() else { return Vec::new() };
    let mut ops = put(&Entry::Quarantine(id), record(choice, cause).as_bytes());
    ops.extend(removed(names_of(state, choice)));
    ops
}

/// Content that is on trial and has no try left: nobody was there to tell of its end. One try is not enough, for power cuts come to any
/// host.
fn unended(state: &State, held: Held) -> Vec<Op> {
    let (choice, cause) = (Choice::Candidate(held), "the machine or the supervisor went down with it");
    let record = format!("{}{UNENDED}\nnone of its trials came to an end: {cause}\n", choice.slot().name());
    let mut ops = put(&Entry::Quarantine(held.id), record.as_bytes());
    ops.extend(removed(names_of(state, choice)));
    ops
}

/// As a quarantine, but of the bytes that are there: those that should be there have done nothing. Bytes of other content that the host
/// has only go from this place.
fn set_aside(state: &State, choice: Choice, found: ContentId, cause: &str) -> Vec<Op> {
    let is_held = found == state.factory || state.candidates.iter().chain(&state.goods).any(|held| held.id == found);
    let mut ops = match is_held {
        true => Vec::new(),
        false => put(&Entry::Quarantine(found), record(choice, cause).as_bytes()),
    };
    ops.extend(removed(names_of(state, choice)));
    ops
}

fn record(choice: Choice, cause: &str) -> String {
    format!("{}\n{cause}\n", choice.slot().name())
}

/// What of the folder this choice is.
fn names_of(state: &State, choice: Choice) -> Vec<String> {
    match choice {
        Choice::Candidate(held) => vec![Entry::Candidate(held).to_string()],
        Choice::Good(held) => vec![Entry::Good(held).to_string()],
        Choice::Factory(id) => state.factory_tries.iter().map(|tries| Entry::Factory(id, *tries).to_string()).collect(),
        Choice::CollectOnly => Vec::new(),
    }
}

/// Wherever it is held, and also where it is not yet: it is not to be installed afterwards. What came with the executable goes with that
/// alone: else whoever has the director's key could leave hosts without any rule.
fn recalled(state: &State, id: ContentId) -> Vec<Op> {
    let held = holding(state, id);
    if held.is_empty() && (id == state.factory || state.quarantined.contains(&id)) {
        return Vec::new();
    }
    let place = held.first().map_or(NO_SLOT, |choice| choice.slot().name());
    let mut ops = put(&Entry::Quarantine(id), recall_record(place).as_bytes());
    ops.extend(removed(held.into_iter().flat_map(|choice| names_of(state, choice))));
    ops
}

/// Why recalled content is in quarantine.
pub(super) fn recall_record(place: &str) -> String {
    format!("{place}\n{RECALLED}\n")
}

/// As recalled, but the file that is held gets the name of one in quarantine, and what has none is there without a cause.
fn withdrawn(state: &State, id: ContentId) -> Vec<Op> {
    let mut names = holding(state, id).into_iter().flat_map(|choice| names_of(state, choice));
    let mut ops = match names.next() {
        Some(from) => vec![Op::Rename { from, to: Entry::Quarantine(id).to_string() }, Op::SyncFolder],
        None if id == state.factory || state.quarantined.contains(&id) => return Vec::new(),
        None => put(&Entry::Quarantine(id), b""),
    };
    ops.extend(removed(names));
    ops
}

/// The slots that this content is in.
fn holding(state: &State, id: ContentId) -> Vec<Choice> {
    let candidates = state.candidates.iter().map(|held| Choice::Candidate(*held));
    let held = candidates.chain(state.goods.iter().map(|held| Choice::Good(*held)));
    held.filter(|choice| choice.id() == Some(id)).collect()
}

/// It never got as far as a slot. What is in one has been loaded before, and its slot says how it fares.
fn fatal(state: &State, id: ContentId, cause: &str) -> Vec<Op> {
    let is_held = state.candidates.iter().chain(&state.goods).any(|held| held.id == id);
    if is_held || id == state.factory || state.quarantined.contains(&id) {
        return Vec::new();
    }
    put(&Entry::Quarantine(id), format!("{NO_SLOT}\n{cause}\n").as_bytes())
}

/// A new file: whole and durable before it has a name that counts.
fn put(entry: &Entry, bytes: &[u8]) -> Vec<Op> {
    let from = entry.incoming();
    vec![
        Op::Write { name: from.clone(), bytes: bytes.to_owned() },
        Op::SyncFile { name: from.clone() },
        Op::Rename { from, to: entry.to_string() },
        Op::SyncFolder,
    ]
}

fn renamed(from: &Entry, to: &Entry) -> Vec<Op> {
    vec![Op::Rename { from: from.to_string(), to: to.to_string() }, Op::SyncFolder]
}

fn removed(names: impl IntoIterator<Item = String>) -> Vec<Op> {
    let mut ops: Vec<Op> = names.into_iter().map(|name| Op::Unlink { name }).collect();
    if !ops.is_empty() {
        ops.push(Op::SyncFolder);
    }
    ops
}

#[cfg(test)]
mod tests;
