//! A map by numbers that the kernel gives out, such as pids and user ids. They need no hash that resists chosen keys: who picks
//! pids finds at most a few hundred that meet in one place.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys are numbers of the kernel.
pub type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<Mix>>;

/// Spreads a number over all bits by one multiplication.
#[derive(Clone, Debug, Default)]
pub struct Mix(u64);

/// 2^64 divided by the golden ratio, odd: neighbours land far from each other.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Mix {
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * u128::from(SPREAD);
        self.0 = (product as u64) ^ ((product >> 64) as u64); // both halves: a table looks at the lowest and highest bits
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_and_powers_of_two_have_hashes_of_their_own() {
        let hash = |number: u64| {
            let mut mix = Mix::default();
            mix.write_u64(number);
            mix.finish()
        };
        let mut hashes: Vec<u64> = (0..10_000).chain((14..64).map(|bit| 1 << bit)).map(hash).collect();
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
        let low = hashes.iter().map(|hash| hash % 1_024).collect::<std::collections::HashSet<_>>();
        assert_eq!(low.len(), 1_024, "every bucket of a table is used");
    }
}
