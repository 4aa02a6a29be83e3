//! The commands of `docs/fleet.md` run as they stand.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

#[test]
fn every_command_of_the_page_on_the_fleet_runs() {
    let page = include_str!("../../../docs/fleet.md");
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.concat().contains("server token"), "the page lost its commands");
    let dir = tempfile::tempdir().expect("a folder");
    // What `watertight server` does: the executable beside it, with the same arguments.
    let name = dir.path().join("watertight");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = server ] || exit 2\nshift\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_watertight-server")
    );
    std::fs::write(&name, script).expect("a script");
    std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
    let done = Command::new("sh")
        .args(["-euc", &blocks.concat()])
        .env("PATH", path)
        .current_dir(dir.path())
        .output()
        .expect("a shell");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect(name);
    let ready: serde_json::Value = serde_json::from_str(&read("ready.json")).expect("one line of JSON");
    for name in ["url", "ca", "content", "admin_token_file"] {
        assert!(ready[name].is_string() && page.contains(&format!("`{name}`")), "{name} in {ready}");
    }
    assert!(read("token").starts_with("wt-enrol-"));
}
