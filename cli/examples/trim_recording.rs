//! A recording of a scenario, small enough to be kept and without anything of the machine that it was made on:
//! `trim_recording RECORDING PID ROOT > KEPT`.
//!
//! Kept are the events of the process PID and of those that it brought forth; who started it is left out. The folder ROOT, in which the scenario ran, is taken
//! out of paths; numbers that no rule asks for (devices, inodes, namespaces, control groups) are left out, and identities are
//! numbered from 1.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufWriter, Write as _};

use anyhow::Context as _;
use serde_json::{Map, Value};

/// Members of a process that rules do not ask for, or that tell of the machine.
const PROCESS_MEMBERS_LEFT_OUT: [&str; 15] = [
    "executable_dev",
    "executable_inode",
    "executable_generation",
    "start_ns",
    "pid_ns",
    "mnt_ns",
    "user_ns",
    "cgroup_id",
    "cgroup",
    "loginuid",
    "capabilities",
    "argv",
    "argv_bytes",
    "depth",
    "egid",
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recording, pid, root] = arguments.as_slice() else {
        anyhow::bail!("usage: trim_recording RECORDING PID ROOT > KEPT");
    };
    let text = std::fs::read_to_string(recording).with_context(|| recording.clone())?;
    let mut events: Vec<Map<String, Value>> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    events.retain(|event| event.contains_key("process"));
    events.sort_by_key(|event| event.get("boot_ns").and_then(Value::as_u64));
    let ours = descendants(&events, pid.parse().context("PID must be a number")?);
    let mut identities = HashMap::new();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for mut event in events {
        if !pid_of(event.get("process")).is_some_and(|pid| ours.contains(&pid)) {
            continue;
        }
        forget_strange_parent(&mut event, &ours);
        trim(&mut event, &mut identities);
        let line = serde_json::to_string(&event)?;
        let line = line.replace(&format!("{root}/"), "/").replace(&format!("\"{root}\""), "\"/\"");
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

fn pid_of(process: Option<&Value>) -> Option<u64> {
    process?.get("pid")?.as_u64()
}

/// The process and all that forks of it made; the order of the sources is not one order, so that it takes several rounds.
fn descendants(events: &[Map<String, Value>], pid: u64) -> BTreeSet<u64> {
    let mut ours = BTreeSet::from([pid]);
    loop {
        let before = ours.len();
        for event in events.iter().filter(|event| event.get("kind").is_some_and(|kind| kind == "process.fork")) {
            let parent = pid_of(event.get("process"));
            if parent.is_some_and(|pid| ours.contains(&pid)) {
                ours.extend(pid_of(event.get("child")));
            }
        }
        if ours.len() == before {
            return ours;
        }
    }
}

/// Who started the scenario is nobody's business.
fn forget_strange_parent(event: &mut Map<String, Value>, ours: &BTreeSet<u64>) {
    let Some(process) = event.get_mut("process").and_then(Value::as_object_mut) else { return };
    if !pid_of(process.get("parent")).is_some_and(|pid| ours.contains(&pid)) {
        process.remove("parent");
    }
}

fn trim(event: &mut Map<String, Value>, identities: &mut HashMap<String, usize>) {
    event.remove("cpu");
    event.remove("sequence");
    if let Some(file) = event.get_mut("file").and_then(Value::as_object_mut) {
        for member in ["dev", "inode", "generation"] {
            file.remove(member);
        }
    }
    let mut number = |part: Option<&mut Value>| {
        let Some(Value::String(id)) = part.and_then(|part| part.get_mut("id")) else { return };
        let next = identities.len() + 1;
        let number = *identities.entry(id.clone()).or_insert(next);
        *id = format!("{:032x}-{number:x}-{number:x}", 1);
    };
    number(event.get_mut("child"));
    number(event.get_mut("process"));
    number(event.get_mut("process").and_then(|process| process.get_mut("parent")));
    if let Some(process) = event.get_mut("process").and_then(Value::as_object_mut) {
        for member in PROCESS_MEMBERS_LEFT_OUT {
            process.remove(member);
        }
    }
}
