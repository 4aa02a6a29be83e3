//! Rules that stay when others are published: the administrator's, when the agent changes its own, and the other way round.
//!
//! They are read back from the kernel's table and keep the entries that they have there. Looking their paths up again would lose
//! what they were about when they were applied: a file that has been moved since would start again.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value as Json;
use watertight_policy::{Action, Mode, Owner, Rule};
use watertight_sensor_abi::{EntryKind, Operation, PolicyEntry, PolicyKey, POLICY_DENY};

use super::entries::{keys_of, operation, Table};

/// A rule of the table in force, and where it stands in that.
pub struct Kept {
    /// The rule, its id as the kernel has it.
    pub rule: Rule,
    /// Its entries.
    pub places: Vec<(PolicyKey, Operation)>,
}

/// The rules of these owners.
///
/// # Errors
/// The table holds a rule that can't be read: it is of another version.
pub fn of(table: &Table, stays: impl Fn(Owner) -> bool) -> Result<Vec<Kept>> {
    let rules = rules_of(table)?.into_iter().filter(|(_, rule)| stays(Owner::of(&rule.id)));
    Ok(rules.map(|(number, rule)| Kept { places: places_of(table, number, &rule), rule }).collect())
}

/// Every rule of a table by its number, as it was published.
///
/// # Errors
/// As [`of`].
pub fn rules_of(table: &Table) -> Result<Vec<(u64, Rule)>> {
    let mut parts: BTreeMap<u64, (PolicyEntry, Vec<u8>)> = BTreeMap::new();
    let is_rule = |(key, _): &(&PolicyKey, &PolicyEntry)| key.kind == EntryKind::Rule as u32;
    for (key, entry) in table.iter().filter(is_rule) {
        // Parts come in their order, because the keys do.
        let (_, text) = parts.entry(key.a).or_insert_with(|| (*entry, Vec::new()));
        text.extend(entry.text.iter().take_while(|byte| **byte != 0));
    }
    let rules = parts.into_iter().map(|(number, (entry, text))| Ok((number, rule(&entry, &text)?)));
    rules.collect()
}

fn rule(entry: &PolicyEntry, text: &[u8]) -> Result<Rule> {
    const UNREADABLE: &str = "a rule in the kernel is not readable";
    let mut described: Json = serde_json::from_slice(text).context(UNREADABLE)?;
    let id: Vec<u8> = entry.id.iter().copied().take_while(|byte| *byte != 0).collect();
    Ok(Rule {
        id: String::from_utf8_lossy(&id).into_owned(),
        action: Action::Deny,
        on: serde_json::from_value(described["on"].take()).context(UNREADABLE)?,
        target: serde_json::from_value(described["match"].take()).context(UNREADABLE)?,
        mode: if entry.count == u32::from(POLICY_DENY) { Mode::Enforce } else { Mode::Audit },
    })
}

/// The entries at which the rule is told, and those that it shares with another one that is told there.
fn places_of(table: &Table, number: u64, rule: &Rule) -> Vec<(PolicyKey, Operation)> {
    let shared = keys_of(rule).map(|(keys, _)| keys).unwrap_or_default();
    let wanted = |key: &PolicyKey, on: Operation| {
        let is_leave = on == Operation::Leave && key.kind == EntryKind::Folder as u32;
        shared.contains(key) && (is_leave || rule.on.iter().any(|own| operation(*own) == on))
    };
    let is_content = |key: &PolicyKey| key.kind != EntryKind::Rule as u32 && key.kind != EntryKind::Header as u32;
    let mut places = Vec::new();
    for (key, entry) in table.iter().filter(|(key, _)| is_content(key)) {
        for on in Operation::ALL {
            let bits = entry.denies | entry.audits;
            if bits & on.bit() != 0 && (number_at(entry, on) == number || wanted(key, on)) {
                places.push((*key, on));
            }
        }
    }
    places
}

fn number_at(entry: &PolicyEntry, on: Operation) -> u64 {
    let at = on as usize * 2;
    match entry.rules.get(at..at.saturating_add(2)) {
        Some([low, high]) => u64::from(u16::from_le_bytes([*low, *high])),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use watertight_policy::{Operation as On, Target};

    use super::super::entries::Entries;
    use super::*;

    fn rule_on(id: &str, prefix_bits: u8, mode: Mode) -> Rule {
        let target = Target::Address { address: [10, 0, 0, 0].into(), prefix_bits, port: None };
        Rule { id: id.to_owned(), action: Action::Deny, on: vec![On::Connect], target, mode }
    }

    fn table(rules: &[Rule]) -> Table {
        Entries::resolve(rules).and_then(|entries| entries.table(1, 0)).expect("rules")
    }

    #[test]
    fn rules_come_back_from_the_table_as_they_were_published() {
        let rules = [rule_on("mine", 8, Mode::Enforce), rule_on("pack:its", 9, Mode::Audit)];
        let found: Vec<Rule> = rules_of(&table(&rules)).expect("readable").into_iter().map(|(_, rule)| rule).collect();
        assert_eq!(found, rules);
    }

    #[test]
    fn what_one_owner_publishes_takes_nothing_from_another() {
        let before = table(&[rule_on("mine", 8, Mode::Enforce), rule_on("pack:old", 9, Mode::Enforce)]);
        let kept = of(&before, |owner| owner == Owner::Administrator).expect("readable");
        let merged = Entries::beside(kept, &[rule_on("pack:new", 10, Mode::Audit)]).expect("rules");
        let ids: Vec<&str> = merged.rules().iter().map(|resolved| resolved.rule.id.as_str()).collect();
        assert_eq!(ids, ["mine", "pack:new"]);
        let fresh = table(&[rule_on("mine", 8, Mode::Enforce), rule_on("pack:new", 10, Mode::Audit)]);
        assert_eq!(merged.table(1, 0).expect("a table"), fresh, "as if both had been published together");
    }

    #[test]
    fn a_rule_that_shares_its_entry_with_one_that_goes_stays() {
        let before = table(&[rule_on("pack:first", 8, Mode::Enforce), rule_on("second", 8, Mode::Enforce)]);
        let kept = of(&before, |owner| owner == Owner::Administrator).expect("readable");
        let merged = Entries::beside(kept, &[]).expect("rules").table(1, 0).expect("a table");
        assert_eq!(merged, table(&[rule_on("second", 8, Mode::Enforce)]));
    }

    #[test]
    fn a_rule_on_a_file_that_was_moved_since_still_knows_that_file() {
        let folder = std::env::temp_dir().join(format!("watertight-kept-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("our own folder");
        let (path, elsewhere) = (folder.join("denied"), folder.join("elsewhere"));
        std::fs::write(&path, "x").expect("our own file");
        let target = Target::File(path.clone());
        let mine = Rule { target, on: vec![On::Exec], ..rule_on("mine", 8, Mode::Enforce) };
        let before = table(std::slice::from_ref(&mine));
        std::fs::rename(&path, &elsewhere).expect("our own file");
        let kept = of(&before, |owner| owner == Owner::Administrator).expect("readable");
        let merged = Entries::beside(kept, &[rule_on("pack:new", 8, Mode::Audit)]).expect("rules");
        let merged = merged.table(1, 0).expect("a table");
        std::fs::remove_dir_all(&folder).expect("our own folder");
        let files = before.keys().filter(|key| key.kind == EntryKind::File as u32).collect::<Vec<_>>();
        assert!(!files.is_empty() && files.iter().all(|key| merged.contains_key(key)));
    }
}
