//! Why the gate's statistic is the one that it is: four others that one would reach for, on content that harms nobody, or that should
//! have been noticed. Each of the first three halts good content; the fourth can't see what kills one host in a hundred.
//!
//! The fleets are small and the failures frequent, so that the tests take no time: what fails does not depend on the size.

use watertight_fleet::gate::{AtRisk, Logrank};
use watertight_fleet::sim::Rng;

/// What each was promised to do at most: one false halt in a thousand rollouts.
const ALPHA: f64 = 1e-3;

/// One host after the other, in random order, is at risk for a while and fails with chance `p`; whether the gate's own statistic halts.
fn logrank_halts(rng: &mut Rng, hosts: u64, p: f64) -> bool {
    let mut test = Logrank::default();
    let mut at_risk = AtRisk { treated: hosts / 2, control: hosts / 2 };
    let failures = (hosts as f64 * p) as u64;
    (0..failures).any(|_| {
        let is_treated = rng.unit() < at_risk.treated as f64 / (at_risk.treated + at_risk.control) as f64;
        test.failure(is_treated, at_risk);
        let arm = if is_treated { &mut at_risk.treated } else { &mut at_risk.control };
        *arm -= 1;
        test.has_reached((1.0 / ALPHA).ln())
    })
}

#[test]
fn a_sum_that_is_floored_at_zero_halts_good_content_in_a_large_fleet_every_time() {
    // CUSUM / SPRT with a floor: for each host the likelihood ratio of 10 p0 against p0, never below zero, so that old good news does not
    // hide a change. Its alpha is that of one try; every return to zero is another try, and a million hosts are very many.
    let (p0, p1) = (0.01_f64, 0.1_f64);
    let halts = |run: u64, hosts: u32| {
        let mut rng = Rng::new(7, run);
        let mut sum = 0.0_f64;
        (0..hosts).any(|_| {
            let has_failed = rng.unit() < p0;
            sum += if has_failed { (p1 / p0).ln() } else { ((1.0 - p1) / (1.0 - p0)).ln() };
            sum = sum.max(0.0);
            sum >= (1.0 / ALPHA).ln()
        })
    };
    let of_large = (0..20).filter(|run| halts(*run, 1_000_000)).count();
    let of_small = (0..20).filter(|run| halts(*run, 100)).count();
    assert_eq!((of_large, of_small), (20, 0), "the length of the run rules, not alpha");
}

#[test]
fn counting_failures_at_once_and_successes_after_the_watch_halts_good_content_every_time() {
    // A Bernoulli e-process over "hosts that have reported": failures report in seconds, successes after the watch. Of 20,000 hosts that
    // start together one in a hundred fails, and all who have reported by then are those that failed.
    let (p0, ratio) = (0.01_f64, 3.0_f64);
    let halts = |run: u64, is_at_risk_counted: bool| {
        let mut rng = Rng::new(8, run);
        let hosts = 20_000_u64;
        let failed = (0..hosts).filter(|_| rng.unit() < p0).count() as u64;
        if is_at_risk_counted {
            return logrank_halts(&mut rng, hosts, p0);
        }
        let of_failure = ratio.ln();
        let of_success = ((1.0 - ratio * p0) / (1.0 - p0)).ln();
        let mut reports = std::iter::repeat_n(of_failure, failed as usize)
            .chain(std::iter::repeat_n(of_success, (hosts - failed) as usize))
            .scan(0.0, |sum, report| {
                *sum += report;
                Some(*sum)
            });
        reports.any(|sum| sum >= (1.0 / ALPHA).ln())
    };
    assert_eq!((0..100).filter(|run| halts(*run, false)).count(), 100);
    assert_eq!((0..100).filter(|run| halts(*run, true)).count(), 0, "time at risk has no such order");
}

