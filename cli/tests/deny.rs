//! Exec denied by fanotify, on a real kernel.
//!
//! A mistake here could stop the machine, so nothing is marked but files on a tmpfs that only the test's own mount namespace
//! has; [`Tmpfs::mount`] makes sure of that before anything is started, or the test does not go on.

#![allow(clippy::panic, reason = "a test that can not go on says why")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{statfs, StatFs};
use rustix::mount::{mount, mount_change, unmount, MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{kill_process, Pid, Signal};
use rustix::thread::{unshare_unsafe, UnshareFlags};
use support::{is_root, Place};

/// Longest wait for anything. Far above what is ever needed, so that a busy machine fails no test.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// More than the listener can note with paths of 3,000 bytes while nobody takes them.
const DENIALS: u64 = 60;

/// What the kernel calls a tmpfs.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A tmpfs that no other process of the machine sees.
struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    /// `None`, said why, where this may not be done.
    fn mount() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let namespace = || std::fs::read_link("/proc/thread-self/ns/mnt").expect("a namespace");
        let machine = namespace();
        // SAFETY: gives this thread a mount namespace and a working folder of its own; no descriptor is closed.
        if let Err(error) = unsafe { unshare_unsafe(UnshareFlags::NEWNS) } {
            println!("skipped: no mount namespace of our own: {error}");
            return None;
        }
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).expect("what is mounted here stays here");
        let folder = tempfile::tempdir().expect("a folder");
        mount("none", folder.path(), "tmpfs", MountFlags::empty(), None).expect("a tmpfs");
        assert_ne!(namespace(), machine, "only in a mount namespace of our own");
        assert_eq!(type_of(folder.path()), TMPFS_MAGIC, "only on a tmpfs");
        let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).expect("there"));
        assert_ne!(device(folder.path()), device(Path::new("/")), "never on the machine's root");
        assert_ne!(device(folder.path()), device(&std::env::temp_dir()), "a file system of our own");
        Some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A program of its own that prints its arguments. Copied by another process: one of ours that forks meanwhile would
    /// hold it open for writing.
    fn program(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        assert!(Command::new("cp").arg("/bin/echo").arg(&path).status().expect("cp runs").success());
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = unmount(self.folder.path(), UnmountFlags::DETACH);
    }
}

fn type_of(path: &Path) -> i64 {
    let StatFs { f_type, .. } = statfs(path).expect("a file system");
    f_type
}

/// Whether the program starts. A listener that hangs would hang this: the watchdog is what the test relies on.
fn starts(program: &Path) -> bool {
    match Command::new(program).arg("started").output() {
        Ok(output) => output.status.success() && output.stdout == b"started\n",
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => false,
        Err(error) => panic!("{}: {error}", program.display()),
    }
}

/// `watertight run` in the test's namespace, ended with the test.
struct Run {
    child: Child,
}

