//! When a host asks the repository, so that a fleet does not ask as one.
//!
//! Hosts that were started together (after power came back, or after one mend for all of them) would ask in the same second and
//! bring down what they need, again and again. So each waits a share of the time that it is given, its own by its id and another one
//! in every hour: nobody is always the last, and a server that fell over is not met by the same crowd in the same second again.

use std::time::Duration;

use ring::digest::{digest, SHA256};

use crate::time::Moment;

/// How long a host's share is the same.
const PERIOD_S: i64 = 3600;

/// How long the host of this id waits at `now` before it asks: less than `most`.
#[must_use]
pub fn wait(host: &str, now: Moment, most: Duration) -> Duration {
    let period = now.unix_s().div_euclid(PERIOD_S);
    let text = [b"watertight spread 1\0".as_slice(), &period.to_le_bytes(), host.as_bytes()].concat();
    let first =
        digest(&SHA256, &text).as_ref().iter().take(4).fold(0_u32, |place, byte| (place << 8) | u32::from(*byte));
    let nanos = most.as_nanos().saturating_mul(u128::from(first)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(600);

    #[test]
    fn a_host_waits_its_own_share_and_another_one_the_next_hour() {
        let now = Moment::from_unix_s(1_800_000_000);
        assert_eq!(wait("web-7", now, MOST), wait("web-7", now, MOST));
        assert_ne!(wait("web-7", now, MOST), wait("web-8", now, MOST));
        assert_ne!(wait("web-7", now, MOST), wait("web-7", now.plus_s(PERIOD_S), MOST));
        assert_eq!(wait("web-7", now, Duration::ZERO), Duration::ZERO);
        assert!((0..1000).all(|host| wait(&host.to_string(), now, MOST) < MOST));
        assert!(wait("web-7", now, Duration::MAX) <= Duration::from_nanos(u64::MAX));
    }
}
