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
    let mut counters = Vec::with_capacity(processors.len());
    for bytes in processors {
        counters.push(Counters::read(&bytes).context("the pinned counters are of another layout")?);
    }
    Ok(Row::sum_of(hook.program(), counters))
}

impl Row {
    /// One hook's row from its counters of each processor.
    pub fn sum_of(hook: &'static str, processors: impl IntoIterator<Item = Counters>) -> Self {
        let sum = processors.into_iter().fold(Counters::default(), |sum, one| Counters {
            hits: sum.hits.wrapping_add(one.hits),
            filtered: sum.filtered.wrapping_add(one.filtered),
            submitted: sum.submitted.wrapping_add(one.submitted),
            aggregated: sum.aggregated.wrapping_add(one.aggregated),
            lost_ring_full: sum.lost_ring_full.wrapping_add(one.lost_ring_full),
            lost_no_scratch: sum.lost_no_scratch.wrapping_add(one.lost_no_scratch),
            helper_failures: sum.helper_failures.wrapping_add(one.helper_failures),
            reserved: 0,
        });
        Self::from_sum(hook, &sum)
    }

    /// Whether the hook ran.
    pub fn has_hits(&self) -> bool {
        self.hits != 0
    }

    fn from_sum(hook: &'static str, sum: &Counters) -> Self {
        let became: i128 = [sum.filtered, sum.submitted, sum.aggregated, sum.lost_ring_full, sum.lost_no_scratch]
            .into_iter()
            .map(i128::from)
            .sum();
        Self {
            hook,
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
        assert_eq!(Row::from_sum("file_open", &sum).unaccounted, 1);
    }
}
