//! How figures are spread: every one is kept, so that a percentile is one of them and no estimate.

use serde::{Deserialize, Serialize};

/// Percentiles, in the unit of what was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many there were.
    pub count: u64,
    /// Half of them are not above this.
    pub p50: f64,
    /// 99 of 100 are not above this.
    pub p99: f64,
    /// 999 of 1,000 are not above this.
    pub p999: f64,
    /// None is above this.
    pub most: f64,
}

impl Spread {
    /// Of figures in any order.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |per_mille: usize| {
            // The smallest of which so many are not above.
            let place = figures.len().saturating_mul(per_mille).div_ceil(1000).saturating_sub(1);
            figures.get(place).copied().unwrap_or_default()
        };
        Self { count: figures.len() as u64, p50: at(500), p99: at(990), p999: at(999), most: at(1000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_figure_that_so_many_do_not_exceed() {
        let spread = Spread::of((1..=1000).rev().map(f64::from).collect());
        assert_eq!(spread, Spread { count: 1000, p50: 500.0, p99: 990.0, p999: 999.0, most: 1000.0 });
        assert_eq!(Spread::of(vec![7.0]), Spread { count: 1, p50: 7.0, p99: 7.0, p999: 7.0, most: 7.0 });
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }
}
