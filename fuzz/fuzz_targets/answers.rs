//! What workers and the loader tell the supervisor, which has every right: images and their headers, what a worker says of itself, actions
//! that the detector asks for, how the kernel programs were loaded.
#![no_main]

use std::io::Write as _;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};
use watertight_host::actions::request::Request;
use watertight_host::loader;
use watertight_host::loading::answered_by;
use watertight_host::worker::content::Header;
use watertight_host::worker::report::Report;

/// What a pipe holds, so that nobody has to read while it is filled.
const PIPE_BYTES: usize = 60_000;

fn answered(answer: &[u8]) -> Result<Header, String> {
    let (from, mut to) = std::io::pipe().expect("a pipe");
    to.write_all(answer).expect("it has room");
    drop(to);
    answered_by(from.into(), Instant::now() + Duration::from_secs(60)).map(|(header, _)| header)
}

/// The same header before an image that it tells of truly.
fn whole(header: &[u8], image: &[u8]) -> Option<Vec<u8>> {
    let mut header: serde_json::Value = serde_json::from_slice(header).ok()?;
    let fields = header.as_object_mut()?;
    fields.insert("image_bytes".into(), image.len().into());
    let digest: String = Sha256::digest(image).iter().map(|byte| format!("{byte:02x}")).collect();
    fields.insert("digest".into(), digest.into());
    let header = header.to_string();
    Some([&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), image].concat())
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(PIPE_BYTES / 2)];
    let _ = answered(bytes);
    if let Some(answer) = whole(bytes, b"an image").filter(|answer| answer.len() < PIPE_BYTES) {
        if let Ok(header) = answered(&answer) {
            assert_eq!(header.image_bytes, 8);
            assert!(header.policy.is_none_or(|policy| policy.check().is_ok()));
        }
    }
    if let Ok(report) = serde_json::from_slice::<Report>(bytes) {
        let again = serde_json::to_string(&report).expect("JSON");
        assert_eq!(serde_json::from_str::<Report>(&again).expect("what was read can be read again"), report);
    }
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let again = serde_json::to_string(&request).expect("JSON");
        assert_eq!(serde_json::from_str::<Request>(&again).expect("what was read can be read again"), request);
    }
    let _ = serde_json::from_slice::<loader::Report>(bytes);
});
