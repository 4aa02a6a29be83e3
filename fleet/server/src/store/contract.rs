//! What every store must do, whatever it is made of. A store's own tests call `keeps_its_promises` with a way to open it empty, and
//! `again` that opens the same once more, as after a restart.

use std::future::Future;

use watertight_fleet_wire::records::{Batch, Body, Crash, Record, Stream};

use super::*;
use crate::roles::Role;

fn audit(action: &str) -> AuditEntry {
    AuditEntry { at_ms: 5, actor: "ada".into(), action: action.into(), subject: "s".into(), reason: "because".into() }
}

fn token(hash: &str, uses: u32) -> EnrolToken {
    EnrolToken { hash: hash.into(), tenant: "acme".into(), ring: "early".into(), uses, expires_ms: 1_000 }
}

fn enrolment(token: &str, key: &str, host: &str, now_ms: u64) -> Enrolment {
    Enrolment {
        token_hash: token.into(),
        key_hash: key.into(),
        host: host.into(),
        serial: format!("{host}-{now_ms}"),
        not_after_ms: now_ms + 7,
        now_ms,
        state: Default::default(),
    }
}

fn crashes(boot: &str, sequences: &[u64]) -> Batch {
    let crash = Crash { bucket: "b".into(), title: "t".into(), is_ours: true, rule: "r".into(), ..Crash::default() };
    let record = |sequence: &u64| Record { sequence: *sequence, at_ms: 1, body: Some(Body::Crash(crash.clone())) };
    Batch {
        boot: boot.into(),
        stream: Stream::Crash as i32,
        records: sequences.iter().map(record).collect(),
        dropped: 2,
    }
}

async fn enrolled(store: &impl StateStore, enrolment: &Enrolment) -> HostRow {
    match store.enrol(enrolment).await.expect("an answer") {
        Enrolled::Host(host) => *host,
        Enrolled::Refused(why) => panic!("{why:?}"),
    }
}

