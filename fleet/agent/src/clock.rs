//! The host's clock, random numbers, digests in hexadecimal.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom as _, SystemRandom};

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A random number from 0 to `most`, both possible. Without randomness it is `most`: late is safe.
#[must_use]
pub fn random_up_to(most: u64) -> u64 {
    let mut bytes = [0; 8];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return most;
    }
    most.checked_add(1).map_or(u64::from_le_bytes(bytes), |parts| u64::from_le_bytes(bytes) % parts)
}

/// Sixteen random bytes; without randomness the time, which differs from start to start too.
#[must_use]
pub fn random_id() -> String {
    let mut bytes = [0; 16];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => hex(&bytes),
        Err(_) => format!("t{}", now_ms()),
    }
}

/// SHA-256.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
