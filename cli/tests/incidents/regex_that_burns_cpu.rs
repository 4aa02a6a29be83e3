//! One expression that costs all processor time: on a backtracking engine `.*.*=.*` does, here one with too many states would.

use serde_json::json;
use watertight_content::sigma::{load_texts, JsonEvent, Slots, Source};
use watertight_content_pack::layout::Section;
use watertight_engine::image::layout::Header;
use watertight_engine::image::PROGRAM_STEPS_MAX;
use watertight_engine::{Image, Limits, LogSource, Scratch, VALUE_BYTES_MAX};
use zerocopy::FromBytes as _;

use super::live::sees;
use super::place::{Desk, Host};
use super::raw::{image_without_the_compilers_check, pack_of, pack_on_file, rule, with};

/// The expression of 2 July 2019, in short.
const OF_2019: &str = r#"CommandLine|re: '(?:(?:"|\]|\}|\\|\d|(?:nan|infinity|true|false|null|undefined|symbol|math)|`|-|\+)+[)]*;?((?:\s|-|~|!|\{\}|\|\||\+)*.*(?:.*=.*)))'"#;
/// Repeated a thousand times a thousand times.
const TOO_LARGE: &str = "CommandLine|re: '([a-z]{1000}){1000}x'";
/// The most that the compiler lets through: no table, no literal that announces it.
const COSTLY: &str = "CommandLine|re: '[a-y]{0,200}[b-z]{0,200}[a-x]{200}0'";

/// Its work on a command line of this many bytes, and what was given up.
fn work(selection: &str, bytes: usize) -> (u64, Limits) {
    let mut library = load_texts([Source { file: "museum.yml", text: &rule(selection) }]);
    assert!(library.rejections.is_empty(), "{:?}", library.rejections);
    let image = library.image().expect("it compiles");
    let image = Image::open(&image).expect("compiled here");
    let plan = image.plan(&LogSource { category: Some("process_creation"), product: Some("linux"), service: None });
    let event = json!({ "CommandLine": format!("\"{}", "x".repeat(bytes)) });
    let mut scratch = Scratch::counting();
    let limits = plan.evaluate(&JsonEvent::new(&event, &Slots::of(&image)), &mut scratch, &mut |_| {});
    (scratch.tally().expect("it counts").costs().first().map_or(0, |cost| cost.work), limits)
}

#[test]
fn the_compiler_alone_refuses_what_is_too_large_by_file_and_line() {
    Desk::new(&rule(TOO_LARGE), "{CommandLine: x}").refuses(&["rule.yml:6", "1000"]);
}

#[test]
fn the_check_of_the_image_alone_refuses_who_allows_himself_more() {
    let mut image = image_without_the_compilers_check(&rule(COSTLY));
    let pack = pack_of(&image, &[("CommandLine", &format!("{}0", "b".repeat(200)))], None);
    let host = Host::new();
    assert_eq!(host.install(&pack).code, Some(0), "within the budget it is taken");
    let (header, _) = Header::mut_from_prefix(&mut image).expect("an image");
    header.budget.program_steps_max = (PROGRAM_STEPS_MAX + 1).into();
    let whole = with(&pack, Section::Image, |bytes| *bytes = image);
    host.refuses(&whole, &["budget"]);
}

#[test]
fn the_engine_alone_takes_time_in_proportion_and_gives_up_beyond_the_budget() {
    // Twice the input is twice the work and no more, and all of it is decided.
    let ((small, limits), (large, _)) = (work(OF_2019, 10_000), work(OF_2019, 20_000));
    assert!(small > 0 && large <= 2 * small + 100, "{small} and {large}");
    assert_eq!(limits, Limits::default());
    // The costliest that the compiler takes is given up within the budget, and counted.
    let (_, limits) = work(COSTLY, VALUE_BYTES_MAX - 2);
    assert_eq!(limits.undecided_rules, 1, "{limits:?}");
}

#[test]
fn the_heartbeat_alone_ends_what_spins_all_the_same_and_what_was_before_is_back() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    // No rule that the engine takes spins; this one does in builds for tests, when it fires.
    let pack = pack_on_file("museum", "fault-spin", "wt-museum-spin");
    let host = Host::new();
    assert_eq!(host.install(&pack).code, Some(0));
    let run = host.run(&["--trial", "1h"]);
    assert_eq!(run.detector().1["slot"], "candidate");
    host.touch_until("wt-museum-spin", || host.is_in_quarantine(&pack));
    let cause = host.slots()["quarantine"][0]["cause"].to_string();
    assert!(cause.contains("made no progress"), "{cause}");
    run.until(|line| line["kind"] == "content" && line["slot"] == "factory");
    run.end();
}
