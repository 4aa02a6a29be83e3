//! Reads all rings, critical first, and keeps the receiver's half of the accounts.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use watertight_event::{Event, Field};
use watertight_sensor_abi::{DecodeError, Hook, Record, Ring, VerdictRecord, GUARD_HOOKS, GUARD_HOOK_FIRST, HOOKS};

use crate::exchange::other_direction;
use crate::ids::ProcessIds;
use crate::ring::{RingBuffer, RingError};
use crate::translate::translate;
use crate::verdict::translate_verdict;

/// Records that are taken from the file and net rings before the critical one is looked at again.
const BATCH_RECORDS: usize = 256;

/// How often the processor is given away to a program that is still writing a record of the critical ring: it takes
/// microseconds, unless it was interrupted itself.
const BUSY_TURNS_MAX: u32 = 1_000;

/// What was received.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Records by hook, in the order of [`HOOKS`].
    pub received: Vec<u64>,
    /// Verdicts by hook, in the order of [`GUARD_HOOKS`]; empty without a guard.
    pub verdicts: Vec<u64>,
    /// Records that were refused, and the last reason.
    pub malformed: u64,
    /// Why the last one was refused.
    pub malformed_last: Option<DecodeError>,
    /// What was taken, by ring and processor.
    pub taken: BTreeMap<(Ring, u32), Taken>,
    /// Sequence numbers that did not come: lost in the kernel, and counted there too.
    pub missing: u64,
    /// The same by ring, in the order of [`Ring::ALL`].
    pub missing_by_ring: [u64; Ring::ALL.len()],
}

/// What was taken of one processor's records in one ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Sequence number of the first: so many were taken or lost before.
    pub first: u64,
    /// How many were taken.
    pub records: u64,
    /// Sequence number that comes next.
    pub next: u64,
}

/// How much one pass took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records.
    pub records: usize,
}

/// The rings of the kernel sensor.
pub struct Reader {
    rings: Vec<(Ring, RingBuffer)>,
    verdicts: Option<RingBuffer>,
    account: Account,
    ids: ProcessIds,
}

impl Reader {
    /// Maps the rings. `boot_id` becomes part of every process's stable id.
    ///
    /// # Errors
    /// A descriptor is no ring.
    pub fn new(rings: Vec<(Ring, OwnedFd, u32)>, boot_id: &str) -> Result<Self, RingError> {
        let mut mapped = Vec::with_capacity(rings.len());
        for (ring, fd, bytes) in rings {
            mapped.push((ring, RingBuffer::map(fd, bytes)?));
        }
        mapped.sort_by_key(|(ring, _)| *ring);
        let account = Account { received: vec![0; HOOKS.len()], ..Account::default() };
        Ok(Self { rings: mapped, verdicts: None, account, ids: ProcessIds::new(boot_id) })
    }

    /// Maps the guard's ring too; it is drained in every pass.
    ///
    /// # Errors
    /// The descriptor is no ring.
    pub fn add_verdicts(&mut self, fd: OwnedFd, bytes: u32) -> Result<(), RingError> {
        self.verdicts = Some(RingBuffer::map(fd, bytes)?);
        self.account.verdicts = vec![0; GUARD_HOOKS.len()];
        Ok(())
    }

    /// Descriptors for poll(2).
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|(_, ring)| ring.as_fd()).chain(self.verdicts.iter().map(RingBuffer::as_fd))
    }

    /// Whether no ring holds a record. Costs no system call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rings.iter().map(|(_, ring)| ring).chain(&self.verdicts).all(RingBuffer::is_empty)
    }

    /// What was received so far.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Reads what the rings hold: all of the critical one, then a batch of each other. Call again while it returns records.
    /// `take` gets the hook of a record with its event, and no hook with a verdict of the guard or with the other direction of an
    /// exchange of names.
    ///
    /// Of the others only what was there before the critical one was read: a process's exec was in its ring before anything
    /// that the process did, so nothing is told of a process whose exec was not.
    pub fn drain(&mut self, take: &mut dyn FnMut(Option<Hook>, Event)) -> Drained {
        let Self { rings, verdicts, account, ids } = self;
        let mut untils = [0; Ring::ALL.len()];
        for (until, (_, ring)) in untils.iter_mut().zip(rings.iter()) {
            *until = ring.produced();
        }
        let verdicts_until = verdicts.as_ref().map_or(0, RingBuffer::produced);
        let mut records = 0_usize;
        for ((which, ring), until) in rings.iter_mut().zip(untils) {
            let mut read = |bytes: &[u8]| match Record::read(bytes) {
                Ok(record) => {
                    account.note(*which, &record);
                    let event = translate(&record, ids);
                    let other = if event.has(Field::IsExchange) { other_direction(&event) } else { None };
                    take(Some(record.hook), event);
                    if let Some(other) = other {
                        take(None, other); // of the same record, which is counted once
                    }
                }
                Err(error) => account.note_malformed(error),
            };
            if *which != Ring::Critical {
                records = records.saturating_add(ring.drain(BATCH_RECORDS, until, read));
                continue;
            }
            let until = ring.produced(); // not as it was before the others
            for _ in 0..BUSY_TURNS_MAX {
                records = records.saturating_add(ring.drain(usize::MAX, u64::MAX, &mut read));
                if ring.is_drained(until) {
                    break;
                }
                std::thread::yield_now();
            }
            if !ring.is_drained(until) {
                return Drained { records };
            }
        }
        let verdicts = verdicts.as_mut().map_or(0, |ring| {
            ring.drain(usize::MAX, verdicts_until, |bytes| match VerdictRecord::read(bytes) {
                Ok(record) => {
                    account.note_verdict(&record);
                    take(None, translate_verdict(&record, ids));
                }
                Err(error) => account.note_malformed(error),
            })
        });
        Drained { records: records.saturating_add(verdicts) }
    }
}

impl Account {
    fn note_malformed(&mut self, error: DecodeError) {
        self.malformed = self.malformed.saturating_add(1);
        self.malformed_last = Some(error);
    }

    fn note_verdict(&mut self, record: &VerdictRecord<'_>) {
        let at = (record.hook as u16).saturating_sub(GUARD_HOOK_FIRST);
        if let Some(count) = self.verdicts.get_mut(usize::from(at)) {
            *count = count.saturating_add(1);
        }
    }

    fn note(&mut self, ring: Ring, record: &Record<'_>) {
        if let Some(count) = self.received.get_mut(usize::from(record.hook as u16)) {
            *count = count.saturating_add(1);
        }
        let sequence = record.header.sequence;
        let fresh = Taken { first: sequence, records: 0, next: sequence };
        let taken = self.taken.entry((ring, record.header.cpu)).or_insert(fresh);
        // Two programs that preempt each other may swap their places in the ring: what was missing then comes late.
        taken.first = taken.first.min(sequence);
        taken.records = taken.records.saturating_add(1);
        let (gap, late) = match sequence.checked_sub(taken.next) {
            Some(gap) => (gap, 0),
            None => (0, 1),
        };
        taken.next = taken.next.max(sequence.saturating_add(1));
        self.missing = self.missing.saturating_add(gap).saturating_sub(late);
        if let Some(missing) = self.missing_by_ring.get_mut(ring as usize) {
            *missing = missing.saturating_add(gap).saturating_sub(late);
        }
    }
}
