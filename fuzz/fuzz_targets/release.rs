//! What a pack is built from beside rules: `pack.yml`, and files with tests. A release, canaries, or a refusal with its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watertight_content::pack::{build, parse_release, BuildError, Engines, Release, Sources};
use watertight_content::sigma::Source;

const RULE: &str = "title: T\nid: one\nlogsource: {product: linux}\ndetection:\n  s: {A: x}\n  condition: s\n";

fuzz_target!(|text: &str| {
    if let Err(wrong) = parse_release(Source { file: "pack.yml", text }) {
        assert!(wrong.span.line > 0 && wrong.render(false).contains("mend"));
    }
    let release = Release { name: "fuzz".to_owned(), version: 1, engines: Engines::OF_THIS, is_urgent: false };
    let sources = Sources {
        release: &release,
        rules: vec![Source { file: "r.yml", text: RULE }],
        tests: vec![Source { file: "r.tests.yml", text }],
        policy: None,
    };
    match build(&sources) {
        Ok(built) => assert!(watertight_content_pack::Pack::open(&built.bytes).is_ok()),
        Err(BuildError::File(wrong)) => assert!(wrong.span.line > 0 && wrong.render(false).contains("mend")),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
