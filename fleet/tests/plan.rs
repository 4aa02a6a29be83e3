//! Promises of the planner, over fleets of any make-up.

use std::collections::BTreeSet;

use proptest::prelude::*;
use watertight_fleet::plan::{
    plan, Candidate, Cohort, Evidence, Fleet, HostId, Lane, Plan, PlanError, Policy, Roster, Statistics, Stratum,
    Traits, BUCKETS, LISTED_MAX, STRATA_MAX,
};
use watertight_fleet::sim::Rng;

/// A fleet of strata of these sizes with its buckets. Strata differ in kernel, and in workload by twos.
fn fleet(sizes: &[u64], seed: u64) -> (Fleet, Vec<Vec<u32>>) {
    let mut rng = Rng::new(seed, 0);
    let mut fleet = Fleet::default();
    let mut all = Vec::new();
    for (number, hosts) in sizes.iter().enumerate() {
        let mut buckets: Vec<u32> = (0..*hosts).map(|_| (rng.bits() >> 32) as u32).collect();
        buckets.sort_unstable();
        let candidate = |(place, bucket): (usize, &u32)| Candidate { bucket: *bucket, host: id(number, place) };
        let traits = Traits {
            kernel: format!("kernel-{number}"),
            distribution: "debian-12".into(),
            architecture: "x86-64".into(),
            agent_version: "1.0".into(),
            workload: format!("workload-{}", number / 2),
        };
        let first = buckets.iter().take(LISTED_MAX).enumerate().map(candidate).collect();
        fleet.strata.push(Stratum { name: format!("s{number}"), traits, hosts: *hosts, first });
        all.push(buckets);
    }
    (fleet, all)
}

fn id(stratum: usize, place: usize) -> HostId {
    HostId(format!("{stratum}-{place}"))
}

fn standard(fleet: &Fleet) -> Plan {
    plan(fleet, &Policy::of(Lane::STANDARD), &Evidence::default()).expect("a plan")
}

fn roster(plan: &Plan, fleet: &Fleet, buckets: &[Vec<u32>]) -> Roster {
    let mut roster = Roster::new(plan);
    for (number, (stratum, buckets)) in fleet.strata.iter().zip(buckets).enumerate() {
        let listed = buckets.len().min(LISTED_MAX);
        roster.add(&stratum.name, buckets.clone(), (0..listed).map(|place| id(number, place)));
    }
    roster
}

fn sizes(plan: &Plan) -> Vec<u64> {
    plan.stages.iter().map(|stage| stage.hosts_so_far).collect()
}

#[test]
fn a_million_hosts_go_in_ten_stages_each_four_times_as_many() {
    let (fleet, _) = fleet(&[600_000, 399_000, 1_000], 1);
    let plan = standard(&fleet);
    assert_eq!(sizes(&plan), [10, 40, 160, 640, 2_560, 10_240, 40_960, 163_840, 655_360, 990_000]);
    assert_eq!(plan.statistics, Statistics::Full);
    assert!(plan.stages.iter().take(4).all(|stage| matches!(stage.cohort, Cohort::Hosts(_))), "small ones are lists");
    assert!(plan.stages.iter().skip(4).all(|stage| matches!(stage.cohort, Cohort::Ranges(_))));
    let emergency = super_fast(&fleet);
    assert_eq!(sizes(&emergency), [10, 100, 1_000, 10_000, 100_000, 990_000]);
}

fn super_fast(fleet: &Fleet) -> Plan {
    plan(fleet, &Policy::of(Lane::EMERGENCY), &Evidence::default()).expect("a plan")
}

#[test]
fn the_first_cohort_meets_every_kernel_that_ten_hosts_can_meet() {
    // One kernel has a host in two thousand, which chance would meet in the sixth stage.
    let (fleet, _) = fleet(&[90_000, 5_000, 3_000, 1_000, 500, 300, 150, 50], 2);
    let plan = standard(&fleet);
    let Some(Cohort::Hosts(hosts)) = plan.stages.first().map(|stage| &stage.cohort) else { panic!("a list") };
    let strata: BTreeSet<&str> = hosts.iter().filter_map(|host| host.0.split('-').next()).collect();
    assert_eq!((hosts.len(), strata.len()), (10, 8), "{hosts:?}");
}

