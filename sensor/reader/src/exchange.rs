//! Two names that change places (`RENAME_EXCHANGE`): the kernel asks once for both, so the record tells the one direction. The
//! other is told too, else whoever puts a file in place of another one chooses which of the two names is heard of.

use watertight_event::{Event, Field, Kind, Value};
use watertight_sensor_abi::{Body, Record};

/// `RENAME_EXCHANGE`, include/uapi/linux/fs.h.
const RENAME_EXCHANGE: u32 = 2;

/// Whether the record is of names that change places.
pub(crate) fn is_exchange(record: &Record<'_>, event: &Event) -> bool {
    matches!(record.body, Body::File(file) if event.kind == Kind::FileRename && file.flags & RENAME_EXCHANGE != 0)
}

/// The other direction, with the number of the record that told both. Which file it is that moves so, the record does not tell.
pub(crate) fn other_direction(event: &Event) -> Option<Event> {
    let (Some(Value::Text(to)), Some(Value::Text(from))) = (event.get(Field::Path), event.get(Field::OldPath)) else {
        return None;
    };
    let mut other = Event::new(event.kind, event.outcome, event.source, event.boot_ns);
    other.sequence = event.sequence;
    for (field, value) in event.fields() {
        if !matches!(field, Field::Inode | Field::Generation | Field::Mode | Field::ModeText | Field::FileType) {
            other.set(field, value.clone());
        }
    }
    other.set(Field::Path, from.clone());
    other.set(Field::OldPath, to.clone());
    Some(other)
}

#[cfg(test)]
mod tests {
    use watertight_event::{Outcome, Source};

    use super::*;

    #[test]
    fn the_other_direction_has_the_names_the_other_way_round_and_no_identity() {
        let mut event = Event::new(Kind::FileRename, Outcome::Attempted, Source::BpfLsm, 7)
            .with(Field::Pid, 3_u64)
            .with(Field::Path, "/etc/passwd")
            .with(Field::OldPath, "/tmp/x")
            .with(Field::IsExchange, true)
            .with(Field::Dev, 1_u64)
            .with(Field::Inode, 5_u64);
        event.sequence = Some((1, 9));
        let other = other_direction(&event).expect("it has both names");
        assert_eq!(other.text(Field::Path).as_deref(), Some("/tmp/x"));
        assert_eq!(other.text(Field::OldPath).as_deref(), Some("/etc/passwd"));
        assert_eq!((other.number(Field::Pid), other.number(Field::Dev), other.boot_ns), (Some(3), Some(1), 7));
        assert!(other.has(Field::IsExchange) && !other.has(Field::Inode));
        assert_eq!(other.sequence, Some((1, 9)));
    }
}
