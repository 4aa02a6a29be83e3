//! Promises of the gate, each named by what it keeps away.

use watertight_fleet::gate::{
    AtRisk, Bucket, Cause, Crash, Decision, Event, Gate, Metric, Rules, Verdict, KNOWN_FOR_MS, METRICS,
};
use watertight_fleet::plan::{plan, Candidate, Evidence, Fleet, HostId, Lane, Plan, Policy, Stratum, Traits, BUCKETS};
use watertight_fleet::{HostIndex, Ms};

const STAGE_MS: Ms = 370_000;
const HOSTS: u32 = 10_000;

fn plan_of(hosts: u32) -> Plan {
    let first = |place: u32| Candidate {
        bucket: u32::try_from(u64::from(place) * BUCKETS / u64::from(hosts)).expect("a bucket"),
        host: HostId(place.to_string()),
    };
    let any = || "any".to_owned();
    let traits =
        Traits { kernel: any(), distribution: any(), architecture: any(), agent_version: any(), workload: any() };
    let first = (0..hosts.min(1_000)).map(first).collect();
    let fleet = Fleet { strata: vec![Stratum { name: any(), traits, hosts: hosts.into(), first }] };
    plan(&fleet, &Policy::of(Lane::STANDARD), &Evidence::default()).expect("a plan")
}

/// A gate whose first stage of ten has the content.
fn begun() -> Gate {
    let mut gate = Gate::new(&plan_of(HOSTS), Rules::default(), HOSTS);
    stage(&mut gate, 0, 0..10);
    gate
}

fn stage(gate: &mut Gate, at_ms: Ms, hosts: std::ops::Range<HostIndex>) {
    let hosts: Vec<HostIndex> = hosts.collect();
    assert!(gate.begin(at_ms, &hosts));
    for host in hosts {
        assert_eq!(gate.take(at_ms, host, Event::Given), None);
    }
}

fn crash(bucket: u64, with_content: bool) -> Event {
    let crash = Some(Crash { bucket: Bucket(bucket), is_ours: true });
    Event::Failed { metric: Metric::EngineCrash, with_content, crash }
}

fn failed(metric: Metric, with_content: bool) -> Event {
    Event::Failed { metric, with_content, crash: None }
}

fn healthy(gate: &mut Gate, at_ms: Ms, hosts: impl IntoIterator<Item = HostIndex>) {
    for host in hosts {
        assert_eq!(gate.take(at_ms, host, Event::Healthy), None);
    }
}

fn cause(decision: Option<Decision>) -> Option<Cause> {
    match decision?.verdict {
        Verdict::Halt { cause } => Some(cause),
        _ => None,
    }
}

#[test]
fn two_hosts_of_ten_halt_and_the_evidence_says_by_what() {
    let mut gate = begun();
    assert_eq!(gate.take(1_000, 3, failed(Metric::EngineCrash, true)), None, "one host is bad luck");
    let decision = gate.take(2_000, 4, failed(Metric::EngineCrash, true)).expect("a decision");
    assert_eq!(decision.verdict, Verdict::Halt { cause: Cause::Statistic });
    assert_eq!((decision.stage, decision.at_ms, decision.evidence.failed_with), (1, 2_000, 2));
    assert_eq!(decision.evidence.at_risk, AtRisk { treated: 9, control: 9_990 });
    // K M / alpha: 12 stages, nine metrics, one in a thousand.
    assert!((decision.evidence.ln_threshold.exp() - 12.0 * 9.0 / 1e-3).abs() < 1e-3);
    assert!(decision.evidence.ln_mean >= decision.evidence.ln_threshold);
    assert!(decision.why.starts_with("2 hosts with the content and 0 without it had their engine crash in stage 1"));
}

#[test]
fn the_mean_over_the_ratios_is_the_one_that_the_formula_gives() {
    let mut gate = Gate::new(&plan_of(HOSTS), Rules { new_bucket: false, ..Rules::default() }, HOSTS);
    stage(&mut gate, 0, 0..10);
    let mut by_hand = watertight_fleet::gate::RATIOS.map(|_| 1.0_f64);
    let (mut treated, mut control) = (10.0, 9_990.0);
    for (host, with_content) in [(0, true), (500, false), (501, false), (1, true)] {
        for (l, r) in by_hand.iter_mut().zip(watertight_fleet::gate::RATIOS) {
            *l *= if with_content { r } else { 1.0 } * (treated + control) / (r * treated + control);
        }
        *(if with_content { &mut treated } else { &mut control }) -= 1.0;
        let decision = gate.take(1, host, failed(Metric::Budget, with_content)).or_else(|| gate.clone().abort(1));
        let mean = by_hand.iter().sum::<f64>() / 10.0;
        assert!((decision.expect("a decision").evidence.ln_mean - mean.ln()).abs() < 1e-9);
    }
}

