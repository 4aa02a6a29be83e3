//! Bytes of a policy file: a policy or a refusal that names place and mend, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(refusal) = watertight_policy::yaml::parse("fuzz.yml", bytes) {
        assert!(!refusal.to_string().is_empty());
    }
});