#[test]
fn a_background_rate_that_is_assumed_halts_good_content_once_it_is_twice_as_high() {
    // A Poisson e-process: failures of the hosts with the content against the number that the background rate promises, mixed over the
    // same ratios. Right where the rate is right; nobody knows the rate.
    let expected = 200.0_f64;
    let halts = |run: u64, real_x: f64| {
        let mut rng = Rng::new(9, run);
        let (mut at, mut failures) = (0.0_f64, 0.0_f64);
        loop {
            at += rng.exponential() / (expected * real_x);
            if at >= 1.0 {
                return false;
            }
            failures += 1.0;
            let e_value = |ratio: f64| (failures * ratio.ln() - (ratio - 1.0) * expected * at).exp();
            if [1.5, 2.0, 3.0].into_iter().map(e_value).sum::<f64>() / 3.0 >= 1.0 / ALPHA {
                return true;
            }
        }
    };
    assert_eq!((0..100).filter(|run| halts(*run, 1.0)).count(), 0);
    assert_eq!((0..100).filter(|run| halts(*run, 2.0)).count(), 100);
    let twice = |run| logrank_halts(&mut Rng::new(9, run), 20_000, 0.02);
    assert_eq!(
        (0..100).filter(|run| twice(*run)).count(),
        0,
        "what is compared with the rest of the fleet assumes no rate"
    );
}

#[test]
fn windows_without_their_outliers_do_not_see_the_content_that_kills_one_host_in_a_hundred() {
    // Mann-Whitney over windows with values beyond three interquartile ranges taken out, as canary judges do: crashes per minute of many
    // hosts are almost all zero, so the crashes are the outliers.
    let without_outliers = |counts: &[u32]| {
        let mut sorted = counts.to_vec();
        sorted.sort_unstable();
        let (low, high) = (sorted[sorted.len() / 4], sorted[sorted.len() * 3 / 4]);
        let reach = 3 * (high - low);
        counts
            .iter()
            .copied()
            .filter(|count| (low.saturating_sub(reach)..=high + reach).contains(count))
            .collect::<Vec<_>>()
    };
    // An hour of six hundred hosts with the content, of which five crash, beside one without any crash.
    let with_content: Vec<u32> = (0..60).map(|minute| u32::from(minute % 12 == 7)).collect();
    let without = vec![0; 60];
    let crashes: u32 = with_content.iter().sum();
    assert_eq!(crashes, 5);
    let (seen, compared) = (without_outliers(&with_content), without_outliers(&without));
    assert!(seen.iter().chain(&compared).all(|count| *count == 0), "nothing is left to compare");

    // The same crashes, one host after the other, among hosts at risk.
    let mut test = Logrank::default();
    for failed in 0..u64::from(crashes) {
        test.failure(true, AtRisk { treated: 600 - failed, control: 999_400 });
    }
    assert!(test.has_reached((1.0 / ALPHA).ln()));
}

#[test]
fn a_fixed_test_that_is_looked_at_again_and_again_is_none() {
    // The other half of what is wrong with windows: a p-value below alpha at some look is not a chance of alpha. Good content, looked at
    // after each of 5,000 failures, half of which are in either arm.
    let looks = |run: u64, reaches: &dyn Fn(f64, f64) -> bool| {
        let mut rng = Rng::new(11, run);
        let mut with = 0.0;
        (1..=5_000).any(|failures| {
            with += f64::from(u8::from(rng.unit() < 0.5));
            reaches(with, f64::from(failures))
        })
    };
    // One-sided normal test at alpha = 0.05 to keep the count of runs small: 1.645 standard deviations.
    let fixed = |with: f64, all: f64| all >= 30.0 && (with - all / 2.0) / (all / 4.0).sqrt() >= 1.645;
    let halts = (0..200).filter(|run| looks(*run, &fixed)).count();
    assert!(halts > 60, "{halts} of 200, where ten were promised");

    let anytime = (0..200_u64).filter(|run| {
        let mut rng = Rng::new(11, *run);
        let mut test = Logrank::default();
        (0..5_000).any(|_| {
            test.failure(rng.unit() < 0.5, AtRisk { treated: 500_000, control: 500_000 });
            test.has_reached((1.0_f64 / 0.05).ln())
        })
    });
    assert!(anytime.count() <= 20, "at most one in twenty, and some slack for two hundred runs");
}
