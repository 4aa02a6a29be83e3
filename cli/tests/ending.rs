//! What `watertight run` does with what its caller left to it: descriptors that it never asked for, and an output that nobody
//! takes. No kernel program is loaded: the loader that is named does not exist.

#![allow(clippy::panic, reason = "a test that can not go on says why")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pipe::fcntl_setpipe_size;
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

/// Smallest pipe: one page.
const PIPE_BYTES: usize = 4_096;
/// How long a reader is waited for after the end was asked for.
const READER_MAX: Duration = Duration::from_secs(20);
/// A second wish within this time of the first one is the same wish.
const SAME_WISH: Duration = Duration::from_millis(400);

/// A run whose output goes into a pipe of one page that nobody reads.
struct Unread {
    child: Child,
    from: PipeReader,
    _state: TempDir,
}

impl Unread {
    fn start(arguments: &[&str]) -> Self {
        let (from, to) = std::io::pipe().expect("a pipe");
        fcntl_setpipe_size(&from, PIPE_BYTES).expect("our own pipe");
        Self::start_into(arguments, from, to)
    }

    /// The same with a pipe that is full already.
    fn start_full(arguments: &[&str]) -> Self {
        let (from, mut to) = std::io::pipe().expect("a pipe");
        fcntl_setpipe_size(&from, PIPE_BYTES).expect("our own pipe");
        to.write_all(&[b'\n'; PIPE_BYTES]).expect("an empty pipe");
        Self::start_into(arguments, from, to)
    }

    fn start_into(arguments: &[&str], from: PipeReader, to: PipeWriter) -> Self {
        let state = TempDir::new().expect("a folder");
        let mut command = command(state.path());
        let child = command.args(arguments).stdout(to).stderr(Stdio::piped()).spawn().expect("it starts");
        Self { child, from, _state: state }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    /// Its exit code and what it said to people; the pipe is still open and has not been read.
    fn end(self) -> (Option<i32>, String, PipeReader) {
        let output = self.child.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), self.from)
    }
}

/// The account among words on standard error.
fn account(words: &str) -> Value {
    let lines = words.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let accounts: Vec<Value> = lines.filter(|line| line["kind"] == "summary").collect();
    let [account] = accounts.as_slice() else { panic!("{} accounts in {words}", accounts.len()) };
    account.clone()
}

/// Reads lines, the workers' among them, until the detector works.
fn read_until_it_works(from: &mut BufReader<PipeReader>) {
    for line in from.lines() {
        let line: Value = serde_json::from_str(&line.expect("text")).expect("every line is JSON");
        if line["worker"] == "detector" {
            return;
        }
    }
    panic!("it ended before it worked");
}

/// Files that are made: each is told in several hundred bytes.
const NOISE: u64 = 50;

/// Has the sources tell more than the pipe holds, by files: short processes are not seen where /proc is polled.
fn make_noise() {
    let folder = TempDir::new().expect("a folder");
    for number in 0..NOISE {
        let name = format!("{number}-{}", "x".repeat(200));
        std::fs::write(folder.path().join(name), "").expect("our own folder");
    }
}

/// Files that a process has open.
fn open_files(pid: i64) -> std::io::Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    Ok(listed.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect())
}

#[test]
fn an_output_that_nobody_reads_holds_up_neither_the_end_nor_the_account() {
    if !geteuid().is_root() {
        println!("skipped: needs root, no source sees anything without");
        return;
    }
    let Unread { child, from, _state } = Unread::start(&[]);
    let mut lines = BufReader::with_capacity(PIPE_BYTES, from);
    read_until_it_works(&mut lines);
    make_noise();
    let run = Unread { child, from: lines.into_inner(), _state };
    run.signal(Signal::INT);
    std::thread::sleep(SAME_WISH);
    run.signal(Signal::INT);
    let (code, words, _from) = run.end();
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("lines are not in it") && words.contains("nobody read"), "{words}");
    let account = account(&words);
    assert!(
        account["events"]["file.create"].as_u64() >= Some(NOISE),
        "what was not written was read and counted: {account}"
    );
    let sources = account["sources"].as_array().expect("a list");
    let received = |source: &Value| source["received"].as_u64().unwrap_or(0);
    assert!(!sources.is_empty() && sources.iter().map(received).sum::<u64>() > 0, "their account is kept: {account}");
}

/// A terminal: the end that a person sits at, and the one that a program has.
fn terminal() -> (File, File) {
    let (mut person, mut program) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: the call writes two descriptors into the variables, which live through it; null is allowed for the rest.
    let answer = unsafe { libc::openpty(&raw mut person, &raw mut program, none, none.cast(), none.cast()) };
    assert_eq!(answer, 0, "a terminal");
    // SAFETY: the kernel just gave us both; nobody else owns them.
    let [person, program] = [person, program].map(|fd| unsafe { File::from_raw_fd(fd) });
    for end in [&person, &program] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).expect("our own");
    }
    (person, program)
}

