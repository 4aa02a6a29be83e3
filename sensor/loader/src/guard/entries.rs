//! Rules -> the typed entries that the kernel looks up: a path becomes the identity of what it names today, and the place
//! (folder and name) in which tomorrow's file will be.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context as _, Result};
use serde_json::{json, Value as Json};
use watertight_policy::{Mode, Operation as On, Rule, Target, RULES_MAX};
use watertight_sensor_abi::{
    place_hash, EntryKind, Identity, Operation, PolicyEntry, PolicyKey, POLICY_AUDIT, POLICY_DENY, POLICY_PREFIXES_MAX,
};

use super::generation::header_key;
use super::kept::Kept;
use crate::identify::identify;

/// Kinds of entries whose keys begin with the identity of a file or folder.
const NAMES_INODE: [u32; 3] = [EntryKind::File as u32, EntryKind::Place as u32, EntryKind::Folder as u32];

/// A generation's entries by key.
pub type Table = BTreeMap<PolicyKey, PolicyEntry>;

/// Operations that removing a folder's protection would undo: a rule about a folder holds its contents in it.
const LEAVE: Operation = Operation::Leave;

/// A policy resolved on this machine.
pub struct Entries {
    table: Table,
    rules: Vec<Resolved>,
}

/// What became of one rule.
pub struct Resolved {
    /// The rule.
    pub rule: Rule,
    /// Its keys in the table.
    pub keys: Vec<PolicyKey>,
    warnings: Vec<String>,
}

impl Entries {
    /// Looks at what the rules name.
    ///
    /// # Errors
    /// A rule can't be put into the kernel's form; a path that does not exist is a warning.
    pub fn resolve(rules: &[Rule]) -> Result<Self> {
        Self::beside(Vec::new(), rules)
    }

    /// The same beside rules of others that stay as they are.
    ///
    /// # Errors
    /// As [`Self::resolve`], or they are too many together.
    pub fn beside(kept: Vec<Kept>, rules: &[Rule]) -> Result<Self> {
        let count = kept.len().saturating_add(rules.len());
        ensure!(count <= RULES_MAX, "there would be {count} rules in force, more than the {RULES_MAX} that can be");
        let mut entries = Self { table: Table::new(), rules: Vec::new() };
        for Kept { rule, places } in kept {
            let number = entries.next_number()?;
            for (key, on) in &places {
                entries.add_one(*key, *on, rule.mode, number);
            }
            entries.describe(&rule, number)?;
            let mut keys: Vec<PolicyKey> = places.into_iter().map(|(key, _)| key).collect();
            keys.dedup();
            entries.rules.push(Resolved { rule, keys, warnings: Vec::new() });
        }
        for rule in rules {
            let number = entries.next_number()?;
            let (keys, warnings) = keys_of(rule).with_context(|| format!("rule {}", rule.id))?;
            for key in &keys {
                entries.add(*key, rule, number);
            }
            entries.describe(rule, number)?;
            entries.rules.push(Resolved { rule: rule.clone(), keys, warnings });
        }
        ensure!(
            entries.prefixes().len() <= POLICY_PREFIXES_MAX as usize,
            "the policy's addresses have {} different prefix lengths; {POLICY_PREFIXES_MAX} are possible",
            entries.prefixes().len()
        );
        Ok(entries)
    }

    /// The rules in their order.
    pub fn rules(&self) -> &[Resolved] {
        &self.rules
    }

    /// Everything that goes into the map of a generation.
    pub fn table(&self, number: u64, deadline_ns: u64) -> Result<Table> {
        let mut table = self.table.clone();
        let mut header = PolicyEntry { generation: number, deadline_ns, ..PolicyEntry::default() };
        for (key, entry) in &self.table {
            if key.kind == EntryKind::Rule as u32 {
                continue;
            }
            for operation in Operation::ALL {
                if (entry.denies | entry.audits) & operation.bit() != 0 {
                    header.kinds |= 1 << (operation as u32 * 8 + key.kind);
                }
                if key.kind == EntryKind::Digest as u32 {
                    note_strictest(&mut header, entry, operation);
                }
            }
            header.denies |= entry.denies;
            header.audits |= entry.audits;
        }
        let prefixes = self.prefixes();
        header.count = u32::try_from(prefixes.len()).context("prefix lengths")?;
        for (to, prefix) in header.text.iter_mut().zip(prefixes) {
            *to = prefix;
        }
        header.entries = u32::try_from(table.len().saturating_add(1)).context("too many entries")?;
        table.insert(header_key(), header);
        Ok(table)
    }

