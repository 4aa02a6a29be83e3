//! Bytes of a log: reports within it, each of them JSON and text, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    watertight_triage::linux::read(&text, &mut |mut report| {
        let span = report.span.expect("every report has its place");
        assert!(span.start <= span.end && span.end <= text.len() as u64);
        watertight_triage::bucket::assign(&mut report);
        assert!(report.bucket.is_some());
        assert!(serde_json::to_string(&report).is_ok());
        assert!(!report.to_string().is_empty());
    });
});