#[test]
fn small_fleets_begin_one_host_at_a_time_and_hold_nobody_back() {
    for (hosts, expected, statistics) in [
        (1, vec![1], Statistics::TooFewHosts),
        (9, vec![1, 4, 9], Statistics::TooFewHosts),
        (10, vec![1, 4, 10], Statistics::NoHoldback),
        (45, vec![1, 2, 3, 4, 5, 20, 45], Statistics::NoHoldback),
        (99, vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 40, 99], Statistics::NoHoldback),
        (100, vec![10, 40, 99], Statistics::Full),
    ] {
        let plan = standard(&fleet(&[hosts], 3).0);
        assert_eq!((sizes(&plan), plan.statistics), (expected, statistics), "{hosts}");
    }
}

#[test]
fn a_fleet_of_hundreds_holds_back_one_host_in_a_hundred_whatever_their_buckets_are() {
    for seed in 0..200 {
        for (strata, held_back) in [(vec![100], 1), (vec![60, 40], 1), (vec![149, 1, 1], 2), (vec![500, 400], 9)] {
            let (fleet, buckets) = fleet(&strata, seed);
            let plan = standard(&fleet);
            let hosts: u64 = strata.iter().sum();
            assert_eq!((plan.held_back(), plan.statistics), (held_back, Statistics::Full), "{strata:?}");
            let outside = roster(&plan, &fleet, &buckets).outside_holdback() as u64;
            assert_eq!(outside, hosts - held_back, "{strata:?}");
        }
    }
}

#[test]
fn hosts_of_one_bucket_are_held_back_together_and_nobody_is_where_that_is_wanted() {
    let (mut fleet, _) = fleet(&[200], 1);
    fleet.strata.iter_mut().flat_map(|stratum| &mut stratum.first).skip(190).for_each(|host| host.bucket = u32::MAX);
    assert_eq!(standard(&fleet).held_back(), 10);
    let nobody = Policy { holdback_per_million: 0, ..Policy::of(Lane::STANDARD) };
    let plan = plan(&fleet, &nobody, &Evidence::default()).expect("a plan");
    assert_eq!((plan.held_back(), plan.holdback_from, plan.statistics), (0, BUCKETS, Statistics::NoHoldback));
}

#[test]
fn a_stage_of_a_fleet_whose_hosts_are_all_different_is_as_large_as_it_says() {
    for hosts in [40_usize, 300] {
        let (fleet, _) = fleet(&vec![1; hosts], 7);
        let plan = standard(&fleet);
        let mut given = BTreeSet::new();
        for stage in plan.stages.iter().rev().skip(1).rev() {
            let Cohort::Hosts(named) = &stage.cohort else { panic!("a small stage names its hosts: {stage:?}") };
            given.extend(named.iter().cloned());
            assert_eq!(given.len() as u64, stage.hosts_so_far, "stage {}", stage.number);
        }
    }
}

#[test]
fn content_that_was_halted_is_not_planned_and_who_left_it_is_not_asked_again() {
    let (fleet, _) = fleet(&[500], 4);
    let halted = Evidence { halted: Some("recalled on Monday".into()), ..Evidence::default() };
    let policy = Policy::of(Lane::STANDARD);
    assert_eq!(plan(&fleet, &policy, &halted), Err(PlanError::Halted { why: "recalled on Monday".into() }));
    let left = Evidence { left: [id(0, 0), id(0, 20)].into(), halted: None };
    let again = plan(&fleet, &policy, &left).expect("a plan");
    let names = |plan: &Plan| -> BTreeSet<HostId> {
        let of = |cohort: &Cohort| match cohort {
            Cohort::Hosts(hosts) => hosts.clone(),
            Cohort::Ranges(_) => Vec::new(),
        };
        plan.stages.iter().flat_map(|stage| of(&stage.cohort)).collect()
    };
    assert!(left.left.is_subset(&names(&standard(&fleet))) && left.left.is_disjoint(&names(&again)));
}

