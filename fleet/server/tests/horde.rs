//! A small horde: what it counts is what the server counts, and what agents do wrong is answered as it must be.

mod support;

use std::path::Path;
use std::sync::Arc;

use support::Fleet;
use watertight_horde::scene::closed::{self, ClosedArgs};
use watertight_horde::scene::enrol::{self, EnrolArgs};
use watertight_horde::scene::faults::{self, FaultsArgs};
use watertight_horde::scene::held::{self, HeldArgs};
use watertight_horde::scene::open::{self, OpenArgs};
use watertight_horde::scene::storm::{self, StormArgs};
use watertight_horde::target::TargetArgs;
use watertight_horde::Target;

const AGENTS: u32 = 50;

fn target(fleet: &Fleet) -> Arc<Target> {
    let args = TargetArgs {
        server: format!("https://{}", fleet.address),
        ca: fleet.state.join("ca.pem"),
        admin_token_file: fleet.state.join("admin.token"),
        server_pid: fleet.pid(),
    };
    Arc::new(Target::open(&args).expect("a target"))
}

/// A token for so many hosts, in a file.
fn token(fleet: &Fleet, folder: &Path, uses: u32) -> std::path::PathBuf {
    let file = folder.join("token");
    std::fs::write(&file, fleet.token(&["--uses", &uses.to_string()])).expect("a file");
    file
}

async fn enrolled(fleet: &Fleet, target: &Arc<Target>, folder: &Path) -> std::path::PathBuf {
    let identities = folder.join("identities");
    let token_file = token(fleet, folder, AGENTS);
    let args = EnrolArgs { token_file, agents: AGENTS, identities: identities.clone(), per_s: 1_000 };
    let found = enrol::run(target, &args).await.expect("a horde");
    assert_eq!((found.agents, found.turned_away), (u64::from(AGENTS), 0));
    identities
}

#[tokio::test(flavor = "multi_thread")]
async fn each_check_in_of_a_horde_is_counted_once_and_none_reads_the_database() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("state"));
    let target = target(&fleet);
    let identities = enrolled(&fleet, &target, dir.path()).await;

    let args = ClosedArgs { identities: identities.clone(), connections: AGENTS, for_s: 1, each: Some(20) };
    let found = closed::run(&target, &args).await.expect("check-ins");
    assert_eq!((found.check_ins, found.check_ins_of_server), (1_000, 1_000));
    assert_eq!((found.turned_away, found.failed, found.database.reads), (0, 0, 0), "{found:?}");

    let args = OpenArgs { identities, connections: AGENTS, per_s: 500, for_s: 2 };
    let found = open::run(&target, &args).await.expect("check-ins");
    assert_eq!((found.check_ins, found.failed, found.database.reads), (1_000, 0, 0), "{found:?}");
    assert_eq!((found.latency_ms.count, found.late_ms.count), (1_000, 1_000));
    assert!(found.latency_ms.p50 > 0.0 && found.latency_ms.most >= found.latency_ms.p99);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bell_reaches_all_of_a_horde_and_all_come_back_from_a_storm() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("state"));
    let target = target(&fleet);
    let identities = enrolled(&fleet, &target, dir.path()).await;

    let ring_file = fleet.state.join("content/metadata/timestamp.json");
    let args = HeldArgs { identities: identities.clone(), agents: AGENTS, ring_file };
    let found = held::run(&target, &args).await.expect("agents that wait");
    assert_eq!((found.told_s.count, found.failed), (u64::from(AGENTS), 0), "{found:?}");

    let found = storm::run(&target, &StormArgs { identities, agents: AGENTS }).await.expect("a storm");
    assert_eq!((found.back_s.count, found.lost, found.looks_failed()), (u64::from(AGENTS), 0, 0), "{found:?}");
    assert!(found.looks.get(&200).is_some_and(|looks| *looks > 0) && found.looks.len() == 1, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_do_wrong_is_answered_as_it_must_be() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("state"));
    let token_file = token(&fleet, dir.path(), 40);
    let found = faults::run(&target(&fleet), &FaultsArgs { token_file: token_file.clone(), scene: None }).await;
    let found = found.expect("a server that stays");
    assert_eq!(found.outcomes.len(), faults::Fault::ALL.len());
    assert!(found.are_answered_as_they_should(), "{}", found.said());

    let scene = dir.path().join("scene");
    std::fs::write(&scene, "half-request 3 # and then\nno-json\n").expect("a file");
    let found = faults::run(&target(&fleet), &FaultsArgs { token_file, scene: Some(scene) }).await.expect("the same");
    assert_eq!((found.outcomes.len(), found.ordinary_check_ins), (4, 4));
    assert!(found.are_answered_as_they_should(), "{}", found.said());
}
