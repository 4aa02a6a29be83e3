//! Any bytes behind the first letters of a minidump end in a report or an error, without a panic.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use watertight_triage::symbols::{Folders, SymbolFiles};

fuzz_target!(|bytes: &[u8]| {
    let mut dump = bytes.to_vec();
    // Half of the first letters, versions and directories would be refused at once.
    let head = [b"MDMP".as_slice(), &0xa793_u32.to_le_bytes()].concat();
    if let Some(to) = dump.get_mut(..8) {
        to.copy_from_slice(&head);
    }
    let symbols: Arc<dyn SymbolFiles> = Arc::new(Folders::default());
    if let Ok(mut report) = watertight_triage::process::minidump(&dump, &symbols) {
        watertight_triage::bucket::assign(&mut report);
        assert!(serde_json::to_string(&report).is_ok());
        let _ = report.to_string();
    }
});
