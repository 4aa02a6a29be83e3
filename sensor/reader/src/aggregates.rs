//! What the hooks counted by process while a ring was nearly full.
//!
//! There are two tables; the programs count in the one that the map `aggregates` holds. `take` puts the other, empty one in its
//! place. The kernel returns from that when no program is left that could still count in the first: it is read and emptied,
//! and no count is lost or told twice.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use watertight_event::{Event, Field, Kind, Outcome, Source, Value};
use watertight_sensor_abi::{AggregateKey, Hook, HookClass, Pressure, Process, Ring};

use crate::ids::ProcessIds;
use crate::maps::{delete, lookup, map_id, next_key, open_pinned, update, MapError};
use crate::translate::set_process;

/// `struct aggregate` of `pressure.h`: the count, then the process.
const AGGREGATE_BYTES: usize = 8 + Process::BYTES;
/// The one slot of the map of maps.
const SLOT: [u8; 4] = [0; 4];

/// Operations of one process at one hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// The hook.
    pub hook: Hook,
    /// The process; `None` where the hook knew none.
    pub process: Option<Process>,
    /// How many.
    pub count: u64,
}

/// The counting side of a build, for who may open its pins.
pub struct Aggregates {
    in_use: OwnedFd,
    tables: [OwnedFd; 2],
    /// The kernel's number of the first table.
    first: u32,
    pressure: OwnedFd,
}

impl Aggregates {
    /// Opens the pins in a build's folder.
    ///
    /// # Errors
    /// A pin is not there or may not be opened.
    pub fn open(directory: &Path) -> Result<Self, MapError> {
        let open = |name: &str| open_pinned(&directory.join(name));
        let tables = [open("aggregates_a")?, open("aggregates_b")?];
        let failed = |cause: io::Error| MapError::Element { doing: "asking for the number", cause };
        Ok(Self {
            in_use: open("aggregates")?,
            first: map_id(tables[0].as_fd()).map_err(failed)?,
            tables,
            pressure: open("pressure")?,
        })
    }

    /// The state of a ring's pressure.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn pressure(&self, ring: Ring) -> Result<Pressure, MapError> {
        let key = (ring as u32).to_ne_bytes();
        let bytes = lookup(self.pressure.as_fd(), &key, Pressure::BYTES)?;
        Ok(bytes.and_then(|bytes| Pressure::read(&bytes)).unwrap_or_default())
    }

    /// Everything that was counted since the last call. Costs one look while nothing is.
    ///
    /// # Errors
    /// A map can't be read or replaced.
    pub fn take(&self, found: &mut dyn FnMut(Aggregate)) -> Result<(), MapError> {
        let [a, b] = &self.tables;
        let held = lookup(self.in_use.as_fd(), &SLOT, 4)?.unwrap_or_default();
        let is_a = held.first_chunk().copied().map(u32::from_ne_bytes) == Some(self.first);
        let (full, empty) = if is_a { (a, b) } else { (b, a) };
        // Not empty only if an earlier reader died between the change and the end of its reading.
        Self::read_out(empty, found)?;
        if next_key(full.as_fd(), None, AggregateKey::BYTES)?.is_none() {
            return Ok(());
        }
        update(self.in_use.as_fd(), &SLOT, &empty.as_raw_fd().to_ne_bytes())?;
        Self::read_out(full, found)
    }

    fn read_out(table: &OwnedFd, found: &mut dyn FnMut(Aggregate)) -> Result<(), MapError> {
        while let Some(key) = next_key(table.as_fd(), None, AggregateKey::BYTES)? {
            let value = lookup(table.as_fd(), &key, AGGREGATE_BYTES)?;
            if let Some(aggregate) = value.and_then(|value| read(&key, &value)) {
                found(aggregate);
            }
            delete(table.as_fd(), &key)?;
        }
        Ok(())
    }
}

fn read(key: &[u8], value: &[u8]) -> Option<Aggregate> {
    let key = AggregateKey::read(key)?;
    let hook = Hook::from_number(u16::try_from(key.hook).ok()?)?;
    let (count, process) = value.split_first_chunk::<8>()?;
    let process = Process::read(process)?;
    Some(Aggregate { hook, process: (key.pid != 0).then_some(process), count: u64::from_ne_bytes(*count) })
}

impl Aggregate {
    /// The event that tells it.
    #[must_use]
    pub fn event(&self, ids: &mut ProcessIds, boot_ns: u64) -> Event {
        let source = match self.hook.class() {
            HookClass::Lsm => Source::BpfLsm,
            HookClass::Tracepoint => Source::TpBtf,
        };
        let mut event = Event::new(Kind::SensorAggregated, Outcome::Unknown, source, boot_ns);
        if let Some(process) = &self.process {
            set_process(&mut event, process, ids);
        }
        event.set(Field::Of, self.hook.program());
        event.set(Field::Count, self.count);
        event.set(Field::Operations, Value::List(vec![self.hook.program().into()]));
        let words = format!("counted instead of reported, because {} was nearly full", self.hook.ring().map_name());
        event.set(Field::Message, words.as_str());
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_with_its_hook_and_process() {
        let mut key = Vec::new();
        AggregateKey { pid: 7, hook: u32::from(Hook::FileUnlink as u16), start_ns: 5 }.write(&mut key);
        let mut value = 12_u64.to_ne_bytes().to_vec();
        Process { pid: 7, start_ns: 5, ..Process::default() }.write(&mut value);
        assert_eq!(value.len(), AGGREGATE_BYTES);
        let aggregate = read(&key, &value).expect("both are whole");
        let event = aggregate.event(&mut ProcessIds::new("b"), 1);
        assert_eq!(event.number(Field::Count), Some(12));
        assert_eq!(event.number(Field::Pid), Some(7));
        assert_eq!(event.text(Field::Of).as_deref(), Some("file_unlink"));
        assert_eq!(read(&key, &value[..AGGREGATE_BYTES - 1]), None);
    }

    #[test]
    fn a_count_without_a_process_names_none() {
        let mut key = Vec::new();
        AggregateKey { pid: 0, hook: u32::from(Hook::SockState as u16), start_ns: 0 }.write(&mut key);
        let value = vec![1; AGGREGATE_BYTES];
        assert_eq!(read(&key, &value).expect("whole").process, None);
    }
}
