//! Any bytes behind the first letters of an ELF core end in a report or an error, without a panic.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use watertight_triage::symbols::{Folders, SymbolFiles};

/// An ELF core of x86-64, whose program headers follow at once: four of them.
fn header() -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    head.extend([0_u64, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    head.extend([0_u16, 0, 64, 56, 4, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    head
}

fuzz_target!(|bytes: &[u8]| {
    let mut core = bytes.to_vec();
    // Of every other input the header is its own.
    if let (Some(to), true) = (core.get_mut(..64), bytes.len() % 2 == 0) {
        to.copy_from_slice(&header());
    }
    let symbols: Arc<dyn SymbolFiles> = Arc::new(Folders::default());
    if let Ok(mut report) = watertight_triage::process::elf_core(&core, &symbols) {
        watertight_triage::bucket::assign(&mut report);
        assert!(serde_json::to_string(&report).is_ok());
        let _ = report.to_string();
    }
});
