//! The policy's types. In JSON a rule looks as it does in the file, but that `on` is always a list and `match` is tagged:
//! `{"file": "/usr/bin/xmrig"}`, `{"sha256": "64 digits"}`, `{"address": {"address": "10.0.0.0", "prefix_bits": 8}}`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The only version of the schema.
pub const VERSION: u32 = 1;

/// Most rules in a policy. The kernel's tables are made for as many, and a person can't oversee more.
pub const RULES_MAX: usize = 4096;

/// Longest id of a rule. Ids are shown in events and tables, and the kernel's table of names has this much room.
pub const ID_CHARACTERS_MAX: usize = 63;

/// Longest path that the kernel takes, bytes.
pub const PATH_BYTES_MAX: usize = 4095;

/// Everything that is to be denied on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the schema.
    pub version: u32,
    /// Deny by fanotify, while `watertight run` runs, where the kernel refuses BPF LSM.
    #[serde(default)]
    pub fallback_deny: bool,
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
}

/// One deny rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name: lower-case letters, digits and hyphens, unique in the policy.
    pub id: String,
    /// What it does.
    pub action: Action,
    /// The operations that it applies to; at least one, none twice.
    pub on: Vec<Operation>,
    /// What the operation must be about.
    #[serde(rename = "match")]
    pub target: Target,
    /// Whether it denies or only counts.
    pub mode: Mode,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The operation fails with "operation not permitted".
    Deny,
}

/// An operation that can be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A program is started, or mapped as code by one that runs.
    Exec,
    /// A file's contents are changed.
    Write,
    /// A name of a file is removed.
    Unlink,
    /// A file is renamed, or gets another name by a hard link.
    Rename,
    /// A kernel module is loaded.
    Module,
    /// A connection is opened, or a message sent to a peer.
    Connect,
}

/// What an operation must be about for a rule to apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The file that has this path when the policy is applied, by whatever name it is reached.
    File(PathBuf),
    /// Everything in and below this folder.
    Under(PathBuf),
    /// Contents with this SHA-256.
    Sha256(#[serde(with = "crate::sha256")] [u8; 32]),
    /// A peer on the network.
    Address {
        /// The address, or the first of a range.
        address: IpAddr,
        /// How many leading bits must be equal: all of them for a single address.
        prefix_bits: u8,
        /// The port; every port when there is none.
        #[serde(default)]
        port: Option<u16>,
    },
}

/// Whether a rule denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Let it pass and count it.
    Audit,
    /// Deny it and count it.
    Enforce,
}

impl Operation {
    /// Every operation, in the order in which they are documented.
    pub const ALL: [Self; 6] = [Self::Exec, Self::Write, Self::Unlink, Self::Rename, Self::Module, Self::Connect];

    /// Its name in files and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Write => "write",
            Self::Unlink => "unlink",
            Self::Rename => "rename",
            Self::Module => "module",
            Self::Connect => "connect",
        }
    }
}

impl Mode {
    /// Its name in files and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }
}

impl Target {
    /// The key that it is written under.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Under(_) => "under",
            Self::Sha256(_) => "sha256",
            Self::Address { .. } => "address",
        }
    }

    /// The operations that this kind of target can be part of.
    #[must_use]
    pub const fn operations(&self) -> &'static [Operation] {
        use Operation::{Connect, Exec, Module, Rename, Unlink, Write};
        match self {
            Self::File(_) | Self::Under(_) => &[Exec, Write, Unlink, Rename, Module],
            Self::Sha256(_) => &[Exec, Module],
            Self::Address { .. } => &[Connect],
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// As a person reads it: `/usr/bin/xmrig`, `under /srv`, `sha256 9f86d08...`, `10.0.0.0/8 port 22`. Paths are not escaped.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Under(path) => write!(f, "under {}", path.display()),
            Self::Sha256(digest) => write!(f, "sha256 {}", crate::sha256::to_hex(digest)),
            Self::Address { address, prefix_bits, port } => {
                let bits_all = if address.is_ipv4() { 32 } else { 128 };
                write!(f, "{address}")?;
                if *prefix_bits != bits_all {
                    write!(f, "/{prefix_bits}")?;
                }
                port.map_or(Ok(()), |port| write!(f, " port {port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(on: Operation, target: Target) -> Rule {
        Rule { id: "r".into(), action: Action::Deny, on: vec![on], target, mode: Mode::Enforce }
    }

    #[test]
    fn the_json_between_command_and_loader_has_the_names_of_the_file() {
        let policy = Policy {
            version: VERSION,
            fallback_deny: true,
            rules: vec![
                rule(Operation::Exec, Target::File("/usr/bin/xmrig".into())),
                rule(Operation::Write, Target::Under("/srv".into())),
                rule(Operation::Module, Target::Sha256([0xab; 32])),
                rule(
                    Operation::Connect,
                    Target::Address { address: [10, 0, 0, 0].into(), prefix_bits: 8, port: Some(22) },
                ),
            ],
        };
        let json = serde_json::to_value(&policy).expect("plain types");
        let matches: Vec<_> = json["rules"].as_array().expect("rules").iter().map(|rule| &rule["match"]).collect();
        assert_eq!(*matches[0], serde_json::json!({ "file": "/usr/bin/xmrig" }));
        assert_eq!(*matches[1], serde_json::json!({ "under": "/srv" }));
        assert_eq!(*matches[2], serde_json::json!({ "sha256": "ab".repeat(32) }));
        assert_eq!(
            *matches[3],
            serde_json::json!({ "address": { "address": "10.0.0.0", "prefix_bits": 8, "port": 22 } })
        );
        assert_eq!(json["rules"][0]["on"], serde_json::json!(["exec"]));
        assert_eq!(json["rules"][0]["action"], "deny");
        assert_eq!(serde_json::from_value::<Policy>(json).expect("the same types"), policy);
    }

    #[test]
    fn a_digest_that_is_too_short_is_refused_by_the_types_too() {
        assert!(serde_json::from_str::<Target>(r#"{"sha256":"abcd"}"#).is_err());
        assert!(serde_json::from_str::<Target>(r#"{"path":"/x"}"#).is_err());
    }

    #[test]
    fn a_target_reads_as_a_person_would_say_it() {
        let address = |prefix_bits| Target::Address { address: [10, 0, 0, 0].into(), prefix_bits, port: Some(22) };
        assert_eq!(address(8).to_string(), "10.0.0.0/8 port 22");
        assert_eq!(address(32).to_string(), "10.0.0.0 port 22");
        assert_eq!(Target::Under("/srv".into()).to_string(), "under /srv");
    }
}
