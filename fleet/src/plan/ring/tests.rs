use super::*;

const DAY_MS: Ms = 24 * HOUR_MS;

fn releases() -> Vec<Release> {
    [1, 2, 3].map(|version| Release { version, published_ms: version * DAY_MS }).into()
}

fn begins(policy: &RingPolicy, runs: Option<u64>, now_ms: Ms) -> Option<u64> {
    match admission(policy, &releases(), runs, now_ms) {
        Admission::Begin { version, .. } => Some(version),
        Admission::Stay { .. } => None,
    }
}

fn again_ms(policy: &RingPolicy, now_ms: Ms) -> Option<Ms> {
    match admission(policy, &releases(), Some(1), now_ms) {
        Admission::Begin { version, .. } => panic!("begins {version}"),
        Admission::Stay { again_ms, why } => again_ms.filter(|_| !why.is_empty()),
    }
}

fn exception(until_ms: Ms) -> Exception {
    Exception { note: "an audit".into(), until_ms }
}

#[test]
fn a_ring_takes_the_newest_or_the_one_before_it_and_never_goes_back() {
    let behind = RingPolicy { channel: Channel::OneBehind, ..RingPolicy::default() };
    assert_eq!(begins(&RingPolicy::default(), Some(1), 9 * DAY_MS), Some(3));
    assert_eq!(begins(&behind, Some(1), 9 * DAY_MS), Some(2));
    assert_eq!(begins(&behind, Some(3), 9 * DAY_MS), None, "changing the channel downgrades nobody");
    assert_eq!(begins(&behind, None, 9 * DAY_MS), Some(2));
}

#[test]
fn a_delay_counts_from_the_publication() {
    let delayed = RingPolicy { delay_h: 48, ..RingPolicy::default() };
    assert_eq!(again_ms(&delayed, 4 * DAY_MS), Some(5 * DAY_MS));
    assert_eq!(begins(&delayed, Some(1), 5 * DAY_MS), Some(3));
}

#[test]
fn a_pause_and_a_pin_say_why_and_end_by_themselves() {
    let paused = RingPolicy { pause: Some(exception(9 * DAY_MS)), ..RingPolicy::default() };
    assert_eq!(again_ms(&paused, 9 * DAY_MS - 1), Some(9 * DAY_MS));
    assert_eq!(begins(&paused, Some(1), 9 * DAY_MS), Some(3));
    let pin = |version| Some(Pin { version, exception: exception(9 * DAY_MS) });
    let pinned = RingPolicy { pin: pin(2), ..RingPolicy::default() };
    assert_eq!(begins(&pinned, Some(1), 8 * DAY_MS), Some(2));
    assert_eq!(begins(&pinned, Some(2), 8 * DAY_MS), None);
    assert_eq!(begins(&pinned, Some(3), 8 * DAY_MS), None, "a pin takes nobody back");
    assert_eq!(begins(&pinned, Some(2), 9 * DAY_MS), Some(3));
    assert_eq!(begins(&RingPolicy { pin: pin(7), ..RingPolicy::default() }, Some(1), 8 * DAY_MS), None);
}

#[test]
fn a_window_over_midnight_is_open_on_both_sides_of_it() {
    let window = Some(Window { from_minute: 23 * 60, to_minute: 60 });
    let policy = RingPolicy { window, ..RingPolicy::default() };
    let day = 9 * DAY_MS;
    assert_eq!(begins(&policy, Some(1), day), Some(3));
    assert_eq!(begins(&policy, Some(1), day + 23 * HOUR_MS), Some(3));
    for closed in [day + HOUR_MS, day + 12 * HOUR_MS, day + 23 * HOUR_MS - 1] {
        assert_eq!(again_ms(&policy, closed), Some(day + 23 * HOUR_MS));
    }
}

#[test]
fn content_that_denies_is_in_audit_first_where_that_is_asked_for() {
    let policy = RingPolicy { audit_first: true, ..RingPolicy::default() };
    let admitted = admission(&policy, &releases(), None, 9 * DAY_MS);
    assert_eq!(admitted, Admission::Begin { version: 3, audit_first: true });
}

