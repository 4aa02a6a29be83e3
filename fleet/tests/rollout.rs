//! Promises of a rollout under way, host by host and input by input.

use watertight_fleet::gate::{Bucket, Cause, Crash, Decision, Event, Metric, Rules, Verdict};
use watertight_fleet::plan::{Evidence, HostId, Lane, Policy, Schedule, Traits, BUCKETS};
use watertight_fleet::rollout::{Input, Kin, Look, Place, Running, Spec, Start, State};
use watertight_fleet::{HostIndex, Ms};

const WATCH_MS: Ms = 300_000;
const STAGE_MS: Ms = 370_000;

/// Hosts of one kind, evenly spread over the buckets.
fn spec(hosts: u32, schedule: Schedule) -> Spec {
    let any = || "any".to_owned();
    let traits =
        Traits { kernel: any(), distribution: any(), architecture: any(), agent_version: any(), workload: any() };
    let bucket = |place: u32| u32::try_from(u64::from(place) * BUCKETS / u64::from(hosts)).expect("a bucket");
    let kin = Kin {
        name: any(),
        ring: "early".into(),
        schedule,
        traits,
        hosts: (0..hosts).map(|place| (bucket(place), HostId(format!("h{place}")))).collect(),
    };
    let start = Start {
        content: "new".into(),
        name: "linux".into(),
        version: 2,
        policy: Policy::of(Lane::STANDARD),
        rules: Rules::default(),
        evidence: Evidence::default(),
        known: Vec::new(),
        goes_on: false,
    };
    Spec::plan(start, vec![kin]).expect("a plan")
}

/// A rollout, and what moved it.
struct Rollout {
    running: Running,
    journal: Vec<(Ms, Input)>,
    decisions: Vec<Decision>,
}

impl Rollout {
    fn of(hosts: u32) -> Self {
        Self::by(hosts, Schedule::open())
    }

    fn by(hosts: u32, schedule: Schedule) -> Self {
        let mut rollout =
            Self { running: Running::new(spec(hosts, schedule)), journal: Vec::new(), decisions: Vec::new() };
        rollout.take(0, Input::Start);
        rollout
    }

    fn take(&mut self, at_ms: Ms, input: Input) {
        self.journal.push((at_ms, input));
        self.decisions.extend(self.running.take(at_ms, input));
    }

    fn see(&mut self, at_ms: Ms, host: HostIndex, look: Look<'_>) -> usize {
        let mut inputs = Vec::new();
        self.running.observe(host, look, &mut inputs);
        let count = inputs.len();
        inputs.into_iter().for_each(|input| self.take(at_ms, input));
        count
    }

    fn chosen(&self) -> Vec<HostIndex> {
        let is_chosen = |host: &HostIndex| self.running.place(*host) == Place::Offered(self.running.stage());
        (0..self.running.spec().hosts()).filter(is_chosen).collect()
    }

    /// The stage's hosts fetch the content, and some of them say after the watch that they run it.
    fn stage(&mut self, at_ms: Ms, silent: usize) {
        let chosen = self.chosen();
        for host in &chosen {
            assert_eq!(self.see(at_ms + 1, *host, runs("new", at_ms + 1)), 1);
        }
        for host in chosen.iter().skip(silent) {
            assert_eq!(self.see(at_ms + 1 + WATCH_MS, *host, runs("new", at_ms + 1 + WATCH_MS)), 1);
        }
        self.take(at_ms + STAGE_MS, Input::Tick);
    }
}

fn runs(content: &str, heard_ms: Ms) -> Look<'_> {
    Look { content, heard_ms, ..Look::default() }
}

#[test]
fn good_content_goes_through_its_stages_and_the_same_journal_gives_the_same_rollout() {
    let mut rollout = Rollout::of(400);
    let mut at_ms = 0;
    while rollout.running.state().is_under_way() {
        rollout.stage(at_ms, 0);
        at_ms += STAGE_MS;
    }
    assert_eq!(rollout.running.state(), State::Complete, "{:?}", rollout.decisions);
    assert_eq!((rollout.running.counts().exposed, rollout.running.counts().healthy), (396, 396));
    assert_eq!(rollout.running.place(399), Place::HeldBack);
    assert!(!rollout.running.opens(0, at_ms) && rollout.running.opens(0, 24 * 3_600_000));

    let text = serde_json::to_string(&rollout.running.spec()).expect("a spec");
    let mut again = Running::new(serde_json::from_str(&text).expect("the spec"));
    let mut decisions = Vec::new();
    for (at_ms, input) in &rollout.journal {
        let text = serde_json::to_string(input).expect("an input");
        decisions.extend(again.take(*at_ms, serde_json::from_str(&text).expect("the input")));
    }
    assert_eq!(decisions, rollout.decisions);
    assert_eq!((again.state(), again.counts()), (State::Complete, rollout.running.counts()));
}

