use proptest::prelude::*;

use super::*;
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPEN_BYTES_MAX};

fn crash(sequence: u64) -> Record {
    let crash = Crash { bucket: "b".into(), title: "null read".into(), is_ours: true, ..Crash::default() };
    Record { sequence, at_ms: 5, body: Some(Body::Crash(crash)) }
}

fn batch(records: Vec<Record>) -> Batch {
    Batch { boot: "boot".into(), stream: Stream::Crash as i32, records, dropped: 3 }
}

#[test]
fn a_batch_survives_the_way() {
    let told = batch(vec![crash(1), crash(7)]);
    assert_eq!(unpack(1, &pack(&told).expect("a batch")), Ok(told));
}

#[test]
fn an_unknown_field_is_refused_by_message_and_number() {
    let mut bytes = batch(vec![crash(1)]).encode_to_vec();
    bytes.extend([9 << 3, 1]);
    assert_eq!(Batch::read(1, &bytes), Err(Refused::form("unknown field `Batch.9` in protocol 1")));
    // In a crash in a record: the lengths around it grow.
    let mut inner = Crash { bucket: "b".into(), ..Crash::default() }.encode_to_vec();
    inner.extend([12 << 3, 1]);
    let mut record = vec![1 << 3, 1, 4 << 3 | 2, u8::try_from(inner.len()).expect("small")];
    record.extend(inner);
    let mut bytes = vec![3 << 3 | 2, u8::try_from(record.len()).expect("small")];
    bytes.extend(record);
    assert_eq!(Batch::read(1, &bytes), Err(Refused::form("unknown field `Crash.12` in protocol 1")));
}

#[test]
fn a_batch_that_is_out_of_bounds_is_refused_by_writer_and_reader() {
    let bad = [
        batch(vec![]),
        batch(vec![crash(2), crash(2)]),
        batch(vec![crash(0)]),
        batch(vec![crash(u64::MAX)]),
        Batch { stream: 9, ..batch(vec![crash(1)]) },
        Batch { stream: Stream::Alert as i32, ..batch(vec![crash(1)]) },
        Batch { boot: String::new(), ..batch(vec![crash(1)]) },
        batch(vec![crash(1), Record { sequence: 2, at_ms: 5, body: None }]),
        batch((1..=BATCH_RECORDS_MAX as u64 + 1).map(crash).collect()),
    ];
    for batch in bad {
        assert!(matches!(pack(&batch), Err(Refused::Form { .. })), "{batch:?}");
        assert!(matches!(Batch::read(1, &batch.encode_to_vec()), Err(Refused::Form { .. })), "{batch:?}");
    }
}

#[test]
fn a_record_without_a_body_is_refused_by_its_place() {
    let told = batch(vec![crash(1), Record { sequence: 7, at_ms: 5, body: None }]).encode_to_vec();
    assert_eq!(Batch::read(1, &told), Err(Refused::form("record 7: it has no body: health, crash or alert")));
}

#[test]
fn a_frame_that_grows_without_end_costs_no_more_than_the_limit() {
    let bomb = ruzstd::encoding::compress_to_vec(
        std::io::Read::take(std::io::repeat(0), 4 * BATCH_OPEN_BYTES_MAX as u64),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    assert!(bomb.len() < BATCH_BYTES_MAX, "{}", bomb.len());
    assert!(matches!(unpack(1, &bomb), Err(Refused::TooLarge { .. })));
}

#[test]
fn what_is_left_after_the_frame_is_not_passed_over() {
    let mut bytes = pack(&batch(vec![crash(1)])).expect("a batch");
    bytes.push(0);
    assert_eq!(unpack(1, &bytes), Err(Refused::form("1 bytes after the frame")));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = unpack(1, &bytes);
        let _ = Batch::read(1, &bytes);
    }

    #[test]
    fn no_mutant_of_a_batch_makes_the_reader_panic(place in 0_usize..400, value in any::<u8>()) {
        let told = batch((1..9).map(crash).collect());
        for mut bytes in [told.encode_to_vec(), pack(&told).expect("a batch")] {
            let length = bytes.len();
            bytes[place % length] = value;
            let _ = unpack(1, &bytes);
            let _ = Batch::read(1, &bytes);
        }
    }
}
