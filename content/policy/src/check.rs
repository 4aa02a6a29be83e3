//! Whether typed deny rules are such as the file's reader would have let through: the second look at a policy that came another
//! way, and the door for one that came in a content pack.
//!
//! The reader of files tells every problem with its place; here the first is enough, because whoever wrote the types has read a
//! file, or is not to be believed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use crate::{
    Operation, Policy, Rule, Target, ID_CHARACTERS_MAX, PACK_ID_CHARACTERS_MAX, PATH_BYTES_MAX, RULES_MAX, VERSION,
};

/// Why a policy can't be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Another schema.
    #[error("version {found} is not known: write version {VERSION}; a newer policy needs a newer watertight")]
    Version {
        /// What it says.
        found: u32,
    },
    /// More rules than a person oversees and the kernel's tables hold.
    #[error("it has {found} rules, more than the {RULES_MAX} that it may have: name folders instead of files")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// A rule's id is blank or has other characters than an id.
    #[error("rule number {position} has no id that is one: use 1 to {ID_CHARACTERS_MAX} of the letters a to z, digits and `-`")]
    Id {
        /// The rule, from 1.
        position: usize,
    },
    /// A rule of the agent's has an id that leaves no room for whose it is.
    #[error("rule number {position} has an id of more than {PACK_ID_CHARACTERS_MAX} characters: a pack's have at most that many, because `pack:` or `trial:` stands before them in the kernel; give it a shorter one")]
    LongId {
        /// The rule, from 1.
        position: usize,
    },
    /// Two rules have one id.
    #[error("rule {rule} is there twice: events name rules by their id, give one another")]
    Double {
        /// The id.
        rule: String,
    },
    /// It is on nothing, or on something twice.
    #[error("rule {rule} is on no operation, or on one twice: name each that is meant once")]
    Operations {
        /// The id.
        rule: String,
    },
    /// An operation that its match can't be part of.
    #[error("rule {rule}: {operation} does not fit a match by {key}: remove it, or match something else")]
    Unfit {
        /// The id.
        rule: String,
        /// The operation.
        operation: Operation,
        /// What it matches by.
        key: &'static str,
    },
    /// What it matches is blank, too much or impossible.
    #[error("rule {rule}: its match by {key} {what}")]
    Match {
        /// The id.
        rule: String,
        /// What it matches by.
        key: &'static str,
        /// What is wrong, and the mend.
        what: &'static str,
    },
}

impl Policy {
    /// Whether every rule of it can be applied as it is.
    ///
    /// # Errors
    /// The first thing that can't.
    pub fn check(&self) -> Result<(), PolicyError> {
        if self.version != VERSION {
            return Err(PolicyError::Version { found: self.version });
        }
        if self.rules.len() > RULES_MAX {
            return Err(PolicyError::TooMany { found: self.rules.len() });
        }
        let mut ids = BTreeSet::new();
        for (position, rule) in (1..).zip(&self.rules) {
            if !is_id(&rule.id) {
                return Err(PolicyError::Id { position });
            }
            if !ids.insert(rule.id.as_str()) {
                return Err(PolicyError::Double { rule: rule.id.clone() });
            }
            check_rule(rule)?;
        }
        Ok(())
    }
}

fn check_rule(rule: &Rule) -> Result<(), PolicyError> {
    let once: BTreeSet<Operation> = rule.on.iter().copied().collect();
    if rule.on.is_empty() || once.len() != rule.on.len() {
        return Err(PolicyError::Operations { rule: rule.id.clone() });
    }
    let key = rule.target.key();
    if let Some(operation) = rule.on.iter().find(|operation| !rule.target.operations().contains(operation)) {
        return Err(PolicyError::Unfit { rule: rule.id.clone(), operation: *operation, key });
    }
    let checked = match &rule.target {
        Target::File(path) | Target::Under(path) => check_path(path),
        Target::Sha256(digest) if *digest == [0; 32] => Err("is blank: write the digest that `sha256sum FILE` prints"),
        Target::Sha256(_) => Ok(()),
        Target::Address { address, prefix_bits, port } => check_address(*address, *prefix_bits, *port),
    };
    checked.map_err(|what| PolicyError::Match { rule: rule.id.clone(), key, what })
}

/// Lower-case letters, digits and hyphens, and not too many of them.
pub(crate) fn is_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= ID_CHARACTERS_MAX && text.bytes().all(is_allowed)
}

fn check_path(path: &Path) -> Result<(), &'static str> {
    let bytes = path.as_os_str().as_bytes();
    if !path.is_absolute() {
        return Err("is not an absolute path: begin with /");
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return Err("goes up with `..`: write the path without it");
    }
    if bytes.len() > PATH_BYTES_MAX {
        return Err("is longer than any path: a path has at most 4,095 bytes");
    }
    if bytes.contains(&0) {
        return Err("has a NUL character: remove it");
    }
    if bytes.iter().any(|byte| matches!(byte, b'*' | b'?')) {
        return Err("has a wildcard: name each file, or their folder with under");
    }
    if path.components().eq([Component::RootDir]) {
        return Err("is the whole machine: name a file or a folder below /");
    }
    Ok(())
}