#[test]
fn the_same_host_over_and_over_never_halts() {
    let mut gate = begun();
    for at_ms in 0..1_000 {
        assert_eq!(gate.take(at_ms, 3, crash(9, true)), None);
    }
}

#[test]
fn a_failure_in_one_metric_leaves_the_host_at_risk_in_the_others_and_silence_in_none() {
    let mut gate = begun();
    gate.take(1, 0, failed(Metric::EngineCrash, true));
    assert_eq!(gate.at_risk(Metric::EngineCrash), AtRisk { treated: 9, control: 9_990 });
    assert_eq!(gate.at_risk(Metric::Alerts), AtRisk { treated: 10, control: 9_990 });
    gate.take(2, 1, failed(Metric::Silence, true));
    gate.take(3, 50, failed(Metric::Silence, false));
    for metric in [Metric::Silence, Metric::Alerts] {
        assert_eq!(gate.at_risk(metric), AtRisk { treated: 9, control: 9_989 }, "{metric:?}");
    }
    gate.take(4, 1, Event::Online);
    assert_eq!(gate.at_risk(Metric::Silence).treated, 9, "its first silence was counted");
    assert_eq!(gate.at_risk(Metric::Alerts).treated, 10, "it is back");
    gate.take(5, 2, Event::Left);
    gate.take(5, 60, Event::Offline);
    assert_eq!(gate.at_risk(Metric::Alerts), AtRisk { treated: 9, control: 9_988 });
}

#[test]
fn what_a_host_failed_in_before_it_left_counts_also_if_that_is_heard_later() {
    let run = |is_left_first: bool| {
        let mut gate = begun();
        let decisions: Vec<_> = (0..10)
            .flat_map(|host| {
                let mut events = [failed(Metric::EngineCrash, true), Event::Left];
                if is_left_first {
                    events.reverse();
                }
                events.map(|event| (host, event))
            })
            .filter_map(|(host, event)| gate.take(host.into(), host, event))
            .collect();
        let decision = decisions.into_iter().next().expect("a halt");
        (cause(Some(decision.clone())), decision.evidence.at_risk, decision.evidence.failed_with)
    };
    assert_eq!(run(true), run(false));
    assert_eq!(run(true).0, Some(Cause::Statistic));
    // With other content, or offline, it is not at risk.
    let mut gate = begun();
    gate.take(1, 0, Event::Left);
    gate.take(1, 1, Event::Left);
    gate.take(1, 1, Event::Offline);
    for at_ms in 2..100 {
        assert_eq!(gate.take(at_ms, 0, failed(Metric::EngineCrash, false)), None);
        assert_eq!(gate.take(at_ms, 1, failed(Metric::EngineCrash, true)), None);
    }
    assert_eq!(gate.at_risk(Metric::EngineCrash), AtRisk { treated: 8, control: 9_990 });
}

#[test]
fn a_storm_that_hits_both_arms_alike_halts_nothing_and_a_stage_begins_without_the_past() {
    let mut gate = Gate::new(&plan_of(HOSTS), Rules { new_bucket: false, ..Rules::default() }, HOSTS);
    let mut rng = watertight_fleet::sim::Rng::new(1, 1);
    let mut given = 0;
    for (number, size) in (0_u32..).zip([10, 40, 160, 640, 2_560, 9_900]) {
        let at_ms = u64::from(number) * STAGE_MS;
        stage(&mut gate, at_ms, given..size);
        // A tenth of the whole fleet fails in each stage, whoever has the content.
        for _ in 0..HOSTS / 10 {
            let host = rng.below(HOSTS);
            assert_eq!(gate.take(at_ms, host, failed(Metric::DroppedEvents, host < size)), None);
        }
        healthy(&mut gate, at_ms + 300_000, given..size);
        let decision = gate.tick(at_ms + STAGE_MS).expect("the stage is over");
        assert!(!decision.is_halt(), "{}", decision.why);
        given = size;
    }
}