    /// The answer to `guard check` and `guard apply`.
    pub fn report(&self, generation: u64, state: &str) -> Json {
        let rules: Vec<Json> = self
            .rules
            .iter()
            .map(|resolved| {
                json!({ "id": resolved.rule.id, "entries": resolved.keys.len(), "warnings": resolved.warnings })
            })
            .collect();
        json!({ "generation": generation, "state": state, "rules": rules, "refused": [] })
    }

    fn prefixes(&self) -> Vec<u8> {
        let addresses = self.table.keys().filter(|key| key.kind == EntryKind::Address as u32);
        let lengths: std::collections::BTreeSet<u8> = addresses.filter_map(|key| u8::try_from(key.dev).ok()).collect();
        lengths.into_iter().collect()
    }

    fn add(&mut self, key: PolicyKey, rule: &Rule, number: u16) {
        let mut operations: Vec<Operation> = rule.on.iter().map(|on| operation(*on)).collect();
        if key.kind == EntryKind::Folder as u32 {
            operations.push(LEAVE);
        }
        for operation in operations {
            self.add_one(key, operation, rule.mode, number);
        }
    }

    fn add_one(&mut self, key: PolicyKey, operation: Operation, mode: Mode, number: u16) {
        let entry = self.table.entry(key).or_default();
        let is_denied = entry.denies & operation.bit() != 0;
        let is_known = is_denied || entry.audits & operation.bit() != 0;
        match mode {
            Mode::Enforce => entry.denies |= operation.bit(),
            Mode::Audit => entry.audits |= operation.bit(),
        }
        // The rule that is told is the first that denies, or the first of all.
        if !is_known || (!is_denied && mode == Mode::Enforce) {
            set_rule(entry, operation, number);
        }
    }

    fn next_number(&self) -> Result<u16> {
        u16::try_from(self.rules.len().saturating_add(1)).context("too many rules")
    }

    /// Entries by which a rule is told in verdicts, and read back by `show`.
    fn describe(&mut self, rule: &Rule, number: u16) -> Result<()> {
        let target = serde_json::to_vec(&json!({ "on": rule.on, "match": rule.target })).context("writing a rule")?;
        let mut id = [0; 64];
        for (to, from) in id.iter_mut().take(63).zip(rule.id.bytes()) {
            *to = from;
        }
        let mode = u32::from(if rule.mode == Mode::Enforce { POLICY_DENY } else { POLICY_AUDIT });
        for (part, chunk) in target.chunks(120).enumerate() {
            let mut text = [0; 120];
            for (to, from) in text.iter_mut().zip(chunk) {
                *to = *from;
            }
            let key = PolicyKey {
                kind: EntryKind::Rule as u32,
                a: u64::from(number),
                b: u64::try_from(part).context("parts of a rule")?,
                ..PolicyKey::default()
            };
            self.table.insert(key, PolicyEntry { count: mode, id, text, ..PolicyEntry::default() });
        }
        Ok(())
    }
}

/// Every file and folder that keys name.
pub fn named(table: &Table) -> impl Iterator<Item = Identity> + '_ {
    table.keys().filter(|key| NAMES_INODE.contains(&key.kind)).map(|key| Identity {
        inode: key.a,
        dev: key.dev,
        generation: u32::try_from(key.b).unwrap_or_default(), // made of one by `identity_key`
    })
}

/// The kernel's operation for the policy's word.
pub fn operation(on: On) -> Operation {
    match on {
        On::Exec => Operation::Exec,
        On::Write => Operation::Write,
        On::Unlink => Operation::Unlink,
        On::Rename => Operation::Rename,
        On::Module => Operation::Module,
        On::Connect => Operation::Connect,
    }
}

fn set_rule(entry: &mut PolicyEntry, operation: Operation, number: u16) {
    let at = operation as usize * 2;
    if let Some([low, high]) = entry.rules.get_mut(at..at + 2) {
        [*low, *high] = number.to_le_bytes();
    }
}

