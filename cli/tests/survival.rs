//! What `watertight run` does when something around it breaks. No kernel program is loaded: the loader that is named does not
//! exist, which is one of the things that it must survive.

#![allow(clippy::panic)] // a test that never sees its line has failed

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{kill_process, kill_process_group, pidfd_open, Pid, PidfdFlags, Signal};
use serde_json::Value;
use tempfile::TempDir;

/// Deaths within a minute after which a worker is given up.
const DEATHS_MAX: usize = 6;
/// How long a worker without a supervisor may live on; it is ended by the kernel at once, on a machine that is not too busy.
const END_MAX_S: i64 = 60;
/// Smallest pipe: one page.
const PIPE_BYTES: usize = 4_096;
/// The calls that wait for descriptors.
const POLLS: [libc::c_long; 2] = [libc::SYS_poll, libc::SYS_ppoll];
const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

struct Run {
    child: Child,
    lines: BufReader<PipeReader>,
    state: TempDir,
}

fn command(state: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["run", "-o", "json", "--loader", "/nonexistent/watertight-loader", "--state"]).arg(state);
    // Whoever runs the tests under nohup has SIGHUP ignored, and the run would respect that.
    let heed_hangups = || {
        // SAFETY: setting a signal's default action runs no code of ours and may be done between fork and exec.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: the closure calls signal(2) alone, which is async-signal-safe.
    unsafe { command.pre_exec(heed_hangups) };
    command.process_group(0);
    command
}

impl Run {
    fn start() -> Self {
        Self::start_into(std::io::pipe().expect("a pipe"))
    }

    fn start_into((from, to): (PipeReader, PipeWriter)) -> Self {
        let state = TempDir::new().expect("a folder");
        let mut command = command(state.path());
        command.stdin(Stdio::null()).stdout(to).stderr(Stdio::piped());
        let child = command.spawn().expect("our own executable starts");
        Self { child, lines: BufReader::new(from), state }
    }

    /// Reads on until a line fits. A worker that is killed may leave an empty one.
    fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        for line in self.lines.by_ref().lines().map(|line| line.expect("text")).filter(|line| !line.is_empty()) {
            let line: Value = serde_json::from_str(&line).expect("every line is JSON");
            if fits(&line) {
                return line;
            }
        }
        panic!("the output ended without the line")
    }

    fn worker(&mut self, name: &str) -> Pid {
        let line = self.until(|line| line["kind"] == "sandbox" && line["worker"] == name);
        let pid = line["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a process id");
        Pid::from_raw(pid).expect("not zero")
    }

    /// What `status` says of a worker.
    fn status_of(&self, worker: &str) -> Value {
        let mut status = Command::new(BINARY);
        status.args(["status", "-o", "json", "--pins", "/nonexistent", "--state"]).arg(self.state.path());
        let status: Value = serde_json::from_slice(&status.output().expect("it starts").stdout).expect("JSON");
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        workers.into_iter().find(|one| one["worker"] == worker).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("not zero");
        kill_process(pid, signal).expect("it is our child");
    }

    /// Ends it by this signal and returns summary, exit code and what it said to people.
    fn end_by(mut self, signal: Signal) -> (Value, Option<i32>, String) {
        self.signal(signal);
        let summary = self.until(|line| line["kind"] == "summary");
        let output = self.child.wait_with_output().expect("it ends");
        (summary, output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn without_the_loader_the_run_goes_on_with_what_there_is_and_says_what_is_missing() {
    let mut run = Run::start();
    let matrix = run.until(|line| line["kind"] == "matrix");
    let why = matrix["degraded"].as_str().expect("text");
    assert!(why.contains("/nonexistent/watertight-loader is not there") && why.contains("--loader"), "{why}");
    run.worker("detector");
    let mut status = Command::new(BINARY);
    status.args(["status", "-o", "json", "--pins", "/nonexistent", "--state"]);
    let status = status.arg(run.state.path()).output().expect("it starts");
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["rows"][1]["class"], "processes from before");
    assert_eq!(status["rows"][1], matrix["rows"][1], "status says what the run says");
    let (summary, code, _) = run.end_by(Signal::INT);
    assert_eq!(code, Some(3), "{summary}");
}

#[test]
fn a_detector_that_is_killed_is_started_again_and_the_gap_is_told() {
    let mut run = Run::start();
    let first = run.worker("detector");
    kill_process(first, Signal::KILL).expect("it runs");
    let second = run.worker("detector");
    assert_ne!(first, second);
    let gap = run.until(|line| line["kind"] == "sensor.gap");
    assert_eq!(gap["of"], "detector");
    assert!(gap["message"].as_str().is_some_and(|text| text.contains("killed by signal 9")), "{gap}");
    assert!(gap["count"].is_u64(), "{gap}");
    let (summary, _, words) = run.end_by(Signal::TERM);
    assert_eq!(summary["detector_deaths"], 1, "{summary}");
    assert!(words.contains("the detector was killed by signal 9"), "{words}");
}

/// A run whose detector waits for whoever reads its output, which nobody does; `None` without root.
fn run_that_waits_within_a_line() -> Option<(Run, Pid)> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, no source sees anything without");
        return None;
    }
    let pipe = std::io::pipe().expect("a pipe");
    fcntl_setpipe_size(&pipe.0, PIPE_BYTES).expect("our own pipe");
    let mut run = Run::start_into(pipe);
    let pid = run.worker("detector");
    // Nobody reads the pipe, which holds one page: the detector comes to wait within a line, for that descriptor alone.
    let call = format!("/proc/{}/syscall", pid.as_raw_pid());
    let is_waiting = |call: &str| {
        let mut fields = call.split(' ');
        let is_poll = fields.next().is_some_and(|number| POLLS.iter().any(|poll| number == poll.to_string()));
        is_poll && fields.nth(1) == Some("0x1")
    };
    while !is_waiting(&std::fs::read_to_string(&call).expect("it runs")) {
        let _ = Command::new("/bin/true").arg("x".repeat(PIPE_BYTES / 4)).status();
    }
    Some((run, pid))
}