#[test]
fn an_exception_without_a_note_or_an_end_is_refused() {
    let paused = |note: &str, until_ms| {
        let policy = RingPolicy { pause: Some(Exception { note: note.into(), until_ms }), ..RingPolicy::default() };
        policy.check(DAY_MS).is_ok()
    };
    assert!(paused("an audit", 2 * DAY_MS));
    assert!(!paused(" ", 2 * DAY_MS) && !paused("a\nb", 2 * DAY_MS));
    assert!(!paused("an audit", DAY_MS) && !paused("an audit", 999 * DAY_MS));
    let pin = |note: &str| RingPolicy {
        pin: Some(Pin { version: 1, exception: Exception { note: note.into(), until_ms: 2 * DAY_MS } }),
        ..RingPolicy::default()
    };
    assert!(pin("a bug in 2").check(DAY_MS).is_ok() && pin("").check(DAY_MS).is_err());
    let window = |to_minute| RingPolicy { window: Some(Window { from_minute: 0, to_minute }), ..RingPolicy::default() };
    assert!(window(1_439).check(0).is_ok() && window(1_440).check(0).is_err());
    assert!(RingPolicy { delay_h: 721, ..RingPolicy::default() }.check(0).is_err());
}

#[test]
fn a_release_that_is_under_way_stops_for_a_pause_a_closed_window_and_a_pin_to_another() {
    let until_ms = 9 * DAY_MS;
    let pin = Some(Pin { version: 2, exception: exception(until_ms) });
    let paused = RingPolicy { pause: Some(exception(until_ms)), ..RingPolicy::default() };
    let pinned = RingPolicy { pin, ..RingPolicy::default() };
    let window = Some(Window { from_minute: 60, to_minute: 120 });
    let window = RingPolicy { window, ..RingPolicy::default() };
    assert!(paused.closed_for(2, until_ms - 1).is_some_and(|why| why.contains("an audit")));
    assert_eq!(paused.closed_for(2, until_ms), None, "it ends by itself");
    assert_eq!(pinned.closed_for(2, until_ms - 1), None);
    assert!(pinned.closed_for(3, until_ms - 1).is_some_and(|why| why.contains("version 2")));
    assert!(window.closed_for(2, DAY_MS).is_some());
    assert_eq!(window.closed_for(2, DAY_MS + HOUR_MS), None);
}

#[test]
fn no_ring_is_skipped() {
    assert_eq!(next_ring(&[true, false, true]), Some(1));
    assert_eq!(next_ring(&[false, true, true]), Some(0));
    assert_eq!(next_ring(&[true, true]), None);
}

fn standing(until_ms: Option<Ms>) -> Option<Standing> {
    Some(Standing { note: "slow disks".into(), until_ms })
}

/// A ring that does everything otherwise, each until then.
fn otherwise(until_ms: Option<Ms>) -> RingPolicy {
    RingPolicy {
        delay_h: 48,
        channel: Channel::OneBehind,
        window: Some(Window { from_minute: 60, to_minute: 120 }),
        audit_first: true,
        exceptions: Exceptions {
            delay: standing(until_ms),
            one_behind: standing(until_ms),
            window: standing(until_ms),
            audit_first: standing(until_ms),
        },
        ..RingPolicy::default()
    }
}

#[test]
fn every_exception_says_why_and_ends_by_itself_where_an_end_was_said() {
    let end_ms = 9 * DAY_MS;
    for (policy, why) in [
        (RingPolicy { channel: Channel::Newest, window: None, ..otherwise(Some(end_ms)) }, "waits 48 h"),
        (
            RingPolicy { delay_h: 0, window: None, ..otherwise(Some(end_ms)) },
            "version 2 is what the ring's channel has",
        ),
        (RingPolicy { delay_h: 0, channel: Channel::Newest, ..otherwise(Some(end_ms)) }, "window is closed"),
    ] {
        // The newest release is of the moment before.
        let releases = [Release { version: 2, published_ms: 0 }, Release { version: 3, published_ms: end_ms - 2 }];
        let admitted = |now_ms| admission(&policy, &releases, Some(2), now_ms);
        let Admission::Stay { why: said, again_ms } = admitted(end_ms - 1) else { panic!("{why}") };
        assert!(said.contains(why) && said.ends_with(": slow disks"), "{said}");
        assert_eq!(again_ms, Some(end_ms), "{why}");
        assert_eq!(admitted(end_ms), Admission::Begin { version: 3, audit_first: false }, "{why}");
    }
    let audited = |until_ms, now_ms| {
        let policy =
            RingPolicy { audit_first: true, exceptions: otherwise(until_ms).exceptions, ..RingPolicy::default() };
        admission(&policy, &releases(), None, now_ms) == Admission::Begin { version: 3, audit_first: true }
    };
    assert!(audited(Some(end_ms), end_ms - 1) && !audited(Some(end_ms), end_ms) && audited(None, end_ms));
    assert_eq!(begins(&otherwise(None), Some(1), 900 * DAY_MS + HOUR_MS), Some(2), "without an end it lasts");
}

