//! Values as they are compared by correlations: 128 bits of a keyed hash (SipHash, Aumasson and Bernstein, 2012) instead of the
//! text, so that state has one size whatever the text.
//!
//! Two texts that meet would share a group. With 128 bits a million values meet with a chance of 1 in 10^26; and whoever chooses
//! the texts does not know the key, so that nobody can choose texts that meet.

/// The key of all hashes of a run: random on a host, fixed where answers must be the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(pub [u64; 2]);

/// What stands for a text.
pub(crate) type Digest = u128;

/// Odd, and without a pattern: the golden ratio and the square root of two.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_6a09_e667_f3bc_c909;

/// Digests as one, in their order. They are not for anybody to choose, so plain mixing is enough.
pub(crate) fn mixed(seed: u64, digests: impl Iterator<Item = Digest>) -> Digest {
    digests.fold(u128::from(seed), |sum, digest| (sum ^ digest).wrapping_mul(SPREAD).rotate_left(59))
}

impl HashKey {
    /// SipHash-1-3 with 128 bits of output.
    pub(crate) fn digest(self, text: &[u8]) -> Digest {
        let [first, second] = self.0;
        let mut state = State {
            a: first ^ 0x736f_6d65_7073_6575,
            b: second ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            c: first ^ 0x6c79_6765_6e65_7261,
            d: second ^ 0x7465_6462_7974_6573,
        };
        let mut chunks = text.chunks_exact(8);
        for chunk in &mut chunks {
            state.take(chunk.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)));
        }
        let mut last = [0_u8; 8];
        for (to, from) in last.iter_mut().zip(chunks.remainder()) {
            *to = *from;
        }
        state.take(u64::from_le_bytes(last) | (text.len() as u64) << 56);
        state.c ^= 0xee;
        let low = state.end();
        state.b ^= 0xdd;
        u128::from(state.end()) << 64 | u128::from(low)
    }
}

struct State {
    a: u64,
    b: u64,
    c: u64,
    d: u64,
}

impl State {
    fn take(&mut self, word: u64) {
        self.d ^= word;
        self.round();
        self.a ^= word;
    }

    fn end(&mut self) -> u64 {
        for _ in 0..3 {
            self.round();
        }
        self.a ^ self.b ^ self.c ^ self.d
    }

    fn round(&mut self) {
        let Self { a, b, c, d } = self;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32).wrapping_add(*d);
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn texts_that_differ_have_digests_that_differ_and_another_key_gives_others() {
        let mut seen = HashSet::new();
        for size in 0..40 {
            for letter in [b'a', b'b', 0] {
                for key in [[1, 2], [1, 3], [2, 2]] {
                    seen.insert(HashKey(key).digest(&vec![letter; size]));
                }
            }
        }
        assert_eq!(seen.len(), (39 * 3 + 1) * 3, "the empty text is one");
    }

    #[test]
    fn digests_in_another_order_are_another() {
        assert_ne!(mixed(0, [1, 2].into_iter()), mixed(0, [2, 1].into_iter()));
        assert_ne!(mixed(0, [1].into_iter()), mixed(1, [1].into_iter()));
    }
}
