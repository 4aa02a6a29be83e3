//! The names of the files in the folder of slots. All that is known about a content but its bytes is in its name.
//!
//! `candidate-<sequence>-v<version>-<id>+<left>-<used>` · `good-...` alike · `factory-<id>+<left>-<used>`, which is empty: its content
//! is in the executable · `quarantine-<id>`, with the cause in it · `incoming-...`, which is being written and counts for nothing.

use std::fmt;

use super::content_id::ContentId;
use super::tries::Tries;

const CANDIDATE: &str = "candidate";
const GOOD: &str = "good";
const FACTORY: &str = "factory";
const QUARANTINE: &str = "quarantine";
const INCOMING: &str = "incoming";

/// Content that lies in the folder, in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Later ones are younger. Given here, because a recall brings an older version back.
    pub sequence: u64,
    /// Its release number.
    pub version: u64,
    /// The digest of its bytes.
    pub id: ContentId,
    /// How it has fared.
    pub tries: Tries,
}

/// What a name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// To be tried, or on trial.
    Candidate(Held),
    /// It lived through its trial.
    Good(Held),
    /// Deaths of the content that is in the executable.
    Factory(ContentId, Tries),
    /// Not to be tried again.
    Quarantine(ContentId),
    /// Half written.
    Incoming,
}

impl Entry {
    /// What this name says; `None` where it is none of ours.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once('-')?;
        match kind {
            CANDIDATE => held(rest).map(Self::Candidate),
            GOOD => held(rest).map(Self::Good),
            FACTORY => {
                let (id, tries) = rest.split_once('+')?;
                Some(Self::Factory(id.parse().ok()?, tries.parse().ok()?))
            }
            QUARANTINE => rest.parse().ok().map(Self::Quarantine),
            INCOMING => Some(Self::Incoming),
            _ => None,
        }
    }

    /// The name under which something is written before it counts.
    #[must_use]
    pub fn incoming(&self) -> String {
        format!("{INCOMING}-{self}")
    }
}

fn held(rest: &str) -> Option<Held> {
    let (content, tries) = rest.split_once('+')?;
    let mut parts = content.split('-');
    let sequence = number(parts.next()?)?;
    let version = number(parts.next()?.strip_prefix('v')?)?;
    let id = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(Held { sequence, version, id, tries: tries.parse().ok()? })
}

/// A number in its shortest form: one name a content, none twice.
fn number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, version, id, tries } = self;
        write!(f, "{sequence}-v{version}-{id}+{tries}")
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Candidate(held) => write!(f, "{CANDIDATE}-{held}"),
            Self::Good(held) => write!(f, "{GOOD}-{held}"),
            Self::Factory(id, tries) => write!(f, "{FACTORY}-{id}+{tries}"),
            Self::Quarantine(id) => write!(f, "{QUARANTINE}-{id}"),
            Self::Incoming => write!(f, "{INCOMING}-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_it_is_written() {
        let id = ContentId::of(b"a pack");
        let held = Held { sequence: 7, version: 1_234, id, tries: Tries::fresh() };
        for entry in [
            Entry::Candidate(held),
            Entry::Good(held),
            Entry::Factory(id, Tries::fresh().spend().expect("two left")),
            Entry::Quarantine(id),
        ] {
            assert_eq!(Entry::read(&entry.to_string()).as_ref(), Some(&entry));
            assert_eq!(Entry::read(&entry.incoming()), Some(Entry::Incoming));
        }
    }

    #[test]
    fn a_name_that_is_none_of_ours_says_nothing() {
        let id = ContentId::of(b"a pack");
        for name in [
            "lock".to_owned(),
            "candidate".to_owned(),
            format!("candidate-7-v1-{id}"),
            format!("candidate-7-v1-{id}+200-0"),
            format!("candidate-07-v1-{id}+2-0"),
            format!("candidate-7-1-{id}+2-0"),
            format!("candidate-7-v1-x-{id}+2-0"),
            format!("good-99999999999999999999-v1-{id}+2-0"),
            format!("factory-{id}"),
            "quarantine-1".to_owned(),
        ] {
            assert_eq!(Entry::read(&name), None, "{name}");
        }
    }
}