#[test]
fn no_news_is_not_health_and_a_hold_is_not_a_halt() {
    let mut gate = begun();
    healthy(&mut gate, 310_000, 0..8);
    assert_eq!(gate.tick(STAGE_MS - 1), None);
    let hold = gate.tick(STAGE_MS).expect("a decision");
    assert_eq!(hold.verdict, Verdict::Hold);
    assert!(hold.why.starts_with("2 of the 10 hosts of stage 1 have said nothing"), "{}", hold.why);
    assert!(!gate.is_halted() && !gate.begin(STAGE_MS, &[10]), "a hold lets no stage begin");
    assert_eq!(gate.tick(STAGE_MS + 89_999), None);
    let replace = gate.tick(STAGE_MS + 90_000).expect("a decision");
    assert_eq!(replace.verdict, Verdict::Replace { hosts: 2 });
    assert_eq!(gate.silent(), [8, 9]);
    gate.replace(STAGE_MS + 90_000, &[10, 11]);
    healthy(&mut gate, STAGE_MS + 400_000, [10, 11]);
    let advance = gate.tick(2 * STAGE_MS + 90_000).expect("a decision");
    assert_eq!((advance.verdict, advance.evidence.hosts.healthy), (Verdict::Advance, 10));
}

#[test]
fn a_host_that_is_heard_of_while_the_stage_holds_ends_the_hold() {
    let mut gate = begun();
    healthy(&mut gate, 310_000, 0..8);
    assert_eq!(gate.tick(STAGE_MS).map(|decision| decision.verdict), Some(Verdict::Hold));
    healthy(&mut gate, STAGE_MS + 20_000, [8]);
    assert_eq!(gate.tick(STAGE_MS + 20_000).map(|decision| decision.verdict), Some(Verdict::Advance));
}

#[test]
fn with_nobody_to_take_their_places_a_person_ends_the_hold() {
    let mut gate = begun();
    gate.tick(STAGE_MS);
    gate.tick(STAGE_MS + 90_000);
    gate.replace(STAGE_MS + 90_000, &[]);
    assert_eq!((gate.tick(10 * STAGE_MS), gate.next_ms()), (None, None));
    let promoted = gate.promote(10 * STAGE_MS).expect("it was held");
    assert_eq!(promoted.verdict, Verdict::Advance);
    assert!(promoted.why.starts_with("a person ended the hold of stage 1: "), "{}", promoted.why);
    assert_eq!(gate.promote(10 * STAGE_MS), None, "there is nothing more to end");
}

#[test]
fn hosts_that_leave_the_content_halt_and_one_alone_does_not() {
    let run = |left: HostIndex| {
        let mut gate = begun();
        healthy(&mut gate, 310_000, left..10);
        for host in 0..left {
            gate.take(1, host, Event::Left);
        }
        gate.tick(STAGE_MS).expect("a decision").verdict
    };
    assert_eq!(run(1), Verdict::Advance);
    assert_eq!(run(2), Verdict::Halt { cause: Cause::Left });
}

#[test]
fn a_host_that_was_healthy_and_then_left_counts_as_one_that_left() {
    let mut gate = begun();
    healthy(&mut gate, 310_000, 0..10);
    for host in [0, 1] {
        gate.take(320_000, host, Event::Left);
        gate.take(320_001, host, Event::Healthy);
    }
    assert_eq!(cause(gate.tick(STAGE_MS)), Some(Cause::Left));
}

#[test]
fn a_crash_and_a_return_to_the_same_content_is_healthy() {
    let mut gate = begun();
    gate.take(1, 0, crash(0, true));
    healthy(&mut gate, 310_000, 0..10);
    let decision = gate.tick(STAGE_MS).expect("a decision");
    assert_eq!((decision.verdict, decision.evidence.hosts.healthy), (Verdict::Advance, 10));
}

#[test]
fn hosts_that_were_off_before_their_turn_hold_nothing_up() {
    let mut gate = Gate::new(&plan_of(HOSTS), Rules::default(), HOSTS);
    for host in 5..10 {
        gate.take(0, host, Event::Offline);
    }
    gate.begin(0, &(0..10).collect::<Vec<_>>());
    healthy(&mut gate, 310_000, 0..5);
    assert_eq!(gate.tick(STAGE_MS).map(|decision| decision.verdict), Some(Verdict::Advance));
}

#[test]
fn hosts_that_go_offline_before_they_have_the_content_are_counted_apart_from_the_silent_ones() {
    let run = |dropped: HostIndex, silent: HostIndex| {
        let mut gate = Gate::new(&plan_of(HOSTS), Rules::default(), HOSTS);
        gate.begin(0, &(0..10).collect::<Vec<_>>());
        for host in 0..dropped {
            gate.take(1, host, Event::Offline);
        }
        for host in dropped..10 {
            gate.take(2, host, Event::Given);
        }
        healthy(&mut gate, 310_000, dropped + silent..10);
        gate.tick(STAGE_MS).expect("a decision").verdict
    };
    assert_eq!(run(1, 1), Verdict::Advance);
    assert_eq!((run(2, 0), run(0, 2)), (Verdict::Hold, Verdict::Hold), "too many of either are no news");
}

