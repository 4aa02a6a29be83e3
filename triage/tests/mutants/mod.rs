//! What tests share that damage files by the thousand: numbers that are the same in every run, and what this process took of memory.

/// A generator that gives the same mutants on every machine (xorshift).
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below a usize")
    }

    #[allow(dead_code, reason = "texts are damaged by words")]
    /// Writes a value there, or one, four or eight bytes of it, as far as the file goes.
    pub fn put(&mut self, file: &mut [u8], at: usize, value: u64) {
        let size = [1, 4, 8][self.below(3)];
        for (to, from) in file.iter_mut().skip(at).zip(value.to_le_bytes()).take(size) {
            *to = from;
        }
    }
}

/// Most memory that this process has had, bytes.
#[allow(dead_code, reason = "not every test bounds it")]
pub fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("every process has it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