#[test]
fn a_detector_that_is_stopped_while_it_waits_for_its_reader_is_ended_and_the_gap_is_told() {
    let Some((mut run, pid)) = run_that_waits_within_a_line() else { return };
    kill_process(pid, Signal::STOP).expect("it runs");
    let status = format!("/proc/{}/status", pid.as_raw_pid());
    while std::fs::read_to_string(&status).is_ok_and(|status| status.contains("(stopped)")) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Nothing was read so far: it was not the reader that woke anybody.
    let mut lines = run.lines.by_ref().lines().map(|line| line.expect("text"));
    let gap = lines.find(|line| line.contains(r#""kind":"sensor.gap""#)).expect("it is told");
    assert!(gap.contains("made no progress"), "{gap}");
    drop(lines);
    run.signal(Signal::INT);
    let mut lines = run.lines.by_ref().lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains(r#""kind":"summary""#)), "it goes on to its end");
    drop(lines);
    run.child.wait().expect("it ends");
}

#[test]
fn a_detector_that_is_killed_within_a_line_leaves_half_a_line_and_the_next_begins_its_own() {
    let Some((mut run, pid)) = run_that_waits_within_a_line() else { return };
    kill_process(pid, Signal::KILL).expect("it runs");
    let (mut halves, mut next, mut is_told) = (Vec::new(), None, false);
    let mut lines = run.lines.lines().map(|line| line.expect("text"));
    for line in lines.by_ref() {
        match serde_json::from_str::<Value>(&line) {
            Ok(line) if line["kind"] == "sensor.gap" && line["of"] == "detector" => {
                is_told = true;
                break;
            }
            Ok(line) if line["kind"] == "sandbox" => next = line["pid"].as_i64(),
            Ok(_) => {}
            Err(_) => halves.push(line),
        }
    }
    assert!(is_told, "{halves:?}");
    assert!(
        next.is_some_and(|next| next != i64::from(pid.as_raw_pid())),
        "the next one's first line is whole: {halves:?}"
    );
    // Empty where the pipe had taken nothing yet of what was being written.
    assert!(matches!(halves.as_slice(), [half] if half.is_empty() || half.starts_with('{')), "{halves:?}");
    kill_process(Pid::from_raw(run.child.id().cast_signed()).expect("not zero"), Signal::INT).expect("it is our child");
    assert!(lines.any(|line| line.contains(r#""kind":"summary""#)), "it goes on to its end");
    run.child.wait().expect("it ends");
}

#[test]
fn a_run_that_appends_to_a_file_begins_its_own_line() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("recording");
    std::fs::write(&path, r#"{"kind":"process.ex"#).expect("a file");
    let file = std::fs::OpenOptions::new().append(true).open(&path).expect("a file");
    let status = command(folder.path()).args(["--for", "0s"]).stdout(file).status().expect("it starts");
    assert_eq!(status.code(), Some(3));
    let text = std::fs::read_to_string(&path).expect("a file");
    let second: Value = serde_json::from_str(text.lines().nth(1).expect("two lines")).expect("JSON");
    assert_eq!(second["kind"], "matrix", "{text}");
}

#[test]
fn sources_that_are_killed_are_started_again_and_the_gap_is_told() {
    let mut run = Run::start();
    let sources = run.worker("sources");
    run.worker("detector");
    kill_process(sources, Signal::KILL).expect("they run");
    let gap = run.until(|line| line["kind"] == "sensor.gap");
    assert_eq!(gap["of"], "sources");
    assert!(gap["message"].as_str().is_some_and(|text| text.contains("started again")), "{gap}");
    let again = run.status_of("sources");
    assert!(
        again["sandbox"].is_object() && again["pid"] != sources.as_raw_nonzero().get(),
        "status has the new one: {again}"
    );
    let (summary, ..) = run.end_by(Signal::INT);
    assert_eq!(summary["malformed"], 0, "{summary}");
}

#[test]
fn sources_that_stand_still_are_ended_and_started_again_and_the_gap_is_told() {
    let mut run = Run::start();
    let sources = run.worker("sources");
    run.worker("detector");
    kill_process(sources, Signal::STOP).expect("they run");
    let gap = run.until(|line| line["kind"] == "sensor.gap");
    assert_eq!(gap["of"], "sources");
    let words = gap["message"].as_str().unwrap_or_default();
    assert!(words.contains("made no progress") && words.contains("started again"), "{gap}");
    assert_ne!(run.status_of("sources")["pid"], sources.as_raw_nonzero().get());
    let (summary, ..) = run.end_by(Signal::INT);
    assert_eq!(summary["detector_deaths"], 0, "{summary}");
}

#[test]
fn a_detector_that_dies_again_and_again_is_given_up_with_the_cause() {
    let mut run = Run::start();
    for _ in 0..DEATHS_MAX {
        let pid = run.worker("detector");
        kill_process(pid, Signal::KILL).expect("it runs");
    }
    let output = run.child.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("died 6 times, the last time it was killed by signal 9: given up"), "{words}");
}

#[test]
fn a_terminal_that_hangs_up_ends_the_run_in_good_order() {
    let mut run = Run::start();
    run.worker("detector");
    let (_, code, words) = run.end_by(Signal::HUP);
    assert_eq!(code, Some(3), "{words}");
}

#[test]
fn a_signal_to_the_whole_group_ends_the_run_as_one_to_the_supervisor_does() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut run = Run::start();
        run.worker("detector");
        let group = Pid::from_raw(run.child.id().cast_signed()).expect("not zero");
        kill_process_group(group, signal).expect("it leads a group of its own");
        let lines: Vec<String> = run.lines.lines().map(|line| line.expect("text")).collect();
        let output = run.child.wait_with_output().expect("it ends");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{signal:?}: {words}");
        let summaries: Vec<Value> = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"))
            .filter(|line| line["kind"] == "summary")
            .collect();
        let [summary] = summaries.as_slice() else { panic!("{signal:?}: {} summaries", summaries.len()) };
        assert_eq!((&summary["detector_deaths"], &summary["malformed"]), (&0.into(), &0.into()), "{summary}");
        assert!(!words.contains("killed by signal"), "{words}");
    }
}

#[test]
fn workers_end_when_the_supervisor_is_killed() {
    let mut run = Run::start();
    let workers = [run.worker("sources"), run.worker("detector")];
    let watched = workers.map(|pid| pidfd_open(pid, PidfdFlags::empty()).expect("it runs"));
    run.signal(Signal::KILL);
    for (worker, pidfd) in workers.iter().zip(&watched) {
        let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
        let most = Timespec { tv_sec: END_MAX_S, tv_nsec: 0 };
        assert_eq!(poll(&mut ended, Some(&most)), Ok(1), "worker {worker:?} outlives the supervisor");
    }
    run.child.wait().expect("it ends");
}

#[test]
fn a_run_of_no_time_begins_and_sums_up() {
    let state = TempDir::new().expect("a folder");
    let output = command(state.path()).args(["--for", "0s"]).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().any(|line| line.contains(r#""kind":"summary""#)), "{text}");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn a_reader_that_goes_away_ends_the_run_and_is_named() {
    let mut run = Run::start();
    run.worker("detector");
    let Run { child, lines, state } = run;
    drop(lines);
    // The first event that is written meets nobody.
    let mut child = child;
    while child.try_wait().expect("our child").is_none() {
        std::fs::write(state.path().join("noise"), "x").expect("our own folder");
        let _ = Command::new("/bin/true").status();
        if !rustix::process::geteuid().is_root() {
            let pid = Pid::from_raw(child.id().cast_signed()).expect("not zero");
            kill_process(pid, Signal::INT).expect("our child"); // no source sees anything: the summary meets nobody
        }
    }
    let output = child.wait_with_output().expect("it ended");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("takes no more events (Broken pipe"), "{words}");
}

#[test]
fn a_full_disk_under_the_output_ends_the_run_and_is_named() {
    let state = TempDir::new().expect("a folder");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    let output = command(state.path()).args(["--for", "0s"]).stdout(full).output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("writing the matrix to standard output: No space left on device"), "{words}");
}

#[test]
fn a_state_folder_that_can_not_be_written_is_named_with_the_mend() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("our own folder");
    let output = command(&file).args(["--for", "0s"]).output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(file.to_string_lossy().as_ref()) && words.contains("--state"), "{words}");
    assert!(words.contains("is not a folder"), "{words}");
}
