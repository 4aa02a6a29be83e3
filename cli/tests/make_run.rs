//! What `make run` starts: a server and this machine as its host, from nothing to the rolled out rules, in a terminal; one Ctrl-C ends all
//! of it, and a second run goes on with what the first one left. As nobody: nothing of the machine is marked or loaded.

#![allow(clippy::panic, reason = "a test that can not go on says why")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{kill_process, kill_process_group, Pid, Signal};
use rustix::termios::tcgetattr;
use serde_json::Value as Json;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
const NOBODY: u32 = 65_534;
/// Far longer than anything takes; only a hang is stopped by it.
const PATIENCE: Duration = Duration::from_secs(240);

/// A folder of nobody's with the executables, the script, the rules and the state.
struct Place(tempfile::TempDir);

impl Place {
    /// `None` where this workspace was not built as a whole.
    fn new() -> Option<Self> {
        if !Path::new(BINARY).with_file_name("watertight-server").exists() {
            println!("skipped: no watertight-server beside the command");
            return None;
        }
        let place = Self(tempfile::tempdir().expect("a folder"));
        // The workspace may lie where nobody may not enter.
        for program in ["watertight", "watertight-server"] {
            let (built, here) = (Path::new(BINARY).with_file_name(program), place.path(program));
            if std::fs::hard_link(&built, &here).is_err() {
                std::fs::copy(&built, &here).expect("a copy");
            }
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let from = [workspace.join("scripts/run"), workspace.join("rules")];
        assert!(Command::new("cp").arg("-r").args(from).arg(place.0.path()).status().expect("cp runs").success());
        if rustix::process::geteuid().is_root() {
            let given = Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(place.0.path()).status();
            assert!(given.expect("chown runs").success());
        }
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("STATE", self.path("state")).current_dir(self.0.path()).stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// `make run`'s script, kept from this machine's kernel.
    fn script(&self, options: &[&str]) -> Command {
        let mut command = self.command("bash");
        command.args(["run", ".", "rules", "--observe", "--pins", "nowhere"]).args(options).env("TERM", "xterm");
        command
    }

    fn rollout(&self, arguments: &[&str]) -> Output {
        let ready = std::fs::read_to_string(self.path("state/ready.json")).unwrap_or_default();
        let ready: Json = serde_json::from_str(&ready).unwrap_or_default();
        let mut command = self.command("./watertight");
        command.arg("rollout").args(arguments).args(["--server", ready["url"].as_str().unwrap_or_default()]);
        command.args(["--ca", "state/server/ca.pem", "--token-file", "state/server/admin.token"]);
        command.output().expect("watertight runs")
    }

    fn identity(&self) -> Json {
        let text = std::fs::read_to_string(self.path("state/agent/uplink/identity.json")).expect("an identity");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Processes that name this place.
    fn left(&self) -> Vec<String> {
        let own = self.0.path().to_string_lossy().into_owned();
        let all = std::fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
            let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        all.filter(|line| line.contains(&own)).collect()
    }
}

/// The script in a terminal of its own.
struct Session {
    child: Child,
    person: File,
    terminal: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Session {
    fn start(place: &Place) -> Self {
        let (mut person, mut terminal) = (-1, -1);
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: the kernel writes two descriptors into variables that live through the call; the rest may be null.
        let answer =
            unsafe { libc::openpty(&raw mut person, &raw mut terminal, none.cast(), none.cast(), none.cast()) };
        assert_eq!(answer, 0, "a terminal");
        // SAFETY: the kernel just gave us both; nobody else owns them.
        let (person, terminal) = unsafe { (File::from_raw_fd(person), OwnedFd::from_raw_fd(terminal)) };
        if rustix::process::geteuid().is_root() {
            // As after a login: the live view opens it once more.
            rustix::fs::fchown(&terminal, Some(rustix::fs::Uid::from_raw(NOBODY)), None).expect("nobody's");
        }
        let mut command = place.script(&[]);
        let number = terminal.as_raw_fd();
        let log_in = move || {
            // SAFETY: two system calls on a descriptor that is open; the session is new, so the terminal becomes its own.
            let is_ours = unsafe { libc::setsid() != -1 && libc::ioctl(number, libc::TIOCSCTTY, 0) == 0 };
            if is_ours {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        };
        // SAFETY: the closure makes system calls alone, which are async-signal-safe.
        unsafe { command.pre_exec(log_in) };
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("bash starts");
        drop(command);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (shown, mut from) = (Arc::clone(&screen), person.try_clone().expect("a descriptor"));
        std::thread::spawn(move || {
            let mut bytes = [0_u8; 4_096];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                shown.lock().expect("no panic there").extend_from_slice(&bytes[..length]);
            }
        });
        Self { child, person, terminal, screen }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic there")).into_owned()
    }

    fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{what} never came\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A key at the terminal, and the exit code that comes of it.
    fn end_by(&mut self, key: u8) -> Option<i32> {
        self.person.write_all(&[key]).expect("a terminal");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its end") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Where the test failed: the server ends with the script, and so does the agent.
        let pid = Pid::from_child(&self.child);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

#[test]
fn one_machine_is_a_whole_fleet_until_ctrl_c_and_goes_on_in_the_next_run() {
    let Some(place) = Place::new() else { return };
    let mut session = Session::start(&place);
    let before = tcgetattr(&session.terminal).expect("a terminal");
    session.wait_for("the address", || session.shown().contains("status page  https://127.0.0.1:"));
    session.wait_for("the live view", || session.shown().contains("| ? help") || session.shown().contains("| cpu "));
    let is_complete = || String::from_utf8_lossy(&place.rollout(&["status"]).stdout).contains(": complete,");
    session.wait_for("the rules on this host", is_complete);
    let status = place.rollout(&["status", "-o", "json"]);
    let status: Json = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(
        (&status["id"], &status["hosts"], &status["statistics"]),
        (&"r1".into(), &1.into(), &"too_few_hosts".into()),
        "{status}"
    );
    let identity = place.identity();

    let during = tcgetattr(&session.terminal).expect("a terminal");
    assert_ne!(during.local_modes, before.local_modes, "keys come at once");
    let code = session.end_by(3);
    assert_eq!(code, Some(3), "watched in part, as nobody\n{}", session.shown());
    assert_eq!(tcgetattr(&session.terminal).expect("a terminal").local_modes, before.local_modes, "as it was");
    assert_eq!(place.left(), [""; 0], "all of it has ended");
    let shown = session.shown();
    assert!(shown.contains("complete, stage 1 of 1; 1 of 1 hosts were given it, 1 healthy"), "{shown}");

    // Without a terminal, for some time: JSON on standard output, as `watertight run`.
    let version = std::fs::read_to_string(place.path("state/version")).expect("a version");
    let done = place.script(&["--for", "4s"]).output().expect("bash runs");
    let words = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(3), "{words}");
    let lines: Vec<Json> = String::from_utf8_lossy(&done.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let first = |kind: &str| lines.iter().find(|line| line["kind"] == kind);
    assert_eq!(first("matrix").map(|line| &line["level"]), Some(&"observe".into()));
    let content = first("content").expect("what is in force");
    assert_eq!(content["version"].to_string(), version.trim(), "what was rolled out is still there: {content}");
    assert_eq!(lines.last().map(|line| &line["kind"]), Some(&"summary".into()));
    assert_eq!(place.identity()["host"], identity["host"], "it is the same host");
    assert_eq!(
        std::fs::read_to_string(place.path("state/version")).expect("a version"),
        version,
        "nothing is signed anew"
    );
    assert!(words.contains("r1 of linux version"), "nothing is rolled out anew: {words}");
    assert_eq!(place.left(), [""; 0], "all of it has ended");
}