#[test]
fn an_exception_of_nothing_or_without_a_note_or_that_is_over_is_refused() {
    assert_eq!(otherwise(None).check(DAY_MS), Ok(()));
    assert_eq!(otherwise(Some(2 * DAY_MS)).check(DAY_MS), Ok(()));
    assert!(otherwise(Some(DAY_MS)).check(DAY_MS).is_err_and(|why| why.contains("still to come")));
    assert!(otherwise(Some(999 * DAY_MS)).check(DAY_MS).is_err());
    let mut silent = otherwise(None);
    silent.exceptions.window = Some(Standing { note: " ".into(), until_ms: None });
    assert!(silent.check(DAY_MS).is_err_and(|why| why.starts_with("window: a note")));
    let said = otherwise(None);
    for (policy, what) in [
        (RingPolicy { delay_h: 0, ..said.clone() }, "delay"),
        (RingPolicy { channel: Channel::Newest, ..said.clone() }, "one_behind"),
        (RingPolicy { window: None, ..said.clone() }, "window"),
        (RingPolicy { audit_first: false, ..said }, "audit_first"),
    ] {
        assert!(policy.check(DAY_MS).is_err_and(|why| why.starts_with(&format!("exceptions.{what}: "))), "{what}");
    }
}

#[test]
fn a_policy_of_the_version_before_is_read_and_one_without_exceptions_is_written_as_it_was() {
    let before = r#"{"delay_h":24,"channel":"one_behind","pause":{"note":"an audit","until_ms":9},
        "pin":{"version":2,"exception":{"note":"a bug","until_ms":5}},"window":{"from_minute":0,"to_minute":60},"audit_first":true}"#;
    let policy: RingPolicy = serde_json::from_str(before).expect("a policy");
    assert_eq!((policy.delay_h, policy.channel, &policy.exceptions), (24, Channel::OneBehind, &Exceptions::default()));
    let value: serde_json::Value = serde_json::from_str(before).expect("JSON");
    assert_eq!(serde_json::to_value(&policy).expect("JSON"), value);
    let noted = otherwise(Some(7));
    let text = serde_json::to_string(&noted).expect("JSON");
    assert!(text.contains(r#""exceptions":{"delay":{"note":"slow disks","until_ms":7}"#), "{text}");
    assert_eq!(serde_json::from_str::<RingPolicy>(&text).expect("a policy"), noted);
}

#[test]
fn what_was_said_is_told_with_its_note_and_its_end_also_when_it_is_over() {
    let mut policy = RingPolicy { pause: Some(exception(7)), ..otherwise(Some(7)) };
    policy.exceptions.window = standing(None);
    policy.exceptions.audit_first = None;
    let at = |now_ms| policy.says(now_ms, |at_ms| format!("day {at_ms}"));
    assert_eq!(
        at(6),
        [
            "begins a release 48 h after its signed earliest time until day 7: slow disks",
            "follows the release before the newest until day 7: slow disks",
            "paused until day 7: an audit",
            "begins something new from 01:00 to 02:00 UTC: slow disks",
            "what denies only counts at first",
        ]
    );
    assert_eq!(at(7)[2], "paused until day 7 (over): an audit");
    assert_eq!(at(7).iter().filter(|words| words.contains("(over)")).count(), 3, "{:?}", at(7));
    assert_eq!(RingPolicy::default().says(7, |_| String::new()), Vec::<String>::new());
}
