//! Promises of a ring's policy, over policies of any make-up.

use proptest::prelude::*;
use watertight_fleet::plan::ring::{
    admission, Admission, Channel, Exception, Exceptions, Pin, Release, RingPolicy, Standing, Window,
};

const DAY_MS: u64 = 24 * 3_600_000;

fn until() -> impl Strategy<Value = u64> {
    0..20 * DAY_MS
}

fn standing() -> impl Strategy<Value = Option<Standing>> {
    let of = |until_ms| Standing { note: "a note".into(), until_ms };
    proptest::option::of(proptest::option::of(until()).prop_map(of))
}

fn exception() -> impl Strategy<Value = Exception> {
    until().prop_map(|until_ms| Exception { note: "a note".into(), until_ms })
}

fn policy() -> impl Strategy<Value = RingPolicy> {
    let window = (0..1_440_u32, 0..1_440_u32).prop_map(|(from_minute, to_minute)| Window { from_minute, to_minute });
    let pin = (1..5_u64, exception()).prop_map(|(version, exception)| Pin { version, exception });
    let said = (
        0..200_u32,
        any::<bool>(),
        proptest::option::of(exception()),
        proptest::option::of(pin),
        proptest::option::of(window),
        any::<bool>(),
    );
    let exceptions = (standing(), standing(), standing(), standing());
    (said, exceptions).prop_map(|((delay_h, is_behind, pause, pin, window, audit_first), standing)| {
        let (delay, one_behind, of_window, of_audit) = standing;
        let channel = if is_behind { Channel::OneBehind } else { Channel::Newest };
        let exceptions = Exceptions { delay, one_behind, window: of_window, audit_first: of_audit };
        RingPolicy { delay_h, channel, pause, pin, window, audit_first, exceptions }
    })
}

/// The same policy, without what is over by its own words.
fn without_what_is_over(policy: &RingPolicy, now_ms: u64) -> RingPolicy {
    let mut left = policy.clone();
    let is_over = |of: &Option<Standing>| of.as_ref().and_then(|of| of.until_ms).is_some_and(|end_ms| end_ms <= now_ms);
    if is_over(&left.exceptions.delay) {
        (left.delay_h, left.exceptions.delay) = (0, None);
    }
    if is_over(&left.exceptions.one_behind) {
        (left.channel, left.exceptions.one_behind) = (Channel::Newest, None);
    }
    if is_over(&left.exceptions.window) {
        (left.window, left.exceptions.window) = (None, None);
    }
    if is_over(&left.exceptions.audit_first) {
        (left.audit_first, left.exceptions.audit_first) = (false, None);
    }
    left.pause = left.pause.filter(|pause| pause.until_ms > now_ms);
    left.pin = left.pin.filter(|pin| pin.exception.until_ms > now_ms);
    left
}

fn releases() -> Vec<Release> {
    [1, 2, 3, 4].map(|version| Release { version, published_ms: version * 4 * DAY_MS }).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_exception_that_is_over_is_as_none(policy in policy(), runs in proptest::option::of(0..5_u64), now_ms in until()) {
        let left = without_what_is_over(&policy, now_ms);
        prop_assert_eq!(admission(&policy, &releases(), runs, now_ms), admission(&left, &releases(), runs, now_ms));
        prop_assert_eq!(policy.closed(now_ms), left.closed(now_ms));
        prop_assert_eq!(policy.closed_for(2, now_ms), left.closed_for(2, now_ms));
        prop_assert_eq!(policy.changes_ms(now_ms), left.changes_ms(now_ms));
    }

    /// Who asks again when it was told to misses nothing: until then the answer is the same.
    #[test]
    fn a_ring_that_stays_says_when_to_ask_again(policy in policy(), now_ms in until(), part in 0..1_000_u64) {
        let begins = |now_ms| matches!(admission(&policy, &releases(), Some(1), now_ms), Admission::Begin { .. });
        if let Admission::Stay { again_ms, .. } = admission(&policy, &releases(), Some(1), now_ms) {
            let until_ms = again_ms.unwrap_or(now_ms + 40 * DAY_MS);
            prop_assert!(until_ms > now_ms);
            let between_ms = now_ms + (until_ms - now_ms - 1) * part / 1_000;
            prop_assert!(!begins(between_ms), "at {between_ms}, before {until_ms}");
        }
    }
}
