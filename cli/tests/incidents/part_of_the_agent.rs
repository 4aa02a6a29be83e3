//! A change of configuration after which only part of the agent lives, and the rest says that all is well.

use std::time::Duration;

use rustix::process::{kill_process, test_kill_process, Pid, Signal};
use watertight_host::slots::ContentId;

use super::live::{sees, Run};
use super::place::Host;
use super::raw::pack_on_file;

/// What the rule fires on.
const FILE: &str = "wt-museum-part";

/// How long a part may stand still.
const HANG: Duration = Duration::from_secs(10);

/// Ends the detector when it fires (in builds for tests).
fn kills_when_it_fires() -> Vec<u8> {
    pack_on_file("museum", "fault-abort", FILE)
}

/// Ends whoever makes an image of it.
fn kills_whoever_loads_it() -> Vec<u8> {
    pack_on_file("fault-abort", "Museum", FILE)
}

#[test]
fn the_loader_that_goes_first_alone_dies_of_it_and_every_other_part_goes_on_as_before() {
    if !cfg!(debug_assertions) {
        return;
    }
    let host = Host::new();
    let run = host.run(&[]);
    let (detector, content) = run.detector();
    let said = host.install(&kills_whoever_loads_it());
    assert!(said.code == Some(5) && said.words.contains("SIGABRT"), "{}", said.words);
    assert!(rustix::process::test_kill_process(detector).is_ok(), "the detector that was there is there");
    let (summary, _) = run.end();
    assert_eq!((&summary["detector_deaths"], &summary["content_changes"]), (&0.into(), &0.into()), "{summary}");
    assert_eq!(summary["content"]["id"], content["id"], "nothing of it came into force");
}

#[test]
fn the_supervisor_alone_misses_the_part_that_died_brings_it_back_and_says_so() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    let (host, pack) = (Host::new(), kills_when_it_fires());
    host.place(&pack); // past the loader that would have gone first
    let run = host.run(&["--trial", "1h"]);
    let (first, content) = run.detector();
    assert_eq!(content["id"], ContentId::of(&pack).to_string().as_str());
    host.touch_until(FILE, || host.is_in_quarantine(&pack));
    run.until(|line| line["kind"] == "content" && line["slot"] == "factory");
    let (mut is_told, mut is_back) = (false, false);
    while !(is_told && is_back) {
        let line = run.until(|line| line["kind"] == "sensor.gap" || line["kind"] == "sandbox");
        is_told |= line["kind"] == "sensor.gap" && line["message"].to_string().contains("SIGABRT");
        is_back |= line["worker"] == "detector" && line["pid"] != first.as_raw_nonzero().get();
    }
    // All of it lives: what happens on this machine comes through sources, reader and detector.
    let file = host.path("wt-museum-alive");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                super::live::touch(&file);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        run.until(|line| {
            line["kind"].as_str().is_some_and(|kind| kind.starts_with("file."))
                && line.to_string().contains("wt-museum-alive")
        });
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let (summary, code) = run.end();
    assert_eq!((summary["detector_deaths"].as_u64(), code), (Some(2), Some(3)), "it is not called well: {summary}");
}

/// The sources of a run that begins.
fn sources_of(run: &Run) -> Pid {
    let line = run.until(|line| line["kind"] == "sandbox" && line["worker"] == "sources");
    let pid = line["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw).expect("a process id")
}

#[test]
fn a_part_that_hangs_is_no_part_that_lives() {
    let host = Host::new();
    let run = host.run(&[]);
    let (sources, (detector, _)) = (sources_of(&run), run.detector());
    for (part, pid) in [("sources", sources), ("detector", detector)] {
        kill_process(pid, Signal::STOP).expect("it runs");
        let gap = run.until(|line| line["kind"] == "sensor.gap" && line["of"] == part);
        assert!(gap["message"].as_str().is_some_and(|words| words.contains("made no progress")), "{gap}");
    }
    run.end();
}

#[test]
fn a_part_that_has_nothing_to_tell_or_nobody_who_listens_is_not_taken_for_dead() {
    let host = Host::new();
    let run = host.run(&[]);
    let (sources, (detector, _)) = (sources_of(&run), run.detector());
    std::thread::sleep(HANG + HANG / 2);
    // While the detector stands still, the pipe to it fills.
    kill_process(detector, Signal::STOP).expect("it runs");
    host.touch_until(FILE, || detector_is_ended(detector));
    let gap = run.until(|line| line["kind"] == "sensor.gap");
    assert_eq!(gap["of"], "detector", "{gap}");
    assert!(test_kill_process(sources).is_ok(), "the sources that were there are there");
    run.end();
}

fn detector_is_ended(detector: Pid) -> bool {
    test_kill_process(detector).is_err()
}
