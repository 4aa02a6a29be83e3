//! A sealed key file: refused by name. Of every other input the file is one of ours around salt, nonce and seal of the fuzzer.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{json, Value};
use watertight_content_repo::key::{public_of, SigningKey};

const PASSPHRASE: &str = "correct horse battery staple";
const NONCE_BYTES: usize = 12;

static PUBLIC: LazyLock<Value> = LazyLock::new(|| {
    let key = SigningKey::generate().expect("random bytes");
    serde_json::to_value(key.public()).expect("JSON")
});

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    // A file that asks for the most that it may takes a second to derive: such ones are the tests'.
    if !text.contains("kdf") {
        assert!(SigningKey::open(&text, PASSPHRASE).is_err());
    }
    let _ = public_of(&text);
    let (lanes, rest) = bytes.split_at(bytes.len().min(1));
    let (nonce, sealed) = rest.split_at(rest.len().min(NONCE_BYTES));
    let lanes = lanes.first().copied().unwrap_or_default();
    let kdf = json!({
        "algorithm": "argon2id", "memory_kib": 64, "passes": 1, "lanes": lanes, "salt": hex(sealed),
    });
    let file = json!({
        "format": "watertight-key-1", "public": *PUBLIC, "kdf": kdf, "nonce": hex(nonce), "sealed": hex(sealed),
    });
    let text = file.to_string();
    assert!(SigningKey::open(&text, PASSPHRASE).is_err(), "nobody sealed this");
    assert!(public_of(&text).is_ok());
});
