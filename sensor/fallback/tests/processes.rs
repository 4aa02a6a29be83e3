//! The process sources, watching marked children.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use support::{collect, permitted};
use watertight_sensor_fallback::{proc_connector, Observed, ProcConnector, ProcPoll};

/// Children started in quick succession.
const CHILDREN: usize = 50;

fn pid_of(child: &std::process::Child) -> i32 {
    i32::try_from(child.id()).expect("pids are positive i32")
}

#[test]
fn each_child_is_seen_forked_executed_and_ended_with_its_code() {
    let Some(mut source) = permitted(ProcConnector::open(proc_connector::Options::default())) else { return };
    let mut pids = Vec::new();
    for _ in 0..CHILDREN {
        let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().expect("sh exists");
        pids.push(pid_of(&child));
        assert_eq!(child.wait().expect("our child").code(), Some(7));
    }
    let ended = |seen: &[Observed], pid: i32| {
        seen.iter().any(|o| matches!(o, Observed::Exit { tgid, exit_code, .. } if *tgid == pid && exit_code >> 8 == 7))
    };
    let is_lossy = |seen: &[Observed]| seen.iter().any(|o| matches!(o, Observed::Overflow { .. }));
    let seen = collect(|sink| source.drain(sink), |seen| pids.iter().all(|pid| ended(seen, *pid)) || is_lossy(seen));
    if is_lossy(&seen) && !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root for a buffer that holds the other tests' events too");
    }
    for pid in pids {
        assert!(
            seen.iter().any(|o| matches!(o, Observed::Fork { child_tgid, .. } if *child_tgid == pid)),
            "fork {pid}"
        );
        assert!(seen.iter().any(|o| matches!(o, Observed::Exec { tgid, .. } if *tgid == pid)), "exec {pid}");
        assert!(ended(&seen, pid), "exit {pid}");
    }
}

#[test]
fn an_exec_that_lives_is_told_with_its_arguments_and_one_that_is_gone_is_marked() {
    let Some(mut source) = permitted(ProcConnector::open(proc_connector::Options::default())) else { return };
    let mut gone = Command::new("true").spawn().expect("true exists");
    let gone_pid = pid_of(&gone);
    gone.wait().expect("our child");
    let mut child = Command::new("sleep").arg("61.5").spawn().expect("sleep exists");
    let pid = pid_of(&child);
    let exec = |seen: &[Observed], pid: i32| {
        seen.iter().find(|o| matches!(o, Observed::Exec { tgid, .. } if *tgid == pid)).cloned()
    };
    let seen = collect(|sink| source.drain(sink), |seen| exec(seen, pid).is_some());
    child.kill().expect("our child");
    child.wait().expect("our child");
    let Some(Observed::Exec { process: Some(process), vanished: false, at_ns: Some(_), .. }) = exec(&seen, pid) else {
        panic!("{seen:?}")
    };
    assert_eq!(process.arguments, [b"sleep".to_vec(), b"61.5".to_vec()]);
    assert!(matches!(exec(&seen, gone_pid), Some(Observed::Exec { vanished: true, .. })), "{seen:?}");
}

#[test]
fn a_burst_beyond_the_buffer_is_told_or_read_whole() {
    let Some(mut source) = permitted(ProcConnector::open(proc_connector::Options::default())) else { return };
    let script = "i=0; while [ $i -lt 2000 ]; do (exit 3); i=$((i+1)); done";
    let mut child = Command::new("sh").args(["-c", script]).spawn().expect("sh exists");
    let parent = pid_of(&child);
    child.wait().expect("our child");
    let seen = collect(
        |sink| source.drain(sink),
        |seen| seen.iter().any(|o| matches!(o, Observed::Exit { tgid, .. } if *tgid == parent)),
    );
    let forks =
        seen.iter().filter(|o| matches!(o, Observed::Fork { parent_tgid, .. } if *parent_tgid == parent)).count();
    let is_lossy = seen.iter().any(|o| matches!(o, Observed::Overflow { .. }));
    assert!(forks == 2000 || is_lossy, "{forks} forks of 2000, and no overflow told");
}

#[test]
fn polling_sees_a_process_start_change_its_program_and_end() {
    let mut source = ProcPoll::open(Duration::from_millis(100)).expect("/proc is readable");
    let pid_seen = |seen: &[Observed], pid: i32, was_there: bool| {
        seen.iter().any(|o| {
            matches!(o, Observed::ProcessSeen { process, existing } if process.pid == pid && *existing == was_there)
        })
    };
    let own = i32::try_from(std::process::id()).expect("pids are positive i32");
    let seen = collect(|sink| source.drain(sink), |seen| pid_seen(seen, own, true));
    assert!(pid_seen(&seen, own, true));

    let mut child =
        Command::new("sh").args(["-c", "read line; exec sleep 62.5"]).stdin(Stdio::piped()).spawn().expect("sh exists");
    let pid = pid_of(&child);
    let seen = collect(|sink| source.drain(sink), |seen| pid_seen(seen, pid, false));
    assert!(pid_seen(&seen, pid, false));

    drop(child.stdin.take());
    let executed = |seen: &[Observed]| {
        seen.iter().any(|o| {
            matches!(o, Observed::Exec { tgid, process: Some(process), .. }
                if *tgid == pid && process.arguments.last().is_some_and(|last| last == b"62.5"))
        })
    };
    assert!(executed(&collect(|sink| source.drain(sink), executed)));

    child.kill().expect("our child");
    child.wait().expect("our child");
    let gone = |seen: &[Observed]| seen.iter().any(|o| matches!(o, Observed::ProcessGone { pid: p, .. } if *p == pid));
    assert!(gone(&collect(|sink| source.drain(sink), gone)));
}