/// What the header says of contents that can't be judged: the strictest mode of any rule on contents.
fn note_strictest(header: &mut PolicyEntry, entry: &PolicyEntry, operation: Operation) {
    let at = operation as usize * 2;
    let Some([low, high]) = header.rules.get_mut(at..at + 2) else { return };
    let mode = u16::from_le_bytes([*low, *high]);
    let new = match () {
        () if entry.denies & operation.bit() != 0 => POLICY_DENY,
        () if entry.audits & operation.bit() != 0 => POLICY_AUDIT,
        () => return,
    };
    if mode == 0 || new < mode {
        [*low, *high] = new.to_le_bytes();
    }
}

/// What a rule names, as the kernel looks it up, and what it will not do.
pub fn keys_of(rule: &Rule) -> Result<(Vec<PolicyKey>, Vec<String>)> {
    match &rule.target {
        Target::File(path) => keys_of_file(path),
        Target::Under(path) => keys_of_folder(path),
        Target::Sha256(digest) => Ok((vec![digest_key(digest)], Vec::new())),
        Target::Address { address, prefix_bits, port } => {
            Ok((vec![address_key(*address, *prefix_bits, *port)], Vec::new()))
        }
    }
}

fn keys_of_file(path: &Path) -> Result<(Vec<PolicyKey>, Vec<String>)> {
    let mut keys = Vec::new();
    let mut warnings = Vec::new();
    match std::fs::canonicalize(path) {
        Ok(real) => {
            let metadata = std::fs::metadata(&real).with_context(|| format!("looking at {}", real.display()))?;
            if metadata.is_dir() {
                bail!("{} is a folder: write `under` instead of `file`", path.display());
            }
            keys.push(identity_key(EntryKind::File, identity_of(&real)?));
            keys.extend(place(&real)?);
            if real != path {
                warnings.push(format!("{} is {}", path.display(), real.display()));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            warnings.push(format!("{} does not exist: what will be there is meant", path.display()));
        }
        Err(error) => return Err(error).with_context(|| format!("looking at {}", path.display())),
    }
    // The name that was written too: it may be a symbolic link today and a file tomorrow.
    match place(path)? {
        Some(key) if !keys.contains(&key) => keys.push(key),
        Some(_) => {}
        None => warnings.push(format!("{} has no folder: the rule can't match anything", path.display())),
    }
    Ok((keys, warnings))
}

fn keys_of_folder(path: &Path) -> Result<(Vec<PolicyKey>, Vec<String>)> {
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let warning = format!("{} does not exist: make it and apply the policy again", path.display());
            return Ok((Vec::new(), vec![warning]));
        }
        Err(error) => return Err(error).with_context(|| format!("looking at {}", path.display())),
    };
    if !real.is_dir() {
        bail!("{} is not a folder: write `file` instead of `under`", path.display());
    }
    let warnings = if real == path { Vec::new() } else { vec![format!("{} is {}", path.display(), real.display())] };
    Ok((vec![identity_key(EntryKind::Folder, identity_of(&real)?)], warnings))
}

/// The name's place, if its folder exists.
pub fn place(path: &Path) -> Result<Option<PolicyKey>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let Ok(folder) = std::fs::canonicalize(folder) else { return Ok(None) };
    let mut key = identity_key(EntryKind::Place, identity_of(&folder)?);
    key.c = place_hash(name.as_bytes());
    Ok(Some(key))
}

/// The kernel's identity of what a path names.
pub fn identity_of(path: &Path) -> Result<Identity> {
    let found = identities(std::slice::from_ref(&path.to_owned()))?;
    found.into_iter().next().context("the kernel told no identity")
}

/// The same of several paths, with one question to the kernel.
pub fn identities(paths: &[PathBuf]) -> Result<Vec<Identity>> {
    let mut files: Vec<File> = Vec::with_capacity(paths.len());
    for path in paths {
        // O_PATH: nothing is read, no device is woken up, and no permission is needed.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
        files.push(file.with_context(|| format!("opening {}", path.display()))?);
    }
    let fds: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
    identify(&fds)
}

