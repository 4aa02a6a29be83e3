//! The sandboxes of detector and uplink, tried on this kernel: each forbidden thing ends the process or is refused, and never happens.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use watertight_host::worker::sandbox::{call_name, Sandbox};

fn confined(call: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watertight"))
        .args(["worker", "confined", call])
        .env_clear()
        .output()
        .expect("our own executable starts")
}

fn forbidden(output: &Output) -> Option<String> {
    assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{output:?}");
    String::from_utf8_lossy(&output.stderr).lines().find_map(call_name)
}

#[test]
fn what_the_detector_needs_is_allowed_and_what_holds_it_is_told() {
    let output = confined("nothing");
    assert!(output.status.success(), "{output:?}");
    let sandbox: Sandbox = serde_json::from_slice(&output.stdout).expect("the sandbox as JSON");
    assert!(sandbox.capabilities.is_empty(), "{sandbox}");
    assert!(!rustix::process::geteuid().is_root() || sandbox.bounding == 0, "{sandbox:?}");
    assert!(sandbox.calls > 0 && sandbox.calls <= 30, "{sandbox}");
    assert!(!sandbox.landlock.is_empty(), "{sandbox}");
    assert_ne!(sandbox.uid, 0, "{sandbox}");
    assert!(!rustix::process::geteuid().is_root() || (61_184..=65_519).contains(&sandbox.uid), "{sandbox}");
}

#[test]
fn a_detector_that_opens_a_file_is_ended_and_the_call_is_named() {
    assert_eq!(forbidden(&confined("open")).as_deref(), Some("openat"));
}

#[test]
fn a_detector_that_makes_a_socket_is_ended_and_the_call_is_named() {
    assert_eq!(forbidden(&confined("socket")).as_deref(), Some("socket"));
}

#[test]
fn a_detector_that_makes_memory_executable_is_ended() {
    assert_eq!(forbidden(&confined("code")).as_deref(), Some("mmap"));
}

#[test]
fn a_detector_that_types_into_the_terminal_is_ended() {
    assert_eq!(forbidden(&confined("type")).as_deref(), Some("ioctl"));
}

#[test]
fn a_detector_that_signals_another_process_is_ended() {
    assert_eq!(forbidden(&confined("kill")).as_deref(), Some("kill"));
}

#[test]
fn a_detector_that_starts_a_program_is_ended() {
    // The C library blocks every signal before it makes the child: the kernel then ends the process without the handler.
    forbidden(&confined("exec"));
}

#[test]
fn a_detector_that_takes_memory_without_end_ends_alone() {
    let output = confined("memory");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
}

#[test]
fn a_detector_that_touches_memory_that_is_not_there_dies_of_that_and_of_no_call() {
    let output = confined("touch");
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().find_map(call_name), None, "{output:?}");
}

/// As the uplink, whose folder this is.
fn uplink(folder: &Path, call: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watertight"))
        .args(["worker", "confined", "--uplink"])
        .args(call)
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("our own executable starts")
}

fn sandbox(output: &Output) -> Sandbox {
    serde_json::from_slice(&output.stdout).expect("the sandbox as JSON")
}

#[test]
fn an_uplink_keeps_files_in_its_folder_which_becomes_its_own_and_stays_so() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("spool")).expect("a folder");
    let mut before = None;
    for name in ["host.key", "spool/one.batch"] {
        std::fs::write(dir.path().join(name), name).expect("a file");
    }
    for _ in 0..2 {
        let output = uplink(dir.path(), &["keep"]);
        assert!(output.status.success(), "{output:?}");
        let sandbox = sandbox(&output);
        assert!(sandbox.capabilities.is_empty() && sandbox.uid != 0 && sandbox.calls > 0, "{sandbox}");
        for name in ["", "host.key", "spool", "spool/one.batch"] {
            let of = std::fs::metadata(dir.path().join(name)).expect("there").uid();
            assert_eq!(of, sandbox.uid, "{name}");
        }
        assert!(before.is_none_or(|before| before == sandbox.uid), "it stays the same user's: {sandbox}");
        before = Some(sandbox.uid);
    }
}

#[test]
fn an_uplink_reads_no_file_outside_of_its_folder_also_one_that_everybody_may_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let (own, other) = (dir.path().join("own"), dir.path().join("other"));
    for folder in [&own, &other] {
        std::fs::create_dir(folder).expect("a folder");
        std::fs::write(folder.join("file"), "text").expect("a file");
    }
    for path in [dir.path(), &other] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("everybody's");
    }
    let file = other.join("file");
    let output = uplink(&own, &["open", "--file", file.to_str().expect("a name")]);
    if sandbox(&output).landlock.starts_with("none") {
        println!("skipped: {}", sandbox(&output).landlock);
        return;
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(words.contains("it is refused") && words.contains("Permission denied"), "{words}");
    let words = String::from_utf8_lossy(&uplink(&own, &["open", "--file", "file"]).stderr).into_owned();
    assert!(words.contains("this process still runs"), "its own it may: {words}");
}

#[test]
fn an_uplink_that_starts_a_program_signals_others_or_makes_a_link_is_ended() {
    let dir = tempfile::tempdir().expect("a folder");
    forbidden(&uplink(dir.path(), &["exec"])); // as above
    assert_eq!(forbidden(&uplink(dir.path(), &["kill"])).as_deref(), Some("kill"));
    assert_eq!(forbidden(&uplink(dir.path(), &["code"])).as_deref(), Some("mmap"));
    forbidden(&uplink(dir.path(), &["link"]));
    assert!(!dir.path().join("link").exists());
    assert!(!uplink(dir.path(), &["socket"]).status.success(), "it may have one, and says that it has");
}
