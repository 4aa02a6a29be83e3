//! Two runs, and somebody who removes what a run has pinned. In a mount namespace of their own, where the kernel's programs are
//! pinned for nobody else; on a kernel that refuses them, or without root, there is nothing to try.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
const PINS: &str = "/sys/fs/bpf/watertight";
/// How long a run may take to begin or to end, on a machine that is busy.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// Runs a shell script in a mount namespace of its own, with a bpffs of its own; `None` where that is not allowed.
fn in_namespace(script: &str, state: &Path) -> Option<Output> {
    let loader = Path::new(BINARY).with_file_name("watertight-loader");
    if !rustix::process::geteuid().is_root() || !loader.exists() {
        println!("skipped: root and a built watertight-loader are needed");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c"]);
    command.arg(format!("mount -t bpf bpf /sys/fs/bpf || exit 99\n{script}"));
    command.env("BINARY", BINARY).env("STATE", state).env("PINS", PINS).stdin(Stdio::null()).process_group(0);
    let output = command.output().expect("unshare is there");
    (output.status.code() != Some(99)).then_some(output)
}

/// Waits in a script until a run has said what it is.
const BEGUN: &str = r#"
begun() { for i in $(seq 600); do grep -q '"worker":"detector"' "$1" && return; sleep 0.1; done; echo "$1 does not begin"; exit 1; }
"#;

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("what it printed");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_run_with_a_state_folder_of_its_own_does_not_take_the_programs_of_another() {
    let state = TempDir::new().expect("a folder");
    let script = format!(
        r#"{BEGUN}
"$BINARY" run -o json --observe --state "$STATE/a" >"$STATE/a.out" 2>"$STATE/a.err" & first=$!
begun "$STATE/a.out"
"$BINARY" run -o json --observe --for 1s --state "$STATE/b" >"$STATE/b.out" 2>"$STATE/b.err"; echo "second $?"
echo "first $first"; ls "$PINS"/*/links 2>/dev/null | wc -l
kill -INT $first; wait $first"#
    );
    let began = Instant::now();
    let Some(output) = in_namespace(&script, state.path()) else { return };
    assert!(began.elapsed() < LIFE_MAX * 2, "it hung");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = std::fs::read_to_string(state.path().join("b.err")).expect("what the second said");
    let first = said.lines().find_map(|line| line.strip_prefix("first ")).expect("the first's number");
    let links: usize = said.lines().last().and_then(|count| count.trim().parse().ok()).expect("a count");
    if links == 0 {
        return println!("skipped: this kernel admits no program");
    }
    assert!(said.contains("second 1"), "{said} {words}");
    assert!(words.contains(&format!("another `watertight run` is at work: process {first} ")), "{words}");
}

#[test]
fn pins_that_somebody_removes_are_told_and_make_the_run_a_part_of_one() {
    let state = TempDir::new().expect("a folder");
    let script = format!(
        r#"{BEGUN}
"$BINARY" run -o json --observe --state "$STATE/a" >"$STATE/a.out" 2>"$STATE/a.err" & first=$!
begun "$STATE/a.out"
rm "$PINS"/*/links/task_exec || exit 98
for i in $(seq 600); do grep -q '"kind":"sensor.gap"' "$STATE/a.out" && break; sleep 0.1; done
kill -INT $first; wait $first; echo "first $?""#
    );
    let Some(output) = in_namespace(&script, state.path()) else { return };
    if output.status.code() == Some(98) {
        return println!("skipped: this kernel admits no program");
    }
    let told = lines(&state.path().join("a.out"));
    let gap = told.iter().find(|line| line["kind"] == "sensor.gap").expect("the event that tells it");
    assert!(gap["message"].as_str().is_some_and(|message| message.contains("task_exec")), "{gap}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("first 3"), "{output:?}");
}
