//! Hosts that were not there when a rollout was planned count as any other.

use serde_json::json;

use crate::hosts::VirtualHosts;
use crate::{begin, online, status, wait_for, wait_for_state, with_hosts};

#[test]
fn what_kills_only_hosts_that_came_after_the_plan_is_halted_by_their_crashes() {
    let (_dir, desk, content, fleet, hosts) = with_hosts(12);
    let id = begin(&fleet, "linux");
    let late = VirtualHosts::start(&fleet, 5, desk.root());
    late.shared.killers.write().expect("whole").insert(content.clone());
    online(&fleet, 17);
    assert_eq!(late.began(&content), 0, "they have it in the last stage");
    let mut halted = status(&fleet, &id);
    wait_for("the gate halts", || {
        halted = status(&fleet, &id);
        halted["state"] == "halted"
    });
    assert_eq!((halted["hosts"].as_u64(), halted["stage"].as_u64()), (Some(17), halted["stages"].as_u64()), "{halted}");
    assert!(halted["why"].as_str().is_some_and(|why| why.contains("bucket a-new-bucket")), "{halted}");
    assert!(halted["failed"].as_u64().is_some_and(|failed| failed >= 2), "{halted}");
    wait_for("the recall has reached all", || hosts.run(&content) == 0 && late.run(&content) == 0);
}

#[test]
fn a_host_that_came_after_the_plan_and_keeps_what_is_recalled_is_listed() {
    let (_dir, desk, _, fleet, _hosts) = with_hosts(1);
    let id = begin(&fleet, "linux");
    wait_for_state(&fleet, &id, "complete");
    let late = VirtualHosts::start(&fleet, 1, desk.root());
    wait_for("it has the content", || status(&fleet, &id)["has"] == 2);
    let host = late.shared.runs.lock().expect("whole").keys().next().expect("a host").clone();
    let why = fleet.admin().get(&format!("/v1/hosts/{host}/why")).text();
    assert!(why.contains("was not there when it was planned, and got it by its bucket"), "{why}");
    late.shared.mute.write().expect("whole").insert(host.clone());
    let aborted = fleet.admin().post(&format!("/v1/rollouts/{id}/abort"), &json!({ "reason": "a test" }));
    assert_eq!(aborted.status, 200, "{}", aborted.text());
    wait_for("it is listed", || status(&fleet, &id)["unreached"] == json!([host]));
    let because = fleet.admin().get("/v1/status").json()["because"].to_string();
    assert!(because.contains("have not said that they left the recalled content"), "{because}");
}
