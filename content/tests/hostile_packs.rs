//! A pack that nobody built: whatever its bytes are, it is refused by name, or it works; and what a host takes, its engine runs.

#![allow(clippy::panic)] // a test's panic is its verdict

#[path = "support/mutants.rs"]
mod mutants;
mod support;

use std::panic::catch_unwind;

use mutants::{other_pack, outcome, parts, sealed, Mutants, Outcome, HEAD_BYTES, SEED};
use support::{built, pack, policy, release, RULES, TESTS};
use watertight_content_pack::layout::{
    CanariesRecord, CanaryRecord, DocumentRecord, ManifestRecord, Range, PACK_SIZE_BYTES_MAX,
};
use watertight_content_pack::{Pack, PackError};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Mutants of every run of the tests. `cargo run --release --example pack_mutants -- 1000000` tries more.
const MUTANTS: u32 = 10_000;

#[test]
fn mutants_are_refused_or_work_and_none_is_accepted_and_then_fails() {
    let good = built(&release(), RULES, TESTS, Some(&policy())).expect("good sources").bytes;
    assert_eq!((outcome(&good), &good), (Outcome::Accepted, &pack()));
    let mut mutants = Mutants::of(vec![pack(), other_pack()], SEED);
    let (mut refused, mut tested, mut accepted) = (0_u32, 0_u32, 0_u32);
    for number in 0..MUTANTS {
        let mutant = mutants.next();
        match catch_unwind(|| outcome(&mutant)) {
            Ok(Outcome::Refused) => refused += 1,
            Ok(Outcome::FailsItsTest) => tested += 1,
            Ok(Outcome::Accepted) => accepted += 1,
            Ok(Outcome::AcceptedThenFails) => panic!("mutant {number} was accepted and then fails"),
            Err(_) => panic!("mutant {number} panics"),
        }
    }
    // Where nearly all or nearly none were refused, the mutants would prove little.
    assert!(refused > 1000 && tested > 30 && accepted > 100, "{refused} refused, {tested} fail, {accepted} accepted");
}

