//! Whatever is reported in whatever order: a halt is final, stages go one way, nobody is counted twice.

use proptest::prelude::*;
use watertight_fleet::gate::{Bucket, Crash, Decision, Event, Gate, Metric, Rules, StageHosts, Verdict};
use watertight_fleet::plan::{plan, Candidate, Evidence, Fleet, HostId, Lane, Plan, Policy, Stratum, Traits};
use watertight_fleet::{HostIndex, Ms};

const HOSTS: u32 = 40;

/// What may happen to a gate.
#[derive(Clone, Debug)]
enum Step {
    Take(HostIndex, Event),
    Tick,
    Begin(HostIndex, HostIndex),
    Replace(HostIndex),
    Pause,
    Resume,
    Promote,
    Abort,
}

fn step() -> impl Strategy<Value = Step> {
    let metric = prop::sample::select(Metric::ALL.to_vec());
    let failed =
        (metric, any::<bool>(), prop::option::of((0_u64..3, any::<bool>()))).prop_map(|(metric, with, crash)| {
            let crash = crash.map(|(bucket, is_ours)| Crash { bucket: Bucket(bucket), is_ours });
            Event::Failed { metric, with_content: with, crash }
        });
    let event = prop_oneof![
        4 => Just(Event::Given),
        1 => failed,
        1 => Just(Event::Left),
        6 => Just(Event::Healthy),
        1 => Just(Event::Offline),
        1 => Just(Event::Online),
    ];
    // A host more than there are: a number that nobody has is passed over.
    prop_oneof![
        80 => (0..=HOSTS, event).prop_map(|(host, event)| Step::Take(host, event)),
        24 => Just(Step::Tick),
        16 => (0..HOSTS, 0..HOSTS).prop_map(|(from, to)| Step::Begin(from.min(to), from.max(to))),
        8 => (0..HOSTS).prop_map(Step::Replace),
        2 => Just(Step::Pause),
        6 => Just(Step::Resume),
        4 => Just(Step::Promote),
        1 => Just(Step::Abort),
    ]
}

fn rollout() -> Plan {
    let any = || "any".to_owned();
    let traits =
        Traits { kernel: any(), distribution: any(), architecture: any(), agent_version: any(), workload: any() };
    let first = (0..HOSTS).map(|place| Candidate { bucket: place, host: HostId(place.to_string()) }).collect();
    let fleet = Fleet { strata: vec![Stratum { name: any(), traits, hosts: HOSTS.into(), first }] };
    plan(&fleet, &Policy::of(Lane::STANDARD), &Evidence::default()).expect("a plan")
}

fn apply(gate: &mut Gate, at_ms: Ms, step: &Step) -> Option<Decision> {
    match step {
        Step::Take(host, event) => return gate.take(at_ms, *host, *event),
        Step::Tick => return gate.tick(at_ms),
        Step::Promote => return gate.promote(at_ms),
        Step::Abort => return gate.abort(at_ms),
        Step::Begin(from, to) => {
            gate.begin(at_ms, &(*from..*to).collect::<Vec<_>>());
        }
        Step::Replace(host) => gate.replace(at_ms, &[*host]),
        Step::Pause => gate.pause(at_ms),
        Step::Resume => gate.resume(at_ms),
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_halt_is_final_stages_go_one_way_and_hosts_are_counted_once(
        steps in prop::collection::vec((step(), 0_u64..200_000), 1..120),
    ) {
        let plan = rollout();
        let mut gate = Gate::new(&plan, Rules::default(), HOSTS);
        let mut again = gate.clone();
        let (mut at_ms, mut stage, mut is_halted) = (0, 0, false);
        for (step, later_ms) in &steps {
            at_ms += later_ms;
            let decision = apply(&mut gate, at_ms, step);
            prop_assert_eq!(&decision, &apply(&mut again, at_ms, step), "the same events, the same decisions");
            prop_assert!(!is_halted || decision.is_none(), "a decision after the halt");
            if let Some(decision) = decision {
                let StageHosts { expected, healthy, left, .. } = decision.evidence.hosts;
                prop_assert!(healthy + left <= expected, "{:?}", decision);
                prop_assert!(!decision.why.is_empty() && decision.stage == gate.stage());
                is_halted |= matches!(decision.verdict, Verdict::Halt { .. });
            }
            prop_assert_eq!(gate.is_halted(), is_halted);
            prop_assert!(gate.stage() >= stage && gate.stage() as usize <= plan.stages.len());
            stage = gate.stage();
            for metric in Metric::ALL {
                let at_risk = gate.at_risk(metric);
                prop_assert!(at_risk.treated + at_risk.control <= u64::from(HOSTS), "{:?}", at_risk);
            }
        }
    }
}