#[test]
fn a_host_is_heard_once_and_what_it_said_before_is_no_word_about_the_content() {
    let mut rollout = Rollout::of(400);
    let host = rollout.chosen()[0];
    assert_eq!(rollout.see(5, host, runs("old", 5)), 0, "it has not fetched it yet");
    assert_eq!(rollout.see(6, host, runs("", 6)), 0, "it does not know yet");
    assert_eq!(rollout.running.wanted_ms(host, 6), Some(10_006), "it is asked again soon");
    assert_eq!(rollout.running.wanted_ms(399, 6), None, "nothing is wanted of one whose turn has not come");
    assert_eq!(rollout.see(7, host, runs("new", 7)), 1);
    assert_eq!(rollout.see(8, host, runs("new", 8)), 0, "given once");
    assert_eq!(rollout.running.wanted_ms(host, 8), Some(7 + WATCH_MS));
    assert_eq!(rollout.see(9, host, runs("", 9)), 0, "an agent that begins anew has left nothing");
    assert_eq!(rollout.see(7 + WATCH_MS, host, runs("new", 6 + WATCH_MS)), 0, "its watch was not over when it spoke");
    assert_eq!(rollout.see(8 + WATCH_MS, host, runs("new", 7 + WATCH_MS)), 1);
    assert_eq!(rollout.running.counts().healthy, 1);
    assert_eq!(rollout.see(9 + WATCH_MS, host, runs("old", 9 + WATCH_MS)), 1);
    assert_eq!((rollout.running.place(host), rollout.running.runs_it(host)), (Place::Left, false));
}

#[test]
fn a_silent_host_is_counted_once_and_is_back_when_it_speaks() {
    let mut rollout = Rollout::of(400);
    let silent = Look { missing: Some(Metric::Silence), ..Look::default() };
    assert_eq!(rollout.see(1, 300, silent), 1);
    assert_eq!(rollout.see(2, 300, silent), 0);
    assert_eq!(rollout.see(3, 300, runs("old", 3)), 1, "online again");
    let gone = Look { is_gone: true, ..Look::default() };
    assert_eq!((rollout.see(4, 301, gone), rollout.see(5, 301, gone)), (1, 0));
    assert_eq!(rollout.running.counts().failed, 0, "neither had the content");
}

#[test]
fn a_host_that_is_not_back_after_a_reboot_fails_in_that_and_not_in_silence() {
    let mut rollout = Rollout::of(400);
    let host = rollout.chosen()[0];
    assert_eq!(rollout.see(1, host, runs("new", 1)), 1);
    let not_back = Look { missing: Some(Metric::NotBack), ..Look::default() };
    assert_eq!((rollout.see(2, host, not_back), rollout.see(3, host, not_back)), (1, 0));
    assert_eq!(rollout.running.counts().failed, 1);
    let failed = rollout.journal.iter().filter_map(|(_, input)| match input {
        Input::Host { event: Event::Failed { metric, with_content, .. }, .. } => Some((*metric, *with_content)),
        _ => None,
    });
    assert_eq!(failed.collect::<Vec<_>>(), [(Metric::NotBack, true)]);
    assert_eq!(rollout.see(4, host, runs("new", 4)), 1, "online again");
}

#[test]
fn silent_hosts_hold_a_stage_and_others_of_their_stratum_take_their_places() {
    let mut rollout = Rollout::of(400);
    rollout.stage(0, 3);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Holding, 1));
    let before = rollout.running.replacements().len();
    rollout.take(STAGE_MS + 90_000, Input::Tick);
    assert_eq!(rollout.running.replacements().len(), before + 3, "{:?}", rollout.decisions);
    let replaced_ms = STAGE_MS + 90_000;
    let fresh = rollout.chosen();
    assert_eq!(fresh.len(), 3);
    rollout.stage(replaced_ms, 0);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Running, 2), "{:?}", rollout.decisions);
}

