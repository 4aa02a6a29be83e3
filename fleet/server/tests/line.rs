//! The line from end to end: a server, a token, a host that enrols over real TLS, checks in, waits, and renews.

mod support;

use std::time::{Duration, Instant};

use rcgen::KeyPair;
use serde_json::{json, Value};
use support::{check_in, csr, enrolment, now_ms, reissued, Agent, Client, Fleet};

const DAY_MS: u64 = 24 * 3_600_000;

fn publish(fleet: &Fleet, text: &str) {
    let metadata = fleet.state.join("content/metadata");
    std::fs::create_dir_all(&metadata).expect("a folder");
    std::fs::write(metadata.join("fresh"), text).expect("a file");
    std::fs::rename(metadata.join("fresh"), metadata.join("timestamp.json")).expect("published");
}

#[test]
fn a_host_enrols_checks_in_and_is_told_what_is_published() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    assert_eq!((agent.identity["ring"].as_str(), agent.identity["tenant"].as_str()), (Some("early"), Some("default")));
    let left_ms = agent.identity["not_after_ms"].as_u64().expect("an end") - now_ms();
    assert!((6 * DAY_MS..=7 * DAY_MS).contains(&left_ms), "{left_ms}");

    let mut client = fleet.agent(&agent);
    let answer = client.post("/v1/agent/checkin", &check_in("i", 1)).json();
    assert_eq!((answer["generation"].as_u64(), answer["need_full_state"].as_bool()), (Some(1), Some(true)), "{answer}");
    assert_eq!(answer["interval_ms"], 60_000);
    let mut whole = check_in("i", 2);
    whole["changed"] = json!({ "content": { "id": "c", "version": 3, "slot": "factory", "is_paused": false } });
    let answer = client.post("/v1/agent/checkin", &whole).json();
    assert_eq!(answer.get("need_full_state"), None, "{answer}");

    let waiting = std::thread::spawn({
        let mut waiter = fleet.agent(&agent);
        move || waiter.get("/v1/agent/wait?generation=1").json()
    });
    publish(&fleet, "one");
    assert_eq!(waiting.join().expect("an answer"), json!({ "generation": 2 }), "a number and nothing else");
    assert_eq!(client.get("/v1/agent/wait?generation=1").json()["generation"], 2, "who is behind waits not at all");
    assert_eq!(client.post("/v1/agent/checkin", &check_in("i", 3)).json()["generation"], 2);

    let host = fleet.admin().get(&format!("/v1/hosts/{}", agent.host)).json();
    assert_eq!(host["seen"]["state"]["content"]["version"], 3, "{host}");
    assert_eq!(host["seen"]["state"]["host"], Value::Null, "a whole state takes the place of what was said before");
    assert_eq!(fleet.end(), Some(0));
}

#[test]
fn an_identity_outlives_the_servers_death() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    let anchors = fleet.anchors();
    publish(&fleet, "one");
    let answer = fleet.agent(&agent).get("/v1/agent/wait?generation=1").json();
    assert_eq!(answer["generation"], 2);
    fleet.kill();
    let fleet = Fleet::start(dir.path());
    assert_eq!(fleet.anchors(), anchors);
    let answer = fleet.agent(&agent).post("/v1/agent/checkin", &check_in("i", 1));
    assert_eq!((answer.status, answer.json()["generation"].as_u64()), (200, Some(2)), "{}", answer.text());
}

#[test]
fn a_certificate_is_renewed_and_the_one_before_ends_when_the_new_one_is_used() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    let key = KeyPair::generate().expect("a key");
    let answer = fleet.agent(&agent).post("/v1/agent/renew", &json!({ "csr_pem": csr(&key) }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let renewed = Agent::new(key, &answer.json());
    assert_eq!(renewed.host, agent.host);
    let lost = fleet.agent(&agent).post("/v1/agent/checkin", &check_in("i", 1));
    assert_eq!(lost.status, 200, "the answer may have been lost: {}", lost.text());
    assert_eq!(fleet.agent(&renewed).post("/v1/agent/checkin", &check_in("i", 2)).status, 200);
    let old = fleet.agent(&agent).post("/v1/agent/checkin", &check_in("i", 3));
    assert_eq!((old.status, old.json()["code"].as_str()), (401, Some("unauthenticated")));
    let host = fleet.admin().get(&format!("/v1/hosts/{}", agent.host)).json();
    assert!(host["cloned_ms"].is_u64(), "two that show different certificates are noticed: {host}");
}

#[test]
fn a_certificate_that_has_run_out_gets_the_next_one_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    let chain = reissued(&fleet, &agent.chain_pem, &agent.key, -600);
    let mut client = Client::new(fleet.address, &fleet.anchors(), Some((&chain, &agent.key)));
    for answer in [client.post("/v1/agent/checkin", &check_in("i", 1)), client.get("/v1/agent/wait?generation=0")] {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("expired")), "{}", answer.text());
    }
    let key = KeyPair::generate().expect("a key");
    let answer = client.post("/v1/agent/renew", &json!({ "csr_pem": csr(&key) }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let renewed = Agent::new(key, &answer.json());
    assert_eq!(fleet.agent(&renewed).post("/v1/agent/checkin", &check_in("i", 2)).status, 200);
}

#[test]
fn a_revoked_host_is_out_at_once_on_the_connection_that_it_has() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let (agent, other) = (fleet.enrol(), fleet.enrol());
    let mut client = fleet.agent(&agent);
    assert_eq!(client.post("/v1/agent/checkin", &check_in("i", 1)).status, 200);
    let path = format!("/v1/hosts/{}/revoke", agent.host);
    assert_eq!(fleet.admin().post(&path, &json!({ "reason": " " })).status, 400, "a change has a reason");
    assert_eq!(fleet.admin().post(&path, &json!({ "reason": "stolen" })).status, 200);
    let key = KeyPair::generate().expect("a key");
    for answer in [
        client.post("/v1/agent/checkin", &check_in("i", 2)),
        client.get("/v1/agent/wait?generation=0"),
        client.post("/v1/agent/renew", &json!({ "csr_pem": csr(&key) })),
        fleet.agent(&agent).post("/v1/agent/checkin", &check_in("i", 3)),
    ] {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("revoked")), "{}", answer.text());
    }
    assert_eq!(fleet.agent(&other).post("/v1/agent/checkin", &check_in("i", 1)).status, 200);
    let log = fleet.admin().get("/v1/audit").json();
    assert_eq!(log[0]["action"], "revoke_host", "{log}");
    assert_eq!((log[0]["actor"].as_str(), log[0]["reason"].as_str()), (Some("admin"), Some("stolen")));
    fleet.kill();
    let fleet = Fleet::start(dir.path());
    assert_eq!(fleet.agent(&agent).post("/v1/agent/checkin", &check_in("i", 4)).status, 403, "and after a restart");
}

