//! What the update client reads of others: a director's plan, a document, what is signed of a pack, a key file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watertight_content_repo::director::Plan;
use watertight_content_repo::key::public_of;
use watertight_content_repo::publish::Document;
use watertight_content_repo::release::Release;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(plan) = Plan::parse(bytes) {
        assert!(plan.check().is_ok());
    }
    if let Ok(document) = Document::parse(bytes) {
        let again = Document::parse(&document.to_bytes()).expect("what was read can be read again");
        assert_eq!(again, document);
    }
    if let Ok(custom) = serde_json::from_slice(bytes) {
        let _ = Release::from_custom("content/x/1.pack", &custom);
    }
    let _ = public_of(&String::from_utf8_lossy(bytes));
});
