//! The product in force: what it must say of what happens in the guest.

use super::Test;
use crate::action::{file, memory, network, process};
use crate::product::{by, watertight, Watertight};
use crate::shared;
use anyhow::{ensure, Context, Result};
use std::path::Path;

/// Tests that want no run to go on but their own.
pub const ALONE: &[Test] = &[
    Test {
        name: "product.run.begins_and_ends",
        claim: "a run says what is in force first and what it counted last",
        run: begins_and_ends,
    },
    Test {
        name: "product.status",
        claim: "status says in JSON what is in force, with no run going on",
        run: status_is_json,
    },
];

/// Tests of the shared run.
pub const TESTS: &[Test] = &[
    Test {
        name: "product.process.exec",
        claim: "a program that runs while the product watches is reported",
        run: exec_is_reported,
    },
    Test {
        name: "product.process.exec_fields",
        claim: "an exec event has executable, complete argv, folder, parent, namespaces and inode identity",
        run: exec_has_every_field,
    },
    Test {
        name: "product.process.argv_cut",
        claim: "arguments beyond the bound are cut, and the event says so and tells their size",
        run: long_argv_is_cut_and_flagged,
    },
    Test {
        name: "product.process.fork_and_exit",
        claim: "a fork names the child, an exit its code, a death its signal",
        run: fork_and_exit_are_reported,
    },
    Test {
        name: "product.network.connect",
        claim: "a TCP connection is reported with both ends and the process that opened it",
        run: connect_is_reported,
    },
    Test {
        name: "product.alert.memfd",
        claim: "a program run from memory raises an alert that says why",
        run: memfd_raises_an_alert,
    },
    Test {
        name: "product.alert.once",
        claim: "a file that an open makes is told once by a rule, though the kernel tells creation and open",
        run: file_that_an_open_makes_is_told_once,
    },
    Test {
        name: "product.run.second_refused",
        claim: "a second run is refused and names the first",
        run: second_run_is_refused,
    },
];

fn begins_and_ends() -> Result<()> {
    let run = Watertight::start_guarded()?;
    let events = run.stop()?;
    let matrix = events.matrix()?;
    ensure!(matrix["level"] == "enforce", "{matrix}");
    ensure!(events.summary()?["balanced"] == true, "{}", events.summary()?);
    ensure!(!Path::new("/sys/fs/bpf/watertight-guard").exists(), "a guard without a policy stays");
    Ok(())
}

fn exec_is_reported() -> Result<()> {
    let watch = shared::watch()?;
    let act = process::exec_many("wt-exec-marked", "2")?;
    ensure!(act.status.success(), "the program ended with {}", act.status);
    let events = watch.events()?;
    events.expect("process.exec", |event| by(event, &act) && event.to_string().contains("wt-exec-marked-1"))?;
    Ok(())
}

