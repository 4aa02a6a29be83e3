//! What `watertight status` and `watertight content slots` say of the slots.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;

use super::planner::{NO_SLOT, RECALLED, UNENDED};
use super::{Choice, ContentId, Held, Slots, SlotsError, State};

/// The slots of a host, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// The slot that the next start takes.
    pub next: &'static str,
    /// What lies in the slots, from the top of the ladder.
    pub slots: Vec<Row>,
    /// What is not tried again.
    pub quarantine: Vec<Quarantined>,
    /// Names in the folder that are none of ours.
    pub foreign: Vec<String>,
    /// Why nothing is known, if it is not.
    pub unknown: Option<String>,
}

/// Content in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its slot.
    pub slot: &'static str,
    /// Its id.
    pub id: String,
    /// Its release number; that of the factory content is the executable's.
    pub version: Option<u64>,
    /// Tries that are left.
    pub tries_left: u8,
    /// Tries that were used.
    pub tries_used: u8,
    /// Why a start can't take it, whatever its tries.
    pub unusable: Option<String>,
}

/// Content that is not tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// Its id.
    pub id: String,
    /// The slot that it was in.
    pub slot: String,
    /// Why.
    pub cause: String,
    /// Its tries were used up, and the last one never came to an end: the machine or the supervisor went down with it. Nobody else tells of
    /// such a failure.
    pub is_unended: bool,
}

impl Quarantined {
    /// A record: the slot in the first line, and whether there was no end; the cause in the rest. `None` where it is no record.
    pub(super) fn read(id: ContentId, record: &str) -> Option<Self> {
        let (slot, cause) = record.split_once('\n')?;
        let (slot, is_unended) = slot.strip_suffix(UNENDED).map_or((slot, false), |slot| (slot, true));
        Some(Self { id: id.to_string(), slot: slot.to_owned(), cause: cause.trim_end().to_owned(), is_unended })
    }

    /// In quarantine, and nobody knows why.
    fn without_record(id: ContentId) -> Self {
        let (slot, cause) = ("unknown".to_owned(), "its record can't be read".to_owned());
        Self { id: id.to_string(), slot, cause, is_unended: false }
    }

    /// Recalled before it came: nothing happened to this host.
    fn never_was_here(&self) -> bool {
        self.slot == NO_SLOT && self.cause == RECALLED
    }
}

impl Overview {
    /// Looks.
    #[must_use]
    pub fn of(slots: &Slots) -> Self {
        match slots.state() {
            Ok(state) => Self::of_state(slots, &state),
            // Nothing was ever installed or failed.
            Err(SlotsError::Disk { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                Self::of_state(slots, &State { factory: slots.factory, ..State::default() })
            }
            Err(error) => Self { next: "unknown", unknown: Some(error.to_string()), ..Self::default() },
        }
    }

    fn of_state(slots: &Slots, state: &State) -> Self {
        let row = |choice: Choice, held: &Held| Row {
            slot: choice.slot().name(),
            id: held.id.to_string(),
            version: Some(held.version),
            tries_left: held.tries.left(),
            tries_used: held.tries.used(),
            unusable: slots.read(&choice).err().map(|error| error.to_string()),
        };
        let mut rows: Vec<Row> =
            state.candidates.iter().rev().map(|held| row(Choice::Candidate(*held), held)).collect();
        rows.extend(state.goods.iter().rev().map(|held| row(Choice::Good(*held), held)));
        let tries = state.factory_tries();
        rows.push(Row {
            slot: Choice::Factory(state.factory).slot().name(),
            id: state.factory.to_string(),
            version: None,
            tries_left: tries.left(),
            tries_used: tries.used(),
            unusable: None,
        });
        let row = |id: &ContentId| slots.cause(*id).unwrap_or_else(|| Quarantined::without_record(*id));
        let quarantine = state.quarantined.iter().map(row);
        Self {
            next: next(slots, state).slot().name(),
            slots: rows,
            quarantine: quarantine.collect(),
            foreign: state.foreign.clone(),
            unknown: None,
        }
    }

    /// Whether nothing of it needs anybody's attention.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.unknown.is_none()
            && self.quarantine.iter().all(Quarantined::never_was_here)
            && self.next != Choice::CollectOnly.slot().name()
            && self.slots.iter().all(|row| row.unusable.is_none())
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        if let Some(why) = &self.unknown {
            let _ = writeln!(text, "slots: unknown ({why})");
            return text;
        }
        let _ = writeln!(text, "slots: the next start takes {}", self.next);
        for Row { slot, id, version, tries_left, tries_used, unusable } in &self.slots {
            let version =
                version.map_or_else(|| "in this executable".to_owned(), |version| format!("version {version}"));
            let short: String = id.chars().take(12).collect();
            let _ = writeln!(text, "  {slot:<16} {short}  {version}, {tries_left} tries left, {tries_used} used");
            if let Some(why) = unusable {
                let _ = writeln!(text, "                   a start passes it over: {why}");
                let _ = writeln!(text, "                   mend: install the pack again");
            }
        }
        for Quarantined { id, slot, cause, is_unended: _ } in &self.quarantine {
            let _ = writeln!(text, "  quarantine       {id}  was {slot}: {cause}");
            let _ = writeln!(text, "                   mend: `watertight content forget {id}` lets it be tried again");
        }
        for name in &self.foreign {
            let _ = writeln!(text, "  not ours         {name}: remove it");
        }
        text
    }
}

/// What a start takes: it reads what it chooses, and goes a step down where that is not what was installed.
fn next(slots: &Slots, state: &State) -> Choice {
    let mut struck = BTreeSet::new();
    loop {
        let choice = state.choose(&struck);
        match (slots.read(&choice), choice.id()) {
            (Err(_), Some(id)) if struck.insert(id) => {}
            _ => return choice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_that_is_ours_says_that_a_trial_had_no_end() {
        let id = ContentId::of(b"bad");
        let read = |record: &str| {
            let row = Quarantined::read(id, record).expect("a record");
            (row.slot, row.cause, row.is_unended)
        };
        assert_eq!(read("candidate without an end\nwent down\n"), ("candidate".into(), "went down".into(), true));
        // As the version before wrote it.
        assert_eq!(read("candidate\nwent down\n"), ("candidate".into(), "went down".into(), false));
        let (_, cause, is_unended) = read("candidate\nit said:\ncandidate without an end\n");
        assert!(!is_unended && cause.ends_with("without an end"), "{cause}");
        assert_eq!(Quarantined::read(id, ""), None);
    }
}
