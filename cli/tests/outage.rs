//! July 2024, played to a real fleet on this machine: `fleet/outage`. Within the debug build of these tests content can kill the engine.

use std::path::Path;

use watertight_outage::{picture, play, Scene, Setting, Timeline};

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/recordings/cron-night.jsonl");
/// Real agents, each with a process tree of its own.
const HOSTS: usize = 40;

#[test]
fn content_that_kills_hurts_the_first_cohort_at_most_whatever_else_goes_wrong() {
    if !Path::new(BINARY).with_file_name("watertight-server").exists() {
        println!("skipped: no watertight-server beside the command");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let setting = Setting {
        watertight: BINARY.into(),
        folder: folder.path().to_owned(),
        recording: RECORDING.into(),
        hosts: HOSTS,
        scenes: Scene::ALL.to_vec(),
    };
    let timeline = Timeline::new(|words| println!("{words}"));
    play(&setting, &timeline).expect("each scene ends as it must");
    let notes = timeline.notes();
    for words in ["complete: all 40 hosts", "green: ", "halted in stage "] {
        assert!(notes.iter().any(|note| note.words.contains(words)), "{words}: {notes:?}");
    }
    let greens = notes.iter().filter(|note| note.words.starts_with("green: ")).count();
    assert_eq!(greens, Scene::ALL.len() - 1, "every scene but that of good content ends green");
    let drawn = picture(&timeline).svg();
    assert!(drawn.contains("content that kills the engine") && drawn.matches("<rect").count() > HOSTS, "{drawn}");
}
