//! Any bytes behind the first letters of a Linux kernel core end in a report or an error, without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// What each form begins with, up to where forms of other machines would be refused at once.
const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0";
const KDUMP: &[u8] = b"KDUMP   \x06\0\0\0";
const FLATTENED: &[u8] = b"makedumpfile\0\0\0\0";
/// Where a kdump header names the machine and the size of a block.
const MACHINE_AT: usize = 12 + 4 * 65;
const BLOCK_AT: usize = 428;

fuzz_target!(|bytes: &[u8]| {
    let mut core = bytes.to_vec();
    let head = [ELF, KDUMP, FLATTENED][bytes.len() % 3];
    let parts = [(0, head), (MACHINE_AT, &b"x86_64\0"[..]), (BLOCK_AT, &[0, 0x10, 0, 0])];
    for (at, part) in parts.into_iter().take(if head == KDUMP { 3 } else { 1 }) {
        if let Some(place) = core.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
    }
    if let Ok(report) = watertight_triage::vmcore::read(&core) {
        let _ = report.to_string();
    }
});