#[test]
fn a_pack_that_is_cut_anywhere_or_goes_on_is_refused() {
    let good = pack();
    for size in (0..good.len()).step_by(97).chain([good.len() - 1]) {
        assert!(Pack::open(&good[..size]).is_err(), "{size} of {} bytes", good.len());
    }
    let longer = [good.as_slice(), b"x"].concat();
    assert!(matches!(Pack::open(&longer), Err(PackError::Size { .. })));
    assert_eq!(Pack::open(b"PK\x03\x04 an archive, and no pack of ours").err(), Some(PackError::NotAPack));
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let good = pack();
    for at in (0..HEAD_BYTES).chain((HEAD_BYTES..good.len()).step_by(61)) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        assert!(Pack::open(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn a_larger_file_than_any_pack_is_refused_before_it_is_read() {
    // No page of it is ever there: whoever read it would fail this test by its memory.
    let mut bytes = vec![0; usize::try_from(PACK_SIZE_BYTES_MAX).expect("64 MiB") + 1];
    bytes[..8].copy_from_slice(b"WTPACK\0\0");
    assert!(matches!(Pack::open(&bytes), Err(PackError::TooLarge { .. })));
}

/// The pack with the record at the beginning of a section changed.
fn with_head<T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + zerocopy::Immutable>(
    section: usize,
    change: impl FnOnce(&mut T),
) -> Vec<u8> {
    let mut parts = parts(&pack());
    let (head, _) = T::mut_from_prefix(&mut parts[section]).expect("a header");
    change(head);
    sealed(&parts)
}

#[test]
fn counts_that_claim_gigabytes_are_refused_for_what_they_claim() {
    let too_many = |pack: &[u8], what: &str| {
        let refused = Pack::open(pack).expect_err(what);
        assert!(matches!(refused, PackError::TooMany { found: 0xffff_ffff, .. }), "{what}: {refused}");
        assert!(refused.to_string().contains(what), "{refused}");
    };
    too_many(&with_head::<ManifestRecord>(0, |head| head.documents = u32::MAX.into()), "documents");
    for (what, change) in [
        ("canaries", (|head| head.canaries = u32::MAX.into()) as fn(&mut CanariesRecord)),
        ("events", |head| head.events = u32::MAX.into()),
        ("fields", |head| head.fields = u32::MAX.into()),
        ("values", |head| head.values = u32::MAX.into()),
        ("expectations", |head| head.expectations = u32::MAX.into()),
    ] {
        too_many(&with_head(2, change), what);
    }
    // Within the limit, and still not there.
    let more = with_head::<CanariesRecord>(2, |head| head.canaries = 60_000.into());
    assert!(matches!(Pack::open(&more), Err(PackError::Section { section: "canaries", .. })));
}

#[test]
fn a_pack_for_other_engines_is_refused_by_its_engines() {
    let newer = with_head::<ManifestRecord>(0, |head| (head.engine_min, head.engine_max) = (8.into(), 9.into()));
    let refused = Pack::open(&newer).expect_err("newer");
    assert_eq!(refused, PackError::Engine { min: 8, max: 9, engine: watertight_engine::VERSION });
    // Its word would bring it to hosts that can't read its rules.
    let needed = watertight_engine::VERSION;
    let older = with_head::<ManifestRecord>(0, |head| head.engine_min = (needed - 1).into());
    let refused = Pack::open(&older).expect_err("for an engine before its layout");
    assert_eq!(refused, PackError::TooOldEngine { min: needed - 1, needed });
    for (min, max) in [(0, 1), (2, 1)] {
        let none = with_head::<ManifestRecord>(0, |head| (head.engine_min, head.engine_max) = (min.into(), max.into()));
        assert!(matches!(Pack::open(&none), Err(PackError::Section { .. })));
    }
}

#[test]
fn two_documents_with_one_id_are_refused_whatever_their_case() {
    let mut parts = parts(&pack());
    let (head, rest) = <(ManifestRecord, Vec<u8>)>::split(&parts[0]);
    let mut records: Vec<DocumentRecord> = rest
        .chunks(size_of::<DocumentRecord>())
        .take(2)
        .map(|chunk| DocumentRecord::read_from_bytes(chunk).expect("whole"))
        .collect();
    records[1].id = records[0].id;
    let texts = &rest[2 * size_of::<DocumentRecord>()..];
    parts[0] = [head.as_bytes(), records.as_bytes(), texts].concat();
    assert!(matches!(Pack::open(&sealed(&parts)), Err(PackError::DuplicateId { .. })));
}

#[test]
fn a_name_in_disguise_is_refused_and_shown_as_what_it_is() {
    for (disguise, shown) in [("\0", "\\u{0}"), ("\u{202e}", "\\u{202e}"), ("\u{2067}", "\\u{2067}"), ("\n", "\\u{a}")]
    {
        let mut parts = parts(&pack());
        let name = [b"tes", disguise.as_bytes()].concat();
        let (head, rest) = <(ManifestRecord, Vec<u8>)>::split(&parts[0]);
        let first = rest.len() - 2 * size_of::<DocumentRecord>();
        let head = ManifestRecord {
            name: Range::new(u32::try_from(first).expect("small"), u32::try_from(name.len()).expect("small")),
            ..head
        };
        parts[0] = [head.as_bytes(), &rest, &name].concat();
        let refused = Pack::open(&sealed(&parts)).expect_err("in disguise");
        assert!(matches!(refused, PackError::Name { what: "name", .. }), "{refused}");
        assert!(refused.to_string().contains(shown), "{refused}");
    }
}

#[test]
fn canaries_that_share_their_events_are_refused() {
    // Each of thousands of canaries with all events would be hours of work in a small file.
    let mut parts = parts(&pack());
    let (_, rest) = <(CanariesRecord, Vec<u8>)>::split(&parts[2]);
    let mut second =
        CanaryRecord::read_from_bytes(&rest[size_of::<CanaryRecord>()..2 * size_of::<CanaryRecord>()]).expect("whole");
    second.events = Range::new(0, 1);
    let at = size_of::<CanariesRecord>() + size_of::<CanaryRecord>();
    parts[2][at..at + size_of::<CanaryRecord>()].copy_from_slice(second.as_bytes());
    let refused = Pack::open(&sealed(&parts)).expect_err("shared");
    assert!(matches!(refused, PackError::Record { table: "canary", position: 1, .. }), "{refused}");
}

/// A section as its header and what follows.
trait Split<T> {
    fn split(bytes: &[u8]) -> (T, Vec<u8>);
}

impl<T: zerocopy::FromBytes + Copy + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned> Split<T>
    for (T, Vec<u8>)
{
    fn split(bytes: &[u8]) -> (T, Vec<u8>) {
        let (head, rest) = T::ref_from_prefix(bytes).expect("a header");
        (*head, rest.to_vec())
    }
}