/// The suite.
pub async fn keeps_its_promises<S, Open, Opening, Again, Opened>(open: Open, again: Again)
where
    S: StateStore,
    Open: Fn(&'static str) -> Opening,
    Opening: Future<Output = S>,
    Again: Fn(&'static str) -> Opened,
    Opened: Future<Output = S>,
{
    tokens_are_good_for_what_they_say(&open("tokens").await).await;
    a_lost_answer_costs_nothing(&open("again").await).await;
    a_key_is_one_hosts_and_after_its_revocation_nobodys(&open("keys").await).await;
    each_use_is_counted(&open("uses").await).await;
    records_are_taken_once(&open("records").await).await;
    losses_are_counted_once(&open("losses").await).await;
    the_audit_log_has_every_change(&open("audit").await).await;
    a_name_that_was_revoked_is_given_again_with_another_token(&open("names").await).await;
    an_admin_is_left_whoever_is_revoked(&open("admins").await).await;
    the_audit_log_is_read_in_parts_to_its_first_entry(&open("parts").await).await;
    the_last_word_on_a_ring_is_kept(&open("rings").await).await;
    of_two_that_move_a_rollout_one_is_refused(&open("rollouts").await).await;
    the_gate_hears_each_record_once_and_in_order(&open("evidence").await).await;

    let store = open("restart").await;
    let host = host_that_lived(&store).await;
    store.close().await;
    let store = again("restart").await;
    assert_eq!(store.hosts().await.expect("hosts"), [host], "all of it outlives a restart");
    assert_eq!(store.generation().await.expect("a generation"), 9);
    assert_eq!(store.generation_of().await.expect("its word"), "x");
}

async fn tokens_are_good_for_what_they_say(store: &impl StateStore) {
    store.put_enrol_token(&token("one", 1), &audit("a")).await.expect("a token");
    store.put_enrol_token(&token("two", 2), &audit("a")).await.expect("a token");
    let host = enrolled(store, &enrolment("one", "k1", "h1", 10)).await;
    assert_eq!((host.tenant.as_str(), host.ring.as_str()), ("acme", "early"));
    let refused = |token: &'static str, key: &'static str, now_ms| async move {
        match store.enrol(&enrolment(token, key, "hx", now_ms)).await.expect("an answer") {
            Enrolled::Refused(why) => why,
            Enrolled::Host(host) => panic!("{host:?}"),
        }
    };
    assert_eq!(refused("one", "k2", 10).await, TokenRefusal::UsedUp);
    assert_eq!(refused("none", "k2", 10).await, TokenRefusal::Unknown);
    assert_eq!(refused("two", "k2", 1_000).await, TokenRefusal::Expired);
    enrolled(store, &enrolment("two", "k2", "h2", 999)).await;
    enrolled(store, &enrolment("two", "k3", "h3", 999)).await;
    assert_eq!(refused("two", "k4", 999).await, TokenRefusal::UsedUp);
    assert_eq!(store.hosts().await.expect("hosts").len(), 3, "a refusal makes no host");
}

async fn a_lost_answer_costs_nothing(store: &impl StateStore) {
    store.put_enrol_token(&token("one", 1), &audit("a")).await.expect("a token");
    let first = enrolled(store, &enrolment("one", "k1", "h1", 10)).await;
    let second = enrolled(store, &enrolment("one", "k1", "h2", 20)).await;
    assert_eq!((second.id.as_str(), second.serial_before.as_deref()), ("h1", Some(first.serial.as_str())));
    store.revoke("h1", 30, &audit("revoke")).await.expect("revoked");
    let answer = store.enrol(&enrolment("one", "k1", "h3", 40)).await.expect("an answer");
    assert_eq!(answer, Enrolled::Refused(TokenRefusal::Revoked));
}

async fn a_key_is_one_hosts_and_after_its_revocation_nobodys(store: &impl StateStore) {
    for name in ["one", "two"] {
        store.put_enrol_token(&token(name, 9), &audit("a")).await.expect("a token");
    }
    enrolled(store, &enrolment("one", "k1", "h1", 10)).await;
    let with_another = enrolment("two", "k1", "h2", 20);
    assert_eq!(store.enrol(&with_another).await.expect("an answer"), Enrolled::Refused(TokenRefusal::OtherToken));
    assert_eq!(store.hosts().await.expect("hosts").len(), 1, "one key, one host, one ring");
    store.revoke("h1", 30, &audit("revoke")).await.expect("revoked");
    assert_eq!(store.enrol(&with_another).await.expect("an answer"), Enrolled::Refused(TokenRefusal::Revoked));
    enrolled(store, &enrolment("two", "k2", "h3", 40)).await;
}

async fn each_use_is_counted(store: &impl StateStore) {
    let before = store.uses();
    store.generation().await.expect("an answer");
    store.hosts().await.expect("an answer");
    store.put_enrol_token(&token("t", 1), &audit("make")).await.expect("a token");
    store.put_seen(&[]).await.expect("written");
    store.probe().await.expect("room");
    let uses = store.uses();
    assert_eq!((uses.reads - before.reads, uses.changes - before.changes), (2, 3));
}

async fn records_are_taken_once(store: &impl StateStore) {
    let put = |host: &'static str, at_ms, batch: Batch| async move {
        store.put_records(host, at_ms, &batch).await.expect("records")
    };
    assert_eq!(put("h1", 10, crashes("b1", &[1, 2])).await.new, 2);
    assert_eq!(put("h1", 11, crashes("b1", &[1, 2, 3])).await.new, 1, "two of them were there");
    assert_eq!(put("h1", 12, crashes("b2", &[1])).await.new, 1, "another boot");
    assert_eq!(put("h2", 13, crashes("b1", &[1])).await.new, 1, "another host");
    let buckets = store.buckets(0, 10).await.expect("buckets");
    let [bucket] = buckets.as_slice() else { panic!("{buckets:?}") };
    assert_eq!((bucket.hosts, bucket.crashes, bucket.first_ms, bucket.last_ms), (2, 5, 10, 13));
    assert!(bucket.is_ours && bucket.rule == "r", "{bucket:?}");
    // A bucket that hosts had with other content is theirs, whatever its newest crash was with.
    for (content, known) in [("nobody's", Some(13)), (bucket.content.as_str(), None)] {
        let without = store.buckets_without(content, 0, 10).await.expect("buckets");
        assert_eq!(without.first().map(|(_, last_ms)| *last_ms), known, "{content}: {without:?}");
    }
    let slots = store.crash_slots(11, 2).await.expect("slots");
    let slots: Vec<_> = slots.iter().map(|slot| (slot.at_ms, slot.crashes, slot.hosts)).collect();
    assert_eq!(slots, [(10, 1, 1), (12, 2, 2)]);
    assert_eq!(store.prune_records(12).await.expect("room"), 3);
    assert_eq!(store.buckets(0, 10).await.expect("buckets").first().map(|bucket| bucket.crashes), Some(2));
}

async fn losses_are_counted_once(store: &impl StateStore) {
    let told = |host: &'static str, at_ms, boot: &'static str, stream: Stream, dropped| async move {
        let batch = Batch { boot: boot.into(), stream: stream as i32, records: Vec::new(), dropped };
        store.put_records(host, at_ms, &batch).await.expect("records").dropped
    };
    let (first, second) = (7 * HOUR_MS, 8 * HOUR_MS);
    assert_eq!(told("h1", first + 1, "b1", Stream::Alert, 0).await, 0);
    assert_eq!(told("h1", first + 2, "b1", Stream::Alert, 5).await, 5);
    assert_eq!(told("h1", first + 3, "b1", Stream::Alert, 5).await, 0, "sent again");
    assert_eq!(told("h1", first + 4, "b1", Stream::Alert, 3).await, 0, "overtaken");
    assert_eq!(told("h1", first + 5, "b1", Stream::Alert, 9).await, 4);
    assert_eq!(told("h1", second, "b1", Stream::Alert, 10).await, 1);
    assert_eq!(told("h1", second, "b2", Stream::Alert, 2).await, 2, "another boot counts anew");
    assert_eq!(told("h1", second, "b1", Stream::Crash, 1).await, 1, "another stream has its own");
    let row = |host: &str, stream, records| DroppedRow { host: host.into(), stream, records };
    let hours = [
        (first, row("h1", Stream::Alert, 9)),
        (second, row("h1", Stream::Alert, 3)),
        (second, row("h1", Stream::Crash, 1)),
    ];
    let mut by_hour = store.dropped_by_hour(first).await.expect("hours");
    by_hour.sort_by_key(|(hour_ms, row)| (*hour_ms, row.stream != Stream::Alert));
    assert_eq!(by_hour, hours);
    assert_eq!(store.dropped_by_hour(first + 1).await.expect("hours").len(), 2);
    store.prune_records(second).await.expect("room");
    assert_eq!(store.dropped_by_hour(0).await.expect("hours").len(), 2, "hours end as records do");
    let sum = |rows: Vec<DroppedRow>, host: &str, stream| {
        let of_it = rows.iter().filter(|row| row.host == host && row.stream == stream);
        of_it.fold(0_u64, |sum, row| sum.saturating_add(row.records))
    };
    assert_eq!(sum(store.dropped().await.expect("sums"), "h1", Stream::Alert), 12, "the sum stays");
    // A host that says anything stops nobody.
    for boot in ["b1", "b2", "b3"] {
        assert!(told("h2", second, boot, Stream::Health, u64::MAX).await >= 1 << 62);
        assert_eq!(told("h2", second, boot, Stream::Health, u64::MAX).await, 0);
    }
    assert!(store.dropped_by_hour(0).await.expect("hours").iter().any(|(_, row)| row.records >= 1 << 62));
    assert!(sum(store.dropped().await.expect("sums"), "h2", Stream::Health) >= 1 << 62);
    assert_eq!(told("h1", second, "b1", Stream::Alert, 11).await, 1, "and it goes on");
}

async fn the_audit_log_has_every_change(store: &impl StateStore) {
    let admin = OperatorToken { name: "ada".into(), hash: "h".into(), role: Role::Admin };
    store.put_operator_token(&admin, &audit("one")).await.expect("a token");
    let again = OperatorToken { name: "ada".into(), hash: "h2".into(), role: Role::Viewer };
    assert!(matches!(store.put_operator_token(&again, &audit("five")).await, Err(StoreError::Taken)));
    assert_eq!(store.operator_tokens().await.expect("tokens"), [admin]);
    store.put_ring_policy("early", "a", &audit("two")).await.expect("set");
    let missing = store.revoke_operator_token("eve", &audit("three")).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    let missing = store.revoke("nobody", 1, &audit("four")).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    let log = store.audit(u64::MAX, 10).await.expect("a log");
    let actions: Vec<_> = log.iter().map(|row| row.entry.action.as_str()).collect();
    assert_eq!(actions, ["two", "one"], "newest first, and nothing of what did not happen");
}

fn operator(name: &str, hash: &str, role: Role) -> OperatorToken {
    OperatorToken { name: name.into(), hash: hash.into(), role }
}

async fn a_name_that_was_revoked_is_given_again_with_another_token(store: &impl StateStore) {
    store.put_operator_token(&operator("vera", "h1", Role::Operator), &audit("one")).await.expect("a token");
    store.revoke_operator_token("vera", &audit("two")).await.expect("revoked");
    assert_eq!(store.operator_tokens().await.expect("tokens"), []);
    store.revoke_operator_token("vera", &audit("three")).await.expect("once is enough");
    let again = operator("vera", "h2", Role::Viewer);
    store.put_operator_token(&again, &audit("four")).await.expect("the name is free");
    assert_eq!(store.operator_tokens().await.expect("tokens"), [again]);
    assert_eq!(store.audit(u64::MAX, 9).await.expect("a log").len(), 4);
}

async fn an_admin_is_left_whoever_is_revoked(store: &impl StateStore) {
    let is_last = |answer: &Result<(), StoreError>| matches!(answer, Err(StoreError::LastAdmin { .. }));
    for (name, role) in [("ada", Role::Admin), ("otto", Role::Operator)] {
        store.put_operator_token(&operator(name, name, role), &audit("put")).await.expect("a token");
    }
    let refused = store.revoke_operator_token("ada", &audit("revoke")).await;
    assert!(is_last(&refused), "an operator is no admin: {refused:?}");
    store.put_operator_token(&operator("bob", "bob", Role::Admin), &audit("put")).await.expect("a token");
    // Each revokes the other, at one time.
    let (by_bob, by_ada) = (audit("by bob"), audit("by ada"));
    let (first, second) =
        tokio::join!(store.revoke_operator_token("ada", &by_bob), store.revoke_operator_token("bob", &by_ada));
    assert!(first.is_ok() != second.is_ok() && (is_last(&first) || is_last(&second)), "{first:?} {second:?}");
    let left = store.operator_tokens().await.expect("tokens");
    assert_eq!(left.iter().filter(|token| token.role == Role::Admin).count(), 1);
    store.revoke_operator_token("otto", &audit("revoke")).await.expect("whoever is no admin");
    let gone = if first.is_ok() { "ada" } else { "bob" };
    store.revoke_operator_token(gone, &audit("revoke")).await.expect("once is enough, with one admin left too");
    assert_eq!(store.audit(u64::MAX, 9).await.expect("a log").len(), 6, "what was refused left nothing");
}

async fn the_audit_log_is_read_in_parts_to_its_first_entry(store: &impl StateStore) {
    let actions: Vec<String> = (0..7).map(|number| format!("a{number}")).collect();
    for action in &actions {
        store.put_enrol_token(&token(action, 1), &audit(action)).await.expect("a token");
    }
    let (mut read, mut before) = (Vec::new(), u64::MAX);
    loop {
        let part = store.audit(before, 3).await.expect("a part");
        let Some(last) = part.last() else { break };
        assert!(part.len() <= 3 && part.is_sorted_by(|a, b| a.number > b.number), "newest first: {part:?}");
        before = last.number;
        read.extend(part.into_iter().map(|row| row.entry.action));
        // What is written meanwhile moves nothing.
        store.put_enrol_token(&token(&format!("later-{before}"), 1), &audit("later")).await.expect("a token");
    }
    read.reverse();
    assert_eq!(read, actions);
    assert_eq!(store.audit(0, 9).await.expect("a part"), []);
}

async fn the_last_word_on_a_ring_is_kept(store: &impl StateStore) {
    for (ring, policy) in [("early", "a"), ("broad", "b"), ("early", "c")] {
        store.put_ring_policy(ring, policy, &audit("set_ring")).await.expect("set");
    }
    let kept: std::collections::BTreeMap<_, _> = store.ring_policies().await.expect("policies").into_iter().collect();
    assert_eq!(kept, [("broad", "b"), ("early", "c")].map(|(ring, policy)| (ring.into(), policy.into())).into());
    assert_eq!(store.audit(u64::MAX, 9).await.expect("a log").len(), 3);
}

async fn of_two_that_move_a_rollout_one_is_refused(store: &impl StateStore) {
    let entry = |number, word: &str| JournalRow { number, entry: word.into() };
    let row = RolloutRow { number: 1, started_ms: 5, spec: "{}".into() };
    store.put_rollout(&row, &entry(0, "a"), &audit("start")).await.expect("begun");
    let again = store.put_rollout(&row, &entry(0, "b"), &audit("start")).await;
    assert!(matches!(again, Err(StoreError::Taken)), "{again:?}");
    let decision = |word: &str| DecisionRow { at_ms: 7, decision: word.into() };
    store.append(1, &entry(1, "c"), &[decision("x"), decision("y")], &[audit("advance")]).await.expect("moved");
    let late = store.append(1, &entry(1, "d"), &[decision("z")], &[audit("halt")]).await;
    assert!(matches!(late, Err(StoreError::Taken)), "{late:?}");
    assert_eq!(store.rollouts().await.expect("rollouts"), [row]);
    assert_eq!(store.journal(1).await.expect("a journal"), [entry(0, "a"), entry(1, "c")]);
    assert_eq!(store.decisions(1, 9).await.expect("decisions"), [decision("y"), decision("x")], "newest first");
    assert_eq!(store.audit(u64::MAX, 9).await.expect("a log").len(), 2, "what was refused left nothing");
}

async fn the_gate_hears_each_record_once_and_in_order(store: &impl StateStore) {
    for (host, at_ms, sequences) in [("h2", 10, &[1, 2][..]), ("h1", 11, &[1]), ("h2", 12, &[2, 3])] {
        store.put_records(host, at_ms, &crashes("b1", sequences)).await.expect("records");
    }
    let newest = store.newest_evidence().await.expect("a number");
    let first = store.evidence(0, 2).await.expect("evidence");
    let rest = store.evidence(first.last().map_or(0, |row| row.number), 9).await.expect("evidence");
    let hosts: Vec<_> = first.iter().chain(&rest).map(|row| row.host.as_str()).collect();
    assert_eq!(hosts, ["h2", "h2", "h1", "h2"]);
    assert_eq!(rest.last().map(|row| row.number), Some(newest));
    let record = Record::from_bytes(&rest[0].body).expect("a record");
    assert!(matches!(record.body, Some(Body::Crash(crash)) if crash.bucket == "b"));
}

async fn host_that_lived(store: &impl StateStore) -> HostRow {
    store.put_enrol_token(&token("one", 1), &audit("a")).await.expect("a token");
    let mut host = enrolled(store, &enrolment("one", "k1", "h1", 10)).await;
    host.seen.sequence = u64::MAX;
    host.seen.last_seen_ms = 77;
    let row = SeenRow { host: host.id.clone(), seen: host.seen.clone() };
    store.put_seen(&[row]).await.expect("seen");
    store.renew("h1", "s2", &host.serial, 99).await.expect("renewed");
    host.serial_before = Some(std::mem::replace(&mut host.serial, "s2".into()));
    host.not_after_ms = 99;
    store.mark_cloned("h1", 55, &audit("cloned")).await.expect("marked");
    store.revoke("h1", 66, &audit("revoke")).await.expect("revoked");
    store.revoke("h1", 67, &audit("revoke")).await.expect("once is enough");
    (host.cloned_ms, host.revoked_ms) = (Some(55), Some(66));
    store.set_generation(9, "x").await.expect("set");
    store.probe().await.expect("room");
    host
}
