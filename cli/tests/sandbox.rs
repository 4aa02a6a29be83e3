//! The detector's sandbox, tried on this kernel: each forbidden thing ends the process and never happens.

use std::os::unix::process::ExitStatusExt as _;
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
