//! Text of a rule file: rules or refusals by name, never a panic; and what is accepted, the engine takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watertight_content::sigma::{load_texts, Source};

fuzz_target!(|text: &str| {
    let library = load_texts([Source { file: "fuzz.yml", text }]);
    for rejection in &library.rejections {
        assert!(!rejection.to_string().is_empty());
    }
    assert!(library.ruleset().is_ok());
});