impl Run {
    /// Starts it and waits until it watches. Not by `status`: who looks who holds the lock holds it for that moment, and a run
    /// that began in it was refused.
    fn start(place: &Place) -> Self {
        let output = std::fs::File::create(place.folder.join("run.jsonl")).expect("a file");
        let mut command = place.command(&["run", "-o", "json"]);
        let child = command.stdin(Stdio::null()).stdout(output).spawn().expect("watertight runs");
        let mut run = Self { child };
        let started = Instant::now();
        while !place.read("run.jsonl").contains("\"kind\":\"matrix\"") {
            assert_eq!(run.child.try_wait().expect("our child"), None, "it ended: its words are on standard error");
            assert!(started.elapsed() < WAIT_MAX, "it does not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        run
    }

    fn stop(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("it runs");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(3), "classes are missing here");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `status` says of denial, once it is as wanted.
fn wait_for(place: &Place, what: &str, is_it: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let started = Instant::now();
    loop {
        let deny = place.run(&["status", "-o", "json"]).json()["deny_by_fanotify"].clone();
        if is_it(&deny) {
            return deny;
        }
        assert!(started.elapsed() < WAIT_MAX, "{what}: {deny}; {}", place.read("run.jsonl"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_denying(deny: &serde_json::Value) -> bool {
    deny["deny"] == "while running"
}

fn apply(place: &Place, rules: &str) {
    let file = place.write("policy.yaml", &format!("version: 1\nfallback_deny: true\nrules:\n{rules}"));
    let answer = place.run(&["policy", "apply", file.to_str().expect("text")]);
    assert_eq!(answer.code(), 3, "{}{}", answer.stdout(), answer.stderr());
}

fn rule(id: &str, key: &str, path: &Path, mode: &str) -> String {
    let path = path.display();
    format!("  - {{ id: {id}, action: deny, on: exec, match: {{ {key}: \"{path}\" }}, mode: {mode} }}\n")
}

/// Lines of the run whose kind begins so.
fn lines(place: &Place, kind: &str) -> Vec<serde_json::Value> {
    let lines = place.read("run.jsonl");
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    lines.filter(|line| line["kind"].as_str().is_some_and(|found| found.starts_with(kind))).collect()
}

/// A verdict in one line: kind, outcome, rule, what matched, mode, and the file below the folder.
fn shown(event: &serde_json::Value, folder: &Path) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let policy = &event["policy"];
    let path = text(&event["file"]["path"]);
    let path = path.strip_prefix(&format!("{}/", folder.display())).unwrap_or(&path);
    let words = [&event["kind"], &event["outcome"], &policy["rule"], &policy["matched"], &policy["mode"]].map(text);
    format!("{} {path}", words.join(" "))
}

/// A shell that becomes the program, or fails to: its process id is known either way.
fn becomes(program: &Path) -> u32 {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" 2>/dev/null"]).arg(program).stdout(Stdio::null());
    let mut child = command.spawn().expect("sh runs");
    child.wait().expect("it ends");
    child.id()
}

#[test]
fn a_denial_is_told_with_its_process_program_and_rule() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let denied = tmpfs.program("in/denied");
    let place = Place::new(tmpfs.path(), "");
    apply(&place, &rule("folder", "under", &tmpfs.path().join("in"), "enforce"));
    let run = Run::start(&place);
    wait_for(&place, "it denies", is_denying);
    let pids = [becomes(&denied), becomes(&denied)];
    run.stop();
    let told = lines(&place, "policy.denied");
    let told_pids: Vec<_> = told.iter().filter_map(|event| event["process"]["pid"].as_u64()).collect();
    assert_eq!(told_pids, pids.map(u64::from), "{told:?}");
    // Where processes are polled from /proc, as in a pid namespace of its own, one may be gone before anybody looks.
    let matrix = lines(&place, "matrix");
    let rows = matrix.first().and_then(|matrix| matrix["rows"].as_array()).expect("the matrix has rows");
    let process = rows.iter().find(|row| row["class"] == "process").expect("a row of processes");
    let is_polled = !["tp_btf", "BPF LSM"].iter().any(|source| process["source"] == *source);
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&denied).expect("there"));
    for event in &told {
        assert_eq!((&event["source"], &event["operations"][0]), (&"fanotify".into(), &"exec".into()), "{event}");
        assert_eq!((&event["file"]["inode"], &event["file"]["type"]), (&inode.into(), &"file".into()), "{event}");
        let executable = event["process"]["executable"].as_str();
        assert!(executable.map_or(is_polled, |path| path.ends_with("sh")), "{event} {process}");
    }
    assert!(lines(&place, "sensor.aggregated").is_empty(), "nothing was only counted");
}

#[test]
fn status_tells_what_sources_have_delivered_as_the_account_at_the_end_does() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let place = Place::new(tmpfs.path(), "");
    let run = Run::start(&place);
    std::fs::write(tmpfs.path().join("made"), "a file").expect("our own");
    let started = Instant::now();
    let told = loop {
        let status = place.run(&["status", "-o", "json"]).json();
        let sources = status["sources"].as_array().cloned().unwrap_or_default();
        let fanotify = sources.into_iter().find(|row| row["source"] == "fanotify");
        if let Some(row) = fanotify.filter(|row| row["received"].as_u64() > Some(0)) {
            break row;
        }
        assert!(started.elapsed() < WAIT_MAX, "{status}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((&told["hits"], &told["overflows"]), (&"unknown".into(), &0.into()), "{told}");
    let text = place.run(&["status"]).stdout();
    assert!(text.lines().any(|line| line.contains("fanotify ") && line.contains("hits    unknown")), "{text}");
    run.stop();
    let summary = lines(&place, "summary");
    let sources = summary.first().and_then(|summary| summary["sources"].as_array()).expect("the account has sources");
    let last = sources.iter().find(|row| row["source"] == "fanotify").expect("fanotify was in use");
    assert!(last["received"].as_u64() >= told["received"].as_u64(), "{last} after {told}");
    assert!(place.run(&["status", "-o", "json"]).json()["sources"].is_null(), "nobody is at work");
}

#[test]
fn more_denials_than_there_is_room_for_are_counted_and_none_waits_for_the_run() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    // The longer the path, the fewer fit.
    let denied = tmpfs.program(&format!("in/{}denied", format!("{}/", "x".repeat(200)).repeat(15)));
    let place = Place::new(tmpfs.path(), "");
    apply(&place, &rule("file", "file", &denied, "enforce"));
    let run = Run::start(&place);
    wait_for(&place, "it denies", is_denying);
    let supervisor = Pid::from_child(&run.child);
    kill_process(supervisor, Signal::STOP).expect("it runs");
    std::thread::spawn(move || {
        std::thread::sleep(WAIT_MAX);
        kill_process(supervisor, Signal::CONT) // a listener that waits for the run makes this test late, not endless
    });
    let is_denied = (0..DENIALS).all(|_| !starts(&denied));
    kill_process(supervisor, Signal::CONT).expect("it runs");
    assert!(is_denied, "the listener answers though nobody takes what it notes");
    run.stop();
    let told = lines(&place, "policy.denied");
    let counted: u64 = lines(&place, "sensor.aggregated").iter().filter_map(|event| event["count"].as_u64()).sum();
    assert!(!told.is_empty() && counted > 0, "{} told, {counted} counted", told.len());
    assert_eq!(told.len() as u64 + counted, DENIALS);
    assert!(told.iter().all(|event| event["file"]["path"] == denied.to_str().expect("text")));
}

#[test]
fn named_files_and_folders_are_denied_and_audit_only_counts() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let (denied, audited) = (tmpfs.program("denied"), tmpfs.program("audited"));
    let (child, grandchild, other) = (tmpfs.program("in/child"), tmpfs.program("in/sub/child"), tmpfs.program("other"));
    let place = Place::new(tmpfs.path(), "");
    let rules = [
        rule("file", "file", &denied, "enforce"),
        rule("audit", "file", &audited, "audit"),
        rule("folder", "under", &tmpfs.path().join("in"), "enforce"),
        rule("system", "under", Path::new("/usr/bin"), "enforce"),
    ];
    apply(&place, &rules.concat());
    assert!(starts(&denied), "nothing runs yet that could deny");
    let run = Run::start(&place);
    let deny = wait_for(&place, "it denies", is_denying);
    assert!(deny["left_out"][0]["why"].as_str().is_some_and(|why| why.contains("/usr/bin is not marked")), "{deny}");