#[test]
fn a_stage_in_which_nobody_is_healthy_does_not_advance_however_small_it_is() {
    let run = |event: Option<Event>, is_online: bool| {
        let mut gate = Gate::new(&plan_of(50), Rules::default(), 50);
        if !is_online {
            gate.take(0, 0, Event::Offline);
        }
        gate.begin(0, &[0]);
        if let Some(event) = event {
            gate.take(1, 0, event);
        }
        gate.tick(STAGE_MS).expect("a decision").verdict
    };
    assert_eq!(run(Some(Event::Healthy), true), Verdict::Advance);
    assert_eq!(run(Some(Event::Left), true), Verdict::Halt { cause: Cause::Left });
    assert_eq!((run(None, true), run(None, false)), (Verdict::Hold, Verdict::Hold));
}

/// A late stage, where two crashes among so many are far from the statistic's threshold.
fn late() -> Gate {
    let mut gate = Gate::new(&plan_of(HOSTS), Rules::default(), HOSTS);
    stage(&mut gate, 0, 0..5_000);
    gate
}

#[test]
fn a_crash_that_nobody_had_before_halts_on_two_hosts() {
    let mut gate = late();
    assert_eq!(gate.take(1, 0, crash(7, true)), None);
    assert_eq!(gate.take(2, 0, crash(7, true)), None, "the same host");
    assert_eq!(gate.take(3, 1, crash(8, true)), None, "another crash");
    let decision = gate.take(4, 2, crash(7, true)).expect("a decision");
    assert_eq!(decision.verdict, Verdict::Halt { cause: Cause::NewBucket });
    assert_eq!(decision.evidence.bucket, Some(Bucket(7)));
    assert!(decision.why.contains("no host had before"), "{}", decision.why);
}

#[test]
fn a_crash_that_hosts_without_the_content_have_or_of_somebody_else_does_not() {
    let mut gate = late();
    gate.take(1, 9_000, crash(7, false));
    let others = Crash { bucket: Bucket(8), is_ours: false };
    for host in 0..2 {
        assert_eq!(gate.take(2, host, crash(7, true)), None);
        let event = Event::Failed { metric: Metric::EngineCrash, with_content: true, crash: Some(others) };
        assert_eq!(gate.take(2, host + 10, event), None);
    }
}

#[test]
fn a_crash_is_known_for_seven_days() {
    for (age_ms, expected) in [(KNOWN_FOR_MS, None), (KNOWN_FOR_MS + 1, Some(Cause::NewBucket))] {
        let mut gate = late();
        gate.known_bucket(Bucket(7), 1_000);
        gate.take(1_000 + age_ms, 0, crash(7, true));
        assert_eq!(cause(gate.take(1_000 + age_ms, 1, crash(7, true))), expected);
    }
}

#[test]
fn a_halt_is_final() {
    let mut gate = begun();
    assert_eq!(cause(gate.abort(5)), Some(Cause::Operator));
    healthy(&mut gate, 310_000, 0..10);
    gate.resume(5);
    assert!(gate.is_halted() && !gate.begin(STAGE_MS, &[10]));
    assert_eq!((gate.tick(STAGE_MS), gate.promote(STAGE_MS), gate.abort(STAGE_MS)), (None, None, None));
    assert_eq!((gate.next_ms(), gate.stage()), (None, 1));
}

#[test]
fn a_pause_advances_nothing_and_still_halts() {
    let mut gate = begun();
    gate.pause(0);
    healthy(&mut gate, 310_000, 0..10);
    assert_eq!(gate.tick(10 * STAGE_MS), None);
    gate.take(1, 0, failed(Metric::Alerts, true));
    assert_eq!(cause(gate.take(2, 1, failed(Metric::Alerts, true))), Some(Cause::Statistic));
}

#[test]
fn a_stage_has_as_much_time_after_a_pause_as_it_had_before() {
    let mut gate = begun();
    gate.pause(1_000);
    gate.pause(2_000);
    gate.resume(10 * STAGE_MS + 1_000);
    gate.resume(10 * STAGE_MS + 2_000);
    assert_eq!(gate.next_ms(), Some(11 * STAGE_MS));
    assert_eq!(gate.tick(11 * STAGE_MS - 1), None, "nobody could say anything meanwhile");
    healthy(&mut gate, 11 * STAGE_MS - 1, 0..10);
    assert_eq!(gate.tick(11 * STAGE_MS).map(|decision| decision.verdict), Some(Verdict::Advance));
}

