//! The check-in: an agent says what it is and runs, and hears what it should be. The doorbell: one number, so that its loss costs
//! latency and nothing else.

use serde::{Deserialize, Serialize};

use crate::limits::{ID_BYTES_MAX, NAME_BYTES_MAX};
use crate::protocol::Message;

/// `POST /v1/agent/checkin`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CheckIn {
    /// Grows with every check-in of this host; kept over restarts of the agent.
    pub sequence: u64,
    /// Made anew at each start of the agent, at random: two of one host that take turns are a clone.
    pub instance: String,
    /// The kernel's boot id.
    pub boot: String,
    /// The host's clock, milliseconds since 1970. Only its distance from the server's is looked at.
    pub clock_ms: u64,
    /// The newest generation that the agent has acted on.
    pub generation: u64,
    /// A digest of the whole state, which only the agent computes: the server compares it with the last one.
    pub state_hash: String,
    /// The digest before `changed`; without it `changed` is the whole state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_hash: Option<String>,
    /// Parts of the state that are new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<State>,
}

/// What a host is and runs. A part that is not there has not changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPart>,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentPart>,
    /// How well it is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<ProtectionPart>,
}

/// What makes hosts alike: the planner's strata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HostPart {
    /// As its administrators call it.
    pub name: String,
    /// The kernel's release line.
    pub kernel: String,
    /// Distribution and its version.
    pub distribution: String,
    /// Machine architecture.
    pub architecture: String,
    /// Version of the agent.
    pub agent_version: String,
    /// What the host is for.
    pub workload: String,
}

/// Which content runs, and from which slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ContentPart {
    /// SHA-256 of the pack; empty if none runs.
    pub id: String,
    /// Its number.
    pub version: u64,
    /// `candidate`, `last-known-good`, `factory` or `none`.
    pub slot: String,
    /// Somebody said `watertight pause` on the host.
    pub is_paused: bool,
    /// Why the host refuses the director's document as a whole: it begins nothing of it and hears no recall. Empty if it does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub director_refused: String,
}

/// What is in force on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProtectionPart {
    /// `enforce`, `observe`, `none` or `unknown`.
    pub level: String,
    /// What is missing, in the words of `watertight status`.
    pub missing: Vec<String>,
}

/// The answer to a check-in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CheckInAnswer {
    /// What the fleet should be at: a newer one than the agent's means that there is something to fetch.
    pub generation: u64,
    /// The next check-in is due after this time and a random part of `jitter_ms`.
    pub interval_ms: u64,
    /// See `interval_ms`. The agent is silent when it is later than the sum by more than the gate's threshold.
    pub jitter_ms: u64,
    /// The server's clock.
    pub clock_ms: u64,
    /// The server does not know the state that the digest stands for: send all of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub need_full_state: bool,
    /// The certificate is past half of its life: renew it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renew: bool,
}

/// `POST /v1/agent/leave`: the machine goes down in good order. What it says is that silence is to be expected, not that all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// The kernel's boot id: the one that ends.
    pub boot: String,
    /// It is a reboot; otherwise nobody waits for it.
    pub is_reboot: bool,
}

/// The answer to `Leave`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaveAnswer {
    /// So long the host is waited for; 0 for one that does not come back by itself.
    pub back_within_ms: u64,
}

/// The answer to `GET /v1/agent/wait?generation=N`, as soon as it is another than N, or after `WAIT_S_MAX`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WaitAnswer {
    /// The newest generation. What it means is said by the check-in and the content repository.
    pub generation: u64,
}

/// Characters of a stratum's name that a person can read; with the rest it has less than the 64 that a name may have.
const STRATUM_READABLE_MAX: usize = 44;
const STRATUM_PART_MAX: usize = 12;

/// A letter as it may be in a name of the director's document.
fn plain(letter: char) -> char {
    match letter.to_ascii_lowercase() {
        small @ ('a'..='z' | '0'..='9') => small,
        _ => '-',
    }
}

impl Message for CheckIn {}
impl Message for CheckInAnswer {}
impl Message for WaitAnswer {}
impl Message for Leave {}
impl Message for LeaveAnswer {}

impl Leave {
    /// What is out of bounds, by name.
    #[must_use]
    pub fn out_of_bounds(&self) -> Option<String> {
        let is_id = (1..=ID_BYTES_MAX).contains(&self.boot.len());
        (!is_id).then(|| format!("boot: 1 to {ID_BYTES_MAX} bytes"))
    }
}

impl CheckIn {
    /// What is out of bounds, by name.
    #[must_use]
    pub fn out_of_bounds(&self) -> Option<String> {
        let ids = [("instance", &self.instance), ("boot", &self.boot), ("state_hash", &self.state_hash)];
        let ids = ids.into_iter().chain(self.base_hash.as_ref().map(|hash| ("base_hash", hash)));
        for (name, id) in ids {
            if id.is_empty() || id.len() > ID_BYTES_MAX {
                return Some(format!("{name}: 1 to {ID_BYTES_MAX} bytes"));
            }
        }
        self.changed.as_ref().and_then(State::out_of_bounds)
    }
}

