//! The loader's snapshot of the processes that are there already: records one after the other, each with its size in its
//! header.

use std::io::{self, Read};

use watertight_event::Event;
use watertight_sensor_abi::{DecodeError, Header, Record, RECORD_BYTES_MAX};

use crate::ids::ProcessIds;
use crate::translate::translate;

/// Why a snapshot can't be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It could not be read.
    #[error("reading the processes that are there: {0}")]
    Read(#[from] io::Error),
    /// It holds something that is no record.
    #[error("among the processes that are there: {0}")]
    Record(#[from] DecodeError),
}

/// Hands each process of a snapshot to `take`, as the event of its start. Returns how many there were.
///
/// # Errors
/// The snapshot is damaged; those before the damage have been taken.
pub fn read_snapshot(mut from: impl Read, boot_id: &str, take: &mut dyn FnMut(Event)) -> Result<usize, SnapshotError> {
    let mut ids = ProcessIds::new(boot_id);
    let mut record = Vec::new();
    let mut count = 0_usize;
    loop {
        record.clear();
        from.by_ref().take(Header::BYTES as u64).read_to_end(&mut record)?;
        if record.is_empty() {
            return Ok(count);
        }
        let header = Header::read(&record).ok_or(DecodeError::TooShort { what: "a header", bytes: record.len() })?;
        if header.bytes > RECORD_BYTES_MAX {
            return Err(DecodeError::Size { said: header.bytes, bytes: record.len() }.into());
        }
        let rest = u64::from(header.bytes).saturating_sub(Header::BYTES as u64);
        from.by_ref().take(rest).read_to_end(&mut record)?;
        take(translate(&Record::read(&record)?, &mut ids));
        count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use watertight_event::{Field, Kind, Outcome, Source};
    use watertight_sensor_abi::{Exec, Hook, Process, RecordType, ABI_VERSION, FLAG_HAS_PROCESS, FLAG_WAS_THERE};

    use super::*;

    fn process(pid: u32) -> Vec<u8> {
        let size = u32::try_from(Header::BYTES + Process::BYTES + Exec::BYTES).expect("short");
        let mut bytes = Vec::new();
        let header = Header {
            version: ABI_VERSION,
            record: RecordType::Exec as u16,
            hook: Hook::TaskExec as u16,
            flags: FLAG_HAS_PROCESS | FLAG_WAS_THERE,
            bytes: size,
            ..Header::default()
        };
        header.write(&mut bytes);
        Process { pid, start_ns: 7, ..Process::default() }.write(&mut bytes);
        Exec::default().write(&mut bytes);
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Event>, Result<usize, SnapshotError>) {
        let mut events = Vec::new();
        let result = read_snapshot(bytes, "b", &mut |event| events.push(event));
        (events, result)
    }

    #[test]
    fn processes_that_were_there_have_the_ids_that_live_events_give_them() {
        let (events, result) = read(&[process(3), process(4)].concat());
        assert_eq!(result.expect("a good snapshot"), 2);
        let last = events.last().expect("two");
        assert_eq!((last.kind, last.outcome, last.source), (Kind::ProcessExec, Outcome::Unknown, Source::Iterator));
        assert_eq!(last.text(Field::ProcessId).as_deref(), Some("b-7-4"));
    }

    #[test]
    fn a_snapshot_cut_or_damaged_anywhere_is_refused_after_what_is_whole() {
        let whole = [process(3), process(4)].concat();
        for end in (whole.len() / 2 + 1)..whole.len() {
            let (events, result) = read(&whole[..end]);
            assert_eq!(events.len(), 1);
            result.expect_err("cut");
        }
        let mut huge = process(3);
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(read(&huge).1, Err(SnapshotError::Record(DecodeError::Size { said: u32::MAX, .. }))));
    }
}