#[test]
fn a_new_crash_of_ours_on_two_hosts_halts_and_a_known_one_is_left_to_the_statistic() {
    let crash = Some(Crash { bucket: Bucket(7), is_ours: true });
    let crashed =
        |host| Input::Host { host, event: Event::Failed { metric: Metric::EngineCrash, with_content: true, crash } };
    let mut rollout = Rollout::of(20); // so few that no statistic reaches its threshold
    rollout.stage(0, 0);
    let hosts: Vec<HostIndex> = (0..20).filter(|host| rollout.running.runs_it(*host)).collect();
    rollout.take(STAGE_MS + 5, crashed(hosts[0]));
    let other = rollout.chosen()[0];
    rollout.take(STAGE_MS + 6, crashed(other));
    let last = rollout.decisions.last().expect("a decision");
    assert_eq!(last.verdict, Verdict::Halt { cause: Cause::NewBucket }, "{last:?}");
    assert_eq!((rollout.running.state(), rollout.running.counts().failed), (State::Halted, 2));
    assert_eq!(rollout.running.wanted_ms(other, STAGE_MS + 7), Some(STAGE_MS + 5_007), "its word is wanted soon");
    let unreached = |at_ms: u64| rollout.running.unreached(at_ms).len();
    assert_eq!(unreached(STAGE_MS + 60_005), 0, "both can be reached");
    assert_eq!(unreached(STAGE_MS + 60_006), rollout.running.counts().has as usize, "and were not");

    let mut known = Rollout::of(20);
    known.take(1, Input::Known { bucket: Bucket(7) });
    known.stage(2, 0);
    let hosts: Vec<HostIndex> = (0..20).filter(|host| known.running.runs_it(*host)).collect();
    known.take(STAGE_MS + 5, crashed(hosts[0]));
    let other = known.chosen()[0];
    known.take(STAGE_MS + 6, crashed(other));
    assert_ne!(known.running.state(), State::Halted, "{:?}", known.decisions);
}

#[test]
fn a_person_pauses_aborts_and_ends_a_hold_and_nothing_else() {
    let mut rollout = Rollout::of(400);
    rollout.take(1, Input::Pause);
    rollout.stage(1, 0);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Paused, 1), "nobody else gets it");
    rollout.take(STAGE_MS + 2, Input::Resume);
    rollout.take(STAGE_MS + 3, Input::Tick);
    assert_eq!(rollout.running.stage(), 1, "it has as much time left as it had");
    rollout.take(2 * STAGE_MS + 3, Input::Tick);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Running, 2));
    rollout.take(2 * STAGE_MS + 4, Input::Promote);
    assert_eq!(rollout.running.stage(), 2, "nothing is held");
    rollout.stage(2 * STAGE_MS + 3, 9);
    assert_eq!(rollout.running.state(), State::Holding);
    rollout.take(3 * STAGE_MS + 9, Input::Promote);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Running, 3));
    rollout.take(3 * STAGE_MS + 10, Input::Abort);
    rollout.take(3 * STAGE_MS + 11, Input::Resume);
    assert_eq!(rollout.running.state(), State::Halted, "a halt is final");
}

#[test]
fn a_host_that_crashes_for_ever_is_one_event_and_another_crash_of_it_is_another() {
    let mut rollout = Rollout::of(400);
    let host = rollout.chosen()[0];
    let crashed = |bucket, with_content| {
        let crash = Some(Crash { bucket: Bucket(bucket), is_ours: true });
        Event::Failed { metric: Metric::EngineCrash, with_content, crash }
    };
    assert!(!rollout.running.has_heard(host, crashed(1, true)));
    rollout.take(1, Input::Host { host, event: crashed(1, true) });
    assert!(rollout.running.has_heard(host, crashed(1, true)));
    assert!(!rollout.running.has_heard(host, crashed(2, true)), "another bucket");
    assert!(!rollout.running.has_heard(host, crashed(1, false)), "without the content");
    let other = Event::Failed { metric: Metric::Budget, with_content: true, crash: None };
    assert!(!rollout.running.has_heard(host, other), "another metric");
    assert!(!rollout.running.has_heard(host, Event::Healthy));
}

