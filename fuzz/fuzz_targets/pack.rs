//! Bytes of a content pack: refused by name, or it works; whatever opens, its image opens again and its canaries run to an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watertight_content_pack::Pack;

fuzz_target!(|bytes: &[u8]| {
    // As it is, and as a whole file with right digests around the fuzzer's sections: without that nothing behind them is tried.
    for bytes in [bytes.to_vec(), sealed::sealed(bytes)] {
        match Pack::open(&bytes) {
            Ok(pack) => {
                let _ = pack.self_test();
                assert!(watertight_engine::Image::open(pack.image()).is_ok());
                assert!(pack.policy().is_none_or(|policy| policy.check().is_ok()));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});

mod sealed;
