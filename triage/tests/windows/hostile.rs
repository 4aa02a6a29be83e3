//! Dumps that somebody made to harm whoever reads them: thousands of mutants, each must end in a report.

use std::time::{Duration, Instant};

use watertight_triage::{examine, Options};

use super::mutants::{peak_bytes, Seeded};
use super::{scene, writer};

/// Values that break arithmetic and counts.
const EDGES: [u64; 8] = [0, 1, u64::MAX, i64::MAX as u64, 0x8000_0000, 0xffff_ffff, 0xffff_8000_0000_0000, 0x1000];

/// One mutant: a few fields of structures or of anything set to edges or noise, now and then a cut.
fn mutate(dump: &mut Vec<u8>, structures: usize, random: &mut Seeded) {
    for _ in 0..=random.below(6) {
        let end = if random.below(4) == 0 { dump.len() } else { structures.min(dump.len()) };
        let at = random.below(end) & !3;
        let value = if random.below(2) == 0 { EDGES[random.below(EDGES.len())] } else { random.next() };
        random.put(dump, at, value);
    }
    if random.below(10) == 0 {
        dump.truncate(random.below(dump.len()));
    }
    // Without its first letters it would not be read as a dump at all.
    if dump.len() >= 8 {
        dump[..8].copy_from_slice(b"PAGEDU64");
    }
}

#[test]
fn two_thousand_mutants_end_in_a_report_without_panic_or_hang() {
    let machine = scene::compact();
    let dumps = [
        writer::bitmap(&machine, 5),
        writer::ranges(&machine, 8),
        writer::small(&machine, &[(scene::DRIVER + 0xe1000, 0x1000)]),
    ];
    let mut random = Seeded(0x5eed_2024_0719);
    let file = tempfile::NamedTempFile::new().expect("a file");
    for number in 0..2400_usize {
        let mut dump = dumps[number % dumps.len()].clone();
        mutate(&mut dump, 0x2800, &mut random);
        std::fs::write(file.path(), &dump).expect("written");
        let begun = Instant::now();
        let mut reports = 0;
        examine(file.path(), &Options::default(), &mut |_| reports += 1);
        assert_eq!(reports, 1, "mutant {number}");
        // A hang, not a measure: the reader's own budget is 8 s.
        assert!(begun.elapsed() < Duration::from_secs(60), "mutant {number} hangs");
    }
    assert!(peak_bytes() <= 512 << 20, "{} bytes", peak_bytes());
}

/// Where a dump's header has the stack pointer of x64 at the stop.
const RSP_AT: usize = 0x348 + 0x98;

#[test]
fn a_stack_at_the_very_end_of_all_addresses_is_walked_no_further() {
    let machine = scene::compact();
    for dump in [writer::bitmap(&machine, 5), writer::small(&machine, &[])] {
        for sp in u64::MAX - 16..=u64::MAX {
            let mut dump = dump.clone();
            dump[RSP_AT..RSP_AT + 8].copy_from_slice(&sp.to_le_bytes());
            assert!(!super::report_of(&dump).frames.is_empty(), "{sp:#x}");
            // Nothing else tells where the fault was.
            dump[0x40..0x60].fill(0);
            assert!(!super::report_of(&dump).frames.is_empty(), "{sp:#x}");
        }
    }
}

#[test]
fn a_bitmap_that_claims_every_page_of_the_world_takes_no_memory_for_it() {
    let mut dump = writer::bitmap(&scene::compact(), 5);
    dump[0x2030..0x2038].copy_from_slice(&u64::MAX.to_le_bytes());
    let report = super::report_of(&dump);
    assert!(report.warnings.iter().any(|warning| warning.contains("claims")), "{:?}", report.warnings);
}

#[test]
fn a_small_dump_that_claims_four_billion_drivers_and_pieces_is_read_in_bounds() {
    let mut dump = writer::small(&scene::machine(), &[]);
    for at in [0x2034_usize, 0x207c, 0x202c] {
        dump[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    let report = super::report_of(&dump);
    assert!(report.modules.len() <= 4096);
    assert!(report.warnings.iter().any(|warning| warning.contains("4294967295 drivers")), "{:?}", report.warnings);
}