#[test]
fn a_fleet_or_policy_out_of_bounds_is_refused_by_name() {
    let policy = Policy::of(Lane::STANDARD);
    let refused = |fleet: &Fleet, policy: &Policy| plan(fleet, policy, &Evidence::default()).expect_err("a refusal");
    assert_eq!(refused(&Fleet::default(), &policy), PlanError::NoHosts);
    let many = fleet(&vec![1; STRATA_MAX + 1], 5).0;
    assert_eq!(refused(&many, &policy), PlanError::TooManyStrata { strata: STRATA_MAX + 1 });
    let mut twice = fleet(&[5, 5], 5).0;
    twice.strata[1].name = "s0".into();
    assert_eq!(refused(&twice, &policy), PlanError::TwoOfAName { name: "s0".into() });
    let mut unlisted = fleet(&[5], 5).0;
    unlisted.strata[0].first.pop();
    assert_eq!(refused(&unlisted, &policy), PlanError::NotListed { name: "s0".into(), listed: 4, hosts: 5 });
    let some = fleet(&[500], 5).0;
    let never = Policy { lane: Lane { growth: 1, ..Lane::STANDARD }, ..policy };
    assert!(matches!(refused(&some, &never), PlanError::Policy { .. }));
    let all = Policy { holdback_per_million: 900_000, ..policy };
    assert!(matches!(refused(&some, &all), PlanError::Policy { .. }));
}

#[test]
fn a_silent_host_is_replaced_from_its_own_stratum_until_that_has_nobody_left() {
    let (fleet, buckets) = fleet(&[300, 300], 6);
    let plan = standard(&fleet);
    let mut roster = roster(&plan, &fleet, &buckets);
    let mut hosts = Vec::new();
    for stage in plan.stages.iter().take(1) {
        roster.take(&stage.cohort, &mut hosts);
    }
    let of_second: Vec<u32> = hosts.iter().copied().filter(|host| *host >= 300).collect();
    let mut others = Vec::new();
    roster.replace(&of_second, &mut others);
    assert_eq!(others.len(), of_second.len());
    assert!(others.iter().all(|host| *host >= 300 && !hosts.contains(host)));
    let mut rest = Vec::new();
    roster.replace(&vec![300; 1_000], &mut rest);
    assert!(rest.len() < 300 && rest.iter().all(|host| !roster.is_held_back(*host)), "the holdback replaces nobody");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn stages_grow_skip_nobody_and_give_no_host_twice(
        strata in prop::collection::vec(1_u64..3_000, 1..12),
        seed in any::<u64>(),
        is_emergency in any::<bool>(),
    ) {
        let (fleet, buckets) = fleet(&strata, seed);
        let lane = if is_emergency { Lane::EMERGENCY } else { Lane::STANDARD };
        let plan = plan(&fleet, &Policy::of(lane), &Evidence::default()).expect("a plan");
        prop_assert!(sizes(&plan).is_sorted_by(|a, b| a < b));
        prop_assert!(plan.stages.iter().zip(1..).all(|(stage, number)| stage.number == number));
        let mut roster = roster(&plan, &fleet, &buckets);
        let mut seen = BTreeSet::new();
        let mut before = 0;
        for stage in &plan.stages {
            if let Cohort::Hosts(hosts) = &stage.cohort {
                prop_assert!(hosts.len() <= LISTED_MAX);
            }
            let mut hosts = Vec::new();
            roster.take(&stage.cohort, &mut hosts);
            // No stage is larger than it may be: the damage that it can do is what the plan says, but for chance.
            let planned = stage.hosts_so_far - before;
            prop_assert!((hosts.len() as f64) <= planned as f64 + 6.0 * (planned as f64).sqrt() + 1.0);
            before = stage.hosts_so_far;
            for host in hosts {
                prop_assert!(seen.insert(host), "given twice");
                prop_assert!(!roster.is_held_back(host), "held back, and given");
            }
        }
        // Whoever is not held back has its turn.
        prop_assert_eq!(seen.len(), roster.outside_holdback());
    }

    #[test]
    fn a_host_once_in_a_range_stays_in_it(strata in prop::collection::vec(1_000_u64..3_000, 1..6), seed in any::<u64>()) {
        let plan = standard(&fleet(&strata, seed).0);
        let mut ends = vec![0; strata.len()];
        for stage in &plan.stages {
            let Cohort::Ranges(ranges) = &stage.cohort else { continue };
            prop_assert_eq!(ranges.len(), ends.len());
            for (range, end) in ranges.iter().zip(&mut ends) {
                prop_assert!(range.from == 0 && range.to >= *end && range.to <= plan.holdback_from);
                prop_assert!(range.to <= BUCKETS);
                *end = range.to;
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_plan(strata in prop::collection::vec(1_u64..500, 1..8), seed in any::<u64>()) {
        let (fleet, _) = fleet(&strata, seed);
        let first = standard(&fleet);
        prop_assert_eq!(&first, &standard(&fleet));
        let stored = serde_json::to_string(&first).expect("JSON");
        prop_assert_eq!(first, serde_json::from_str::<Plan>(&stored).expect("a plan"));
    }
}