fn status_is_json() -> Result<()> {
    let output = watertight(&["status", "-o", "json"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let _: serde_json::Value = serde_json::from_str(text.trim()).with_context(|| format!("status printed {text:?}"))?;
    Ok(())
}

fn exec_has_every_field() -> Result<()> {
    let watch = shared::watch()?;
    let act = process::exec_many("wt-fields", "3")?;
    let events = watch.events()?;
    let event = events.expect("process.exec", |event| by(event, &act) && event.to_string().contains("wt-fields-2"))?;
    for field in [
        "executable",
        "argv",
        "argv_bytes",
        "command_line",
        "cwd",
        "id",
        "start_ns",
        "name",
        "uid",
        "gid",
        "euid",
        "egid",
        "user",
        "capabilities",
        "pid_ns",
        "mnt_ns",
        "user_ns",
        "cgroup_id",
        "executable_inode",
        "executable_dev",
        "executable_generation",
        "is_memfd",
        "is_deleted",
        "parent",
        "loginuid",
        "tid",
    ] {
        ensure!(!event["process"][field].is_null(), "the event has no process.{field}: {event}");
    }
    let process = &event["process"];
    ensure!(process["executable"].as_str().is_some_and(|path| path.ends_with("/true")), "executable: {event}");
    ensure!(process["argv"][2] == "wt-fields-1", "argv: {event}");
    ensure!(event["outcome"] == "done" && event.get("truncated").is_none(), "outcome and cuts: {event}");
    Ok(())
}

fn long_argv_is_cut_and_flagged() -> Result<()> {
    let watch = shared::watch()?;
    let act = process::exec_many("wt-long-argument-that-fills-the-bound", "5000")?;
    let events = watch.events()?;
    let event =
        events.expect("process.exec", |event| by(event, &act) && event.to_string().contains("fills-the-bound-9"))?;
    let cut = event["truncated"].to_string();
    ensure!(cut.contains("process.argv") && cut.contains("process.command_line"), "not flagged: {cut}");
    let bytes = event["process"]["argv_bytes"].as_u64().context("argv_bytes")?;
    ensure!(bytes > 200_000, "the size before the cut is {bytes}");
    Ok(())
}

fn fork_and_exit_are_reported() -> Result<()> {
    let watch = shared::watch()?;
    let fork = process::fork()?;
    let child = fork.number("child")?;
    let exit = process::exit_with("41")?;
    let killed = process::exit_by_signal("9")?;
    let events = watch.events()?;
    events.expect("process.fork", |event| by(event, &fork) && event["child"]["pid"] == child)?;
    events.expect("process.exit", |event| by(event, &exit) && event["exit"]["code"] == 41)?;
    events.expect("process.exit", |event| by(event, &killed) && event["exit"]["signal"] == 9)?;
    Ok(())
}

fn connect_is_reported() -> Result<()> {
    let watch = shared::watch()?;
    let act = network::tcp_accept("127.0.0.1:0")?;
    let (port, peer_port) = (act.number("port")?, act.number("peer_port")?);
    let events = watch.events()?;
    let is_ours = |event: &serde_json::Value| event["network"]["remote"]["port"] == port && event["outcome"] == "done";
    let event = events.expect("network.established", |event| by(event, &act) && is_ours(event))?;
    ensure!(event["network"]["remote"]["address"] == "127.0.0.1", "remote: {event}");
    ensure!(event["network"]["local"]["port"] == peer_port, "local port: {event}");
    Ok(())
}

fn memfd_raises_an_alert() -> Result<()> {
    let watch = shared::watch()?;
    memory::exec_memfd("/bin/true", "wt-memory")?;
    let events = watch.events()?;
    let alert = events.expect("alert", |alert| alert["rule"]["title"].to_string().contains("from memory"))?;
    ensure!(alert["matches"].as_array().is_some_and(|matches| !matches.is_empty()), "no reason: {alert}");
    ensure!(alert["ancestry"].as_array().is_some_and(|line| line.len() > 1), "no ancestry: {alert}");
    Ok(())
}

/// The kernel tells the creation and the open of one call; people are told of one act.
fn file_that_an_open_makes_is_told_once() -> Result<()> {
    const PATH: &str = "/etc/profile-made-once";
    let watch = shared::watch()?;
    file::create(PATH)?;
    let events = watch.events()?;
    let is_ours = |event: &serde_json::Value| event["file"]["path"] == PATH;
    events.expect("file.create", is_ours)?;
    events.expect("file.open_write", is_ours)?;
    let alerts = events.of_kind("alert").filter(|alert| is_ours(&alert["event"])).count();
    ensure!(alerts == 1, "{alerts} alerts about one file that was made by an open");
    Ok(())
}

fn second_run_is_refused() -> Result<()> {
    let watch = shared::watch()?;
    let run = ["run", "--for", "1s", "-o", "json"];
    for second in [&run[..], &[&run[..], &["--state", "/tmp/wt-another-state"]].concat()] {
        let second = watertight(second)?;
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        ensure!(second.status.code() == Some(1), "the second run ended with {}", second.status);
        ensure!(said.contains(&format!("process {}", watch.pid())), "it did not name the first: {said}");
    }
    Ok(())
}