    assert!(!starts(&denied) && !starts(&child));
    assert!(starts(&audited) && starts(&other));
    let link = tmpfs.path().join("link");
    std::fs::hard_link(&denied, &link).expect("a link");
    assert!(!starts(&link), "the file is denied by whatever name");
    assert!(starts(&grandchild), "a bypass that is listed: subfolders");
    let moved = tmpfs.path().join("moved");
    std::fs::rename(tmpfs.program("in/second"), &moved).expect("it is ours");
    assert!(starts(&moved), "a bypass that is listed: moved out");
    let bypasses = deny["passes"].as_array().expect("a list");
    for passed in ["subfolders", "moved out"] {
        let is_listed = |bypass: &serde_json::Value| bypass.as_str().is_some_and(|bypass| bypass.contains(passed));
        assert!(bypasses.iter().any(is_listed), "{passed}: {bypasses:?}");
    }

    let deny = wait_for(&place, "hits are counted", |deny| deny["marks"][2]["hits"] == 1);
    let hits: Vec<_> = deny["marks"].as_array().expect("marks").iter().map(|mark| mark["hits"].clone()).collect();
    assert_eq!(hits, [2, 1, 1], "{deny}");
    run.stop();
    assert!(starts(&denied), "denial ends with the run");
    let said = place.read("run.jsonl");
    let told: Vec<_> = lines(&place, "policy.").iter().map(|event| shown(event, tmpfs.path())).collect();
    assert_eq!(
        told,
        [
            "policy.denied denied file file enforce denied",
            "policy.denied denied folder under enforce in/child",
            "policy.audited attempted audit file audit audited",
            "policy.denied denied file file enforce link",
        ]
    );
    assert!(said.contains("\"fanotify permission\"") && said.contains("\"level\":\"observe\""), "{said}");
}

