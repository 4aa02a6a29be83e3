//! Content for the sensor's part in the kernel that this kernel has no place for: it would not load, or worse.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use watertight_content_pack::layout::Section;
use watertight_host::worker::sandbox::call_name;

use super::place::Host;
use super::raw::{good_pack, parts, sealed};

/// The section after the last that a pack has.
const PROGRAMS: u32 = 5;

/// A pack with a program for the kernel in a section of its own: an ELF object for the BPF machine, as a compiler begins one.
fn with_a_program() -> Vec<u8> {
    let mut object = b"\x7fELF\x02\x01\x01".to_vec();
    object.resize(64, 0);
    (object[16], object[18]) = (1, 247);
    let whole = good_pack(None);
    let mut sections: Vec<(u32, Vec<u8>)> =
        Section::ALL.iter().map(|section| *section as u32).zip(parts(&whole)).collect();
    assert_eq!(sealed(&sections), whole, "but for the program it is right");
    sections.push((PROGRAMS, object));
    sealed(&sections)
}

#[test]
fn a_pack_alone_has_no_place_for_a_program_of_the_kernel() {
    Host::new().refuses(&with_a_program(), &["directory"]);
}

#[test]
fn who_has_the_content_alone_may_load_nothing_into_the_kernel() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    let output = command.args(["worker", "confined", "bpf"]).env_clear().output().expect("our own executable starts");
    assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{output:?}");
    let named = String::from_utf8_lossy(&output.stderr).lines().find_map(call_name);
    assert_eq!(named.as_deref(), Some("bpf"));
}

#[test]
fn a_run_without_its_hooks_alone_takes_what_there_is_and_says_what_is_missing() {
    let host = Host::new();
    assert_eq!(host.install(&good_pack(None)).code, Some(0));
    let run = host.run(&[]);
    let matrix = run.until(|line| line["kind"] == "matrix");
    assert!(matrix["degraded"].as_str().is_some_and(|why| !why.is_empty()), "{matrix}");
    let rows = matrix["rows"].as_array().expect("a list");
    let is_missing = |row: &&serde_json::Value| row["source"] == "none";
    let missing: Vec<_> = rows.iter().filter(is_missing).collect();
    assert!(!missing.is_empty(), "there is no other source for some classes: {matrix}");
    assert!(missing.iter().all(|row| row["mend"].as_str().is_some_and(|mend| !mend.is_empty())), "{matrix}");
    assert_eq!(run.detector().1["slot"], "candidate", "the rules work on what there is");
    let (summary, code) = run.end();
    assert_eq!((code, &summary["detector_deaths"]), (Some(3), &0.into()), "it is not called well: {summary}");
}
