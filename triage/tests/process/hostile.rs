//! Minidumps and cores that somebody made to harm whoever reads them: thousands of mutants, each must end in a report or an error.

use std::time::{Duration, Instant};

use watertight_triage::{examine_source, Options};

use super::mutants::{peak_bytes, Seeded};
use super::writer::{self, System};

/// Mutants of each format.
const MUTANTS: usize = 2_400;
/// Values that break arithmetic and counts.
const EDGES: [u64; 9] =
    [0, 1, u64::MAX, i64::MAX as u64, 0x8000_0000, 0xffff_ffff, 0xffff_8000_0000_0000, 0x1000, writer::STACK];

/// A few fields set to edges or noise, mostly in structures and on the stack, now and then a cut or a repeated piece.
fn mutate(dump: &mut Vec<u8>, image: std::ops::Range<usize>, random: &mut Seeded) {
    for _ in 0..=random.below(8) {
        let at = loop {
            let at = random.below(dump.len()) & !3;
            // The program's code is most of the file, and of little interest.
            if !image.contains(&at) || random.below(16) == 0 {
                break at;
            }
        };
        let value = if random.below(2) == 0 { EDGES[random.below(EDGES.len())] } else { random.next() };
        random.put(dump, at, value);
    }
    match random.below(12) {
        0 => dump.truncate(random.below(dump.len())),
        1 => {
            let at = random.below(dump.len());
            let piece = dump[at..(at + 64).min(dump.len())].to_vec();
            dump.splice(at..at, piece);
        }
        _ => {}
    }
}

fn try_mutants(dump: &[u8], image: &std::ops::Range<usize>, magic: &[u8]) {
    let mut random = Seeded(0x5eed_2026_1122);
    let mut found = 0;
    for number in 0..MUTANTS {
        let mut mutant = dump.to_vec();
        mutate(&mut mutant, image.clone(), &mut random);
        // Without its first letters it would not be read as a dump at all.
        mutant.resize(mutant.len().max(magic.len()), 0);
        mutant[..magic.len()].copy_from_slice(magic);
        let begun = Instant::now();
        let mut reports = Vec::new();
        examine_source("a mutant", &mutant, &|| None, &Options::default(), &mut |report| reports.push(report));
        assert_eq!(reports.len(), 1, "mutant {number}");
        assert!(serde_json::to_string(&reports[0]).is_ok() && !reports[0].to_string().is_empty());
        found += usize::from(reports[0].error.is_none());
        // A hang, not a measure: the reader's own budget is 6 s.
        assert!(begun.elapsed() < Duration::from_secs(60), "mutant {number} hangs");
    }
    assert!(found > MUTANTS / 2, "{found} reports: the mutants are too far from dumps to test anything");
    assert!(peak_bytes() <= 512 << 20, "{} bytes", peak_bytes());
}

#[test]
fn thousands_of_damaged_minidumps_panic_nowhere_and_end() {
    let dump = writer::minidump(System::Linux, &[]);
    let image = dump.windows(4).position(|bytes| bytes == b"\x7fELF").expect("the program");
    try_mutants(&dump, &(image..image + 0x2000), b"MDMP");
}

#[test]
fn thousands_of_damaged_cores_panic_nowhere_and_end() {
    let dump = writer::core();
    let image = dump.windows(4).rposition(|bytes| bytes == b"\x7fELF").expect("the program");
    try_mutants(&dump, &(image + 0x300..image + 0x2000), &dump[..18]);
}

#[test]
fn a_chain_of_frame_pointers_that_runs_in_a_circle_ends() {
    let mut dump = writer::minidump(System::Linux, &[]);
    let saved = (writer::STACK + 0x60).to_le_bytes();
    let at = dump.windows(8).position(|bytes| bytes == saved).expect("the saved frame pointer");
    dump[at..at + 8].copy_from_slice(&(writer::STACK + 0x20).to_le_bytes());
    let report = super::report_of(&dump);
    assert!(report.frames.len() <= 1024, "{}", report.frames.len());
}
