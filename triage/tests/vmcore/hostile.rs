//! Cores that somebody made to harm whoever reads them: thousands of mutants, each must end in a report, in bounded memory.

use std::time::{Duration, Instant};

use watertight_triage::vmcore;

use super::kernel;
use super::mutants::{peak_bytes, Seeded};
use super::writer::{self, Compression};

/// Mutants of each seed.
const MUTANTS: usize = 500;
/// What a process may hold in memory.
const RESIDENT_BYTES_MAX: u64 = 512 << 20;

/// Values that break arithmetic and counts, in a kernel that lies there.
const EDGES: [u64; 8] = [0, 1, u64::MAX, i64::MAX as u64, 0x8000_0000, 0xffff_ffff, kernel::BASE, 0x1000];

/// One mutant: some words set to edges, to noise or to others of its words, now and then a cut. The first letters stay.
fn mutate(core: &mut Vec<u8>, random: &mut Seeded) {
    for _ in 0..=random.below(12) {
        let at = (8 + random.below(core.len().saturating_sub(16))) & !3;
        let value = match random.below(3) {
            0 => EDGES[random.below(EDGES.len())],
            1 => random.next(),
            _ => {
                let from = random.below(core.len() - 8) & !7;
                u64::from_le_bytes(core[from..from + 8].try_into().expect("eight bytes"))
            }
        };
        random.put(core, at, value);
    }
    if random.below(10) == 0 {
        core.truncate(16 + random.below(core.len() - 16));
    }
}

#[test]
fn two_thousand_mutants_end_in_a_report_without_panic_or_hang() {
    let kernel = kernel::kernel(4);
    let zlib = writer::kdump(&kernel, Compression::Zlib);
    let seeds = [
        writer::elf(&kernel),
        writer::elf(&kernel::kernel(5)),
        writer::kdump(&kernel, Compression::None),
        writer::kdump(&kernel, Compression::Snappy),
        writer::kdump(&kernel, Compression::Zstd),
        writer::flattened(&zlib),
    ];
    let mut random = Seeded(0x5eed_0c0f_fee0_0002);
    let (mut titled, mut tried) = (0, 0);
    for seed in &seeds {
        for number in 0..MUTANTS {
            let mut core = seed.clone();
            mutate(&mut core, &mut random);
            let begun = Instant::now();
            if let Ok(report) = vmcore::read(&core) {
                titled += usize::from(report.title.is_some());
                drop(serde_json::to_string(&report).expect("every report is JSON"));
                drop(report.to_string());
            }
            // A hang, not a measure: the reader's own budget is 8 s.
            assert!(begun.elapsed() < Duration::from_secs(60), "mutant {number} hangs");
            tried += 1;
        }
    }
    assert!(tried >= 2_000);
    assert!(titled > 1_000, "{titled} titles: the mutants are too far from cores to test anything");
    assert!(peak_bytes() < RESIDENT_BYTES_MAX, "{} bytes", peak_bytes());
}
