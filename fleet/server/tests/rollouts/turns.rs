//! Rings whose turn comes later: the server looks when there is a reason to, and reads nothing meanwhile.

use std::time::Duration;

use serde_json::{json, Value};

use crate::desk::{everybody, Desk};
use crate::hosts::VirtualHosts;
use crate::support::{now_ms, Fleet};
use crate::{begin, online, start, wait_for, wait_for_state};

/// Far longer than the server once waited between two looks.
const IDLE: Duration = Duration::from_secs(12);
const SETTLED: Duration = Duration::from_secs(2);

fn say(fleet: &Fleet, ring: &str, policy: &Value) {
    let told = fleet.admin().post(&format!("/v1/rings/{ring}"), &json!({ "policy": policy, "reason": "a test" }));
    assert_eq!(told.status, 200, "{}", told.text());
}

fn paused(for_ms: u64) -> Value {
    json!({ "pause": { "note": "an audit", "until_ms": now_ms() + for_ms } })
}

fn reads(fleet: &Fleet) -> u64 {
    fleet.admin().get("/v1/counters").json()["repository_reads"].as_u64().expect("a number")
}

#[test]
fn an_idle_server_reads_no_repository_and_each_reason_to_look_gets_a_ring_its_rollout() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let rings = || ["early", "empty", "asleep", "paused", "behind"].map(|ring| (ring.to_owned(), everybody())).into();
    let first = desk.publish_for(1, b"pack one", rings());
    let fleet = start(dir.path(), &desk);
    let [early, asleep, paused_one, behind] =
        ["early", "asleep", "paused", "behind"].map(|ring| VirtualHosts::start_in(ring, &fleet, 1, desk.root()));
    online(&fleet, 4);
    for ring in ["asleep", "paused"] {
        say(&fleet, ring, &paused(3_600_000));
    }
    say(&fleet, "behind", &json!({ "channel": "one_behind" }));
    let id = begin(&fleet, "linux");
    wait_for_state(&fleet, &id, "complete");
    wait_for("the last look", || {
        let before = reads(&fleet);
        std::thread::sleep(SETTLED);
        reads(&fleet) == before
    });
    let before = reads(&fleet);
    std::thread::sleep(IDLE);
    assert_eq!(reads(&fleet), before, "nothing happened, so nothing was read");
    let have = |hosts: &VirtualHosts| hosts.run(&first);
    assert_eq!([&early, &asleep, &paused_one, &behind].map(have), [1, 0, 0, 0]);

    let late = VirtualHosts::start_in("empty", &fleet, 1, desk.root());
    wait_for("the ring's first host comes online", || have(&late) == 1);
    say(&fleet, "asleep", &paused(5_000));
    wait_for("a ring's pause ends", || have(&asleep) == 1);
    say(&fleet, "paused", &json!({}));
    wait_for("another word is said of a ring", || have(&paused_one) == 1);
    assert_eq!(have(&behind), 0, "there is no release before the newest yet");
    desk.publish_for(2, b"pack two", rings());
    wait_for("a release is published", || have(&behind) == 1);
}

#[test]
fn what_one_rollout_of_a_content_halts_every_rollout_of_it_ends_with() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let rings = ["early", "late"].map(|ring| (ring.to_owned(), everybody())).into();
    let content = desk.publish_for(1, b"pack one", rings);
    let fleet = start(dir.path(), &desk);
    let hosts = ["early", "late"].map(|ring| VirtualHosts::start_in(ring, &fleet, 1, desk.root()));
    online(&fleet, 2);
    say(&fleet, "late", &paused(3_600_000));
    let id = begin(&fleet, "linux");
    wait_for_state(&fleet, &id, "complete");
    say(&fleet, "late", &json!({}));
    wait_for("the other ring has it", || hosts.iter().all(|hosts| hosts.run(&content) == 1));
    let aborted = fleet.admin().post(&format!("/v1/rollouts/{id}/abort"), &json!({ "reason": "late" }));
    assert!(aborted.json()["why"].as_str().is_some_and(|why| why.ends_with("by admin: late")), "{}", aborted.text());
    let other = || fleet.admin().get("/v1/rollouts/r2").json();
    wait_for("the other ends too", || other()["state"] == "halted");
    let why = other()["why"].to_string();
    assert!(why.contains("by the recall of its content: rollout r1 of it was halted") && why.contains("late"), "{why}");
    wait_for("nobody runs it", || hosts.iter().all(|hosts| hosts.run(&content) == 0));
}
