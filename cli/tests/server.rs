//! `watertight server` is the executable beside this one, and nothing of it is in this one.

use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

#[test]
fn the_server_is_the_executable_beside_this_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let here = dir.path().join("watertight");
    std::fs::copy(BINARY, &here).expect("a copy");
    let run = || Command::new(&here).args(["server", "run", "--state", "x"]).output().expect("the command");

    let done = run();
    let words = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1));
    assert!(words.contains("install the watertight-server of this version there"), "{words}");

    let server = dir.path().join("watertight-server");
    std::fs::write(&server, "#!/bin/sh\necho \"$@\"\nexit 7\n").expect("a program");
    std::fs::set_permissions(&server, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
    let done = run();
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stdout).trim()), (Some(7), "run --state x"));
}