#[test]
fn the_policy_of_a_ring_and_a_person_stop_a_rollout_each_for_itself() {
    let mut rollout = Rollout::of(400);
    for (input, state) in [
        (Input::Close, State::Paused),
        (Input::Pause, State::Paused),
        (Input::Reopen, State::Paused),
        (Input::Close, State::Paused),
        (Input::Resume, State::Paused),
        (Input::Reopen, State::Running),
    ] {
        rollout.take(1, input);
        assert_eq!(rollout.running.state(), state, "{input:?}");
    }
    rollout.take(2, Input::Close);
    rollout.stage(2, 0);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Paused, 1), "nobody else gets it");
    rollout.take(STAGE_MS + 3, Input::Reopen);
    rollout.take(2 * STAGE_MS + 3, Input::Tick);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Running, 2));
}

const LATER_MS: Ms = 36_000_000;

/// Twelve of 400 hosts at once, all of them ten hours later.
fn a_few_first() -> Schedule {
    Schedule::new([(0, 29_000), (LATER_MS, 1_000_000)])
}

#[test]
fn a_stage_is_not_begun_before_the_signed_schedule_lets_all_of_its_hosts_have_it() {
    let mut rollout = Rollout::by(400, a_few_first());
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Running, 1), "ten of the twelve");
    rollout.stage(0, 0);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Holding, 1), "{:?}", rollout.decisions);
    assert_eq!(rollout.running.waits_until_ms(), Some(LATER_MS));
    rollout.take(STAGE_MS + 100_000, Input::Tick);
    rollout.take(STAGE_MS + 100_001, Input::Promote);
    assert_eq!((rollout.running.stage(), rollout.running.replacements().len()), (1, 0), "it is no hold of the gate's");
    rollout.take(LATER_MS, Input::Pause);
    rollout.take(LATER_MS, Input::Begin);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Paused, 1));
    rollout.take(LATER_MS, Input::Resume);
    rollout.take(LATER_MS, Input::Begin);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Running, 2));
    assert_eq!(rollout.running.waits_until_ms(), None);
    rollout.stage(LATER_MS, 0);
    assert_eq!(rollout.running.stage(), 3, "the schedule keeps it from nobody any more");
}

#[test]
fn nobody_takes_a_silent_hosts_place_before_the_signed_schedule_lets_him() {
    let mut rollout = Rollout::by(400, a_few_first());
    rollout.stage(0, 3);
    rollout.take(STAGE_MS + 90_000, Input::Tick);
    let names: Vec<String> = rollout.running.replacements().into_iter().map(|host| host.0).collect();
    assert_eq!(names, ["h10", "h11"], "{:?}", rollout.decisions);
}

#[test]
fn a_rollout_that_waits_for_the_schedule_can_be_ended() {
    let mut rollout = Rollout::by(400, Schedule::new([(LATER_MS, 1_000_000)]));
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Holding, 0));
    rollout.take(5, Input::Abort);
    rollout.take(LATER_MS, Input::Begin);
    assert_eq!((rollout.running.state(), rollout.running.stage()), (State::Halted, 0));
    assert_eq!(rollout.running.waits_until_ms(), None);
}

#[test]
fn a_host_that_came_after_the_plan_counts_as_any_other_and_is_held_back_by_its_bucket() {
    let mut rollout = Rollout::of(100);
    let held_back = u32::try_from(rollout.running.spec().plan.holdback_from).expect("somebody is");
    let late: Vec<HostIndex> = [(0, "a"), (1, "b"), (held_back, "c")]
        .into_iter()
        .map(|(bucket, id)| rollout.running.join(bucket, HostId(id.into())))
        .collect();
    assert_eq!(late, [100, 101, 102], "numbered after the others");
    assert_eq!(
        late.iter().map(|host| rollout.running.place(*host)).collect::<Vec<_>>(),
        [Place::Later, Place::Later, Place::HeldBack]
    );
    assert_eq!(rollout.see(1, 100, runs("new", 1)) + rollout.see(1, 101, runs("new", 1)), 2);
    assert_eq!(rollout.running.place(100), Place::Has(0));
    for host in [100, 101] {
        let crash = Some(Crash { bucket: Bucket(7), is_ours: true });
        let event = Event::Failed { metric: Metric::EngineCrash, with_content: true, crash };
        rollout.take(2, Input::Host { host, event });
    }
    assert_eq!(rollout.running.state(), State::Halted);
    let counts = rollout.running.counts();
    assert_eq!((counts.hosts, counts.exposed, counts.failed, counts.has), (103, 2, 2, 2));
    let unreached = rollout.running.unreached(90_000);
    assert_eq!(unreached.iter().map(|id| id.0.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}
