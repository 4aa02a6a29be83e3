//! What offline keys say of a content pack: which release it is, whom it fits, and how fast it may spread at most.
//!
//! It stands in the `custom` of the pack's target, under the `content` role's signatures. The director can't change a word of it: it
//! may start later, spread slower or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{de::Error as _, Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::client::{Client, ClientError, Target};
use crate::crypto::{from_hex, sha256_hex};
use crate::time::Moment;

/// The delegated role whose offline keys say what may run.
pub const CONTENT_ROLE: &str = "content";
/// Rings that a release names.
pub const RINGS_MAX: usize = 32;
/// Steps of a ring.
pub const STEPS_MAX: usize = 64;
/// Characters of a name: of a pack, a release, a ring, a stratum.
pub const NAME_CHARACTERS_MAX: usize = 64;
/// A whole fleet.
pub const WHOLE_PER_MILLION: u32 = 1_000_000;

/// A pack's identity: the SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId([u8; 32]);

impl ContentId {
    /// The id of these bytes.
    #[must_use]
    pub fn of(pack: &[u8]) -> Self {
        sha256_hex(pack).parse().unwrap_or(Self([0; 32]))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ContentId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = from_hex(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a content id is a SHA-256 in 64 hexadecimal digits")
    }
}

impl Serialize for ContentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What is signed of a pack beside its size and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The release that it is part of: free text, for people.
    pub release: String,
    /// What kind of content: one pack of a name is active at a time.
    pub name: String,
    /// Grows with every pack of this name.
    pub version: u64,
    /// No pack of this name below this version may be activated again: the last one that has a hole.
    pub floor: u64,
    /// Engines that can load it.
    pub engine: EngineRange,
    /// From when, and to how much of the fleet, by ring. A ring that is not named never gets it.
    pub rings: BTreeMap<String, Ring>,
}

/// Engine versions, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineRange {
    /// First.
    pub min: u32,
    /// Last.
    pub max: u32,
}

/// The fastest that a ring may get a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// Not before.
    pub earliest: Moment,
    /// How much of the ring, so many hours after `earliest`.
    pub steps: Vec<Step>,
}

/// From `after_h` hours on, at most this share of the ring's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Hours after the ring's `earliest`.
    pub after_h: u32,
    /// Hosts of a million.
    pub per_million: u32,
}

impl Ring {
    /// How many hosts of a million may have it at `now`.
    #[must_use]
    pub fn per_million_at(&self, now: Moment) -> u32 {
        let since_s = now.since_s(self.earliest);
        if since_s < 0 {
            return 0;
        }
        let hours = since_s / 3600;
        self.steps.iter().rev().find(|step| i64::from(step.after_h) <= hours).map_or(0, |step| step.per_million)
    }
}

/// Why what is said of a pack is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("release {release:?}: {why}")]
pub struct ReleaseError {
    release: String,
    why: String,
}

impl Release {
    /// The release that a target's `custom` says.
    ///
    /// # Errors
    /// It is none, or out of bounds.
    pub fn from_custom(path: &str, custom: &Value) -> Result<Self, ReleaseError> {
        let release: Self = serde_json::from_value(custom.clone())
            .map_err(|error| ReleaseError { release: path.into(), why: error.to_string() })?;
        release.check()?;
        Ok(release)
    }

    /// The path that a pack of this name and version has.
    #[must_use]
    pub fn path(&self) -> String {
        format!("content/{}/{}.pack", self.name, self.version)
    }

    /// Bounds: the same where a release is made and where it is read.
    ///
    /// # Errors
    /// One does not hold.
    pub fn check(&self) -> Result<(), ReleaseError> {
        let refuse = |why: String| Err(ReleaseError { release: self.release.clone(), why });
        if self.release.is_empty() || self.release.chars().count() > NAME_CHARACTERS_MAX {
            return refuse(format!("the release's name has 1 to {NAME_CHARACTERS_MAX} characters"));
        }
        if !is_name(&self.name) {
            return refuse(format!("{:?} is no name: {NAME_RULE}", self.name));
        }
        if self.version == 0 || self.floor > self.version {
            return refuse(format!(
                "version {} with floor {}: a floor is at most the version",
                self.version, self.floor
            ));
        }
        if self.engine.min > self.engine.max {
            return refuse(format!("no engine is from {} to {}", self.engine.min, self.engine.max));
        }
        if self.rings.is_empty() || self.rings.len() > RINGS_MAX {
            return refuse(format!("{} rings: 1 to {RINGS_MAX} are possible", self.rings.len()));
        }
        for (name, ring) in &self.rings {
            if !is_name(name) {
                return refuse(format!("{name:?} is no ring's name: {NAME_RULE}"));
            }
            let is_sorted = ring.steps.is_sorted_by(|a, b| a.after_h < b.after_h && a.per_million <= b.per_million);
            let is_bounded = ring.steps.iter().all(|step| step.per_million <= WHOLE_PER_MILLION);
            if ring.steps.is_empty() || ring.steps.len() > STEPS_MAX || !is_sorted || !is_bounded {
                return refuse(format!(
                    "ring {name}: 1 to {STEPS_MAX} steps, hours growing, hosts never fewer and at most {WHOLE_PER_MILLION} of a million"
                ));
            }
        }
        Ok(())
    }
}

