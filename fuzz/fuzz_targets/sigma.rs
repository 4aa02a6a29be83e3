//! Text of a rule file: rules or refusals by name, never a panic; and what is accepted, the engine opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watertight_content::sigma::{load_texts, Source};

fuzz_target!(|text: &str| {
    let mut library = load_texts([Source { file: "fuzz.yml", text }]);
    for rejection in &library.rejections {
        assert!(!rejection.to_string().is_empty());
    }
    assert!(library.image().is_ok());
});
