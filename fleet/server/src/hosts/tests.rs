use watertight_fleet_wire::checkin::{ContentPart, HostPart};

use super::*;

const NOW: u64 = 1_000_000_000;
const PACE: Pace = Pace { interval_ms: 60_000, jitter_ms: 6_000 };

fn shown(serial: &str) -> Shown {
    let not_after_ms = NOW + HOST_LIFE_MS;
    Shown { host: "h".into(), serial: serial.into(), not_before_ms: NOW - 1, not_after_ms }
}

fn host() -> Host {
    Host { row: HostRow { id: "h".into(), serial: "s1".into(), ..HostRow::default() }, ..Host::default() }
}

fn told(instance: &str, sequence: u64) -> CheckIn {
    let state_hash = "0".into();
    CheckIn { sequence, instance: instance.into(), boot: "b".into(), clock_ms: NOW, state_hash, ..CheckIn::default() }
}

fn hear(host: &mut Host, told: CheckIn) -> Heard {
    host.check_in(&shown("s1"), told, 7, PACE, NOW)
}

#[test]
fn a_certificate_is_replaced_only_once_the_new_one_was_used() {
    let mut host = host();
    host.row.serial_before = Some("s0".into());
    assert_eq!(host.admit(&shown("s0"), NOW), Ok(()), "the answer with the new one may have been lost");
    assert_eq!(host.admit(&shown("s1"), NOW), Ok(()));
    assert_eq!(host.admit(&shown("s0"), NOW), Err(Code::Unauthenticated));
    assert_eq!(host.admit(&shown("s1"), NOW + HOST_LIFE_MS), Err(Code::Expired));
    assert_eq!(host.admit(&shown("s1"), 5), Err(Code::Expired), "a server's clock that went back");
    host.row.revoked_ms = Some(1);
    assert_eq!(host.admit(&shown("s1"), NOW), Err(Code::Revoked));
}

#[test]
fn agents_with_one_identity_are_noticed_and_restarts_are_not() {
    let mut restarted = host();
    // The second start's first word overtakes the first one's last.
    for (sequence, instance) in (1..).zip(["a", "a", "b", "a", "b", "b", "c", "d", "e", "f"]) {
        assert!(!hear(&mut restarted, told(instance, sequence)).is_newly_cloned, "{instance} {sequence}");
    }
    let machines_of_one_image = ["a", "b", "c", "a", "b", "c"].to_vec();
    let thief_with_a_new_start_each_time = ["a", "x", "a", "y", "a", "z", "a"].to_vec();
    for taking_turns in [["a", "b"].repeat(3), machines_of_one_image, thief_with_a_new_start_each_time] {
        let mut cloned = host();
        let mut noticed = 0;
        for (sequence, instance) in (1..).zip(taking_turns) {
            noticed += usize::from(hear(&mut cloned, told(instance, sequence)).is_newly_cloned);
        }
        assert_eq!((noticed, cloned.row.cloned_ms), (1, Some(NOW)), "noticed, and told once");
    }
}

#[test]
fn a_host_that_runs_wild_takes_none_of_the_others_turns() {
    let (mut wild, mut calm) = (host(), host());
    assert_eq!((0..1_000).filter(|_| wild.take_turn(NOW).is_ok()).count(), 200);
    assert_eq!(calm.take_turn(NOW), Ok(()));
    assert_eq!(wild.take_turn(NOW + 1_000), Ok(()));
}

#[test]
fn a_replayed_or_overtaken_check_in_changes_nothing() {
    let mut host = host();
    hear(&mut host, CheckIn { generation: 5, ..told("a", 10) });
    let before = host.row.seen.clone();
    for sequence in [10, 9, 0] {
        hear(&mut host, CheckIn { generation: 1, ..told("a", sequence) });
        assert_eq!(host.row.seen, before);
    }
    hear(&mut host, CheckIn { generation: 6, ..told("a", 11) });
    assert_eq!(host.row.seen.generation, 6);
}

#[test]
fn a_state_that_is_not_known_is_asked_for_in_full() {
    let mut host = host();
    let part = |id: &str| Some(ContentPart { id: id.into(), ..ContentPart::default() });
    let whole = State { content: part("c1"), host: Some(HostPart::default()), protection: None };
    let say = |hash: &str, base: Option<&str>, changed: Option<&State>, sequence| CheckIn {
        state_hash: hash.into(),
        base_hash: base.map(str::to_owned),
        changed: changed.cloned(),
        ..told("a", sequence)
    };
    assert!(hear(&mut host, say("1", None, None, 1)).answer.need_full_state, "a digest alone");
    assert!(!hear(&mut host, say("1", None, Some(&whole), 2)).answer.need_full_state);
    assert!(!hear(&mut host, say("1", None, None, 3)).answer.need_full_state, "known by now");
    let changed = State { content: part("c2"), ..State::default() };
    assert!(
        hear(&mut host, say("3", Some("2"), Some(&changed), 4)).answer.need_full_state,
        "not based on what is known"
    );
    assert!(!hear(&mut host, say("2", Some("1"), Some(&changed), 5)).answer.need_full_state);
    assert_eq!(host.row.seen.state, State { content: part("c2"), ..whole });
}

#[test]
fn a_clock_that_is_wrong_is_told_and_changes_no_promise() {
    let mut host = host();
    for (sequence, clock_ms) in (1..).zip([0, NOW + 31_536_000_000, u64::MAX]) {
        hear(&mut host, CheckIn { clock_ms, ..told("a", sequence) });
        assert_eq!(host.row.seen.promised_ms, NOW + 66_000);
    }
    assert_eq!(host.row.seen.clock_ahead_ms, i64::MAX);
    let absence = |now_ms| host.absence_by_its_promise(now_ms);
    assert_eq!((absence(NOW + 96_000), absence(NOW + 96_001)), (None, Some(Absence::Silent)));
}

