//! The anytime-valid logrank test: is the hazard of failure higher on the hosts that have the content?
//!
//! At each failure the hosts at risk are counted: `treated` of them have the content, `control` do not. If the content changes nothing,
//! the one that failed is any of them with the same chance, whatever the rate of failures is and however it moves. If it multiplies the
//! hazard by r, the chance that it is a treated one is `r treated / (r treated + control)`. The likelihood ratio of the two is multiplied
//! up over the failures. Under "changes nothing" it is a martingale of mean 1, so by Ville's inequality it ever reaches 1/a with a
//! chance of at most a, looked at after every failure. The mean over several r is such a martingale too, and nobody has to guess r.
//!
//! Source: ter Schure, Perez-Ortiz, Ly, Grünwald, "The Anytime-Valid Logrank Test: Error Control under Continuous Monitoring with
//! Unlimited Horizon", New England Journal of Statistics in Data Science 2024, doi 10.51387/24-NEJSDS65.

use serde::{Deserialize, Serialize};

/// Hazard ratios that are betted on, with equal weights. Content that kills its host at once is beyond the last, content that is worth
/// noticing is above the first.
pub const RATIOS: [f64; 10] = [3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5];

/// Their natural logarithms: sums of logarithms neither overflow nor stick at zero.
const LN_RATIOS: [f64; RATIOS.len()] = [
    1.098_612_288_668_109_8,
    std::f64::consts::LN_10,
    3.401_197_381_662_155_5,
    4.605_170_185_988_092,
    5.703_782_474_656_201,
    6.907_755_278_982_137,
    8.006_367_567_650_246,
    9.210_340_371_976_184,
    10.308_952_660_644_293,
    11.512_925_464_970_229,
];

/// Hosts that could have been the next to fail, just before one did: it is among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtRisk {
    /// Online with the content, not failed.
    pub treated: u64,
    /// Online without it, not failed.
    pub control: u64,
}

/// The test of one metric in one stage.
#[derive(Clone, Debug)]
pub struct Logrank {
    /// ln L_r, in the order of `RATIOS`.
    ln: [f64; RATIOS.len()],
}

impl Default for Logrank {
    fn default() -> Self {
        Self { ln: [0.0; RATIOS.len()] }
    }
}

impl Logrank {
    /// Takes a host's first failure.
    pub fn failure(&mut self, had_content: bool, at_risk: AtRisk) {
        let (treated, control) = (at_risk.treated as f64, at_risk.control as f64);
        let all = treated + control;
        if all <= 0.0 {
            return;
        }
        for ((ln, ratio), ln_ratio) in self.ln.iter_mut().zip(RATIOS).zip(LN_RATIOS) {
            *ln += (all / (ratio * treated + control)).ln();
            if had_content {
                *ln += ln_ratio;
            }
        }
    }

    /// ln of the mean of all L_r.
    #[must_use]
    pub fn ln_mean(&self) -> f64 {
        let most = self.ln_max();
        let sum: f64 = self.ln.iter().map(|ln| (ln - most).exp()).sum();
        most + (sum / self.ln.len() as f64).ln()
    }

    /// Whether the mean has reached this. The mean is at most the largest, which costs less to find.
    #[must_use]
    pub fn has_reached(&self, ln_threshold: f64) -> bool {
        self.ln_max() >= ln_threshold && self.ln_mean() >= ln_threshold
    }

    fn ln_max(&self) -> f64 {
        self.ln.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithms_are_those_of_the_ratios() {
        for (ratio, ln) in RATIOS.into_iter().zip(LN_RATIOS) {
            assert!((ratio.ln() - ln).abs() < 1e-12, "{ratio}");
        }
    }

    #[test]
    fn a_failure_multiplies_each_ratio_by_the_factor_of_its_arm() {
        let at_risk = AtRisk { treated: 10, control: 90 };
        for (had_content, factor) in [(true, 3.0 * 100.0 / 120.0), (false, 100.0 / 120.0)] {
            let mut test = Logrank::default();
            test.failure(had_content, at_risk);
            assert!((test.ln[0] - f64::ln(factor)).abs() < 1e-12);
            test.failure(had_content, at_risk);
            assert!((test.ln[0] - 2.0 * f64::ln(factor)).abs() < 1e-12);
        }
    }

    #[test]
    fn without_an_effect_the_next_value_is_the_present_one_on_average() {
        for (treated, control) in [(1_u64, 999_999_u64), (10, 0), (0, 10), (500, 500), (990_000, 10_000)] {
            let at_risk = AtRisk { treated, control };
            let mean_after = |had_content| {
                let mut test = Logrank::default();
                test.failure(had_content, at_risk);
                test.ln_mean().exp()
            };
            let share = treated as f64 / (treated + control) as f64;
            let expected = share * mean_after(true) + (1.0 - share) * mean_after(false);
            assert!((expected - 1.0).abs() < 1e-9, "{treated} {control}: {expected}");
        }
    }
}