/// The key of a file or folder.
pub fn identity_key(kind: EntryKind, identity: Identity) -> PolicyKey {
    PolicyKey {
        kind: kind as u32,
        dev: identity.dev,
        a: identity.inode,
        b: u64::from(identity.generation),
        ..PolicyKey::default()
    }
}

/// The key of contents.
pub fn digest_key(digest: &[u8; 32]) -> PolicyKey {
    let mut words =
        digest.chunks_exact(8).map(|chunk| chunk.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte)));
    let mut next = || words.next().unwrap_or_default();
    PolicyKey { kind: EntryKind::Digest as u32, a: next(), b: next(), c: next(), d: next(), ..PolicyKey::default() }
}

fn address_key(address: IpAddr, prefix_bits: u8, port: Option<u16>) -> PolicyKey {
    // IPv4 is looked up as what it is in IPv6.
    let (bits, prefix) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_ipv6_mapped()), prefix_bits.saturating_add(96)),
        IpAddr::V6(v6) => (u128::from(v6), prefix_bits),
    };
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
    let masked = bits & mask;
    PolicyKey {
        kind: EntryKind::Address as u32,
        dev: u32::from(prefix),
        a: u64::try_from(masked >> 64).unwrap_or_default(),
        b: u64::try_from(masked & u128::from(u64::MAX)).unwrap_or_default(),
        c: u64::from(port.unwrap_or(0)),
        ..PolicyKey::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(on: &[On], target: Target, mode: Mode) -> Rule {
        Rule { id: "r".into(), action: watertight_policy::Action::Deny, on: on.to_vec(), target, mode }
    }

    fn network(text: &str, prefix_bits: u8, port: Option<u16>, mode: Mode) -> Rule {
        let address = text.parse().expect("an address");
        rule(&[On::Connect], Target::Address { address, prefix_bits, port }, mode)
    }

    #[test]
    fn a_network_is_looked_up_by_its_leading_bits() {
        let key = address_key("10.1.2.3".parse().expect("an address"), 8, Some(53));
        assert_eq!((key.dev, key.a, key.b, key.c), (104, 0, 0x0000_ffff_0a00_0000, 53));
        let key = address_key("2001:db8::1".parse().expect("an address"), 32, None);
        assert_eq!((key.dev, key.a, key.b, key.c), (32, 0x2001_0db8_0000_0000, 0, 0));
        let key = address_key("::".parse().expect("an address"), 0, Some(1));
        assert_eq!((key.dev, key.a, key.b), (0, 0, 0));
    }

    #[test]
    fn denial_wins_over_audit_and_the_rule_that_denies_is_told() {
        let rules = vec![network("10.0.0.0", 8, None, Mode::Audit), network("10.9.9.9", 8, None, Mode::Enforce)];
        let entries = Entries::resolve(&rules).expect("a policy");
        let table = entries.table(4, 0).expect("a table");
        let key = address_key("10.0.0.0".parse().expect("an address"), 8, None);
        let entry = table.get(&key).expect("both rules have this entry");
        let connect = Operation::Connect;
        assert_eq!((entry.denies, entry.audits), (connect.bit(), connect.bit()));
        assert_eq!(entry.rules.get(10..12), Some(&[2, 0][..]), "the second rule denies");
        let header = table.get(&header_key()).expect("a header");
        assert_eq!((header.generation, header.count, header.text.first()), (4, 1, Some(&104)));
        assert_eq!(header.kinds >> (connect as u32 * 8), 1 << EntryKind::Address as u32);
        assert_eq!(header.entries as usize, table.len());
    }

    #[test]
    fn more_prefix_lengths_than_a_hook_looks_up_are_refused() {
        let rules: Vec<Rule> = (1..=17).map(|bits| network("10.0.0.0", bits, None, Mode::Audit)).collect();
        let refused = Entries::resolve(&rules);
        assert!(refused.is_err_and(|error| error.to_string().contains("17 different prefix lengths")));
    }

    #[test]
    fn contents_are_looked_up_in_the_order_in_which_the_kernel_has_them() {
        let digest: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).expect("below 32"));
        assert_eq!(digest_key(&digest).a, u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(digest_key(&digest).d, u64::from_le_bytes([24, 25, 26, 27, 28, 29, 30, 31]));
    }
}
