//! Who did it: processes that were there before the run, and the container that a process is in.

use super::Test;
use crate::action::{network, process, Act};
use crate::product::{by, Events};
use crate::shared;
use anyhow::{ensure, Context, Result};
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "identity.there_before",
        claim:
            "a process from before the run is known in full by the kernel's iterator, with the id that its events have",
        run: process_from_before_is_known,
    },
    Test {
        name: "identity.container_v2",
        claim: "exec, file and network events of a program in a container's control group name the container",
        run: container_by_unified_hierarchy,
    },
    Test {
        name: "identity.container_v1",
        claim: "where version 2 has only the root, the named version 1 hierarchy names the container",
        run: container_by_named_hierarchy,
    },
    Test {
        name: "identity.connect_once",
        claim: "each TCP connect is told once as connect and once as established or failed, by the same socket; so is accept",
        run: connect_is_one_story,
    },
    Test {
        name: "identity.own_program",
        claim: "what a short program does at once is told with that program, and what its process did before with the one before",
        run: events_name_their_own_program,
    },
];

/// A container id as docker makes them.
const CONTAINER: &str = "5f1c0e6b9a7d4832ac00ffee5f1c0e6b9a7d4832ac00ffee5f1c0e6b9a7d4832";

fn process_from_before_is_known() -> Result<()> {
    let watch = shared::watch()?;
    let (pid, before) = {
        let mut child = watch.before.lock().map_err(|_| anyhow::anyhow!("an earlier test has panicked over it"))?;
        let before = fs::read_to_string(format!("/proc/{}/stat", child.id())).context("the child's stat")?;
        fs::write(shared::BEGIN, "go\n")?;
        child.wait()?;
        (child.id(), before)
    };
    let events = watch.events()?;
    let row = |class: &str| -> Result<Value> {
        let rows = events.matrix()?["rows"].as_array().cloned().context("rows")?;
        rows.into_iter().find(|row| row["class"] == class).with_context(|| format!("no row {class}"))
    };
    let there = row("processes from before")?;
    ensure!(there["source"] == "BPF iterator" && there["missing"] == "", "read otherwise: {there}");
    let is_ours = |event: &Value| event["process"]["pid"] == pid && event["file"]["path"] == shared::FROM_BEFORE;
    let event = events
        .of_kind("file.create")
        .chain(events.of_kind("file.open_write"))
        .find(|event| is_ours(event))
        .context("the file that it made")?;
    let process = &event["process"];
    ensure!(process["command_line"].to_string().contains("wt-mark"), "arguments: {event}");
    ensure!(process["cwd"] == "/run" || process["cwd"] == "/", "folder: {event}");
    ensure!(process["executable"].as_str().is_some_and(|path| path.contains("sh")), "executable: {event}");
    ensure!(process["parent"]["executable"].is_string(), "parent: {event}");
    ensure!(process["cgroup"].is_string(), "control group: {event}");
    let start_ns = process["start_ns"].as_u64().context("start")?;
    // The 22nd field, counted behind the name's closing bracket, in ticks of 10 ms.
    let ticks = before.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).context("start in stat")?;
    ensure!((start_ns / 10_000_000).to_string() == ticks, "started at {start_ns} ns, by /proc at tick {ticks}");
    let id = process["id"].as_str().context("id")?;
    ensure!(id.ends_with(&format!("-{start_ns:x}-{pid:x}")), "id {id}");
    events.expect("process.exit", |event| event["process"]["id"] == id)?;
    events.expect("process.fork", |event| event["process"]["id"] == id)?;
    events.expect_none("process.exec", |event| event["source"] == "iterator")?;
    Ok(())
}

/// A file and two sockets, made by a program that is in the control group.
fn story_in(cgroup: &str) -> Result<(Events, [Act; 2])> {
    fs::create_dir_all(cgroup).with_context(|| format!("making {cgroup}"))?;
    let watch = shared::watch()?;
    let file = process::exec_in_cgroup(cgroup, "file.create", "/tmp/wt-contained")?;
    let socket = process::exec_in_cgroup(cgroup, "network.tcp_accept", "127.0.0.1:0")?;
    let _ = fs::remove_file("/tmp/wt-contained");
    Ok((watch.events()?, [file, socket]))
}