#[test]
fn a_key_is_one_hosts_and_after_its_revocation_nobodys() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    let again = |token: &str| fleet.client().post("/v1/agent/enrol", &enrolment(token, &agent.key));
    let (fresh, other_ring) = (fleet.token(&[]), fleet.token(&["--tenant", "other"]));
    for token in [&fresh, &other_ring] {
        let twice = again(token);
        assert_eq!((twice.status, twice.json()["code"].as_str()), (401, Some("token")), "{}", twice.text());
        assert!(twice.text().contains("another token enrolled: make another key"), "{}", twice.text());
    }
    let path = format!("/v1/hosts/{}/revoke", agent.host);
    assert_eq!(fleet.admin().post(&path, &json!({ "reason": "stolen" })).status, 200);
    let gone = again(&fresh);
    assert_eq!((gone.status, gone.json()["code"].as_str()), (403, Some("revoked")), "{}", gone.text());
    assert!(gone.text().contains("make another key"), "{}", gone.text());
    let key = KeyPair::generate().expect("a key");
    let enrolled = fleet.client().post("/v1/agent/enrol", &enrolment(&fresh, &key));
    assert_eq!(enrolled.status, 200, "the refusals cost no token: {}", enrolled.text());
}

#[test]
fn a_doorbell_that_is_held_ends_at_once_when_its_host_is_revoked() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let (agent, other) = (fleet.enrol(), fleet.enrol());
    let hold = |agent: &Agent| {
        let mut waiter = fleet.agent(agent);
        std::thread::spawn(move || waiter.get("/v1/agent/wait?generation=1"))
    };
    let (gone, stays) = (hold(&agent), hold(&other));
    while fleet.admin().get("/v1/counters").json()["waiting"] != 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let path = format!("/v1/hosts/{}/revoke", agent.host);
    assert_eq!(fleet.admin().post(&path, &json!({ "reason": "stolen" })).status, 200);
    // It would be held for almost five minutes: longer than this client waits for anything.
    let answer = gone.join().expect("an answer");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("revoked")), "{}", answer.text());
    assert_eq!(fleet.admin().get("/v1/counters").json()["waiting"], 1, "nobody else's is ended");
    publish(&fleet, "one");
    assert_eq!(stays.join().expect("an answer").json()["generation"], 2);
}

#[test]
fn two_agents_with_one_identity_are_noticed() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    let (mut one, mut two) = (fleet.agent(&agent), fleet.agent(&agent));
    for sequence in 1..4 {
        assert_eq!(one.post("/v1/agent/checkin", &check_in("one", sequence)).status, 200);
        assert_eq!(two.post("/v1/agent/checkin", &check_in("two", sequence)).status, 200);
    }
    let status = fleet.admin().get("/v1/status").json();
    assert_eq!((status["cloned"].as_u64(), status["is_safe_to_leave"].as_bool()), (Some(1), Some(false)), "{status}");
    let log = fleet.admin().get("/v1/audit").json();
    let told = log.as_array().expect("a log").iter().filter(|entry| entry["action"] == "host_cloned").count();
    assert_eq!(told, 1, "{log}");
}

#[test]
fn a_lost_answer_to_an_enrolment_costs_no_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let (token, key) = (fleet.token(&[]), KeyPair::generate().expect("a key"));
    let first = fleet.client().post("/v1/agent/enrol", &enrolment(&token, &key)).json();
    let second = fleet.client().post("/v1/agent/enrol", &enrolment(&token, &key));
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(second.json()["host"], first["host"]);
    let agent = Agent::new(key, &second.json());
    assert_eq!(fleet.agent(&agent).post("/v1/agent/checkin", &check_in("i", 1)).status, 200);
}

#[test]
fn a_server_that_ends_answers_who_waits_and_keeps_what_it_heard() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    assert_eq!(fleet.agent(&agent).post("/v1/agent/checkin", &check_in("i", 41)).status, 200);
    let mut waiter = fleet.agent(&agent);
    assert_eq!(waiter.get("/v1/agent/wait?generation=0").status, 200);
    let begun = Instant::now();
    let waiting = std::thread::spawn(move || waiter.get("/v1/agent/wait?generation=1").status);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(fleet.end(), Some(0));
    assert_eq!(waiting.join().expect("an answer"), 200);
    assert!(begun.elapsed() < Duration::from_secs(200), "it was not held to its end");
    let fleet = Fleet::start(dir.path());
    let host = fleet.admin().get(&format!("/v1/hosts/{}", agent.host)).json();
    assert_eq!(host["seen"]["sequence"], 41, "{host}");
}