#[test]
fn a_terminal_that_takes_nothing_holds_up_neither_the_end_nor_the_account() {
    let state = TempDir::new().expect("a folder");
    let (person, program) = terminal();
    let mut command = Command::new(BINARY);
    command.args(["run", "--loader", "/nonexistent/watertight-loader", "--state"]).arg(state.path());
    command.env("TERM", "xterm").stdin(Stdio::null()).stderr(Stdio::piped());
    let run = command.stdout(program.try_clone().expect("a descriptor")).spawn().expect("it starts");
    drop(command);
    let mut screen = BufReader::new(person);
    let shown = screen.by_ref().lines().map(|line| line.expect("text"));
    assert!(shown.into_iter().any(|line| line.trim_start().starts_with("detector:")), "it begins to work");
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let mut other =
        File::options().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).expect("ours");
    // The kernel hands on what was written a moment later, and then there is room again.
    let mut full = 0;
    while full < 5 {
        let has_room = other.write(b"nobody reads this\n").is_ok();
        full = if has_room { 0 } else { full + 1 };
        if !has_room {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let pid = Pid::from_child(&run);
    kill_process(pid, Signal::INT).expect("it runs");
    std::thread::sleep(SAME_WISH);
    kill_process(pid, Signal::INT).expect("it runs");
    let output = run.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert_eq!(account(&words)["account"], "exact", "{words}");
    drop(screen);
}

#[test]
fn a_reader_that_stands_still_is_given_up_without_being_asked_twice_and_told_why() {
    let run = Unread::start_full(&["--for", "0s"]);
    let (code, words, _from) = run.end();
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("writing the matrix to standard output: nobody has read it"), "{words}");
}

#[test]
fn a_slow_reader_that_still_reads_gets_everything() {
    let mut run = Unread::start_full(&["--for", "0s"]);
    let (mut text, mut piece) = (Vec::new(), [0_u8; 100]);
    // Longer than a reader that stands still is given, and so little that there is no room to write more.
    let started = Instant::now();
    while started.elapsed() < READER_MAX + READER_MAX / 5 {
        let length = run.from.read(&mut piece).expect("a pipe");
        text.extend_from_slice(&piece[..length]);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(text.len() < PIPE_BYTES, "the machine was held up: {} bytes", text.len());
    run.from.read_to_end(&mut text).expect("a pipe");
    let (code, words, _from) = run.end();
    assert_eq!(code, Some(3), "{words}");
    let text = String::from_utf8(text).expect("text");
    let kinds: Vec<Value> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str::<Value>(line).expect("whole lines")["kind"].clone())
        .collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"matrix".into()), Some(&"summary".into())), "{text}");
}

/// A loader that does this.
fn loader(folder: &Path, script: &str) -> PathBuf {
    std::fs::write(folder.join("script"), format!("#!/bin/sh\n{script}\n")).expect("a file");
    // Not written by us: a test that forks meanwhile would hold it open, and it could not be started.
    let made = Command::new("install").arg("-m755").arg(folder.join("script")).arg(folder.join("loader")).status();
    assert!(made.expect("install runs").success());
    folder.join("loader")
}

#[test]
fn the_loader_does_not_inherit_it_either() {
    if !geteuid().is_root() {
        println!("skipped: needs root, nothing is loaded without");
        return;
    }
    let state = TempDir::new().expect("a folder");
    let (secret, seen) = (state.path().join("secret"), state.path().join("seen"));
    std::fs::write(&secret, "root's").expect("a file");
    let loader = loader(state.path(), &format!("ls -l /proc/$$/fd >> {seen:?}\nexit 1"));
    let file = File::open(&secret).expect("our own");
    let mut command = Command::new(BINARY);
    command.args(["run", "-o", "json", "--for", "0s", "--state"]).arg(state.path()).arg("--loader").arg(&loader);
    leave_open(&mut command, file.as_raw_fd());
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let seen = std::fs::read_to_string(&seen).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(seen.contains(" -> ") && !seen.contains("secret"), "{seen}");
}

#[test]
fn a_closed_standard_output_is_said_at_the_start_and_nothing_is_begun() {
    let state = TempDir::new().expect("a folder");
    let folder = state.path().join("state");
    let mut command = command(&folder);
    let close = || {
        // SAFETY: closing a number that may be no descriptor is without harm; the child has no other use for it.
        unsafe { libc::close(libc::STDOUT_FILENO) };
        Ok(())
    };
    // SAFETY: the closure calls close(2) alone, which is async-signal-safe.
    unsafe { command.pre_exec(close) };
    let output =
        command.args(["--for", "0s"]).stdout(Stdio::inherit()).stderr(Stdio::piped()).output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("standard output is closed: events would go nowhere"), "{words}");
    assert!(!folder.exists(), "nothing was begun");
}

#[test]
fn a_run_that_fails_at_its_start_says_why_and_no_worker_says_more() {
    let state = TempDir::new().expect("a folder");
    // While it takes everything back, a worker that was left to itself would have the time to speak.
    let loader = loader(state.path(), "case \"$*\" in *unload) sleep 1 ;; esac\nexit 1");
    let command = || {
        let mut command = Command::new(BINARY);
        command.args(["run", "-o", "json", "--for", "0s", "--state"]).arg(state.path()).arg("--loader").arg(&loader);
        command
    };
    let full = File::options().write(true).open("/dev/full").expect("every Linux has it");
    let is_full = command().stdin(Stdio::null()).stdout(full).output().expect("it starts");
    let no_rules = command().args(["--rules", "/nonexistent"]).stdin(Stdio::null()).output().expect("it starts");
    for (output, why) in [(is_full, "No space left on device"), (no_rules, "/nonexistent")] {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(why) && !words.contains("Broken pipe"), "{words}");
    }
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
    let file = File::open(&secret).expect("our own");
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
