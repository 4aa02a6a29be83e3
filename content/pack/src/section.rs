//! Takes a section apart: a header, tables whose counts were checked against their limits, and the texts behind them.

use watertight_engine::image::is_plain;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::error::{Named, PackError};
use crate::layout::{Range, Section};

/// What is still to be read of a section.
pub(crate) struct Reader<'p> {
    pub(crate) section: Section,
    rest: &'p [u8],
}

/// The texts at a section's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texts<'p> {
    bytes: &'p [u8],
}

/// What is wrong with a record.
pub(crate) type Complaint = &'static str;

impl<'p> Reader<'p> {
    pub(crate) fn new(section: Section, bytes: &'p [u8]) -> Self {
        Self { section, rest: bytes }
    }

    /// The next record.
    pub(crate) fn record<T>(&mut self) -> Result<&'p T, PackError>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        let (record, rest) = T::ref_from_prefix(self.rest).map_err(|_| self.wrong("is too short for its header"))?;
        self.rest = rest;
        Ok(record)
    }

    /// The next `count` records: refused for the count before anything is read, and for what is not there.
    pub(crate) fn table<T>(&mut self, what: &'static str, count: u32, limit: u32) -> Result<&'p [T], PackError>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        at_most(what, count, limit)?;
        let count = usize::try_from(count).map_err(|_| self.wrong("has more records than this machine counts"))?;
        let (table, rest) = <[T]>::ref_from_prefix_with_elems(self.rest, count)
            .map_err(|_| self.wrong("is too short for its tables"))?;
        self.rest = rest;
        Ok(table)
    }

    /// What is left.
    pub(crate) fn texts(self) -> Texts<'p> {
        Texts { bytes: self.rest }
    }

    pub(crate) fn wrong(&self, what: &'static str) -> PackError {
        PackError::Section { section: self.section.name(), what }
    }
}

/// Refuses what there is too much of.
pub(crate) fn at_most(what: &'static str, found: u32, limit: u32) -> Result<(), PackError> {
    match found <= limit {
        true => Ok(()),
        false => Err(PackError::TooMany { what, found: found.into(), limit: limit.into() }),
    }
}

impl<'p> Texts<'p> {
    /// The bytes of a range, if they are no more than `limit`.
    pub(crate) fn bytes(&self, range: Range, limit: u32) -> Result<&'p [u8], Complaint> {
        let (first, count) = (range.first.get(), range.count.get());
        if count > limit {
            return Err("has a text that is too long");
        }
        let bounds = || {
            let first = usize::try_from(first).ok()?;
            Some(first..first.checked_add(usize::try_from(count).ok()?)?)
        };
        bounds().and_then(|bounds| self.bytes.get(bounds)).ok_or("has a text that lies outside")
    }

    /// The same as text.
    pub(crate) fn text(&self, range: Range, limit: u32) -> Result<&'p str, Complaint> {
        std::str::from_utf8(self.bytes(range, limit)?).map_err(|_| "has a text that is not UTF-8")
    }
}

/// A name that people read: not empty, and without characters that make it look like another.
pub(crate) fn plain<'n>(what: &'static str, name: &'n str) -> Result<&'n str, PackError> {
    let refused = |why| Err(PackError::Name { what, name: Named::of(name), why });
    if name.trim().is_empty() {
        return refused("is blank");
    }
    if !name.chars().all(is_plain) {
        return refused("has a control or bidirectional character");
    }
    Ok(name)
}

/// The records of a range that must begin where the one before ended; where it ends.
pub(crate) fn next_of<T>(table: &[T], range: Range, from: usize) -> Result<(&[T], usize), Complaint> {
    const OUTSIDE: Complaint = "does not go on where the one before it ended";
    let first = usize::try_from(range.first.get()).map_err(|_| OUTSIDE)?;
    let count = usize::try_from(range.count.get()).map_err(|_| OUTSIDE)?;
    if first != from {
        return Err(OUTSIDE);
    }
    let end = first.checked_add(count).ok_or(OUTSIDE)?;
    Ok((table.get(first..end).ok_or(OUTSIDE)?, end))
}

/// Calls `check` with each record and its position; a complaint becomes an error that names the place.
pub(crate) fn each<T>(
    section: Section,
    table: &'static str,
    records: &[T],
    mut check: impl FnMut(usize, &T) -> Result<(), Complaint>,
) -> Result<(), PackError> {
    records.iter().enumerate().try_for_each(|(position, record)| {
        let named = |what| PackError::Record { section: section.name(), table, position, what };
        check(position, record).map_err(named)
    })
}
