//! Any bytes behind the first letters of a kernel dump end in a report or an error, without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut dump = bytes.to_vec();
    if let Some(head) = dump.get_mut(..8) {
        head.copy_from_slice(b"PAGEDU64");
    }
    // Half of the machine types would be refused at once.
    if let Some(machine) = dump.get_mut(0x30..0x32) {
        machine.copy_from_slice(if bytes.len() % 8 == 0 { &[0x64, 0xaa] } else { &[0x64, 0x86] });
    }
    if let Ok(report) = watertight_triage::windows::read(&dump, &watertight_triage::symbols::Folders::default(), None) {
        let _ = report.to_string();
    }
});
