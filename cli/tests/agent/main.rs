//! A host of a fleet, from its token to content that the director wants of it: `watertight agent run` against a server that runs. As
//! nobody, or with events from a recording: nothing of the machine is marked or loaded.

#![allow(clippy::panic, reason = "a test that can not go on says why")]

mod place;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value as Json;

use place::{server, with_server, Place, Running, RECORDING};

#[test]
fn a_host_enrols_and_runs_what_the_director_wants_of_it_unless_somebody_paused_it() {
    let Some((place, program)) = with_server() else { return };
    let (_server, url) = place.serve(&program, "");
    place.give_token(&program);
    place.publish_release();

    let mut agent = place.agent(&url, "--content-root roles/root.json --stratum test");
    place.wait_for("an identity, a check-in and a look at the repository", || place.acted() > 0);
    assert!(!place.has_in_slot(7), "nobody wanted it");

    let elsewhere = place.run("pause --state elsewhere");
    assert_eq!(elsewhere.status.code(), Some(1), "no agent is paused there");
    assert!(!place.dir.path().join("elsewhere").exists());
    assert_eq!(place.run("pause --state agent --for 0s").status.code(), Some(1), "that is none");
    place.good("pause --state agent");
    let before = place.acted();
    place.publish_plan("test");
    // The fetch whose last word this is has ended when its pack is there.
    let is_fetched = || place.dir.path().join("agent/packs/linux-7.pack").exists();
    place.wait_for("the pack that the plan wants", is_fetched);
    assert!(!place.has_in_slot(7) && place.acted() == before, "it is paused");
    place.good("resume --state agent");
    place.wait_for("the content", || place.has_in_slot(7));

    assert_eq!(agent.end(), Some(0));
    std::fs::remove_file(place.dir.path().join("token")).expect("the token is not needed any more");
    let acted = place.acted();
    let mut agent = place.agent(&url, "--stratum test");
    let first = place.read("agent/uplink/sequence.json");
    place.wait_for("the identity of before", || place.read("agent/uplink/sequence.json") != first);
    assert!(place.acted() >= acted);
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn a_token_that_is_none_is_refused_at_the_start() {
    let Some((place, program)) = with_server() else { return };
    let (_server, url) = place.serve(&program, "");
    place.write("token", "nonsense");
    let mut agent = place.agent(&url, "");
    assert_eq!(agent.0.wait().expect("its end").code(), Some(5));
    let log = place.read("log").unwrap_or_default();
    assert!(log.contains("there is no such token"), "{log}");
    assert!(!place.dir.path().join("agent/run").exists(), "nothing was started");
}

#[test]
fn a_rollout_that_is_started_by_command_reaches_a_real_agent_and_says_when_it_was_halted() {
    let Some((place, program)) = with_server() else { return };
    place.publish_release();
    let (_server, url) = place.serve_with_director(&program);
    place.give_token(&program);
    let api = format!("--server {url} --ca fleet/ca.pem --token-file fleet/admin.token");
    assert_eq!(place.run(&format!("rollout status {api}")).status.code(), Some(4), "none was begun");
    assert_eq!(
        place.run(&format!("rollout start linux --reason test {api}")).status.code(),
        Some(6),
        "there is no host"
    );
    assert_eq!(place.run(&format!("rollout plan windows {api}")).status.code(), Some(4), "nobody signed that");

    let mut agent = place.agent(&url, "--content-root roles/root.json");
    place.wait_for("a host to plan for", || place.run(&format!("rollout plan linux {api}")).status.success());
    let begun = place.good(&format!("rollout start linux@7 --watch-s 2 --reason test -o json {api}"));
    let begun: Json = serde_json::from_str(&begun).expect("JSON");
    assert_eq!(
        (begun["id"].as_str(), begun["state"].as_str(), begun["hosts"].as_u64()),
        (Some("r1"), Some("running"), Some(1))
    );
    place.wait_for("the content", || place.has_in_slot(7));

    let identity: Json =
        serde_json::from_str(&place.read("agent/uplink/identity.json").expect("an identity")).expect("JSON");
    let host = identity["host"].as_str().expect("its id");
    assert!(place.good(&format!("rollout why {host} {api}")).contains("rollout r1 of linux version 7"));
    let halted = place.good(&format!("rollout abort r1 --reason enough -o json {api}"));
    assert!(halted.contains("\"state\":\"halted\""), "{halted}");
    let status = place.run(&format!("rollout status r1 {api}"));
    assert_eq!(status.status.code(), Some(7), "{}", String::from_utf8_lossy(&status.stdout));
    place.wait_for("the recall", || !place.has_in_slot(7));
    assert_eq!(agent.end(), Some(0));
}

/// A process and all that it started, as far as they live.
fn tree(of: u32) -> Vec<rustix::process::Pid> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, parent))
        })
        .collect();
    let mut all = vec![of];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        all.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    all.into_iter().filter_map(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)).collect()
}

