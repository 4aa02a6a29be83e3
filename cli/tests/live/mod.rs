//! A run whose lines a test reads while it is at work.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::panic, reason = "a test that never sees its line has failed")]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;

/// Far beyond what anything here takes on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(120);
/// A run without kernel programs, whatever machine this is; the state folder follows.
pub const RUN: [&str; 6] = ["run", "-o", "json", "--loader", "/nonexistent/watertight-loader", "--state"];

/// A run at work.
pub struct Run {
    pub child: Child,
    /// What it writes; taken at once, so that it waits for nobody.
    lines: Receiver<Value>,
}

impl Run {
    /// Starts `watertight run` on this state folder; what it says to people goes to the file `words` there.
    pub fn start(state: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
        command.args(RUN).arg(state).args(arguments);
        Self::of(command, state)
    }

    /// The same of a command of the test's own.
    pub fn of(mut command: Command, state: &Path) -> Self {
        let (from, to) = std::io::pipe().expect("a pipe");
        let words = File::create(state.join("words")).expect("our own folder");
        let child = command.stdin(Stdio::null()).stdout(to).stderr(words).spawn().expect("our own executable starts");
        drop(command); // its end of the pipe
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                // A detector that dies leaves half a line or an empty one.
                if let Ok(line) = serde_json::from_str(&line.expect("text")) {
                    let _ = told.send(line); // the test may have seen enough
                }
            }
        });
        Self { child, lines }
    }

    /// Reads on until a line fits.
    pub fn until(&self, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + WAIT_MAX;
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if fits(&line) {
                return line;
            }
        }
        panic!("the output ended without the line, or it never came")
    }

    /// The next detector's process, and the content that it began with.
    pub fn detector(&self) -> (Pid, Value) {
        let content = self.until(|line| line["kind"] == "content");
        let line = self.until(|line| line["kind"] == "sandbox" && line["worker"] == "detector");
        let pid = line["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a process id");
        (Pid::from_raw(pid).expect("not zero"), content)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    /// Ends it in good order: the summary and the exit code.
    pub fn end(mut self) -> (Value, Option<i32>) {
        self.signal(Signal::INT);
        let summary = self.until(|line| line["kind"] == "summary");
        (summary, self.child.wait().expect("it ends").code())
    }
}

/// Does something of the test's again and again until `is_done`.
pub fn again_until(state: &Path, mut act: impl FnMut(), mut is_done: impl FnMut() -> bool) {
    let until = Instant::now() + WAIT_MAX;
    while !is_done() {
        assert!(Instant::now() < until, "it never came to that: {}", words(state));
        act();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Makes this file and takes it away: an event that a rule of the test fires on.
pub fn touch(file: &Path) {
    std::fs::write(file, "x").expect("our own folder");
    std::fs::remove_file(file).expect("our own file");
}

/// What the run on this state folder said to people.
pub fn words(state: &Path) -> String {
    std::fs::read_to_string(state.join("words")).unwrap_or_default()
}

/// Whether the sources of a run see anything; without root they don't.
pub fn sees() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: needs root, no source sees anything without");
    }
    is_root
}