const NAME_RULE: &str = "1 to 64 small letters, digits, `-` and `_`, a letter or digit first";

/// Whether a text is a name: it is part of paths and of documents.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_small = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= NAME_CHARACTERS_MAX
        && text.as_bytes().first().is_some_and(is_small)
        && text.bytes().all(|byte| is_small(&byte) || matches!(byte, b'-' | b'_'))
}

/// A pack that offline keys signed.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedPack {
    /// Its identity.
    pub id: ContentId,
    /// Its file in the repository.
    pub target: Target,
    /// What is signed of it.
    pub release: Release,
}

/// Every pack that offline keys signed, by path.
///
/// # Errors
/// The `content` role is refused. A target of it that is no pack refuses the role as a whole: whoever signed it erred, and which part
/// of it to believe is not ours to choose.
pub fn signed_packs(client: &mut Client, now: Moment) -> Result<Vec<SignedPack>, ClientError> {
    let mut packs = Vec::new();
    for path in client.paths_of(CONTENT_ROLE, now)? {
        // What the role may not name, or what the top-level targets name in its place, is not its word.
        let Some(target) = client.find(&path, now)?.filter(|target| target.role() == CONTENT_ROLE) else { continue };
        let malformed = |why: String| ClientError::Malformed { role: CONTENT_ROLE.into(), why };
        let custom = target.custom().ok_or_else(|| malformed(format!("target {path:?} says no release")))?;
        let release = Release::from_custom(&path, custom).map_err(|error| malformed(error.to_string()))?;
        if release.path() != path {
            return Err(malformed(format!("target {path:?} says that it is {:?}", release.path())));
        }
        let id = target.sha256().and_then(|hash| hash.parse().ok());
        let id = id.ok_or_else(|| malformed(format!("target {path:?} has no SHA-256")))?;
        packs.push(SignedPack { id, target, release });
    }
    Ok(packs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        let steps = vec![Step { after_h: 0, per_million: 10 }, Step { after_h: 4, per_million: 1_000_000 }];
        Release {
            release: "2026-11".into(),
            name: "linux".into(),
            version: 7,
            floor: 3,
            engine: EngineRange { min: 1, max: 2 },
            rings: [("broad".into(), Ring { earliest: Moment::from_unix_s(10_000), steps })].into(),
        }
    }

    #[test]
    fn a_ring_never_gets_more_than_its_hour_allows() {
        let ring = &release().rings["broad"];
        let at = |seconds| ring.per_million_at(Moment::from_unix_s(seconds));
        assert_eq!(
            [at(0), at(9_999), at(10_000), at(24_399), at(24_400), at(i64::MAX)],
            [0, 0, 10, 10, 1_000_000, 1_000_000]
        );
    }

    #[test]
    fn a_release_that_says_something_unknown_or_impossible_is_refused() {
        let good = serde_json::to_value(release()).expect("a value");
        assert_eq!(Release::from_custom("p", &good).expect("good"), release());
        for (pointer, value) in [
            ("/floor", serde_json::json!(8)),
            ("/version", serde_json::json!(0)),
            ("/version", serde_json::from_str("18446744073709551616").expect("a number")),
            ("/name", serde_json::json!("../linux")),
            ("/engine/min", serde_json::json!(3)),
            ("/rings/broad/steps", serde_json::json!([])),
            ("/rings/broad/steps/0/per_million", serde_json::json!(1_000_001)),
            ("/rings/broad/steps/1/after_h", serde_json::json!(0)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).expect(pointer) = value;
            assert!(Release::from_custom("p", &bad).is_err(), "{pointer}");
        }
        let mut unknown = good;
        unknown["urgent"] = true.into();
        assert!(Release::from_custom("p", &unknown).is_err());
    }
}