fn goes_down(is_reboot: bool) -> Host {
    let mut host = host();
    hear(&mut host, told("a", 5));
    host.go_down(&Leave { boot: "b".into(), is_reboot }, NOW);
    host
}

#[test]
fn a_host_that_reboots_is_not_silent_until_its_time_for_that_is_over() {
    let host = goes_down(true);
    let absence = |now_ms, awake_ms| host.absence(now_ms, NOW + 66_000, awake_ms, &Thresholds::default());
    assert_eq!((absence(NOW + 1, 0), absence(NOW + 900_000, 0)), (Some(Absence::Reboots), Some(Absence::Reboots)));
    assert_eq!(absence(NOW + 900_001, 0), Some(Absence::NotBack));
    assert_eq!(absence(NOW + 900_001, NOW + 5), Some(Absence::Reboots), "the server was not there to hear it");
    assert_eq!(absence(NOW - 1, NOW - 5), Some(Absence::Reboots), "the clock was set back");
}

#[test]
fn a_host_that_was_shut_down_is_waited_for_by_nobody_and_is_back_when_it_speaks() {
    let mut host = goes_down(false);
    let absence = |host: &Host| host.absence_by_its_promise(NOW + 1_000_000);
    assert_eq!(absence(&host), Some(Absence::Off));
    hear(&mut host, told("a", 6));
    assert_eq!(absence(&host), Some(Absence::Off), "sent before, and overtaken: it is no word of a host that is back");
    hear(&mut host, told("b", 7));
    assert_eq!(absence(&host), Some(Absence::Silent), "its next start is");
    host.go_down(&Leave { boot: "b".into(), is_reboot: false }, NOW);
    assert_eq!(absence(&host), Some(Absence::Off));
    let lives = host.check_in(&shown("s1"), told("b", 8), 7, PACE, NOW + LAST_WORDS_MS + 1);
    assert!(!lives.is_newly_cloned && host.row.seen.down.is_none(), "one that goes on speaking did not go");
    host.go_down(&Leave { boot: "another".into(), is_reboot: false }, NOW);
    assert_eq!(absence(&host), Some(Absence::Silent), "the boot before this one has ended long ago");
}

#[test]
fn a_certificate_past_half_of_its_life_is_to_be_renewed() {
    let mut host = host();
    let mut renew = |now_ms, sequence| host.check_in(&shown("s1"), told("a", sequence), 7, PACE, now_ms).answer.renew;
    assert_eq!([renew(NOW, 1), renew(NOW + HOST_LIFE_MS / 2, 2)], [false, true]);
}

#[test]
fn a_host_is_written_once_a_minute_however_often_it_checks_in() {
    let hosts = Hosts::new(vec![host().row]);
    let cell = hosts.get("h").expect("the host");
    let mut written = 0;
    for second in 0..600_u64 {
        let now_ms = NOW + second * 1000;
        let mut host = cell.lock();
        host.check_in(&shown("s1"), told("a", second + 1), 7, PACE, now_ms);
        hosts.changed(&cell, &mut host);
        drop(host);
        written += hosts.due(now_ms, false).len();
    }
    assert_eq!(written, 10);
    let last = hosts.due(NOW + 600_000, true);
    assert_eq!(last.first().map(|row| row.seen.sequence), Some(600), "the end writes what is left");
    hosts.not_written(&last);
    assert_eq!(hosts.due(NOW + 601_000, false).len(), 1, "what could not be written stays due");
}

#[test]
fn a_host_whose_watch_ends_is_asked_to_come_then_and_one_whose_watch_is_over_comes_as_usual() {
    let mut host = host();
    let pace = |host: &mut Host, sequence| {
        let answer = hear(host, told("a", sequence)).answer;
        (answer.interval_ms, answer.jitter_ms)
    };
    assert_eq!(pace(&mut host, 1), (60_000, 6_000));
    host.wanted_ms = NOW + 20_000;
    assert_eq!(pace(&mut host, 2), (20_000, 2_000));
    host.wanted_ms = NOW + 1;
    assert_eq!(pace(&mut host, 3), (100, 2_000), "not at once again");
    host.wanted_ms = NOW;
    assert_eq!(pace(&mut host, 4), (60_000, 6_000));
    host.wanted_ms = NOW + 90_000;
    assert_eq!(pace(&mut host, 5), (60_000, 6_000), "no later than usual");
}

#[test]
fn after_a_start_nothing_is_known_of_what_a_host_runs_until_it_says_so() {
    let whole =
        |id: &str| State { content: Some(ContentPart { id: id.into(), ..ContentPart::default() }), ..State::default() };
    let say = |hash: &str, changed, sequence| CheckIn { state_hash: hash.into(), changed, ..told("a", sequence) };
    let mut host = host();
    hear(&mut host, say("1", Some(whole("old")), 1));
    assert!(host.is_state_known);
    // What it said since is lost with a server that was killed: rows are written once a minute.
    let mut restarted = Host { row: host.row.clone(), ..Host::default() };
    assert!(!restarted.is_state_known);
    assert!(hear(&mut restarted, say("2", None, 3)).answer.need_full_state);
    assert!(!restarted.is_state_known, "its row is of before");
    hear(&mut restarted, say("2", Some(whole("new")), 4));
    assert!(restarted.is_state_known && restarted.row.seen.state == whole("new"));
}
