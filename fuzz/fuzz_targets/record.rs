//! Bytes of a ring: a record, a verdict or a named refusal, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watertight_sensor_abi::{Record, VerdictRecord};

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    let _ = Record::read(&bytes).map_err(|error| error.to_string());
    // Once more past the first checks: right version, right size.
    let size = (bytes.len() as u32).to_le_bytes();
    if let Some(head) = bytes.get_mut(..8) {
        head[..2].copy_from_slice(&watertight_sensor_abi::ABI_VERSION.to_le_bytes());
        head[4..].copy_from_slice(&size);
    }
    let _ = Record::read(&bytes).map_err(|error| error.to_string());
    let _ = VerdictRecord::read(&bytes).map(|verdict| verdict.rule_id()).map_err(|error| error.to_string());
});