#[test]
fn the_last_stage_completes_and_no_other_begins() {
    let mut gate = Gate::new(&plan_of(9), Rules::default(), 9);
    for (number, hosts) in (0..).zip([0..1, 1..4, 4..9]) {
        stage(&mut gate, number * STAGE_MS, hosts.clone());
        healthy(&mut gate, number * STAGE_MS + 310_000, hosts);
        let verdict = gate.tick((number + 1) * STAGE_MS).expect("a decision").verdict;
        assert_eq!(verdict, if number == 2 { Verdict::Complete } else { Verdict::Advance });
    }
    assert!(!gate.begin(4 * STAGE_MS, &[]));
}

#[test]
fn a_crash_record_tells_of_content_that_no_check_in_told_of() {
    let mut gate = begun();
    gate.take(1, 700, failed(Metric::EngineCrash, true));
    assert_eq!(gate.at_risk(Metric::Alerts), AtRisk { treated: 11, control: 9_989 });
    assert_eq!(gate.at_risk(Metric::EngineCrash), AtRisk { treated: 10, control: 9_989 });
}

#[test]
fn any_metric_halts() {
    assert_eq!(Metric::ALL.len(), METRICS);
    for metric in Metric::ALL {
        let mut gate = begun();
        gate.take(1, 0, failed(metric, true));
        assert_eq!(cause(gate.take(2, 1, failed(metric, true))), Some(Cause::Statistic), "{metric:?}");
    }
}

#[test]
fn a_decision_is_stored_and_read_back_as_it_was() {
    let mut gate = begun();
    gate.take(1, 0, crash(7, true));
    let decision = gate.take(2, 1, crash(7, true)).expect("a decision");
    let stored = serde_json::to_string(&decision).expect("JSON");
    assert!(stored.contains(r#""verdict":"halt","cause":"statistic""#), "{stored}");
    assert_eq!(serde_json::from_str::<Decision>(&stored).expect("a decision"), decision);
}

#[test]
fn hosts_that_die_of_the_content_before_they_could_say_that_they_have_it_halt_it_by_their_silence() {
    let mut gate = Gate::new(&plan_of(100), Rules::default(), 100);
    gate.begin(0, &(0..10).collect::<Vec<_>>());
    let silent = Event::Failed { metric: Metric::Silence, with_content: false, crash: None };
    // Two others fall silent as well, as machines do.
    let halt = [50, 0, 1, 2, 51, 3, 4, 5, 6, 7, 8, 9].into_iter().find_map(|host| gate.take(40_000, host, silent));
    let halt = halt.expect("the ten are not ten of a hundred by chance");
    assert_eq!(halt.verdict, Verdict::Halt { cause: Cause::Statistic });
    assert!(halt.why.contains("hosts that were given the content and 2 without it fell silent"), "{}", halt.why);
}

#[test]
fn an_offer_is_no_content_where_hosts_speak_for_themselves() {
    let mut gate = Gate::new(&plan_of(100), Rules::default(), 100);
    gate.begin(0, &(0..10).collect::<Vec<_>>());
    let at_risk = |gate: &Gate, metric| (gate.at_risk(metric).treated, gate.at_risk(metric).control);
    assert_eq!((at_risk(&gate, Metric::EngineCrash), at_risk(&gate, Metric::Silence)), ((0, 100), (10, 90)));
    gate.take(1, 0, Event::Given);
    assert_eq!((at_risk(&gate, Metric::EngineCrash), at_risk(&gate, Metric::Silence)), ((1, 99), (10, 90)));
    gate.take(2, 1, Event::Failed { metric: Metric::EngineCrash, with_content: false, crash: None });
    gate.take(2, 2, Event::Failed { metric: Metric::NotBack, with_content: false, crash: None });
    assert_eq!((at_risk(&gate, Metric::EngineCrash), at_risk(&gate, Metric::NotBack)), ((1, 97), (9, 90)));
    gate.take(3, 2, Event::Online);
    assert_eq!((at_risk(&gate, Metric::EngineCrash), at_risk(&gate, Metric::NotBack)), ((1, 98), (9, 90)));
    gate.take(3, 3, Event::Left);
    assert_eq!((at_risk(&gate, Metric::Silence).0, at_risk(&gate, Metric::EngineCrash)), (9, (1, 97)));
}
