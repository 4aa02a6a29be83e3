//! A rule that asks for a field which the sensor does not supply: 21 were declared, 20 came, and whoever read the 21st read beyond.

use watertight_content::sigma::{load_texts, JsonEvent, Slots, Source};
use watertight_content_pack::layout::Section as PackSection;
use watertight_engine::image::layout::{Range, RuleRecord, Section};
use watertight_engine::{Image, Limits, LogSource, Scratch};
use watertight_host::worker::rules;

use super::place::{Desk, Host};
use super::raw::{good_pack, image_without_the_compilers_check, pack_of, records, rule, with, RULE};

/// The 21st field: no event of this sensor has it.
const FIELD: &str = "PipeName21";

fn asks_for_it() -> String {
    rule(&format!("{FIELD}|endswith: pipe"))
}

/// The rule as an image that does not even tell what it asks for.
fn image_that_tells_nothing() -> Vec<u8> {
    let mut image = image_without_the_compilers_check(&asks_for_it());
    records::<RuleRecord>(&mut image, Section::Rules)[0].asks = Range::default();
    image
}

#[test]
fn the_compiler_alone_refuses_it_by_rule_field_and_line() {
    Desk::new(&asks_for_it(), &format!("{{{FIELD}: a/pipe}}")).refuses(&[RULE, FIELD, "rule.yml:6"]);
}

#[test]
fn the_host_alone_refuses_it_by_rule_field_and_line() {
    let image = image_without_the_compilers_check(&asks_for_it());
    let pack = pack_of(&image, &[(FIELD, "a/pipe")], None);
    Host::new().refuses(&pack, &[RULE, FIELD, "line 6", "not supplied"]);
}

#[test]
fn the_host_alone_refuses_rules_for_any_sensor_by_what_they_are() {
    // As `detect` compiles them: nobody asked whether this host supplies what they ask for, and the image says so itself.
    let mut library = load_texts([Source { file: "museum.yml", text: &rule("Image|endswith: /museum") }]);
    let foreign = library.image().expect("it compiles for any sensor");
    let pack = with(&good_pack(None), PackSection::Image, |bytes| *bytes = foreign);
    Host::new().refuses(&pack, &["were not compiled for this sensor's events", "watertight content build"]);
}

/// The same field where a sequence is grouped by it: no question of a stage asks for it.
fn grouped_by_it() -> String {
    let stage = |name: &str, category: &str, field: &str| {
        format!(
            "    - name: {name}\n      logsource: {{product: linux, category: {category}}}\n      \
             detection: {{s: {{{field}|endswith: /museum}}, condition: s}}\n"
        )
    };
    let stages = stage("write", "file_event", "TargetFilename") + &stage("run", "process_creation", "Image");
    let head = format!("title: Museum\nid: {RULE}\ncorrelation:\n  type: temporal_ordered\n  timespan: 30s\n");
    format!("{head}  group-by: [{FIELD}]\n  stages:\n{stages}")
}

#[test]
fn the_compiler_alone_refuses_a_sequence_that_is_grouped_by_it() {
    let desk = Desk::new(&grouped_by_it(), "{Image: /museum}");
    desk.refuses(&[RULE, FIELD, "WT0601", "rule.yml:6:14"]);
}

#[test]
fn the_host_alone_refuses_a_sequence_that_is_grouped_by_it() {
    let image = image_without_the_compilers_check(&grouped_by_it());
    Host::new().refuses(&pack_of(&image, &[("Image", "/museum")], None), &[RULE, FIELD, "line 6", "not supplied"]);
}

#[test]
fn the_canaries_can_not_prove_it_with_a_field_that_no_event_here_has() {
    let desk = Desk::new(&rule("Image|endswith: /museum"), &format!("{{Image: /museum, {FIELD}: a/pipe}}"));
    desk.refuses(&["rule.tests.yml:2", FIELD, "do not have"]);
    let image = image_without_the_compilers_check(&rule("Image|endswith: /museum"));
    Host::new()
        .refuses(&pack_of(&image, &[("Image", "/museum"), (FIELD, "a/pipe")], None), &["museum", FIELD, "do not have"]);
}

#[test]
fn the_engine_alone_reads_nothing_beyond_the_twenty_and_goes_on() {
    let bytes = image_that_tells_nothing();
    assert_eq!(rules::open(&bytes).map(|_| ()).ok(), Some(()), "neither of the layers before sees it");
    let image = Image::open(&bytes).expect("every reference is right");
    let plan = image.plan(&LogSource { category: Some("process_creation"), product: Some("linux"), service: None });
    let mut scratch = Scratch::new();
    let hits = |count: usize, with_it: bool, scratch: &mut Scratch| {
        let mut event: serde_json::Map<_, _> =
            (0..count).map(|field| (format!("Field{field}"), format!("value {field}").into())).collect();
        if with_it {
            event.insert(FIELD.to_owned(), "a/pipe".into());
        }
        let event = event.into();
        let mut hits = 0;
        let limits = plan.evaluate(&JsonEvent::new(&event, &Slots::of(&image)), scratch, &mut |_| hits += 1);
        assert_eq!(limits, Limits::default());
        hits
    };
    for fields in 0..=20 {
        assert_eq!(hits(fields, false, &mut scratch), 0, "{fields} fields");
    }
    assert_eq!(hits(20, true, &mut scratch), 1, "the rule is not simply dead");
}
