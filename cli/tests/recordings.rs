//! The shipped rules over what ordinary machines do: recordings of our own (`rules/recordings/`), replayed in the real engine. An alert
//! that somebody must look at today, on a package that is installed or a log that is turned, is how a rule ends up switched off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{json, Value};

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

/// Names of the recordings, and the least events that each has.
const RECORDINGS: [(&str, u64); 5] =
    [("package-install", 200), ("compile", 100), ("container-start", 100), ("cron-night", 80), ("login", 100)];

/// Largest recording: they are kept with the source.
const SIZE_BYTES_MAX: u64 = 300_000;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/recordings").join(format!("{name}.jsonl"))
}

/// The factory pack as a file.
fn factory() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let pack = folder.path().join("factory.pack");
    fs::write(&pack, watertight_rules::factory_pack()).expect("a file");
    (folder, pack)
}

fn replay(pack: &Path, events: &Path) -> Value {
    let mut command = Command::new(BINARY);
    command.args(["content", "replay", "-o", "json"]).arg(pack).arg("--events").arg(events).stdin(Stdio::null());
    let output = command.output().expect("our own executable starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_shipped_rules_raise_nothing_high_on_what_ordinary_machines_do() {
    let (_folder, pack) = factory();
    for (name, events_min) in RECORDINGS {
        let replayed = replay(&pack, &path(name));
        assert!(replayed["events"].as_u64() >= Some(events_min), "{name}: {} events", replayed["events"]);
        let alerts: Vec<&Value> =
            replayed["rules"].as_array().expect("a list").iter().filter(|row| row["alerts"] != json!(0)).collect();
        for row in alerts {
            assert!(!["high", "critical"].map(Value::from).contains(&row["level"]), "{name}: {row}");
        }
    }
}

#[test]
fn the_same_recording_costs_the_same_each_time() {
    let (_folder, pack) = factory();
    let [first, second] = [0, 1].map(|_| replay(&pack, &path("compile")));
    assert_eq!((&first["rules"], &first["work"]), (&second["rules"], &second["work"]));
    assert!(first["work"].as_u64() > Some(0));
}

#[test]
fn recordings_are_small_and_tell_nothing_of_the_machine_that_they_were_made_on() {
    for (name, _) in RECORDINGS {
        let text = fs::read_to_string(path(name)).expect("it lies there");
        assert!(text.len() as u64 <= SIZE_BYTES_MAX, "{name}: {} bytes", text.len());
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(event["process"]["cgroup"], Value::Null, "{name}");
            assert!(
                event["process"]["user"].is_null()
                    || ["root", "dev", "daemon", "nobody"].map(Value::from).contains(&event["process"]["user"]),
                "{name}: {line}"
            );
        }
        assert!(!text.contains("\"/demo"), "{name}");
    }
}
