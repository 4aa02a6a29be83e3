//! The factory pack: what a machine falls back on must be whole, and must be the rules that lie here.

use watertight_content::sigma::{load_texts, Source};
use watertight_content_pack::{Pack, PackError};
use watertight_rules::{factory_pack, shipped};

#[test]
fn the_factory_pack_opens_and_passes_its_own_test() {
    let pack = Pack::open(factory_pack()).expect("built by the same program");
    let test = pack.self_test().expect("every event came out when it was built");
    let documents = pack.documents().count();
    assert_eq!(
        (usize::try_from(test.proven).expect("few"), documents >= shipped().len()),
        (documents, true),
        "every rule has an event that fires it"
    );
    assert!(test.silent > test.proven, "near misses are tried too: {test:?}");
    assert_eq!((pack.manifest().name, pack.unproven()), ("linux", Vec::new()));
}

#[test]
fn the_factory_pack_holds_every_shipped_rule_and_no_other() {
    let pack = Pack::open(factory_pack()).expect("built by the same program");
    let library = load_texts(shipped().iter().map(|rule| Source { file: rule.path, text: rule.source }));
    let mut ids: Vec<&str> = library
        .rules
        .iter()
        .map(|loaded| loaded.rule.id.as_str())
        .chain(library.correlations.iter().map(|loaded| loaded.correlation.id.as_str()))
        .collect();
    ids.sort_unstable();
    assert_eq!(pack.documents().map(|document| document.id).collect::<Vec<_>>(), ids);
    let places: Vec<&str> = pack.rules().rules().map(|rule| rule.place().0).collect();
    assert!(shipped().iter().all(|rule| places.contains(&rule.path)));
}

#[test]
fn a_factory_pack_with_one_bit_changed_is_refused() {
    let good = factory_pack();
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        assert!(Pack::open(&bytes).is_err(), "byte {at}");
    }
    let cut = Pack::open(&good[..good.len() - 1]);
    assert!(matches!(cut, Err(PackError::Size { .. })));
}
