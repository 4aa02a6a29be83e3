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

/// What no ordinary machine does, over half a minute.
const DROPPER: &str = "dropper";

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

/// The ids of the rules that alert on these lines, in the order of ids.
fn alerting(pack: &Path, lines: &[&str]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), format!("{}\n", lines.join("\n"))).expect("our own file");
    let replayed = replay(pack, file.path());
    let rows = replayed["rules"].as_array().expect("a list").iter().filter(|row| row["alerts"] != json!(0));
    let mut ids: Vec<String> = rows.map(|row| row["rule"].as_str().expect("an id").to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn shipped_sequences_fire_on_a_recording_whose_steps_lie_many_seconds_apart_and_not_without_their_first_step() {
    const WRITTEN_AND_RUN: &str = "5b0f2f4e-6b1c-4f0e-9c3e-7d1f0c7a4e02";
    const DELETED_ONCE_STARTED: &str = "5b0f2f4e-6b1c-4f0e-9c3e-7d1f0c7a4e03";
    const APART_NS_MIN: u64 = 20_000_000_000;
    let (_folder, pack) = factory();
    let text = fs::read_to_string(path(DROPPER)).expect("it lies there");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(alerting(&pack, &lines), [WRITTEN_AND_RUN, DELETED_ONCE_STARTED]);
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let at = |kind: &str, member: &str| {
        let is = |event: &&Value| event["kind"] == kind && event.pointer(member) == Some(&json!("/tmp/update"));
        events.iter().find(is).map(|event| event["boot_ns"].as_u64().expect("a time")).expect("it was recorded")
    };
    let (written_ns, run_ns) = (at("file.create", "/file/path"), at("process.exec", "/process/executable"));
    assert!(run_ns - written_ns > APART_NS_MIN, "{} ns", run_ns - written_ns);
    // The same half minute without the write, and with so late a start that it is no longer one sequence.
    let without: Vec<&str> = lines.iter().copied().filter(|line| !line.contains("\"file.create\"")).collect();
    assert!(without.len() < lines.len());
    assert_eq!(alerting(&pack, &without), [DELETED_ONCE_STARTED]);
    let later: Vec<String> = events.iter().map(|event| delayed(event, run_ns, 10_000_000_000)).collect();
    let later: Vec<&str> = later.iter().map(String::as_str).collect();
    assert_eq!(alerting(&pack, &later), [DELETED_ONCE_STARTED]);
}

/// The event, so much later if it is not before this time.
fn delayed(event: &Value, from_ns: u64, by_ns: u64) -> String {
    let mut event = event.clone();
    let at_ns = event["boot_ns"].as_u64().expect("a time");
    event["boot_ns"] = json!(if at_ns >= from_ns { at_ns + by_ns } else { at_ns });
    // Else that would count.
    event.as_object_mut().expect("an event").remove("time");
    event.to_string()
}

#[test]
fn the_same_recording_costs_the_same_each_time() {
    let (_folder, pack) = factory();
    // But for the time, which is the machine's.
    let counted = |replayed: &Value| {
        let mut rules = replayed["rules"].as_array().expect("a list").clone();
        rules.iter_mut().for_each(|row| row["ns_per_event"] = Value::Null);
        rules
    };
    let [first, second] = [0, 1].map(|_| replay(&pack, &path("compile")));
    assert_eq!((counted(&first), &first["work"]), (counted(&second), &second["work"]));
    assert!(first["work"].as_u64() > Some(0));
}

#[test]
fn recordings_are_small_and_tell_nothing_of_the_machine_that_they_were_made_on() {
    for name in RECORDINGS.map(|(name, _)| name).into_iter().chain([DROPPER]) {
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
