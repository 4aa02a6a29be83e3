//! The simulator over planner and gate, in small: the long runs are a part of `make bench`.

use watertight_fleet::plan::Lane;
use watertight_fleet::sim::{outcome, outcomes, stages, Case, Kind, Rng, Summary, Way};

const STANDARD: Way = Way::Gated(Lane::STANDARD);
const RUNS: u64 = 12;

/// A fleet that a debug build simulates in a moment.
fn small(case: Case) -> Case {
    Case { hosts: 20_000, ..case }
}

fn summary(case: &Case, way: Way, runs: u64) -> Summary {
    Summary::of(case, &outcomes(case, way, runs, 5, 2).expect("a plan"))
}

#[test]
fn content_that_kills_at_once_hurts_the_first_cohort_and_nobody_else() {
    let found = summary(&small(Case::loud(1.0)), STANDARD, RUNS);
    assert_eq!(found.halted, RUNS);
    assert!(found.exposed.max <= Some(10.0), "{found:?}");
}

#[test]
fn content_that_kills_some_is_halted_early() {
    for (share, most) in [(0.1, 25.0), (0.01, 40.0)] {
        let found = summary(&small(Case::loud(share)), STANDARD, RUNS);
        assert_eq!(found.halted, RUNS, "{share}");
        assert!(found.failed.max <= Some(most), "{share}: {found:?}");
    }
}

#[test]
fn content_that_silences_its_hosts_is_halted() {
    let found = summary(&small(Case { kind: Kind::Silent, ..Case::loud(1.0) }), STANDARD, RUNS);
    assert_eq!(found.halted, RUNS);
    assert!(found.exposed.max <= Some(10.0), "{found:?}");
}

#[test]
fn good_content_is_not_halted_and_reaches_all_in_an_hour() {
    let found = summary(&small(Case::good()), STANDARD, RUNS);
    assert_eq!(found.false_halts, 0);
    assert!(found.full_s.p50 <= Some(3_600.0), "{found:?}");
    let found = summary(&small(Case::good()), Way::Gated(Lane::EMERGENCY), RUNS);
    assert_eq!(found.false_halts, 0);
    assert!(found.full_s.p50 <= Some(1_080.0), "{found:?}");
}

#[test]
fn a_day_that_takes_every_host_ends_the_rollout_and_not_the_simulators_patience() {
    let last_day = Case { background_x: 1_000.0, spike_x: 1_000.0, spike_stage: 1, ..small(Case::good()) };
    let found = summary(&last_day, STANDARD, 2);
    assert_eq!(found.runs, 2);
    assert!(found.exposed.max <= Some(10.0), "nobody is left to get it: {found:?}");
}

#[test]
fn a_plan_has_as_many_stages_as_its_fleet_takes() {
    let of = |hosts, lane| stages(hosts, lane).expect("a plan");
    assert_eq!([of(20_000, Lane::STANDARD), of(20_000, Lane::EMERGENCY), of(1, Lane::STANDARD)], [7, 5, 1]);
}

#[test]
fn bad_days_of_the_whole_fleet_halt_no_good_content() {
    let ten_times = Case { background_x: 10.0, ..small(Case::good()) };
    assert_eq!(summary(&ten_times, STANDARD, RUNS).false_halts, 0);
    for spike_stage in [1, 2, 5] {
        let spike = Case { spike_x: 30.0, spike_stage, ..small(Case::good()) };
        assert_eq!(summary(&spike, STANDARD, RUNS).false_halts, 0, "stage {spike_stage}");
    }
}

#[test]
fn the_new_bucket_rule_halts_no_good_content_and_bad_content_no_later() {
    let with_rule = |case: Case| Case { bucket_rule: true, ..small(case) };
    assert_eq!(summary(&with_rule(Case::good()), STANDARD, RUNS).false_halts, 0);
    let (alone, with) = (small(Case::loud(0.01)), with_rule(Case::loud(0.01)));
    let runs = |case: &Case| outcomes(case, STANDARD, RUNS, 5, 2).expect("a plan");
    // The same luck up to the halt, so each rollout can be compared with itself.
    for (alone, with) in runs(&alone).into_iter().zip(runs(&with)) {
        assert!(with.halt_ms <= alone.halt_ms, "{with:?} {alone:?}");
    }
}

#[test]
fn large_rings_with_the_same_gate_hurt_more_hosts_by_orders() {
    let case = small(Case::loud(1.0));
    let (rings, ours) = (summary(&case, Way::FixedRings, 4), summary(&case, STANDARD, 4));
    assert!(rings.failed.p50.expect("runs") >= 10.0 * ours.failed.p50.expect("runs"), "{rings:?} {ours:?}");
}

#[test]
fn a_seed_gives_the_same_rollouts_on_any_number_of_threads() {
    let case = small(Case::loud(0.01));
    let on = |threads| outcomes(&case, STANDARD, 6, 3, threads).expect("a plan");
    assert_eq!(on(1), on(4));
    assert_ne!(on(1), outcomes(&case, STANDARD, 6, 4, 1).expect("a plan"));
}

#[test]
fn what_the_gate_decided_is_told_in_order_and_ends_with_the_halt() {
    let mut decisions = Vec::new();
    let case = small(Case::loud(0.1));
    let found = outcome(&case, STANDARD, Rng::new(2, 2), Some(&mut decisions)).expect("a plan");
    assert!(decisions.is_sorted_by_key(|decision| decision.at_ms));
    assert!(decisions.last().is_some_and(|last| last.is_halt()) && found.halt_ms.is_some());
    assert!(decisions.iter().all(|decision| !decision.why.is_empty()));
}

#[test]
fn small_fleets_are_rolled_out_to_as_well() {
    for hosts in [1, 5, 9, 10, 50, 99, 100, 1_000] {
        let found = summary(&Case { hosts, background_x: 0.0, ..Case::good() }, STANDARD, 2);
        assert_eq!((found.false_halts, found.full_s.p95.is_some()), (0, true), "{hosts} hosts");
    }
}
