//! A recorded event line: refused by name, or an event that is written as it was read, and evaluated to an end, in either form.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use watertight_content::sigma::detect::{parse, Detector};
use watertight_content::sigma::{load_texts, Source};
use watertight_engine::Image;
use watertight_event::{Event, View};
use watertight_host::worker::rules::Rules;

const RULES: &str = include_str!("recorded.yml");

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut library = load_texts([Source { file: "recorded.yml", text: RULES }]);
    assert!(library.rejections.is_empty(), "{:?}", library.rejections);
    library.image().expect("rules of our own")
});

fuzz_target!(|text: &str| {
    let image = Image::open(&IMAGE).expect("our own");
    let mut detector = Detector::new(image);
    let mut rules = Rules::of(image);
    for (number, line) in (1_u64..).zip(text.lines()) {
        let Ok(json) = parse(line) else { continue };
        let _ = detector.parsed(number, &json, true);
        let Ok(event) = Event::from_json(line) else { continue };
        let written = event.to_json();
        let again = Event::from_json(&written.to_string()).expect("what is written can be read");
        assert_eq!(again.to_json(), written);
        let shown = View::Sigma.render(&event);
        let _ = detector.parsed(number, &shown, false);
        let _ = rules.evaluate(&event, &mut |_| {});
    }
    detector.end();
});
