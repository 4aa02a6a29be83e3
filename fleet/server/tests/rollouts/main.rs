//! Rollouts from end to end: a real server with the director's key, virtual hosts that check every word of it, good and bad content.

#[path = "../support/mod.rs"]
mod support;

mod desk;
mod hosts;
mod newcomers;
mod turns;

use std::time::{Duration, Instant};

use desk::{all_in_s, everybody, everybody_in_s, Desk};
use hosts::VirtualHosts;
use serde_json::{json, Value};
use support::Fleet;
use tempfile::TempDir;
use watertight_content_repo::director::{Cohort, Entry, HashRange, BUCKETS};
use watertight_content_repo::release::ContentId;
use watertight_content_repo::time::Moment;
use watertight_server::rollout::director::{publish_wanted, signed_packs, Wanted};

/// Only a hang is stopped by it.
const PATIENCE: Duration = Duration::from_secs(180);

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn start(state: &std::path::Path, desk: &Desk) -> Fleet {
    let mut options = desk.options();
    options.extend(["--check-in-ms".to_owned(), "1000".to_owned()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Fleet::start_with(state, &options)
}

/// A server whose first release is published, and hosts that are online. What is named first lives longest.
fn with_hosts(count: usize) -> (TempDir, Desk, String, Fleet, VirtualHosts) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let content = desk.publish(1, b"pack one");
    let fleet = start(dir.path(), &desk);
    let hosts = VirtualHosts::start(&fleet, count, desk.root());
    online(&fleet, count as u64);
    (dir, desk, content, fleet, hosts)
}

fn wish(content: &str) -> Value {
    json!({ "content": content, "pickup_s": 4, "watch_s": 2, "report_s": 3, "reason": "a test" })
}

fn begin(fleet: &Fleet, content: &str) -> String {
    let answer = fleet.admin().post("/v1/rollouts", &wish(content));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().expect("an id").to_owned()
}

fn status(fleet: &Fleet, id: &str) -> Value {
    let answer = fleet.admin().get(&format!("/v1/rollouts/{id}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn online(fleet: &Fleet, hosts: u64) {
    wait_for("all hosts are online", || fleet.admin().get("/v1/status").json()["online"] == hosts);
}

fn wait_for_state(fleet: &Fleet, id: &str, state: &str) -> Value {
    let mut found = Value::Null;
    wait_for(state, || {
        found = status(fleet, id);
        assert!(found["state"] == state || found["state"] != "halted", "{found}");
        found["state"] == state
    });
    found
}

#[test]
fn good_content_reaches_all_but_the_holdback_and_bad_content_is_recalled_from_the_first_cohort() {
    let (_dir, mut desk, good, fleet, hosts) = with_hosts(100);

    let plan = fleet.admin().post("/v1/rollouts/plan", &json!({ "content": "linux" })).json();
    assert_eq!((plan["hosts"].as_u64(), plan["statistics"].as_str()), (Some(100), Some("full")), "{plan}");
    assert_eq!(fleet.admin().get("/v1/rollouts").json(), json!([]), "a plan begins nothing");

    let id = begin(&fleet, "linux");
    let done = wait_for_state(&fleet, &id, "complete");
    assert_eq!(done["failed"], 0, "{done}");
    // One host may still be on its way.
    wait_for("as many run it as were given it", || status(&fleet, &id)["exposed"] == hosts.run(&good));
    let exposed = hosts.run(&good);
    assert_eq!(exposed, 99, "all but a hundredth: {done}");

    let bad = desk.publish(2, b"pack two");
    hosts.shared.killers.write().expect("whole").insert(bad.clone());
    let id = begin(&fleet, &bad[..12]);
    let mut halted = Value::Null;
    wait_for("the gate halts", || {
        halted = status(&fleet, &id);
        halted["state"] == "halted"
    });
    assert_eq!(halted["stage"], 1, "{halted}");
    assert!(hosts.began(&bad) <= 10, "at most the first cohort: {}", hosts.began(&bad));
    assert!(halted["failed"].as_u64().is_some_and(|failed| (2..=10).contains(&failed)), "{halted}");
    let decision = &halted["decisions"][0]["decision"];
    assert_eq!(decision["verdict"], "halt", "{halted}");
    let named = "bucket a-new-bucket (engine: index out of range)";
    let names = |words: &Value| words.as_str().is_some_and(|words| words.ends_with(named));
    assert!(names(&decision["why"]) && names(&halted["why"]), "{halted}");
    assert_eq!(decision["evidence"]["bucket"], fleet.admin().get("/v1/buckets").json()[0]["bucket"], "{decision}");
    wait_for("everything runs the good content again", || hosts.run(&good) >= exposed && hosts.run(&bad) == 0);
    let again = fleet.admin().post("/v1/rollouts", &wish(&bad));
    assert_eq!(again.status, 409, "what was halted is not begun again: {}", again.text());
    let page = fleet.admin().get("/").text();
    assert!(page.contains("halted") && page.contains(named), "{page}");
    let log = fleet.admin().get("/v1/audit").json();
    let has = |action: &str, actor: &str| {
        log.as_array().expect("a log").iter().any(|entry| entry["action"] == action && entry["actor"] == actor)
    };
    assert!(has("rollout_start", "admin") && has("rollout_halt", "gate"), "{log}");
    assert!(log.as_array().expect("a log").iter().any(|entry| names(&entry["reason"])), "{log}");
}

#[test]
fn a_rollout_goes_on_where_it_was_after_the_server_was_killed() {
    let (dir, desk, content, fleet, hosts) = with_hosts(12);
    let id = begin(&fleet, "linux@1");
    wait_for("the second stage", || status(&fleet, &id)["stage"].as_u64().is_some_and(|stage| stage >= 2));
    fleet.kill();
    let fleet = start(dir.path(), &desk);
    *hosts.shared.address.write().expect("whole") = fleet.address;
    assert!(status(&fleet, &id)["stage"].as_u64().is_some_and(|stage| stage >= 2), "it does not begin anew");
    let done = wait_for_state(&fleet, &id, "complete");
    assert_eq!((done["exposed"].as_u64(), hosts.run(&content)), (Some(12), 12), "{done}");
    let stages: Vec<u64> = done["decisions"]
        .as_array()
        .expect("decisions")
        .iter()
        .filter(|row| row["decision"]["verdict"] == "advance")
        .map(|row| row["decision"]["stage"].as_u64().expect("a stage"))
        .collect();
    assert!(stages.is_sorted_by(|a, b| a > b), "each stage ended once, newest first: {stages:?}");
    let host = hosts.shared.runs.lock().expect("whole").keys().next().expect("a host").clone();
    let why = fleet.admin().get(&format!("/v1/hosts/{host}/why")).json();
    assert!(why["why"][0].as_str().is_some_and(|why| why.contains("chosen in stage")), "{why}");
}

#[test]
fn hosts_that_went_over_to_the_next_release_and_come_back_from_it_have_not_left_the_one_before() {
    let (_dir, mut desk, before, fleet, hosts) = with_hosts(12);
    let first = begin(&fleet, "linux");
    wait_for_state(&fleet, &first, "complete");
    let next = desk.publish(2, b"pack two");
    wait_for("the next release is there", || {
        fleet.admin().post("/v1/rollouts/plan", &json!({ "content": "linux@2" })).status == 200
    });
    let second = begin(&fleet, "linux@2");
    wait_for_state(&fleet, &second, "complete");
    wait_for("all run it", || hosts.run(&next) == 12);
    let answer = fleet.admin().post(&format!("/v1/rollouts/{second}/abort"), &json!({ "reason": "a test" }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_for("all are back", || hosts.run(&before) == 12);
    // Whatever was to follow from it has followed by now.
    std::thread::sleep(Duration::from_secs(5));
    let one = status(&fleet, &first);
    assert_eq!((one["state"].as_str(), one["failed"].as_u64()), (Some("complete"), Some(0)), "{one}");
    for host in hosts.shared.runs.lock().expect("whole").keys() {
        let why = fleet.admin().get(&format!("/v1/hosts/{host}/why")).json();
        assert!(why["why"].to_string().contains("and has it"), "{why}");
    }
    assert_eq!(hosts.run(&before), 12, "nothing took it from them");
}

#[test]
fn a_person_pauses_resumes_and_aborts_and_each_is_in_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let content = desk.publish(1, b"pack one");
    desk.publish_as("other", b"another pack");
    let fleet = start(dir.path(), &desk);
    let mut admin = fleet.admin();
    assert_eq!(admin.post("/v1/rollouts", &wish("windows")).status, 404, "no such content");
    assert_eq!(admin.post("/v1/rollouts", &wish("linux")).status, 409, "no host to give it to");
    let hosts = VirtualHosts::start(&fleet, 12, desk.root());
    online(&fleet, 12);
    let viewer =
        admin.post("/v1/operator-tokens", &json!({ "name": "eve", "role": "viewer", "reason": "looks" })).json();
    let mut viewer = fleet.operator(viewer["token"].as_str().expect("a token"));
    assert_eq!(viewer.post("/v1/rollouts", &wish("linux")).status, 403);
    assert_eq!(viewer.post("/v1/rollouts/plan", &wish("linux")).status, 200, "to look is free");

    let id = begin(&fleet, "linux");
    assert_eq!(admin.post("/v1/rollouts", &wish("linux")).status, 409, "one of a name at a time");
    let other = admin.post("/v1/rollouts", &wish("other"));
    let mend = format!("rollout {id} gave it linux version 1, and a host runs content of one name");
    assert!(other.status == 409 && other.text().contains(&mend), "{}", other.text());
    let mut change = |word: &str| {
        let answer = admin.post(&format!("/v1/rollouts/{id}/{word}"), &json!({ "reason": "a test" }));
        (answer.status, answer.json())
    };
    assert_eq!(change("promote").0, 409, "nothing is held");
    let (code, paused) = change("pause");
    assert_eq!((code, paused["state"].as_str()), (200, Some("paused")), "{paused}");
    assert!(paused["why"].as_str().is_some_and(|why| why.contains("admin: a test")), "{paused}");
    let stage = paused["stage"].clone();
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(status(&fleet, &id)["stage"], stage, "nobody else gets it");
    assert_eq!(change("resume").1["state"], "running");
    wait_for("a later stage", || status(&fleet, &id)["stage"] != stage);
    assert!(hosts.run(&content) > 0);
    let (code, halted) = change("abort");
    assert_eq!((code, halted["state"].as_str()), (200, Some("halted")), "{halted}");
    assert_eq!(change("resume").0, 409, "a halt is final");
    wait_for("the recall has reached all", || hosts.run(&content) == 0);
    assert_eq!(admin.post("/v1/rollouts/plan", &wish("other")).status, 200, "the ring is nobody's again");
    let log = admin.get("/v1/audit").json();
    let actions: Vec<&str> =
        log.as_array().expect("a log").iter().filter_map(|entry| entry["action"].as_str()).collect();
    for action in ["rollout_start", "rollout_pause", "rollout_resume", "rollout_abort"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
}

#[test]
fn a_stage_whose_host_falls_silent_holds_and_another_of_its_kind_takes_its_place() {
    let (_dir, _desk, content, fleet, hosts) = with_hosts(12);
    let plan = fleet.admin().post("/v1/rollouts/plan", &wish("linux")).json();
    let first = plan["stages"][0]["named"][0].as_str().expect("the first host").to_owned();
    hosts.shared.mute.write().expect("whole").insert(first.clone());
    let id = begin(&fleet, "linux");
    let held = wait_for_state(&fleet, &id, "holding");
    assert!(held["why"].as_str().is_some_and(|why| why.contains("said nothing")), "{held}");
    assert_eq!((held["stage"].as_u64(), held["exposed"].as_u64()), (Some(1), Some(0)), "nobody else gets it: {held}");
    let page = fleet.admin().get("/v1/status").json();
    assert!(page["because"].to_string().contains("holds"), "a hold needs a look: {page}");
    wait_for("another takes its place", || hosts.began(&content) == 1);
    let decisions = status(&fleet, &id)["decisions"].clone();
    let verdicts: Vec<&Value> =
        decisions.as_array().expect("a list").iter().rev().map(|row| &row["decision"]["verdict"]).collect();
    assert!(
        verdicts.len() >= 2 && verdicts[0] == "hold" && verdicts[1].to_string().contains("replace"),
        "{verdicts:?}"
    );
    hosts.shared.mute.write().expect("whole").clear();
    let done = wait_for_state(&fleet, &id, "complete");
    wait_for("the one that is back has it too", || hosts.run(&content) == 12);
    assert_eq!(done["failed"], 0, "silence without the content is not its failure: {done}");
}

#[test]
fn what_is_said_of_a_ring_holds_at_once_also_for_what_is_under_way_and_ends_by_itself() {
    let (_dir, mut desk, content, fleet, hosts) = with_hosts(12);
    let mut admin = fleet.admin();
    let mut say = |policy: Value| {
        let answer = admin.post("/v1/rings/early", &json!({ "policy": policy, "reason": "the customer asks" }));
        (answer.status, answer.text())
    };
    assert_eq!(
        say(json!({ "pause": { "note": "", "until_ms": support::now_ms() + 9_000 } })).0,
        400,
        "a note says why"
    );
    assert_eq!(say(json!({ "pause": { "note": "an audit", "until_ms": 9 } })).0, 400, "an exception ends");
    assert_eq!(say(json!({ "channel": "one_behind" })).0, 200);
    let plan = |content: &str| fleet.admin().post("/v1/rollouts/plan", &json!({ "content": content }));
    assert!(plan("linux").status == 409 && plan("linux").text().contains("no release yet"), "{}", plan("linux").text());
    desk.publish(2, b"pack two");
    wait_for("the release before the newest", || plan("linux@1").status == 200);
    assert!(
        plan("linux@2").text().contains("version 1 is what the ring's policy begins"),
        "{}",
        plan("linux@2").text()
    );

    assert_eq!(say(json!({ "pin": { "version": 1, "exception": { "note": "a bug in 2", "until_ms": support::now_ms() + 3_600_000 } } })).0, 200);
    assert!(plan("linux@2").text().contains("version 1"), "{}", plan("linux@2").text());
    let id = begin(&fleet, "linux@1");
    wait_for("a host has it", || hosts.began(&content) > 0);
    let host = hosts.shared.runs.lock().expect("whole").keys().next().expect("a host").clone();
    let why = |fleet: &Fleet| fleet.admin().get(&format!("/v1/hosts/{host}/why")).json()["why"][0].to_string();
    assert!(
        why(&fleet).contains("ring early pinned to version 1 until ") && why(&fleet).contains("a bug in 2"),
        "{}",
        why(&fleet)
    );
    let until_ms = support::now_ms() + 20_000;
    assert_eq!(say(json!({ "pause": { "note": "an audit", "until_ms": until_ms } })).0, 200);
    let paused = wait_for_state(&fleet, &id, "paused");
    assert!(paused["why"].as_str().is_some_and(|why| why.contains("the ring is paused: an audit")), "{paused}");
    let change = |word: &str| fleet.admin().post(&format!("/v1/rollouts/{id}/{word}"), &json!({ "reason": "haste" }));
    let both = change("pause").text();
    assert!(both.contains("paused by admin: haste, and by ") && both.contains("an audit"), "{both}");
    let one = change("resume").json();
    assert!(one["state"] == "paused" && !one["why"].to_string().contains("haste"), "the person's alone: {one}");
    let resumed = change("resume");
    assert!(resumed.status == 409 && resumed.text().contains("the policy of a ring"), "{}", resumed.text());
    assert!(why(&fleet).contains("an audit"), "{}", why(&fleet));
    // Whoever was on its way to the content when the word came.
    std::thread::sleep(Duration::from_secs(3));
    let (began, stage) = (hosts.began(&content), status(&fleet, &id)["stage"].clone());
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!((hosts.began(&content), &status(&fleet, &id)["stage"]), (began, &stage), "nobody begins it");
    assert_eq!(hosts.run(&content), began, "who has it keeps it");
    wait_for_state(&fleet, &id, "complete");
    assert!(support::now_ms() > until_ms, "it went on by itself, and not before");
    assert_eq!(hosts.run(&content), 12);
    let log = fleet.admin().get("/v1/audit").json();
    let actions: Vec<&str> =
        log.as_array().expect("a log").iter().filter_map(|entry| entry["action"].as_str()).collect();
    for action in ["set_ring", "rollout_close", "rollout_reopen"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
}

/// What a thief of the director's key says: all hosts run this, now.
fn stolen(hosts: &VirtualHosts, epoch: u64, content: &str) -> Value {
    // The server knows a host before the host has heard its answer.
    wait_for("each host has heard of the server", || hosts.shared.runs.lock().expect("whole").len() == hosts.count);
    let now = Moment::now();
    let listed: Vec<String> = hosts.shared.runs.lock().expect("whole").keys().cloned().collect();
    json!({
        "format": 1, "epoch": epoch, "issued": now, "lease_until": now.plus_s(3600), "paused": false, "recall": [],
        "entries": [{ "content": content, "cohort": { "hosts": listed }, "not_before": now, "not_after": now.plus_s(3600) }],
    })
}

#[test]
fn who_steals_the_directors_key_outruns_no_schedule_and_reaches_no_other_ring() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let too_soon = desk.publish_for(1, b"pack one", [("early".into(), all_in_s(3000))].into());
    let not_its = desk.publish_for(2, b"pack two", [("broad".into(), everybody())].into());
    let fleet = Fleet::start_with(dir.path(), &["--check-in-ms", "1000"]);
    let hosts = VirtualHosts::start(&fleet, 5, desk.root());
    online(&fleet, 5);
    for (epoch, content, why) in [
        (1, &too_soon, "the signed schedule gives ring early to 1 of a million"),
        (2, &not_its, "is not for ring early"),
    ] {
        hosts.shared.refused.lock().expect("whole").clear();
        desk.publish_plan(&stolen(&hosts, epoch, content));
        wait_for(why, || {
            hosts.shared.refused.lock().expect("whole").iter().filter(|told| told.contains(why)).count() >= 5
        });
        assert_eq!(hosts.began(content), 0);
    }
}

#[test]
fn a_stage_waits_for_the_signed_schedule_and_no_host_is_told_what_it_would_refuse() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let content =
        desk.publish_for(1, b"pack one", [("early".into(), all_in_s(8)), ("broad".into(), all_in_s(7200))].into());
    let fleet = start(dir.path(), &desk);
    let hosts = VirtualHosts::start(&fleet, 3, desk.root());
    online(&fleet, 3);
    let id = begin(&fleet, "linux");
    let held = status(&fleet, &id);
    assert_eq!((held["state"].as_str(), held["stage"].as_u64()), (Some("holding"), Some(0)), "{held}");
    assert!(held["why"].as_str().is_some_and(|why| why.contains("the signed schedule keeps it")), "{held}");
    let promoted = fleet.admin().post(&format!("/v1/rollouts/{id}/promote"), &json!({ "reason": "haste" }));
    assert!(promoted.status == 409 && promoted.text().contains("signed schedule"), "{}", promoted.text());
    assert_eq!(hosts.began(&content), 0);
    wait_for_state(&fleet, &id, "complete");
    assert_eq!((hosts.run(&content), hosts.shared.refused.lock().expect("whole").as_slice()), (3, &[][..]));
    let other = fleet.admin().post("/v1/rollouts", &wish("linux"));
    assert!(other.status == 409 && other.text().contains("the next may at"), "ring broad is later: {}", other.text());
}

#[test]
fn a_ring_whose_turn_comes_later_gets_it_by_itself_unless_a_person_wanted_it_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let rings = || [("early".into(), everybody()), ("late".into(), everybody_in_s(20))].into();
    let first = desk.publish_for(1, b"pack one", rings());
    let fleet = start(dir.path(), &desk);
    let early = VirtualHosts::start(&fleet, 1, desk.root());
    let late = VirtualHosts::start_in("late", &fleet, 1, desk.root());
    online(&fleet, 2);
    let id = begin(&fleet, "linux");
    wait_for_state(&fleet, &id, "complete");
    assert_eq!((early.run(&first), late.began(&first)), (1, 0), "its turn has not come");
    wait_for("a rollout of its own", || fleet.admin().get("/v1/rollouts/r2").status == 200);
    wait_for_state(&fleet, "r2", "complete");
    assert_eq!((early.run(&first), late.run(&first)), (1, 1));
    let log = fleet.admin().get("/v1/audit").json();
    let is_it = |entry: &&Value| entry["actor"] == "schedule" && entry["action"] == "rollout_start";
    let entry = log.as_array().expect("a log").iter().find(is_it).expect("an entry");
    assert!(entry["subject"].as_str().is_some_and(|subject| subject.starts_with("r2 of linux version 1")), "{entry}");

    let second = desk.publish_for(2, b"pack two", rings());
    let turn_ms = support::now_ms() + 20_000;
    wait_for("it is published", || fleet.admin().post("/v1/rollouts/plan", &wish("linux@2")).status == 200);
    let mut once = wish("linux@2");
    once["once"] = true.into();
    assert_eq!(fleet.admin().post("/v1/rollouts", &once).status, 200);
    wait_for_state(&fleet, "r3", "complete");
    wait_for("its turn and more", || support::now_ms() > turn_ms + 15_000);
    assert_eq!(fleet.admin().get("/v1/rollouts/r4").status, 404, "nobody has begun another");
    assert_eq!((early.run(&second), late.run(&first)), (1, 1));
    assert_eq!(begin(&fleet, "linux@2"), "r4", "now somebody has");
}

#[test]
fn a_ring_that_follows_one_behind_gets_its_release_by_itself_when_another_has_the_newest() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let rings = || [("early".into(), everybody()), ("late".into(), everybody())].into();
    let first = desk.publish_for(1, b"pack one", rings());
    let fleet = start(dir.path(), &desk);
    let early = VirtualHosts::start(&fleet, 1, desk.root());
    let late = VirtualHosts::start_in("late", &fleet, 1, desk.root());
    online(&fleet, 2);
    let policy = json!({ "policy": { "channel": "one_behind" }, "reason": "the customer asks" });
    for (ring, hosts) in [("late", 1), ("lat", 0)] {
        let told = fleet.admin().post(&format!("/v1/rings/{ring}"), &policy);
        assert_eq!((told.status, told.json()["hosts"].as_u64()), (200, Some(hosts)), "a name that is none is seen");
    }
    let id = begin(&fleet, "linux");
    wait_for_state(&fleet, &id, "complete");
    let second = desk.publish_for(2, b"pack two", rings());
    wait_for("it is published", || fleet.admin().post("/v1/rollouts/plan", &wish("linux@2")).status == 200);
    // The other ring's turn may come first: one of a name at a time.
    let mut begun = Value::Null;
    wait_for("its turn", || {
        let answer = fleet.admin().post("/v1/rollouts", &wish("linux@2"));
        begun = answer.json();
        answer.status == 200
    });
    wait_for_state(&fleet, begun["id"].as_str().expect("an id"), "complete");
    wait_for("the release before the newest", || late.run(&first) == 1);
    assert_eq!((early.run(&second), late.began(&second)), (1, 0));
    let older = fleet.admin().post("/v1/rollouts", &wish("linux@1"));
    assert_eq!(older.status, 409, "{}", older.text());
}

#[test]
fn who_steals_the_directors_key_introduces_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let good = desk.publish(1, b"pack one");
    // A server with the director's key would take the thief's word back.
    let fleet = Fleet::start_with(dir.path(), &["--check-in-ms", "1000"]);
    let hosts = VirtualHosts::start(&fleet, 3, desk.root());
    online(&fleet, 3);
    let malware = ContentId::of(b"malware").to_string();
    desk.publish_plan(&stolen(&hosts, 1, &malware));
    wait_for("each host refuses it", || hosts.shared.refused.lock().expect("whole").len() >= 3);
    assert!(hosts.shared.refused.lock().expect("whole").iter().all(|why| why.contains("signed by no offline key")));
    assert_eq!((hosts.began(&malware), hosts.began(&good)), (0, 0));
    fleet.kill();
    let fleet = start(dir.path(), &desk);
    *hosts.shared.address.write().expect("whole") = fleet.address;
    online(&fleet, 3);
    let id = begin(&fleet, "linux");
    wait_for_state(&fleet, &id, "complete");
    assert_eq!((hosts.run(&good), hosts.began(&malware)), (3, 0), "the server's own word follows on it");
}

#[test]
fn a_thief_who_runs_the_epoch_up_to_the_last_is_told_and_another_directors_key_is_the_way_back() {
    let (dir, mut desk, good, fleet, hosts) = with_hosts(3);
    let id = begin(&fleet, "linux");
    wait_for_state(&fleet, &id, "complete");
    wait_for("all run it", || hosts.run(&good) == 3);
    let mut last = stolen(&hosts, u64::MAX, &good);
    assert!(last["entries"].as_array().is_some_and(|entries| !entries.is_empty()), "{last}");
    let before = fleet.admin().get("/v1/status").json()["generation"].as_u64();
    desk.publish_plan(&last);
    wait_for("hosts have heard the thief's word", || {
        let now = fleet.admin().get("/v1/status").json();
        now["generation"].as_u64() > before && now["at_newest_generation"] == 3
    });
    let is_told = |words: &Value| words.to_string().contains("epoch 18446744073709551615 is the last there is");
    wait_for("the status says so by itself", || is_told(&fleet.admin().get("/v1/status").json()["because"]));

    let aborted = fleet.admin().post(&format!("/v1/rollouts/{id}/abort"), &json!({ "reason": "a test" })).json();
    assert_eq!(aborted["state"], "halted", "{aborted}");
    assert!(is_told(&aborted["trouble"]), "{aborted}");
    let told = fleet.admin().get("/v1/status").json();
    assert!(is_told(&told["because"]) && told["is_safe_to_leave"] == false, "{told}");
    assert!(fleet.admin().get("/").text().contains("is the last there is"));
    let next = desk.publish(2, b"pack two");
    for path in ["/v1/rollouts", "/v1/rollouts/plan"] {
        let refused = fleet.admin().post(path, &wish("linux@2"));
        assert!(refused.status == 409 && refused.text().contains("put another in its place"), "{}", refused.text());
    }
    assert_eq!((hosts.run(&good), hosts.began(&next)), (3, 0), "the recall is on no way to them");
    fleet.kill();

    last["epoch"] = 1.into();
    last["entries"] = json!([]);
    desk.replace_director(&last);
    let fleet = start(dir.path(), &desk);
    *hosts.shared.address.write().expect("whole") = fleet.address;
    wait_for("the recall has reached all", || hosts.run(&good) == 0);
    wait_for("and they have said so", || status(&fleet, &id)["has"] == 0);
    let back = status(&fleet, &id);
    assert!(back.get("trouble").is_none() && back.get("unreached").is_none(), "{back}");
}

#[test]
fn a_document_that_says_what_is_wanted_is_left_alone_until_its_lease_is_half_over_and_a_recall_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(dir.path());
    let folder = dir.path().join("content");
    let (keys, now) = (desk.keys(), Moment::now());
    let is_published = |wanted: &Wanted, now| publish_wanted(&folder, &keys, wanted, now).expect("a repository");
    assert!(!is_published(&Wanted::default(), now), "nothing is there, and nothing is to be said");
    let content: ContentId = desk.publish(1, b"pack one").parse().expect("an id");
    assert!(!is_published(&Wanted::default(), now), "nothing is to be said");
    let [first, second] = ["a", "b"].map(|letter| letter.repeat(64).parse::<ContentId>().expect("an id"));
    let recall = |content| Wanted { recall: [content].into(), ..Wanted::default() };
    assert!(is_published(&recall(first), now));
    assert!(!is_published(&recall(first), now));
    assert!(is_published(&recall(second), now));
    assert_eq!(
        signed_packs(&folder, now).expect("a repository").1,
        [first, second].into(),
        "what was recalled stays recalled"
    );
    let ranges = vec![HashRange { stratum: "any".into(), from: 0, to: BUCKETS }];
    let entry = Entry { content, cohort: Cohort::Ranges(ranges), not_before: now, not_after: now.plus_s(9) };
    let wanted = Wanted { entries: vec![entry], ..Wanted::default() };
    assert!(is_published(&wanted, now));
    assert!(!is_published(&wanted, now.plus_s(3600)));
    assert!(is_published(&wanted, now.plus_s(13 * 3600)), "half of its lease is over");
}