fn names_container(events: &Events, acts: &[Act; 2], path: &str) -> Result<()> {
    let [file, socket] = acts;
    let is_named = |event: &Value| event["process"]["container_id"] == CONTAINER;
    for act in acts {
        let exec = events.expect("process.exec", |event| by(event, act) && is_named(event))?;
        ensure!(exec["process"]["cgroup"] == path, "path: {exec}");
        // The first exec was before it moved.
        events.expect("process.exec", |event| by(event, act) && !is_named(event))?;
    }
    events.expect("file.create", |event| by(event, file) && is_named(event))?;
    for kind in ["network.listen", "network.connect", "network.accept"] {
        events.expect(kind, |event| by(event, socket) && is_named(event))?;
    }
    Ok(())
}

fn container_by_unified_hierarchy() -> Result<()> {
    let path = format!("/system.slice/docker-{CONTAINER}.scope");
    let (events, acts) = story_in(&format!("/sys/fs/cgroup{path}"))?;
    names_container(&events, &acts, &path)
}

fn container_by_named_hierarchy() -> Result<()> {
    let place = "/tmp/wt-cgroup-v1";
    fs::create_dir_all(place)?;
    mount("cgroup", place, "cgroup", MountFlags::empty(), Some(c"none,name=wt"))
        .context("mounting a named hierarchy")?;
    let path = format!("/docker/{CONTAINER}");
    let story = story_in(&format!("{place}{path}"));
    unmount(place, UnmountFlags::DETACH)?;
    let (events, acts) = story?;
    names_container(&events, &acts, &path)
}

fn connect_is_one_story() -> Result<()> {
    const CONNECTS: usize = 20;
    let watch = shared::watch()?;
    let mut acts = Vec::new();
    for _ in 0..CONNECTS {
        acts.push(network::tcp_accept("127.0.0.1:0")?);
    }
    let refused = network::tcp_connect("127.0.0.1:9")?;
    let events = watch.events()?;
    for act in &acts {
        let port = act.number("port")?;
        let is_out = |event: &Value| by(event, act) && event["network"]["remote"]["port"] == port;
        let is_in = |event: &Value| by(event, act) && event["network"]["local"]["port"] == port;
        for (kind, count) in [
            ("network.connect", events.count("network.connect", is_out)),
            ("network.established", events.count("network.established", is_out)),
            ("network.accept", events.count("network.accept", is_in)),
            ("network.listen", events.count("network.listen", is_in)),
        ] {
            ensure!(count == 1, "port {port}: {count} {kind}");
        }
        let connect = events.expect("network.connect", is_out)?;
        let established = events.expect("network.established", is_out)?;
        ensure!(connect["outcome"] == "attempted" && established["outcome"] == "done", "{connect} {established}");
        let socket = &connect["network"]["socket_id"];
        ensure!(socket.is_u64() && *socket == established["network"]["socket_id"], "{connect} {established}");
    }
    let by_refused = |event: &Value| by(event, &refused);
    for kind in ["network.connect", "network.failed"] {
        ensure!(events.count(kind, by_refused) == 1, "a refused connect: {} {kind}", events.count(kind, by_refused));
    }
    let (attempt, failure) =
        (events.expect("network.connect", by_refused)?, events.expect("network.failed", by_refused)?);
    ensure!(attempt["network"]["socket_id"] == failure["network"]["socket_id"], "{attempt} {failure}");
    events.expect_none("network.established", |event| by(event, &refused))?;
    Ok(())
}

fn events_name_their_own_program() -> Result<()> {
    const PROGRAMS: usize = 60;
    let watch = shared::watch()?;
    // The first file is made by the shell, before its process becomes the other program.
    let made = |at: usize| (format!("/tmp/wt-own-{at}-before"), format!("/tmp/wt-own-{at}"));
    for at in 0..PROGRAMS {
        let (before, after) = made(at);
        let text = format!("> {before}; exec /bin/mkdir {after}");
        let status = Command::new("/bin/sh").args(["-c", &text]).status().context("starting a shell")?;
        ensure!(status.success(), "{text}: {status}");
    }
    let events = watch.events()?;
    for at in 0..PROGRAMS {
        let (before, after) = made(at);
        for (kind, path, program) in [("file.create", before, "sh"), ("file.mkdir", after, "/mkdir")] {
            let event = events.expect(kind, |event| event["file"]["path"] == path.as_str())?;
            let executable =
                event["process"]["executable"].as_str().with_context(|| format!("no executable: {event}"))?;
            ensure!(executable.ends_with(program), "{path} was made by {executable}");
        }
    }
    Ok(())
}
