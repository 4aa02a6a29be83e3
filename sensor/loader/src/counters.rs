//! What every hook has counted, summed over the processors: whether an event was seen, left out or lost.

use std::path::Path;

use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use serde::Serialize;
use watertight_sensor_abi::{Counters, Hook, HOOKS};

/// One hook's counters since it was loaded.
#[derive(Serialize)]
pub struct Row {
    hook: &'static str,
    hits: u64,
    filtered: u64,
    submitted: u64,
    aggregated: u64,
    lost_ring_full: u64,
    lost_no_scratch: u64,
    helper_failures: u64,
    /// Hits less everything that became of them. 0, but for hooks that were running while this was read.
    unaccounted: i128,
}

/// Reads the counter map that is pinned in a build's folder.
pub fn read(directory: &Path) -> Result<Vec<Row>> {
    let path = directory.join("counters");
    let map = MapHandle::from_pinned_path(&path)
        .with_context(|| format!("opening {}: `watertight-loader load` pins it", path.display()))?;
    HOOKS.iter().map(|hook| read_row(&map, *hook)).collect()
}

fn read_row(map: &MapHandle, hook: Hook) -> Result<Row> {
    let key = u32::from(hook as u16).to_ne_bytes();
    let processors = map
        .lookup_percpu(&key, MapFlags::ANY)
        .with_context(|| format!("reading the counters of {}", hook.program()))?
        .with_context(|| format!("the pinned counters have none of {}: of another build", hook.program()))?;
    let mut sum = Counters::default();
    for bytes in processors {
        let one = Counters::read(&bytes).context("the pinned counters are of another layout")?;
        sum.hits = sum.hits.wrapping_add(one.hits);
        sum.filtered = sum.filtered.wrapping_add(one.filtered);
        sum.submitted = sum.submitted.wrapping_add(one.submitted);
        sum.aggregated = sum.aggregated.wrapping_add(one.aggregated);
        sum.lost_ring_full = sum.lost_ring_full.wrapping_add(one.lost_ring_full);
        sum.lost_no_scratch = sum.lost_no_scratch.wrapping_add(one.lost_no_scratch);
        sum.helper_failures = sum.helper_failures.wrapping_add(one.helper_failures);
    }
    Ok(Row::from_sum(hook, &sum))
}

impl Row {
    fn from_sum(hook: Hook, sum: &Counters) -> Self {
        let became: i128 = [sum.filtered, sum.submitted, sum.aggregated, sum.lost_ring_full, sum.lost_no_scratch]
            .into_iter()
            .map(i128::from)
            .sum();
        Self {
            hook: hook.program(),
            hits: sum.hits,
            filtered: sum.filtered,
            submitted: sum.submitted,
            aggregated: sum.aggregated,
            lost_ring_full: sum.lost_ring_full,
            lost_no_scratch: sum.lost_no_scratch,
            helper_failures: sum.helper_failures,
            unaccounted: i128::from(sum.hits) - became,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_that_became_nothing_is_unaccounted() {
        let sum = Counters {
            hits: 9,
            filtered: 3,
            submitted: 2,
            lost_ring_full: 2,
            lost_no_scratch: 1,
            ..Counters::default()
        };
        assert_eq!(Row::from_sum(Hook::FileOpen, &sum).unaccounted, 1);
    }
}
