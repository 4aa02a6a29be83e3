//! Random numbers that are the same for the same seed on every machine and in every release: a figure that was printed once can be
//! computed again.
//!
//! xoshiro256++ 1.0 by David Blackman and Sebastiano Vigna, seeded by splitmix64, both dedicated to the public domain
//! (<https://prng.di.unimi.it>). Not for secrets.

/// A generator.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// splitmix64: the next number after `state`, which moves on.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Rng {
    /// The generator of run `run` under `seed`.
    #[must_use]
    pub fn new(seed: u64, run: u64) -> Self {
        let mut of_seed = seed;
        let mut of_run = splitmix(&mut of_seed) ^ run;
        Self { state: std::array::from_fn(|_| splitmix(&mut of_run)) }
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c1, d1) = (c ^ a, d ^ b);
        self.state = [a ^ d1, b ^ c1, c1 ^ (b << 17), d1.rotate_left(45)];
        result
    }

    /// From 0 to before `end`, all alike but for a part in 2^32 (Lemire's multiplication).
    pub fn below(&mut self, end: u32) -> u32 {
        let wide = (self.bits() >> 32) * u64::from(end);
        (wide >> 32) as u32
    }

    /// From 0 to before 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponential of mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_authors() {
        // splitmix64 of seed 0; and xoshiro256++ of the state 1, 2, 3, 4.
        let mut state = 0;
        assert_eq!(splitmix(&mut state), 0xe220_a839_7b1d_cdaf);
        let mut rng = Rng { state: [1, 2, 3, 4] };
        assert_eq!([rng.bits(), rng.bits(), rng.bits()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn means_are_what_they_must_be() {
        let mut rng = Rng::new(1, 1);
        let draws = 100_000;
        let mean = |sum: f64| sum / f64::from(draws);
        assert!((mean((0..draws).map(|_| rng.exponential()).sum()) - 1.0).abs() < 0.02);
        assert!((mean((0..draws).map(|_| f64::from(rng.below(60_000))).sum()) - 30_000.0).abs() < 300.0);
    }
}
