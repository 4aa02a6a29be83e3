//! The server's clock and what it makes at random.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom as _, SystemRandom};

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Random bytes of the kernel.
///
/// # Errors
/// It has none, which no running system shows.
pub fn random<const SIZE: usize>() -> anyhow::Result<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("the kernel gave no random numbers"))?;
    Ok(bytes)
}

/// A random part of a span of time, so that those who were turned away together do not come back together.
#[must_use]
pub fn random_part_ms(span_ms: u64) -> u64 {
    let number = u64::from_le_bytes(random::<8>().unwrap_or_default());
    number.checked_rem(span_ms).unwrap_or(0)
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// A moment as people read it, in UTC.
#[must_use]
pub fn words(at_ms: u64) -> String {
    let moment = i64::try_from(at_ms / 1000).ok().and_then(|at_s| jiff::Timestamp::from_second(at_s).ok());
    moment.map_or_else(|| "never".to_owned(), |moment| moment.to_string())
}
