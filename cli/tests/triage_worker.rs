//! The worker that reads crash files: what becomes of a file that it does not survive, and of the others.

#[path = "../../triage/tests/process/writer.rs"]
#[allow(dead_code, reason = "one crash of it is enough here")]
mod writer;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;
use writer::System;

const OOPS: &str = "[    1.000000] WARNING: CPU: 0 PID: 77 at fs/frob.c:12 frob_open+0x10/0x20 [frob]
[    1.000000] RIP: 0010:frob_open+0x10/0x20 [frob]
[    1.000000] Call Trace:
[    1.000000]  frob_attach+0x10/0x20 [frob]
";

/// A log of so many bytes in which reports are looked for everywhere: it takes a while, and less than the worker may take.
const SLOW_BYTES: usize = 48 << 20;

fn triage(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    command.current_dir(folder).args(["triage", "-o", "json"]).args(args).stdin(Stdio::null());
    command
}

fn lines(output: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(output);
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn write_slow(folder: &Path) {
    let line = b"[    1.000000] frob0: Call Trace: BUG INFO WARNING RIP: 0010 link up +0x10/0x20 [frob]\n";
    let mut log = std::io::BufWriter::new(std::fs::File::create(folder.join("slow.log")).expect("a file"));
    (0..SLOW_BYTES / line.len()).for_each(|_| log.write_all(line).expect("room"));
    log.flush().expect("room");
    std::fs::write(folder.join("oops.log"), OOPS).expect("written");
}

/// The worker of a run, once it is at work: it has used processor time since it was confined.
fn worker(run: &Child) -> Pid {
    let until = Instant::now() + Duration::from_secs(120);
    let run = run.id();
    loop {
        let children = std::fs::read_to_string(format!("/proc/{run}/task/{run}/children")).expect("it runs");
        for pid in children.split_whitespace() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let is_confined = status.lines().any(|line| line == "Seccomp:\t2");
            // The fourteenth field, counted behind the name; in hundredths of a second.
            let behind = stat.rsplit_once(") ").map_or("", |(_, behind)| behind);
            let ticks: u64 = behind.split(' ').nth(11).and_then(|ticks| ticks.parse().ok()).unwrap_or(0);
            if is_confined && ticks >= 20 {
                return Pid::from_raw(pid.parse().expect("a number")).expect("not 0");
            }
        }
        assert!(Instant::now() < until, "no worker is at work");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Does something to the worker while it reads the first of two files; what is said of both.
fn disturbed(signal: Signal) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    write_slow(folder.path());
    let mut run = triage(folder.path(), &["slow.log", "oops.log"]).stdout(Stdio::piped()).spawn().expect("it starts");
    kill_process(worker(&run), signal).expect("it is there");
    let mut said = Vec::new();
    run.stdout.take().expect("a pipe").read_to_end(&mut said).expect("it is read");
    assert_eq!(run.wait().expect("it ends").code(), Some(3), "one of two failed");
    lines(&said)
}

fn assert_lost(said: &[Value], why: &str) {
    let of = |field: &str| said.iter().map(|line| line[field].as_str().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(of("file"), ["slow.log", "oops.log"]);
    assert_eq!(of("kind"), ["none", "linux-oops"]);
    assert!(of("error")[0].contains(why), "{said:?}");
}

#[test]
fn a_file_whose_worker_is_killed_is_told_and_the_others_go_on_in_a_fresh_one() {
    assert_lost(&disturbed(Signal::KILL), "was killed by signal 9");
    assert_lost(&disturbed(Signal::SEGV), "touched memory that it does not have");
}

#[test]
fn a_worker_that_stands_still_is_ended_and_the_others_go_on() {
    assert_lost(&disturbed(Signal::STOP), "gave no answer");
}

#[test]
fn one_worker_serves_all_files_of_a_run() {
    let folder = tempfile::tempdir().expect("a folder");
    for number in 0..40 {
        std::fs::write(folder.path().join(format!("{number:02}.log")), OOPS).expect("written");
    }
    write_slow(folder.path());
    let names: Vec<String> = (0..40).map(|number| format!("{number:02}.log")).chain(["slow.log".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut run = triage(folder.path(), &names).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(run.stdout.take().expect("a pipe"));
    // With the last file its worker is looked at: every process of a run has a number of its own, so that one after the other shows.
    let last = worker(&run);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).expect("it runs");
    assert_eq!(children.trim(), last.as_raw_nonzero().to_string());
    let mut line = String::new();
    let count = std::iter::from_fn(|| {
        line.clear();
        said.read_line(&mut line).ok().filter(|length| *length > 0)
    });
    assert_eq!(count.count(), 41);
    assert_eq!(run.wait().expect("it ends").code(), Some(0));
}

#[test]
fn the_worker_has_no_rights_and_reads_what_only_its_starter_may() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
    let symbols = folder.path().join("symbols").join(writer::SYMBOLS);
    std::fs::create_dir_all(symbols.parent().expect("it has one")).expect("folders");
    std::fs::write(&symbols, writer::SYMBOL_FILE).expect("written");
    std::fs::write(folder.path().join("agent.dmp"), writer::minidump(System::Linux, &[])).expect("written");
    std::fs::write(folder.path().join("core"), writer::core()).expect("written");
    for file in ["agent.dmp", "core"] {
        std::fs::set_permissions(folder.path().join(file), std::fs::Permissions::from_mode(0o600)).expect("ours");
    }
    let done = triage(folder.path(), &["--symbols", "symbols", "agent.dmp", "core"]).output().expect("it runs");
    let said = lines(&done.stdout);
    assert_eq!(said.len(), 2, "{}", String::from_utf8_lossy(&done.stderr));
    for report in &said {
        assert_eq!(report["title"], "SIGSEGV write (null page) in agent!frob", "{report}");
    }
}

#[test]
fn who_is_not_root_has_a_confined_worker_too() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the other tests run without root already");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    write_slow(folder.path());
    // Where the build's folder is root's alone the program itself can't be started by another user.
    let program = folder.path().join("watertight");
    std::fs::copy(env!("CARGO_BIN_EXE_watertight"), &program).expect("copied");
    let mut run = Command::new(&program);
    run.current_dir(folder.path()).args(["triage", "-o", "json", "slow.log", "oops.log"]).uid(65_534).gid(65_534);
    let run = run.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker(&run).as_raw_nonzero())).expect("it runs");
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    let done = run.wait_with_output().expect("it ends");
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(lines(&done.stdout).len(), 2);
}