impl State {
    fn out_of_bounds(&self) -> Option<String> {
        let host = self.host.as_ref().and_then(HostPart::out_of_bounds);
        let content = self.content.as_ref().and_then(|content| {
            let is_long = content.id.len() > ID_BYTES_MAX || content.slot.len() > NAME_BYTES_MAX;
            let refused = &content.director_refused;
            let is_unseen = || refused.len() > NAME_BYTES_MAX || refused.chars().any(char::is_control);
            let seen = || format!("content.director_refused: at most {NAME_BYTES_MAX} bytes that can be seen");
            is_long.then(|| "content: its id or slot is too long".to_owned()).or_else(|| is_unseen().then(seen))
        });
        let protection = self.protection.as_ref().and_then(|part| {
            let is_long = part.level.len() > NAME_BYTES_MAX || part.missing.len() > 64;
            let is_long = is_long || part.missing.iter().any(|missing| missing.len() > NAME_BYTES_MAX);
            is_long.then(|| "protection: too long".to_owned())
        });
        host.or(content).or(protection)
    }
}

impl HostPart {
    /// The name of the hosts of a ring that are like this one: the same for the server that plans and for the host that looks itself up
    /// in the director's document, so it has only what a name there may have.
    #[must_use]
    pub fn stratum(&self, ring: &str) -> String {
        let Self { kernel, distribution, architecture, agent_version, workload, .. } = self;
        // FNV-1a, 64 bits: it tells strata apart whose readable parts are alike. Nobody gains by a collision: two kinds of hosts in one stratum.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut name = String::new();
        for part in [ring, kernel, distribution, architecture, agent_version, workload] {
            for byte in part.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
            if name.len() < STRATUM_READABLE_MAX {
                name.extend(part.chars().take(STRATUM_PART_MAX).map(plain));
                name.push('-');
            }
        }
        name.truncate(STRATUM_READABLE_MAX);
        format!("s-{name}{hash:016x}")
    }

    /// What is out of bounds, by name. Texts that reach a page or a terminal have no control characters.
    #[must_use]
    pub fn out_of_bounds(&self) -> Option<String> {
        let parts = [
            ("name", &self.name),
            ("kernel", &self.kernel),
            ("distribution", &self.distribution),
            ("architecture", &self.architecture),
            ("agent_version", &self.agent_version),
            ("workload", &self.workload),
        ];
        let is_bad = |text: &String| text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control);
        let (name, _) = parts.into_iter().find(|(_, text)| is_bad(text))?;
        Some(format!("host.{name}: at most {NAME_BYTES_MAX} bytes that can be seen"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{read, write};

    #[test]
    fn a_check_in_survives_the_way() {
        let told = CheckIn {
            sequence: u64::MAX,
            instance: "i".into(),
            boot: "b".into(),
            state_hash: "h".into(),
            changed: Some(State { content: Some(ContentPart::default()), ..State::default() }),
            ..CheckIn::default()
        };
        assert_eq!(read::<CheckIn>(1, &write(1, &told), 1024).as_ref(), Ok(&told));
        assert_eq!(told.out_of_bounds(), None);
    }

    #[test]
    fn an_unknown_field_is_refused_by_name_wherever_it_is() {
        for (text, name) in [
            (r#"{"sequence":1,"colour":2}"#, "colour"),
            (r#"{"changed":{"shape":2}}"#, "shape"),
            (r#"{"changed":{"content":{"taste":2}}}"#, "taste"),
        ] {
            let refused = read::<CheckIn>(1, text.as_bytes(), 1024).expect_err("an unknown field").to_string();
            assert!(refused.contains(&format!("unknown field `{name}`")), "{refused}");
        }
    }

    #[test]
    fn hosts_that_differ_are_in_other_strata_and_every_name_is_one() {
        let host = |kernel: &str, workload: &str| HostPart {
            kernel: kernel.into(),
            distribution: "Debian GNU/Linux 12".into(),
            architecture: "x86_64".into(),
            agent_version: "0.1.0".into(),
            workload: workload.into(),
            name: "web-7".into(),
        };
        let strata =
            [host("6.1", "web"), host("6-1", "web"), host("6.1", ""), host("\u{e9}\u{2026}", &"x".repeat(256))];
        let names: std::collections::BTreeSet<String> = strata.iter().map(|host| host.stratum("early")).collect();
        assert_eq!(names.len(), strata.len(), "{names:?}");
        for name in names {
            assert!(
                name.len() <= 64 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
        let other_name = HostPart { name: "db-1".into(), ..host("6.1", "web") };
        let web = host("6.1", "web");
        assert_eq!(other_name.stratum("early"), web.stratum("early"), "a host's own name is no kind");
        assert_ne!(web.stratum("broad"), web.stratum("early"), "rings are told apart");
    }

    #[test]
    fn a_refusal_is_told_in_bounds_and_left_out_where_there_is_none() {
        let told = |director_refused: String| CheckIn {
            instance: "i".into(),
            boot: "b".into(),
            state_hash: "h".into(),
            changed: Some(State {
                content: Some(ContentPart { director_refused, ..ContentPart::default() }),
                ..State::default()
            }),
            ..CheckIn::default()
        };
        assert!(!String::from_utf8_lossy(&write(1, &told(String::new()))).contains("director_refused"));
        assert_eq!(told("epoch 7 is older than 9".into()).out_of_bounds(), None);
        for bad in ["x".repeat(NAME_BYTES_MAX + 1), "\u{1b}[2J".to_owned()] {
            let why = told(bad).out_of_bounds();
            assert!(why.as_ref().is_some_and(|why| why.starts_with("content.director_refused")), "{why:?}");
        }
    }

    #[test]
    fn a_name_with_an_escape_sequence_is_out_of_bounds() {
        let host = HostPart { name: "web\u{1b}[2J".into(), ..HostPart::default() };
        assert!(host.out_of_bounds().is_some_and(|why| why.starts_with("host.name")));
    }
}
