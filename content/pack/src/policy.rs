//! Deny rules in a pack: records to the typed policy that a host applies, and back.
//!
//! What comes out has passed the check that every policy passes, however it was written: a blank field is refused here too.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use watertight_policy::{
    Action, Mode, Operation, Owned, Policy, Rule, Target, ID_CHARACTERS_MAX, PATH_BYTES_MAX, RULES_MAX,
};
use zerocopy::IntoBytes;

use crate::error::PackError;
use crate::layout::{
    PolicyRecord, PolicyRuleRecord, Range, Section, ACTION_DENY, FLAG_FALLBACK_DENY, MODE_AUDIT, MODE_ENFORCE,
    TARGET_FILE, TARGET_IPV4, TARGET_IPV6, TARGET_SHA256, TARGET_UNDER,
};
use crate::section::{each, Complaint, Reader, Texts};
use crate::write::Written;

/// Most bytes of paths and ids together: what the file that they were written in may have.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// The policy of a section; none where the section is empty.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Policy>, PackError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(Section::Policy, bytes);
    let head: &PolicyRecord = reader.record()?;
    if head.flags.get() & !FLAG_FALLBACK_DENY != 0 || head.reserved.get() != 0 {
        return Err(reader.wrong("has unknown flags"));
    }
    let limit = u32::try_from(RULES_MAX).unwrap_or(u32::MAX);
    let records: &[PolicyRuleRecord] = reader.table("deny rules", head.rules.get(), limit)?;
    let texts = reader.texts();
    let mut rules = Vec::with_capacity(records.len());
    each(Section::Policy, "rule", records, |_, record| {
        rules.push(rule(&texts, record)?);
        Ok(())
    })?;
    let fallback_deny = head.flags.get() & FLAG_FALLBACK_DENY != 0;
    let policy = Policy { version: head.version.get(), fallback_deny, rules };
    check(&policy)?;
    Ok(Some(policy))
}

/// Whether a host can put it in force: as any policy, with ids that leave room for whose they are, and in all no longer than a file.
fn check(policy: &Policy) -> Result<(), PackError> {
    policy.check()?;
    Owned { pack: policy.rules.clone(), ..Owned::default() }.check()?;
    let texts = policy.rules.iter().map(|rule| rule.id.len().saturating_add(path_bytes(&rule.target)));
    let found = texts.fold(0_u64, |sum, bytes| sum.saturating_add(bytes as u64));
    if found > TEXT_BYTES_MAX {
        return Err(PackError::TooMany { what: "bytes of paths and ids in its policy", found, limit: TEXT_BYTES_MAX });
    }
    let is_text = |rule: &Rule| match &rule.target {
        Target::File(path) | Target::Under(path) => path.to_str().is_some(),
        Target::Sha256(_) | Target::Address { .. } => true,
    };
    let what = "names a path that is not UTF-8: name its folder";
    let unnamed = policy.rules.iter().position(|rule| !is_text(rule));
    let refused = |position| PackError::Record { section: Section::Policy.name(), table: "rule", position, what };
    unnamed.map_or(Ok(()), |position| Err(refused(position)))
}

fn path_bytes(target: &Target) -> usize {
    match target {
        Target::File(path) | Target::Under(path) => path.as_os_str().len(),
        Target::Sha256(_) | Target::Address { .. } => 0,
    }
}

fn rule(texts: &Texts<'_>, record: &PolicyRuleRecord) -> Result<Rule, Complaint> {
    let mode = match record.mode.get() {
        MODE_AUDIT => Mode::Audit,
        MODE_ENFORCE => Mode::Enforce,
        _ => return Err("has an unknown mode"),
    };
    if record.action.get() != ACTION_DENY {
        return Err("has an unknown action");
    }
    let bits = record.operations.get();
    let on: Vec<Operation> =
        (0_u32..).zip(Operation::ALL).filter(|(at, _)| has_bit(bits, *at)).map(|(_, op)| op).collect();
    if usize::try_from(bits.count_ones()).ok() != Some(on.len()) {
        return Err("is on an unknown operation");
    }
    let id = texts.text(record.id, u32::try_from(ID_CHARACTERS_MAX).unwrap_or(u32::MAX))?.to_owned();
    Ok(Rule { id, action: Action::Deny, on, target: target(texts, record)?, mode })
}

fn has_bit(bits: u32, at: u32) -> bool {
    1_u32.checked_shl(at).is_some_and(|bit| bits & bit != 0)
}

