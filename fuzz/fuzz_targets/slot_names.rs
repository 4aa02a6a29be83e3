//! Names in the folder of slots: none of ours, or one that says what it is written for, and something that a start can choose.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use watertight_host::slots::{Choice, ContentId, Entry, State};

/// Half of the names are near to ours.
fn names(text: &str) -> Vec<String> {
    let id = ContentId::of(b"a pack");
    let near = |line: &str| line.replace("ID", &id.to_string());
    text.split(['\n', '\0']).map(near).collect()
}

fuzz_target!(|text: &str| {
    let names = names(text);
    for name in &names {
        match Entry::read(name) {
            None | Some(Entry::Incoming) => {}
            Some(entry) => assert_eq!(&entry.to_string(), name, "one name an entry"),
        }
    }
    let factory = ContentId::of(b"factory");
    let state = State::of(names, factory);
    let mut struck = BTreeSet::new();
    while let Some(id) = state.choose(&struck).id() {
        assert!(!state.quarantined.contains(&id) && struck.insert(id), "each is chosen once");
    }
    assert_eq!(state.choose(&struck), Choice::CollectOnly);
});