fn check_address(address: IpAddr, prefix_bits: u8, port: Option<u16>) -> Result<(), &'static str> {
    let bits_all: u8 = if address.is_ipv4() { 32 } else { 128 };
    if prefix_bits > bits_all {
        return Err("has a prefix longer than its address: write at most 32 for IPv4, 128 for IPv6");
    }
    if matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some()) {
        return Err("is an IPv4 address in IPv6 form: write the IPv4 address");
    }
    if first_of(address, prefix_bits) != address {
        return Err("is not the first address of its range: clear the bits beyond the /");
    }
    if port == Some(0) {
        return Err("has the port 0: write a number from 1 to 65535, or none for all");
    }
    Ok(())
}

/// The address with every bit after the prefix cleared.
pub(crate) fn first_of(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(bits))).unwrap_or(0);
            IpAddr::V4((four.to_bits() & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(bits))).unwrap_or(0);
            IpAddr::V6((six.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Mode};

    fn of(rules: Vec<Rule>) -> Policy {
        Policy { version: VERSION, fallback_deny: false, rules }
    }

    fn rule(id: &str, on: &[Operation], target: Target) -> Rule {
        Rule { id: id.to_owned(), action: Action::Deny, on: on.to_vec(), target, mode: Mode::Enforce }
    }

    fn address(address: [u8; 4], prefix_bits: u8, port: Option<u16>) -> Target {
        Target::Address { address: address.into(), prefix_bits, port }
    }

    #[test]
    fn a_policy_that_a_file_could_say_is_let_through() {
        let rules = vec![
            rule("a", &[Operation::Exec], Target::File("/usr/bin/xmrig".into())),
            rule("b", &[Operation::Write, Operation::Unlink], Target::Under("/srv/www".into())),
            rule("c", &[Operation::Module], Target::Sha256([1; 32])),
            rule("d", &[Operation::Connect], address([10, 0, 0, 0], 8, Some(22))),
            rule("e", &[Operation::Connect], address([0, 0, 0, 0], 0, None)),
        ];
        assert_eq!(of(rules).check(), Ok(()));
        assert_eq!(of(Vec::new()).check(), Ok(()));
    }

    #[test]
    fn a_blank_field_is_refused() {
        let blanks = [
            rule("", &[Operation::Exec], Target::File("/x".into())),
            rule("a", &[], Target::File("/x".into())),
            rule("a", &[Operation::Exec], Target::File("".into())),
            rule("a", &[Operation::Exec], Target::Under("".into())),
            rule("a", &[Operation::Exec], Target::Sha256([0; 32])),
        ];
        for blank in blanks {
            assert!(of(vec![blank.clone()]).check().is_err(), "{blank:?}");
        }
    }

    #[test]
    fn what_no_file_could_say_is_refused_by_its_rule() {
        let v6 = |text: &str, prefix_bits| Target::Address {
            address: text.parse().expect("an address"),
            prefix_bits,
            port: None,
        };
        let wrong = [
            rule("A", &[Operation::Exec], Target::File("/x".into())),
            rule("a", &[Operation::Exec, Operation::Exec], Target::File("/x".into())),
            rule("a", &[Operation::Connect], Target::File("/x".into())),
            rule("a", &[Operation::Write], Target::Sha256([1; 32])),
            rule("a", &[Operation::Exec], Target::File("x".into())),
            rule("a", &[Operation::Exec], Target::File("/x/../y".into())),
            rule("a", &[Operation::Exec], Target::File("/x\0".into())),
            rule("a", &[Operation::Exec], Target::File("/x/*".into())),
            rule("a", &[Operation::Exec], Target::File(format!("/{}", "x".repeat(PATH_BYTES_MAX)).into())),
            rule("a", &[Operation::Write], Target::Under("/".into())),
            rule("a", &[Operation::Write], Target::Under("//./".into())),
            rule("a", &[Operation::Connect], address([10, 0, 0, 1], 8, None)),
            rule("a", &[Operation::Connect], address([10, 0, 0, 0], 33, None)),
            rule("a", &[Operation::Connect], address([10, 0, 0, 0], 8, Some(0))),
            rule("a", &[Operation::Connect], v6("::ffff:10.0.0.1", 128)),
            rule("a", &[Operation::Connect], v6("2001:db8::1", 129)),
        ];
        for rule in wrong {
            assert!(of(vec![rule.clone()]).check().is_err(), "{rule:?}");
        }
        let twice = rule("a", &[Operation::Exec], Target::File("/x".into()));
        assert_eq!(of(vec![twice.clone(), twice]).check(), Err(PolicyError::Double { rule: "a".to_owned() }));
        let newer = Policy { version: 2, ..Policy::default() };
        assert_eq!(newer.check(), Err(PolicyError::Version { found: 2 }));
        let many = (0..=RULES_MAX).map(|at| rule(&format!("r{at}"), &[Operation::Exec], Target::File("/x".into())));
        assert!(matches!(of(many.collect()).check(), Err(PolicyError::TooMany { .. })));
    }
}
