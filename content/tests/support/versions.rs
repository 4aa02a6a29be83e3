//! What each version of the image is known by: a pack that the compiler of its time made, events, and the verdicts of that time.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use watertight_content::sigma::detect::Detector;
use watertight_engine::Image;

/// The pack of a version.
pub const PACK: &str = "rules.pack";
/// Events, one a line.
pub const EVENTS: &str = "events.jsonl";
/// What fired on them, one a line.
pub const VERDICTS: &str = "verdicts.jsonl";

/// Where the versions lie, each in a folder of its number.
pub fn versions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/versions")
}

/// What an image says of the events of a folder, as it is committed.
pub fn verdicts(image: Image<'_>, folder: &Path) -> String {
    let mut detector = Detector::new(image);
    let mut verdicts = String::new();
    let mut tell = |hits: Vec<watertight_content::sigma::detect::Hit>| {
        for hit in hits {
            let count = hit.led.map(|led| (led.count, led.is_by_clock));
            let line = json!({ "event": hit.event, "rule": hit.rule, "correlation": count });
            verdicts.push_str(&format!("{line}\n"));
        }
    };
    for line in fs::read_to_string(folder.join(EVENTS)).expect("events").lines() {
        tell(detector.line(line, false).expect("an event"));
    }
    tell(detector.end());
    verdicts
}
