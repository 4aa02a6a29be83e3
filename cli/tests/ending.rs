//! What `watertight run` does with what its caller left to it: descriptors that it never asked for, and an output that nobody
//! takes. No kernel program is loaded: the loader that is named does not exist.

use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{geteuid, kill_process, Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
/// A number that no process of ours uses by itself.
const STRAY_FD: RawFd = 99;

fn command(state: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["run", "-o", "json", "--loader", "/nonexistent/watertight-loader", "--state"]).arg(state);
    command.stdin(Stdio::null());
    command
}

/// Has this descriptor open in the child under [`STRAY_FD`], as a shell's `exec 99<file` does.
fn leave_open(command: &mut Command, fd: RawFd) {
    let leave = move || {
        // SAFETY: a number that is no descriptor makes the call fail without harm.
        match unsafe { libc::dup2(fd, STRAY_FD) } {
            STRAY_FD => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure calls dup2(2) alone, which is async-signal-safe.
    unsafe { command.pre_exec(leave) };
}

/// Files that a process has open.
fn open_files(pid: i64) -> std::io::Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    Ok(listed.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect())
}

#[test]
fn a_file_that_the_caller_had_open_is_not_open_in_any_worker() {
    if !geteuid().is_root() {
        println!("skipped: needs root to look into the workers");
        return;
    }
    let state = TempDir::new().expect("a folder");
    let secret = state.path().join("secret");
    std::fs::write(&secret, "root's").expect("a file");
    let file = std::fs::File::open(&secret).expect("our own");
    let (from, to) = std::io::pipe().expect("a pipe");
    let mut command = command(state.path());
    leave_open(&mut command, file.as_raw_fd());
    let mut run = command.stdout(to).stderr(Stdio::null()).spawn().expect("it starts");
    drop(command);
    let mut workers = Vec::new();
    for line in BufReader::new(from).lines() {
        let line: Value = serde_json::from_str(&line.expect("text")).expect("every line is JSON");
        if line["kind"] == "sandbox" {
            workers.push((
                line["worker"].clone(),
                open_files(line["pid"].as_i64().expect("its pid")).expect("root may look"),
            ));
        }
        if line["worker"] == "detector" {
            break;
        }
    }
    let has_supervisor = open_files(i64::from(run.id())).expect("it runs").contains(&secret);
    kill_process(Pid::from_child(&run), Signal::INT).expect("it runs");
    run.wait().expect("it ends");
    assert!(has_supervisor, "else this shows nothing");
    assert_eq!(workers.len(), 2, "{workers:?}");
    for (worker, open) in &workers {
        assert!(open.len() > 3 && !open.contains(&secret), "{worker} has {open:?}");
    }
}
