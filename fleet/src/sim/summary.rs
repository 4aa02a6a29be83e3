//! Many rollouts in a few figures.

use serde::{Deserialize, Serialize};

use super::{Case, Kind, Outcome};

/// Of a figure in all rollouts that have it, by nearest rank; nothing where no rollout has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of them are at most this.
    pub p50: Option<f64>,
    /// 95 of 100 are at most this.
    pub p95: Option<f64>,
    /// All are at most this.
    pub max: Option<f64>,
}

impl Percentiles {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied()
        };
        Self { p50: at(50), p95: at(95), max: at(100) }
    }
}

/// What became of many rollouts. Times are seconds from the first activation on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Rollouts.
    pub runs: u64,
    /// Hosts that the content killed before its recall reached them.
    pub failed: Percentiles,
    /// Hosts that were given it.
    pub exposed: Percentiles,
    /// Rollouts that were halted.
    pub halted: u64,
    /// When they were.
    pub halt_s: Percentiles,
    /// Those of them whose content was good.
    pub false_halts: u64,
    /// Rollouts that were held, for want of news, at least once.
    pub held: u64,
    /// When 99 % of the hosts outside the holdback had the content, where they did.
    pub full_s: Percentiles,
}

impl Summary {
    /// Of the outcomes of a case.
    #[must_use]
    pub fn of(case: &Case, outcomes: &[Outcome]) -> Self {
        let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count() as u64;
        let halted = count(|outcome| outcome.halt_ms.is_some());
        let seconds = |of: fn(&Outcome) -> Option<u64>| {
            Percentiles::of(outcomes.iter().filter_map(of).map(|at_ms| at_ms as f64 / 1_000.0))
        };
        Self {
            runs: outcomes.len() as u64,
            failed: Percentiles::of(outcomes.iter().map(|outcome| outcome.failed as f64)),
            exposed: Percentiles::of(outcomes.iter().map(|outcome| outcome.exposed as f64)),
            halted,
            halt_s: seconds(|outcome| outcome.halt_ms),
            false_halts: if case.kind == Kind::Good { halted } else { 0 },
            held: count(|outcome| outcome.holds > 0),
            full_s: seconds(|outcome| outcome.full_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let of = Percentiles::of((1..=20).rev().map(f64::from));
        assert_eq!(of, Percentiles { p50: Some(10.0), p95: Some(19.0), max: Some(20.0) });
        assert_eq!(Percentiles::of(std::iter::empty()), Percentiles::default());
    }
}