/// What a kind of target does not use is zero, so that nothing hides there.
fn target(texts: &Texts<'_>, record: &PolicyRuleRecord) -> Result<Target, Complaint> {
    let kind = record.target.get();
    let is_path = matches!(kind, TARGET_FILE | TARGET_UNDER);
    let is_address = matches!(kind, TARGET_IPV4 | TARGET_IPV6);
    let is_clean = (is_path || record.path == Range::default())
        && (!is_path || record.bytes == [0; 32])
        && (is_address || (record.prefix_bits.get() == 0 && record.port.get() == 0));
    if !is_clean {
        return Err("has what its match does not use");
    }
    Ok(match kind {
        TARGET_FILE => Target::File(path(texts, record)?),
        TARGET_UNDER => Target::Under(path(texts, record)?),
        TARGET_SHA256 => Target::Sha256(record.bytes),
        TARGET_IPV4 | TARGET_IPV6 => address(record, kind)?,
        _ => return Err("has an unknown match"),
    })
}

fn path(texts: &Texts<'_>, record: &PolicyRuleRecord) -> Result<PathBuf, Complaint> {
    let bytes = texts.bytes(record.path, u32::try_from(PATH_BYTES_MAX).unwrap_or(u32::MAX))?;
    Ok(PathBuf::from(OsStr::from_bytes(bytes)))
}

fn address(record: &PolicyRuleRecord, kind: u32) -> Result<Target, Complaint> {
    const OUTSIDE: Complaint = "has an address, a prefix or a port that is none";
    let (address, rest) = match kind {
        TARGET_IPV4 => {
            let (octets, rest) = record.bytes.split_first_chunk::<4>().ok_or(OUTSIDE)?;
            (IpAddr::from(*octets), rest)
        }
        _ => {
            let (octets, rest) = record.bytes.split_first_chunk::<16>().ok_or(OUTSIDE)?;
            (IpAddr::from(*octets), rest)
        }
    };
    let prefix_bits = u8::try_from(record.prefix_bits.get()).map_err(|_| OUTSIDE)?;
    let port = u16::try_from(record.port.get()).map_err(|_| OUTSIDE)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(OUTSIDE);
    }
    Ok(Target::Address { address, prefix_bits, port: (port != 0).then_some(port) })
}

/// The policy as a section.
pub(crate) fn write(policy: &Policy) -> Result<Vec<u8>, PackError> {
    check(policy)?;
    let mut texts = Written::default();
    let mut records = Vec::with_capacity(policy.rules.len());
    for rule in &policy.rules {
        let mut record = PolicyRuleRecord {
            id: texts.keep(rule.id.as_bytes()),
            action: ACTION_DENY.into(),
            mode: match rule.mode {
                Mode::Audit => MODE_AUDIT,
                Mode::Enforce => MODE_ENFORCE,
            }
            .into(),
            operations: bits_of(&rule.on).into(),
            ..PolicyRuleRecord::default()
        };
        fill_target(&mut record, &rule.target, &mut texts);
        records.push(record);
    }
    let head = PolicyRecord {
        version: policy.version.into(),
        flags: if policy.fallback_deny { FLAG_FALLBACK_DENY } else { 0 }.into(),
        rules: u32::try_from(records.len()).unwrap_or(u32::MAX).into(),
        reserved: 0.into(),
    };
    Ok([head.as_bytes(), records.as_bytes(), texts.bytes()].concat())
}

fn bits_of(on: &[Operation]) -> u32 {
    let bits = (0_u32..).zip(Operation::ALL).filter(|(_, operation)| on.contains(operation));
    bits.fold(0, |bits, (at, _)| bits | 1_u32.checked_shl(at).unwrap_or(0))
}

fn fill_target(record: &mut PolicyRuleRecord, target: &Target, texts: &mut Written) {
    let mut fill = |from: &[u8]| record.bytes.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    let kind = match target {
        Target::File(path) => {
            record.path = texts.keep(path.as_os_str().as_bytes());
            TARGET_FILE
        }
        Target::Under(path) => {
            record.path = texts.keep(path.as_os_str().as_bytes());
            TARGET_UNDER
        }
        Target::Sha256(digest) => {
            fill(digest);
            TARGET_SHA256
        }
        Target::Address { address, prefix_bits, port } => {
            let kind = match address {
                IpAddr::V4(four) => {
                    fill(&four.octets());
                    TARGET_IPV4
                }
                IpAddr::V6(six) => {
                    fill(&six.octets());
                    TARGET_IPV6
                }
            };
            record.prefix_bits = u32::from(*prefix_bits).into();
            record.port = u32::from(port.unwrap_or(0)).into();
            kind
        }
    };
    record.target = kind.into();
}
