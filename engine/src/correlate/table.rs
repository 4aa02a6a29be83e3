//! What correlations remember: entries found by their digest, in the order of when they were last touched, in memory that is
//! reserved once. A full table says so; whoever owns it then lets the oldest go.

use super::key::Digest;

/// No entry.
pub(super) const NOWHERE: u32 = u32::MAX;

/// What an entry of a table takes, with its share of the places that lead to it.
pub(super) const ENTRY_BYTES: u64 = (size_of::<Entry>() as u64).saturating_add(BUCKET_BYTES_MAX);

/// Of one entry: the places are a power of two, at most twice the entries.
const BUCKET_BYTES_MAX: u64 = 8;

#[derive(Clone, Debug)]
struct Entry {
    digest: Digest,
    time_ns: u64,
    /// The next entry of the same place.
    chain: u32,
    older: u32,
    newer: u32,
}

/// Entries by digest and by age.
#[derive(Debug)]
pub(super) struct Table {
    /// Where the entries of a place begin: one more than the entry, 0 where there is none.
    places: Vec<u32>,
    entries: Vec<Entry>,
    /// The first of those that are free again, chained.
    free: u32,
    oldest: u32,
    newest: u32,
    capacity: usize,
}

impl Table {
    /// Room for this many. Memory is taken from the machine as it is used.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.min(NOWHERE as usize).max(1);
        Self {
            places: vec![0; capacity.checked_next_power_of_two().unwrap_or(1)],
            entries: Vec::with_capacity(capacity),
            free: NOWHERE,
            oldest: NOWHERE,
            newest: NOWHERE,
            capacity,
        }
    }

    pub(super) fn find(&self, digest: Digest) -> Option<u32> {
        self.same(self.first(digest), digest)
    }

    /// Whether the entry is what `find` begins with, among all of its place.
    pub(super) fn is_first(&self, entry: u32, digest: Digest) -> bool {
        self.first(digest) == entry
    }

    /// The next entry with the same digest.
    pub(super) fn find_next(&self, entry: u32) -> Option<u32> {
        let Entry { chain, digest, .. } = self.entry(entry)?;
        self.same(*chain, *digest)
    }

    /// The entry that was not touched for longest, and when it was.
    pub(super) fn oldest(&self) -> Option<(u32, u64)> {
        self.entry(self.oldest).map(|entry| (self.oldest, entry.time_ns))
    }

    pub(super) fn is_full(&self) -> bool {
        self.free == NOWHERE && self.entries.len() >= self.capacity
    }

    /// A new entry, the newest; `None` if the table is full.
    pub(super) fn insert(&mut self, digest: Digest, time_ns: u64) -> Option<u32> {
        let place = self.place(digest);
        let chain = self.places.get(place)?.wrapping_sub(1);
        let fresh = Entry { digest, time_ns, chain, older: NOWHERE, newer: NOWHERE };
        let number = match self.entry(self.free) {
            Some(freed) => {
                let (number, next) = (self.free, freed.chain);
                *self.entry_mut(number)? = fresh;
                self.free = next;
                number
            }
            None if self.entries.len() < self.capacity => {
                let number = u32::try_from(self.entries.len()).ok()?;
                self.entries.push(fresh);
                number
            }
            None => return None,
        };
        *self.places.get_mut(place)? = number.wrapping_add(1);
        self.append(number);
        Some(number)
    }

    /// The entry is the newest from now on.
    pub(super) fn touch(&mut self, number: u32, time_ns: u64) {
        if self.newest != number {
            self.unlink(number);
            self.append(number);
        }
        if let Some(entry) = self.entry_mut(number) {
            entry.time_ns = time_ns;
        }
    }

    pub(super) fn remove(&mut self, number: u32) {
        let Some((digest, chain)) = self.entry(number).map(|entry| (entry.digest, entry.chain)) else { return };
        let place = self.place(digest);
        let first = self.first(digest);
        if first == number {
            if let Some(place) = self.places.get_mut(place) {
                *place = chain.wrapping_add(1);
            }
        } else {
            let mut before = first;
            while let Some(entry) = self.entry_mut(before) {
                if entry.chain == number {
                    entry.chain = chain;
                    break;
                }
                before = entry.chain;
            }
        }
        self.unlink(number);
        let free = self.free;
        if let Some(entry) = self.entry_mut(number) {
            entry.chain = free;
            self.free = number;
        }
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize)
    }

    fn entry_mut(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.get_mut(number as usize)
    }

    fn place(&self, digest: Digest) -> usize {
        (digest as usize) & self.places.len().wrapping_sub(1)
    }

    fn first(&self, digest: Digest) -> u32 {
        self.places.get(self.place(digest)).map_or(NOWHERE, |first| first.wrapping_sub(1))
    }

    /// From this entry on, the first with the digest.
    fn same(&self, mut number: u32, digest: Digest) -> Option<u32> {
        loop {
            let entry = self.entry(number)?;
            if entry.digest == digest {
                return Some(number);
            }
            number = entry.chain;
        }
    }

    fn append(&mut self, number: u32) {
        let last = self.newest;
        if let Some(entry) = self.entry_mut(number) {
            (entry.older, entry.newer) = (last, NOWHERE);
        }
        match self.entry_mut(last) {
            Some(entry) => entry.newer = number,
            None => self.oldest = number,
        }
        self.newest = number;
    }

    fn unlink(&mut self, number: u32) {
        let Some((older, newer)) = self.entry(number).map(|entry| (entry.older, entry.newer)) else { return };
        match self.entry_mut(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entry_mut(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_digest_and_leave_in_the_order_of_their_age() {
        let mut table = Table::new(3);
        let places = [5, 5 + 4, 5].map(|digest| table.insert(digest, 1).expect("room"));
        assert!(table.is_full() && table.insert(7, 1).is_none());
        assert_eq!((table.find(9), table.find(8)), (Some(places[1]), None));
        let same = table.find(5).expect("two of them");
        assert_eq!(table.find_next(same).map(|next| next != same), Some(true));
        table.touch(places[0], 4);
        assert_eq!(table.oldest(), Some((places[1], 1)));
        table.remove(places[1]);
        assert_eq!((table.find(9), table.oldest()), (None, Some((places[2], 1))));
        let again = table.insert(9, 6).expect("room again");
        table.remove(places[2]);
        table.remove(places[0]);
        assert_eq!((table.oldest(), table.find(5)), (Some((again, 6)), None));
        table.remove(again);
        assert_eq!(table.oldest(), None);
    }
}
