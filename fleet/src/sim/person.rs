//! Rollouts without a gate: hosts get the content by the clock until a person stops it. What others do, in the same model.

use super::case::{model, Case, Way};
use super::rng::Rng;
use super::{Kind, Outcome};
use crate::Ms;

const HOUR_MS: Ms = 3_600_000;
/// Everybody fetches within a minute.
const PICKUP_MS: Ms = 60_000;

/// Part of the hosts that have the content so long after the start, evenly in between. The waves are the default ones of Bottlerocket's
/// updater, the steps those of Ubuntu's phased updates.
fn curve(way: Way) -> Vec<(Ms, f64)> {
    match way {
        Way::Waves => [(0, 0.0), (1, 0.01), (4, 0.05), (24, 0.1), (72, 0.25), (144, 1.0)]
            .map(|(h, part)| (h * HOUR_MS, part))
            .into(),
        Way::Phased => {
            let step = |n: u32| {
                let (start, part) = (Ms::from(n) * 6 * HOUR_MS, f64::from(n) / 10.0);
                [(start, part), (start + PICKUP_MS, part + 0.1)]
            };
            (0..10).flat_map(step).collect()
        }
        Way::AllAtOnce | Way::FixedRings | Way::Gated(_) => vec![(0, 0.0), (PICKUP_MS, 1.0)],
    }
}

/// When a host at this place of the order gets it.
fn given_ms(curve: &[(Ms, f64)], place: f64) -> Ms {
    let after = curve.partition_point(|(_, part)| *part <= place);
    let (Some((from_ms, from)), Some((to_ms, to))) = (curve.get(after.saturating_sub(1)), curve.get(after)) else {
        return curve.last().map_or(0, |(at_ms, _)| *at_ms);
    };
    let part = if to > from { (place - from) / (to - from) } else { 1.0 };
    from_ms + ((to_ms - from_ms) as f64 * part) as Ms
}

/// Runs one. Good content is never stopped, bad content after 78 minutes.
pub(super) fn run(case: &Case, way: Way, rng: &mut Rng) -> Outcome {
    let curve = curve(way);
    let mut outcome = Outcome::default();
    if case.kind == Kind::Good || case.fail_share <= 0.0 {
        outcome.exposed = u64::from(case.hosts);
        outcome.full_ms = Some(given_ms(&curve, 0.99));
        return outcome;
    }
    outcome.halt_ms = Some(model::PERSON_MS);
    let last_ms = model::PERSON_MS + model::HALT_MS;
    let recall_ms = u32::try_from(model::RECALL_MS).unwrap_or(u32::MAX);
    for host in 0..case.hosts {
        let at_ms = given_ms(&curve, f64::from(host) / f64::from(case.hosts));
        if at_ms > last_ms {
            break;
        }
        outcome.exposed += 1;
        if rng.unit() < case.fail_share {
            let fails_ms = at_ms + (case.latency_s * 1_000.0 * rng.exponential()) as Ms;
            outcome.failed += u64::from(fails_ms <= last_ms + u64::from(rng.below(recall_ms)));
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the field note computed for these: all, 14,000 and 100,000 of a million.
    #[test]
    fn what_a_person_stops_after_78_minutes_has_hurt_as_many_as_the_arithmetic_says() {
        let failed = |way| run(&Case::loud(1.0), way, &mut Rng::new(1, 1)).failed;
        assert_eq!(failed(Way::AllAtOnce), 1_000_000);
        assert!((13_900..=14_100).contains(&failed(Way::Waves)), "{}", failed(Way::Waves));
        assert!((100_000..=100_001).contains(&failed(Way::Phased)), "{}", failed(Way::Phased));
    }

    #[test]
    fn good_content_takes_as_long_as_the_clock_says() {
        let full_ms = |way| run(&Case::good(), way, &mut Rng::new(1, 1)).full_ms.unwrap_or_default();
        assert!(full_ms(Way::AllAtOnce) < PICKUP_MS);
        assert_eq!(full_ms(Way::Phased) / HOUR_MS, 54);
        assert_eq!(full_ms(Way::Waves) / HOUR_MS, 143);
    }
}
