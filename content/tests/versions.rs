//! Content that came out stays readable: what the compiler of each supported version of the image made is committed, opens in this
//! engine, and says of its events what it said then.
//!
//! `content/README.md` tells how a version is added.

#![allow(clippy::panic)] // a test's panic is its verdict

#[path = "support/versions.rs"]
mod kept;

use std::collections::BTreeSet;
use std::fs;

use kept::{verdicts, versions, PACK, VERDICTS};
use watertight_content_pack::{Kind, Pack};
use watertight_engine::image::layout::{OLDEST_VERSION, VERSION};

/// How many versions before the one at hand an engine still reads.
const OLDER_VERSIONS: u32 = 1;

fn supported() -> impl Iterator<Item = u32> {
    VERSION.saturating_sub(OLDER_VERSIONS).max(1)..=VERSION
}

fn pack_of(version: u32) -> Vec<u8> {
    let file = versions().join(version.to_string()).join(PACK);
    fs::read(&file).unwrap_or_else(|error| {
        let mend = "cargo run -p watertight-content --example version_pack";
        panic!("{error}: version {version} of the image has no pack of its own: write its sources, then `{mend}`")
    })
}

#[test]
fn a_pack_of_every_supported_version_is_committed_and_of_no_version_to_come() {
    let there: BTreeSet<u32> = fs::read_dir(versions())
        .expect("the folder")
        .map(|entry| {
            entry.expect("a folder").file_name().to_str().and_then(|name| name.parse().ok()).expect("a number")
        })
        .collect();
    for version in supported() {
        assert!(there.contains(&version), "version {version} of the image is supported and has no folder");
    }
    assert!(there.iter().all(|version| *version <= VERSION), "{there:?}, this engine reads {VERSION}");
}

#[test]
fn every_supported_version_opens_in_this_engine_and_its_canaries_come_out_as_they_must() {
    for version in supported() {
        let bytes = pack_of(version);
        let pack = Pack::open(&bytes).unwrap_or_else(|error| panic!("version {version}: {error}"));
        let test = pack.self_test().unwrap_or_else(|error| panic!("version {version}: {error}"));
        // The first version came out before every rule had to be tried both ways.
        let silent = if version == 1 { 2 } else { 7 };
        assert_eq!((test.canaries, test.fired, test.silent), (7 + silent, 7, silent), "version {version}");
        let documents: Vec<Kind> = pack.documents().map(|document| document.kind).collect();
        assert_eq!(documents.len(), 8, "version {version}");
        assert_eq!(pack.policy().map(|policy| policy.rules.len()), Some(5), "version {version}");
    }
}

/// A new layout that kept the engine's number would be signed and rolled out to engines that can't load it.
#[test]
fn the_engine_has_the_number_of_the_layout_that_it_reads_and_every_pack_says_so() {
    assert_eq!((watertight_engine::VERSION, watertight_engine::OLDEST_VERSION), (VERSION, OLDEST_VERSION));
    assert_eq!((supported().min(), supported().max()), (Some(OLDEST_VERSION), Some(VERSION)));
    for version in supported() {
        let bytes = pack_of(version);
        let pack = Pack::open(&bytes).expect("the test before says why not");
        assert_eq!((pack.rules().layout(), pack.manifest().engines.min), (version, version));
    }
}

#[test]
fn every_supported_version_says_of_its_events_what_it_said_when_it_came_out() {
    for version in supported() {
        let folder = versions().join(version.to_string());
        let bytes = pack_of(version);
        let pack = Pack::open(&bytes).expect("the test before says why not");
        let then = fs::read_to_string(folder.join(VERDICTS)).expect("verdicts");
        assert!(then.lines().count() > 20, "they would prove little");
        assert_eq!(verdicts(pack.rules(), &folder), then, "version {version}");
    }
}

#[test]
fn every_rule_of_a_version_fires_on_some_of_its_events_and_none_on_all() {
    for version in supported() {
        let folder = versions().join(version.to_string());
        let bytes = pack_of(version);
        let pack = Pack::open(&bytes).expect("the test before says why not");
        let then = fs::read_to_string(folder.join(VERDICTS)).expect("verdicts");
        let events = fs::read_to_string(folder.join(kept::EVENTS)).expect("events").lines().count();
        for document in pack.documents().filter(|document| document.kind != Kind::Filter) {
            let hits = then.lines().filter(|line| line.contains(document.id)).count();
            assert!(hits > 0 && hits < events, "version {version}, {}: {hits} of {events}", document.id);
        }
    }
}
