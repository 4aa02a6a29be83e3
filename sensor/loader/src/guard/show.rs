//! What the kernel has of the policy, read back from its maps and links: never from a file that says what should be there.

use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags};
use serde_json::{json, Value as Json};
use watertight_policy::Owner;
use watertight_sensor_abi::{Counters, GUARD_HOOKS};

use super::generation::{self, Generation};
use super::kept::rules_of;
use super::pins::{GuardPins, COUNTERS, RULE_COUNTS};
use crate::counters::Row;

/// The answer to `guard show`.
///
/// # Errors
/// What is in force can't be read: it is another build's, or its maps are not for this process.
pub fn show(pins: &GuardPins) -> Result<Json> {
    pins.refuse_other_builds()?;
    if !pins.is_loaded() {
        return Ok(
            json!({ "state": "none", "generation": 0, "attached": [], "missing": [], "rules": [], "hooks": [] }),
        );
    }
    let attached = pins.attached()?;
    let missing: Vec<Json> = GUARD_HOOKS
        .iter()
        .filter(|hook| !attached.contains(&hook.program()))
        .map(|hook| json!({ "hook": hook.program(), "why": "its link is gone: unseal and apply the policy again" }))
        .collect();
    let (current, confirmed) = generation::read(pins)?;
    let has_returned = current.as_ref().is_some_and(Generation::has_returned);
    let in_force = if has_returned { confirmed.as_ref() } else { current.as_ref() };
    let state = match in_force {
        _ if has_returned => "returned",
        Some(generation) if generation.deadline_ns != 0 => "trial",
        Some(generation) if generation.has_rules() => "confirmed",
        _ => "empty",
    };
    let rules = in_force.map(|generation| rules(pins, generation)).transpose()?.unwrap_or_default();
    Ok(json!({
        "state": state,
        "generation": in_force.map_or(0, |generation| generation.number),
        "attached": attached,
        "missing": missing,
        "rules": rules,
        "hooks": hooks(pins)?,
    }))
}

fn rules(pins: &GuardPins, generation: &Generation) -> Result<Vec<Json>> {
    let counts = pins.map(RULE_COUNTS)?;
    let mut shown = Vec::new();
    for (number, rule) in rules_of(&generation.table)? {
        let mut key = generation.number.to_ne_bytes().to_vec();
        key.extend(number.to_ne_bytes());
        let value = counts.lookup(&key, MapFlags::ANY).context("reading a rule's counters")?.unwrap_or_default();
        let count = |at: usize| {
            let bytes = value.get(at..at.saturating_add(8)).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u64::from_ne_bytes)
        };
        shown.push(json!({
            "owner": Owner::of(&rule.id),
            "id": rule.id,
            "on": rule.on,
            "match": rule.target,
            "mode": rule.mode,
            "denied": count(0),
            "audited": count(8),
        }));
    }
    Ok(shown)
}

fn hooks(pins: &GuardPins) -> Result<Vec<Row>> {
    let map = pins.map(COUNTERS)?;
    let mut rows = Vec::new();
    for (at, hook) in GUARD_HOOKS.iter().enumerate() {
        let key = u32::try_from(at).context("a hook's number")?.to_ne_bytes();
        let values = map.lookup_percpu(&key, MapFlags::ANY).context("reading a hook's counters")?.unwrap_or_default();
        let counters = values.iter().filter_map(|bytes| Counters::read(bytes));
        let row = Row::sum_of(hook.program(), counters);
        if row.has_hits() {
            rows.push(row);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_another_build_is_not_called_none() {
        let folder = std::env::temp_dir().join(format!("watertight-guard-show-{}", std::process::id()));
        let pins = GuardPins::beside(&folder.join("pins")).expect("a name");
        assert_eq!(show(&pins).expect("nothing there")["state"], "none");
        std::fs::create_dir_all(folder.join("pins-guard/0123456789abcdef/complete")).expect("our own folder");
        let refused = show(&pins).map_err(|error| error.to_string());
        std::fs::remove_dir_all(&folder).expect("our own folder");
        assert!(refused.is_err_and(|words| words.contains("a guard of another build is in force")));
    }
}