#[test]
fn a_stopped_listener_is_killed_and_the_exec_that_waited_is_allowed() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let denied = tmpfs.program("denied");
    let place = Place::new(tmpfs.path(), "");
    apply(&place, &rule("file", "file", &denied, "enforce"));
    let run = Run::start(&place);
    let deny = wait_for(&place, "it denies", is_denying);
    assert!(!starts(&denied));
    let pid =
        deny["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).expect("its process");
    kill_process(pid, Signal::STOP).expect("it runs");
    assert!(starts(&denied), "it waits for the watchdog, then it is allowed");
    let deny = wait_for(&place, "status says so", |deny| deny["deny"] == "none");
    assert!(deny["why"].as_str().is_some_and(|why| why.contains("no sign of life")), "{deny}");
    run.stop();
    let said = place.read("run.jsonl");
    assert!(said.lines().any(|line| line.contains("sensor.mode") && line.contains("deny: none")), "{said}");
}

#[test]
fn a_killed_listener_is_told_and_applying_again_starts_another() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let (first, second) = (tmpfs.program("first"), tmpfs.program("second"));
    let place = Place::new(tmpfs.path(), "");
    apply(&place, &rule("one", "file", &first, "enforce"));
    let run = Run::start(&place);
    let deny = wait_for(&place, "it denies", is_denying);
    let pid =
        deny["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).expect("its process");
    kill_process(pid, Signal::KILL).expect("it runs");
    let deny = wait_for(&place, "status says so", |deny| deny["deny"] == "none");
    assert!(deny["why"].as_str().is_some_and(|why| why.contains("ended")), "{deny}");
    assert!(starts(&first));

    apply(&place, &rule("two", "file", &second, "enforce"));
    wait_for(&place, "the new policy is taken up", |deny| is_denying(deny) && deny["marks"][0]["rule"] == "two");
    assert!(starts(&first) && !starts(&second));
    assert_eq!(place.run(&["policy", "unseal"]).code(), 0);
    wait_for(&place, "unsealed", serde_json::Value::is_null);
    assert!(starts(&second));
    run.stop();
}

#[test]
fn when_the_run_is_killed_nothing_waits_and_nothing_is_called_denied() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let denied = tmpfs.program("denied");
    let place = Place::new(tmpfs.path(), "");
    apply(&place, &rule("file", "file", &denied, "enforce"));
    let mut run = Run::start(&place);
    wait_for(&place, "it denies", is_denying);
    run.child.kill().expect("it runs");
    run.child.wait().expect("it ends");
    let deny = wait_for(&place, "status says so", |deny| deny["deny"] == "none");
    assert!(deny["why"].as_str().is_some_and(|why| why.contains("not running")), "{deny}");
    let started = Instant::now();
    while !starts(&denied) {
        assert!(started.elapsed() < WAIT_MAX, "the listener outlives the run");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn stopping_the_run_at_its_terminal_does_not_stop_the_listener() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let denied = tmpfs.program("denied");
    let place = Place::new(tmpfs.path(), "");
    apply(&place, &rule("file", "file", &denied, "enforce"));
    let run = Run::start(&place);
    let deny = wait_for(&place, "it denies", is_denying);
    let listener = deny["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let listener = listener.expect("its process");
    let supervisor = Pid::from_child(&run.child);
    // From /proc, where a session that began outside of this pid namespace may be 0.
    let session = |process: Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_pid())).expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        fields.split(' ').nth(3).expect("its session").to_owned()
    };
    assert_ne!(session(listener), session(supervisor), "the terminal's signals don't reach it");
    kill_process(listener, Signal::TSTP).expect("it runs");
    kill_process(supervisor, Signal::STOP).expect("it runs");
    // Should the listener be stopped too, this test fails late instead of never: its watchdog comes back to life.
    std::thread::spawn(move || {
        std::thread::sleep(WAIT_MAX);
        kill_process(supervisor, Signal::CONT)
    });
    let is_denied = (0..5).all(|_| !starts(&denied));
    kill_process(supervisor, Signal::CONT).expect("it runs");
    assert!(is_denied, "it answers with nobody watching");
    run.stop();
}