#[test]
fn content_with_which_a_machine_goes_down_again_and_again_is_a_failure_in_its_rollout_and_one_power_cut_is_none() {
    let Some((place, program)) = with_server() else { return };
    place.publish_release();
    let (_server, url) = place.serve_with_director(&program);
    place.give_token(&program);
    let api = format!("--server {url} --ca fleet/ca.pem --token-file fleet/admin.token");
    let start = || place.agent_with_trial("1h", &url, "--content-root roles/root.json");
    let mut agent = start();
    place.wait_for("a host to plan for", || place.run(&format!("rollout plan linux {api}")).status.success());
    place.good(&format!("rollout start linux@7 --watch-s 600 --reason test {api}"));
    let told = || {
        let status = place.run(&format!("rollout status r1 -o json {api}"));
        let status: Json = serde_json::from_slice(&status.stdout).expect("JSON");
        (status["has"].as_u64(), status["failed"].as_u64())
    };
    place.wait_for("the word that the host has it", || told() == (Some(1), Some(0)));
    let tries_left = || {
        let slots = place.slots();
        let row = slots["slots"].as_array()?.iter().find(|row| row["slot"] == "candidate")?;
        row["tries_left"].as_u64()
    };
    for left in [1, 0] {
        place.wait_for("a trial", || tries_left() == Some(left));
        let sequence = place.read("agent/uplink/sequence.json");
        assert_eq!(told(), (Some(1), Some(0)), "nothing has failed with {left} tries left");
        // As a power cut: nobody sees another one end.
        for signal in [rustix::process::Signal::STOP, rustix::process::Signal::KILL] {
            for pid in tree(agent.0.id()) {
                let _ = rustix::process::kill_process(pid, signal); // one that has ended meanwhile
            }
        }
        agent.0.wait().expect("its end");
        agent = start();
        place.wait_for("a check-in of this start", || place.read("agent/uplink/sequence.json") != sequence);
    }
    place.wait_for("its failure and that it has left", || told() == (Some(0), Some(1)));
    let quarantine = &place.slots()["quarantine"][0];
    assert!(quarantine["is_unended"] == true && quarantine["slot"] == "candidate", "{quarantine}");
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn a_machine_that_reboots_says_so_before_its_agent_ends_and_one_whose_agent_is_stopped_does_not() {
    let Some((place, program)) = with_server() else { return };
    place.publish_release();
    let (_server, url) = place.serve_with_director(&program);
    place.give_token(&program);
    let plan = format!("rollout plan linux --server {url} --ca fleet/ca.pem --token-file fleet/admin.token");
    // What systemd answers on a machine where only the agent is stopped, and on one that reboots.
    for (jobs, is_planned_for) in
        [("7 watertight.service stop running", true), ("9 reboot.target start waiting", false)]
    {
        place.write("bin/systemctl", &format!("#!/bin/sh\necho '{jobs}'\n"));
        let program = place.dir.path().join("bin/systemctl");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a program");
        let before = place.read("agent/uplink/sequence.json"); // each start sets numbers aside
        let mut agent = place.agent(&url, "--content-root roles/root.json");
        place.wait_for("a check-in of this start", || place.read("agent/uplink/sequence.json") != before);
        place.wait_for("a host to plan for", || place.run(&plan).status.success());
        assert_eq!(agent.end(), Some(0));
        let planned = place.run(&plan);
        assert_eq!(planned.status.success(), is_planned_for, "{jobs}: {}", String::from_utf8_lossy(&planned.stderr));
    }
    let mut agent = place.agent(&url, "");
    place.wait_for("the host, which is back", || place.run(&plan).status.success());
    // One that is there and would begin nothing is not planned for, and that is said.
    place.good("pause --state agent");
    let says = || {
        String::from_utf8_lossy(&place.run(&plan).stderr).contains("no host would begin it: there are 1 hosts paused")
    };
    place.wait_for("a plan without the host that is paused", says);
    place.good("resume --state agent");
    place.wait_for("the host, which goes on", || place.run(&plan).status.success());
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn what_is_to_be_reported_is_told_beside_whatever_a_run_shows() {
    let place = Place::new();
    let (from, to) = std::io::pipe().expect("a pipe");
    let mut command = place.command(
        &place.dir.path().join("watertight"),
        "run --records -o live --as ecs --observe --pins nowhere --state run",
    );
    let shown = File::create(place.dir.path().join("shown")).expect("a file");
    let mut run = Running(command.stdin(to).stdout(shown).stderr(place.log()).spawn().expect("it starts"));
    drop(command);
    let mut lines = BufReader::new(from).lines().filter_map(|line| {
        let line = line.expect("text");
        let is_line = !line.is_empty();
        is_line.then(|| serde_json::from_str::<Json>(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    });
    let mut next = |kind: &str, of: &str| {
        let fits = |line: &Json| line["kind"] == kind && (of.is_empty() || line["worker"] == of || line["of"] == of);
        lines.find(fits).unwrap_or_else(|| panic!("no {kind}"))
    };
    assert_eq!(next("content", "")["slot"], "factory");
    let detector = next("sandbox", "detector")["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    let detector = rustix::process::Pid::from_raw(detector).expect("not zero");
    rustix::process::kill_process(detector, rustix::process::Signal::KILL).expect("it is the run's");
    next("sandbox", "detector");
    let gap = next("sensor.gap", "detector");
    assert!(gap["message"].as_str().is_some_and(|words| words.contains("was killed by signal 9")), "{gap}");
    run.end();
    let rest: Vec<String> = lines.map(|line| line["kind"].to_string()).collect();
    assert!(!rest.iter().any(|kind| kind.contains("process.")), "ordinary events are no records: {rest:?}");
    let shown = place.read("shown").expect("what it shows");
    assert!(shown.contains("level: observe") && shown.contains("sensor.gap") && !shown.contains("{\""), "{shown}");
}

#[test]
fn an_agent_that_somebody_watches_shows_the_run_and_ends_with_it() {
    let Some((place, program)) = with_server() else { return };
    let (_server, url) = place.serve(&program, "");
    place.give_token(&program);
    let line = format!(
        "agent run --server {url} --ca fleet/ca.pem --token-file token --state agent --pins nowhere --observe --for 2s --as sigma"
    );
    let done = place.run(&line);
    let words = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(3), "the run's own, as nobody: {words}");
    assert!(!words.contains("started again"), "{words}");
    let shown = String::from_utf8(done.stdout).expect("text");
    let kinds: Vec<Json> = shown.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(kinds.last().map(|line| &line["kind"]), Some(&"summary".into()));
    assert!(place.dir.path().join("agent/uplink/identity.json").exists());
}

/// Children of a process, by what they were started as.
fn child(of: u32, words: &str) -> Option<rustix::process::Pid> {
    std::fs::read_dir("/proc").expect("/proc").find_map(|entry| {
        let entry = entry.ok()?;
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let is_it = parent == of && String::from_utf8_lossy(&line).replace('\0', " ").contains(words);
        is_it.then(|| rustix::process::Pid::from_raw(pid)).flatten()
    })
}

#[test]
fn an_uplink_or_an_intake_that_is_killed_or_hangs_comes_back_and_the_run_does_not_notice() {
    let Some((place, program)) = with_server() else { return };
    let (_server, url) = place.serve(&program, "");
    place.give_token(&program);
    let mut agent = place.agent(&url, "");
    let parent = agent.0.id();
    let has_run = || {
        child(parent, " run --with-parent")
            .and_then(|run| child(run.as_raw_nonzero().get().unsigned_abs(), "worker detector"))
    };
    place.wait_for("the detector", || has_run().is_some());
    let detector = has_run();
    place.wait_for("a check-in", || place.read("agent/uplink/sequence.json").is_some());
    let sequence = place.read("agent/uplink/sequence.json"); // each start sets numbers aside
    let parts = ["agent uplink", "agent intake"];
    // One that hangs is noticed, too.
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::STOP] {
        let before = parts.map(|words| {
            place.wait_for(words, || child(parent, words).is_some());
            let before = child(parent, words).expect("it is there");
            rustix::process::kill_process(before, signal).expect("it is the agent's");
            before
        });
        for (words, before) in parts.into_iter().zip(before) {
            place.wait_for("another one", || child(parent, words).is_some_and(|now| now != before));
        }
    }
    place.wait_for("another check-in", || place.read("agent/uplink/sequence.json") != sequence);
    assert_eq!(has_run(), detector, "sensor and detector went on");
    let log = place.read("log").unwrap_or_default();
    for words in ["the uplink ended", "the intake ended", "the uplink has not moved", "the intake has not moved"] {
        assert!(log.contains(words), "no {words}: {log}");
    }
    assert_eq!(agent.end(), Some(0));
}

/// What `/proc/PID/status` says of a process under this key.
fn status(of: rustix::process::Pid, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", of.as_raw_pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim));
    line.unwrap_or_default().to_owned()
}

#[test]
fn an_uplink_is_a_user_without_rights_and_content_comes_by_an_updater_that_faces_no_network() {
    let Some(program) = server() else { return };
    let place = Place::of_ours();
    let (_server, url) = place.serve(&program, "");
    place.give_token(&program);
    place.publish_release();
    let mut agent = place
        .agent(&url, &format!("--content-root roles/root.json --stratum test --source {RECORDING} --workload web"));
    place.wait_for("a check-in and a look at the repository", || place.acted() > 0);
    let uplink = child(agent.0.id(), "agent uplink").expect("it is there");
    let of = |key: &str| status(uplink, key);
    assert_eq!((of("NoNewPrivs").as_str(), of("Seccomp").as_str()), ("1", "2"));
    for key in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&of(key), 16), Ok(0), "{key}");
    }
    if rustix::process::geteuid().is_root() {
        assert_eq!(u64::from_str_radix(&of("CapBnd"), 16), Ok(0));
        let own = of("Uid").split_whitespace().next().and_then(|uid| uid.parse::<u32>().ok()).expect("a uid");
        assert!((61_184..=65_519).contains(&own), "{own}");
        assert!(of("Uid").split_whitespace().all(|uid| uid == own.to_string()), "{}", of("Uid"));
        assert_eq!(of("Groups"), "");
        let of = |name: &str| {
            let found = std::fs::metadata(place.dir.path().join(name)).expect("there");
            (std::os::unix::fs::MetadataExt::uid(&found), std::os::unix::fs::MetadataExt::mode(&found) & 0o777)
        };
        assert_eq!(of("agent"), (0, 0o700), "its folder is in one that it may not enter");
        assert_eq!(of("agent/uplink"), (own, 0o700));
        assert_eq!(of("agent/uplink/host.key"), (own, 0o600));
        // What the intake writes there as root is the uplink's, who reads it and takes it away.
        let run = child(agent.0.id(), " run --with-parent").expect("it is there");
        let detector = || child(run.as_raw_pid().unsigned_abs(), "worker detector");
        place.wait_for("content in force", || place.read("agent/run/content.json").is_some() && detector().is_some());
        rustix::process::kill_process(detector().expect("it is there"), rustix::process::Signal::SEGV).expect("ours");
        let crashes = place.dir.path().join("agent/uplink/spool/crash");
        place.wait_for("a crash that is reported", || crashes.join("counts.json").exists());
        assert_eq!(of("agent/uplink/spool/crash/counts.json").0, own);
        let left = || {
            std::fs::read_dir(&crashes)
                .expect("a folder")
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        };
        place.wait_for("that it is sent", || !left().any(|name| name.ends_with(".batch")));
    }
    let updater = child(agent.0.id(), "agent updater").expect("it is there");
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", updater.as_raw_pid()))
        .expect("its descriptors")
        .filter_map(|entry| Some(std::fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .filter_map(|open| Some(open.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let of_the_network: String = ["tcp", "tcp6", "udp", "udp6"]
        .map(|kind| std::fs::read_to_string(format!("/proc/net/{kind}")).unwrap_or_default())
        .concat();
    assert!(!sockets.is_empty() && sockets.iter().all(|inode| !of_the_network.contains(inode)), "{sockets:?}");

    place.publish_plan("test");
    place.wait_for("the content", || place.has_in_slot(7));
    assert_eq!(agent.end(), Some(0));
    let log = place.read("log").unwrap_or_default();
    assert!(!log.contains("ended ("), "nobody died of it: {log}");
}

#[test]
fn an_updater_that_is_killed_or_hangs_is_another_one_soon_and_check_ins_go_on_without_it() {
    let Some((place, program)) = with_server() else { return };
    let (_server, url) = place.serve(&program, "");
    place.give_token(&program);
    let mut agent = place.agent(&url, "");
    let parent = agent.0.id();
    place.wait_for("an identity", || place.read("agent/uplink/identity.json").is_some());
    let identity: Json =
        serde_json::from_str(&place.read("agent/uplink/identity.json").expect("an identity")).expect("JSON");
    let host = identity["host"].as_str().expect("its id");
    let is_known = || {
        let why = format!("rollout why {host} --server {url} --ca fleet/ca.pem --token-file fleet/admin.token");
        String::from_utf8_lossy(&place.run(&why).stdout).contains("from slot factory")
    };
    place.wait_for("what it runs", is_known);
    let updater = || child(parent, "agent updater");
    let uplink = child(parent, "agent uplink");
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::STOP] {
        let before = updater().expect("it is there");
        rustix::process::kill_process(before, signal).expect("it is the agent's");
        if signal == rustix::process::Signal::STOP {
            place.wait_for("a check-in that does not know", || !is_known());
        }
        place.wait_for("another one", || updater().is_some_and(|now| now != before));
        place.wait_for("what it runs", is_known);
    }
    assert_eq!(child(parent, "agent uplink"), uplink, "it went on");
    let log = place.read("log").unwrap_or_default();
    assert!(log.contains("the updater gives no answer") && log.contains("the updater has not moved for 20 s"), "{log}");
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn a_state_folder_of_the_version_before_is_that_of_the_same_host() {
    let Some(program) = server() else { return };
    let place = Place::of_ours();
    let (_server, url) = place.serve(&program, "");
    place.give_token(&program);
    let with = format!("--source {RECORDING}");
    let mut agent = place.agent(&url, &with);
    place.wait_for("a check-in", || place.read("agent/uplink/sequence.json").is_some());
    assert_eq!(agent.end(), Some(0));
    let path = |name: &str| place.dir.path().join(name);
    let kept = |name: &str| place.read(&format!("agent/uplink/{name}")).unwrap_or_else(|| panic!("{name}"));
    let (identity, sequence) = (kept("identity.json"), kept("sequence.json"));
    for name in ["host.key", "identity.json", "acted.json", "sequence.json", "watched.json", "spool"] {
        if path(&format!("agent/uplink/{name}")).exists() {
            std::fs::rename(path(&format!("agent/uplink/{name}")), path(&format!("agent/{name}"))).expect("as it lay");
        }
    }
    if rustix::process::geteuid().is_root() {
        let given = Command::new("chown").args(["-R", "0:0"]).arg(path("agent")).status();
        assert!(given.expect("chown runs").success());
    }
    std::fs::remove_dir_all(path("agent/uplink")).expect("it is empty");
    std::fs::remove_file(path("token")).expect("the token is not needed any more");
    let mut agent = place.agent(&url, &with);
    place.wait_for("another check-in", || place.read("agent/uplink/sequence.json").is_some_and(|now| now != sequence));
    let second = place.run(&format!("agent run --server {url} --ca fleet/ca.pem --state agent --pins nowhere {with}"));
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(words.contains(&format!("another agent is at work in agent: process {} ", agent.0.id())), "{words}");
    assert_eq!(second.status.code(), Some(1), "{words}");
    assert_eq!((kept("identity.json"), path("agent/identity.json").exists()), (identity, false));
    assert_eq!(agent.end(), Some(0));
}
