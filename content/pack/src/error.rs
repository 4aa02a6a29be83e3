//! Why a pack is refused. Each variant is one check; its text says what, where and the mend.

use watertight_engine::{ImageError, OLDEST_VERSION};
use watertight_policy::PolicyError;

use crate::layout::{PACK_SIZE_BYTES_MAX, VERSION};

/// Why bytes are no pack that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// More than any pack.
    #[error("this has {found} bytes, more than the {PACK_SIZE_BYTES_MAX} that a pack may have: split its rules")]
    TooLarge {
        /// What there is.
        found: u64,
    },
    /// Something else.
    #[error("this is no content pack: it does not begin as one")]
    NotAPack,
    /// Another version wrote it.
    #[error("the pack is of layout {found}, this program reads layout {VERSION}: use a pack that was built for it")]
    Version {
        /// What it says.
        found: u32,
    },
    /// Some of it is missing, or something is behind it.
    #[error("the pack says that it has {stated} bytes, and {found} are there: it was cut short or is damaged; fetch it again")]
    Size {
        /// What it says.
        stated: u64,
        /// What there is.
        found: u64,
    },
    /// A section is not what or where it must be.
    #[error("section {section} of the pack {what}: the pack is damaged or was not written by `watertight content build`; fetch or build it again")]
    Section {
        /// Its name.
        section: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A section's bytes are not those that were written.
    #[error("section {section} of the pack has another SHA-256 than the pack says: the pack is damaged or was not written by `watertight content build`; fetch or build it again")]
    Digest {
        /// Its name.
        section: &'static str,
    },
    /// There is more of something than there may be.
    #[error("the pack has {found} {what}, more than the {limit} that it may have: split it")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it says.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A record refers to what is not there, or says what it can't.
    #[error("{table} {position} of section {section} {what}: the pack is damaged or was not written by `watertight content build`; fetch or build it again")]
    Record {
        /// The section.
        section: &'static str,
        /// The table in it.
        table: &'static str,
        /// The record in it.
        position: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A name that can't be shown as what it is.
    #[error("the {what} {name} of the pack {why}: rename it and build the pack again")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name, escaped.
        name: Named,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two documents have one id.
    #[error("the id {id} is there twice, in letters of one case or another: give one of the two a new UUID")]
    DuplicateId {
        /// The id, escaped.
        id: Named,
    },
    /// A rule of the image is in no manifest.
    #[error("the pack's rule {id} is not in its manifest: the pack is damaged or was not written by `watertight content build`; fetch or build it again")]
    Unlisted {
        /// The id, escaped.
        id: Named,
    },
    /// The manifest and the image disagree.
    #[error("the manifest tells of {stated} rules, and the image has {found}: the pack is damaged or was not written by `watertight content build`; fetch or build it again")]
    RuleCount {
        /// What the manifest says.
        stated: u64,
        /// What the image has.
        found: u64,
    },
    /// It is for other engines.
    #[error("the pack is for engines {min} to {max}, this is engine {engine}, which takes those of engine {OLDEST_VERSION} on: use a pack that was built for it, or update this program")]
    Engine {
        /// The first that can load it.
        min: u32,
        /// The last.
        max: u32,
        /// This one.
        engine: u32,
    },
    /// Its word and its rules disagree.
    #[error("the pack says that engine {min} can load it, and its rules need engine {needed}: write `engine: {{min: {needed}, max: ...}}` into pack.yml, or leave it out, and build it again")]
    TooOldEngine {
        /// The first that can load it, by its word.
        min: u32,
        /// The first that reads its rules.
        needed: u32,
    },
    /// The rules were compiled for any events, not for this sensor's.
    #[error("the pack's rules were not compiled for this sensor's events: build it with `watertight content build`")]
    Foreign,
    /// The engine does not take the rules.
    #[error("the pack's rules: {0}")]
    Image(ImageError),
    /// The policy is none that a host applies.
    #[error("the pack's policy: {0}")]
    Policy(PolicyError),
    /// An event in it is none of this sensor's.
    #[error(
        "canary {canary} has the field {field}, which events of {logsource} do not have here: it would prove a rule that can never fire; \
         correct the field or take it out"
    )]
    CanaryField {
        /// The canary's name.
        canary: String,
        /// The field, escaped.
        field: Named,
        /// Category, product and service of the event, as far as it has them.
        logsource: String,
    },
    /// Nothing in it must fire.
    #[error(
        "no event in the pack must fire any of its rules, so that nothing proves that it works: write what must fire into a \
         file NAME.tests.yml beside the rule"
    )]
    NothingProven,
    /// A rule does not fire on what must fire it.
    #[error("rule {rule} does not fire on the event of canary {canary} that must fire it: mend the rule or the event")]
    DidNotFire {
        /// The canary's name.
        canary: String,
        /// The rule's id.
        rule: String,
    },
    /// A rule fires on what must not.
    #[error("rule {rule} fires on the event of canary {canary} that must not fire it: mend the rule or the event")]
    Fired {
        /// The canary's name.
        canary: String,
        /// The rule's id.
        rule: String,
    },
    /// A canary costs more than an event may.
    #[error("canary {canary} costs more than one event may: {rules} rules were given up; make its event smaller or the rules cheaper")]
    Undecided {
        /// The canary's name.
        canary: String,
        /// How many rules were given up.
        rules: u32,
    },
}

// Not as causes: these words repeat what they were made of, and who prints causes would print it twice.
impl From<ImageError> for PackError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<PolicyError> for PackError {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error)
    }
}

/// A name that was refused, escaped and cut, so that a message can show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(String);

/// Most characters of a name that a message shows.
const SHOWN_CHARACTERS_MAX: usize = 80;

impl Named {
    /// The name, so that it can be shown.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let cut: String = name.chars().take(SHOWN_CHARACTERS_MAX).collect();
        // Not `{:?}`: that shows bidirectional characters as they are.
        let escaped = cut.chars().map(|character| match watertight_engine::image::is_plain(character) {
            true => character.to_string(),
            false => character.escape_unicode().to_string(),
        });
        Self(format!("\"{}\"", escaped.collect::<String>()))
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
