//! Memory of a process, as far as its dump holds it.

use minidump::UnifiedMemoryList;

/// Regions that one read may run through.
const REGIONS_MAX: usize = 64;

/// Bytes by address.
pub(super) trait Memory {
    /// As many of the bytes at an address as follow each other without a gap, at most so many.
    fn some(&self, address: u64, size_max: usize) -> Vec<u8>;

    /// Whether the process had memory at an address; `None` where the dump does not tell.
    fn is_mapped(&self, address: u64) -> Option<bool>;

    /// All of the bytes, or none.
    fn all(&self, address: u64, size: usize) -> Option<Vec<u8>> {
        Some(self.some(address, size)).filter(|bytes| bytes.len() == size)
    }
}

/// What a minidump holds: memory, and maybe a list of what was mapped.
pub(super) struct Streams<'m> {
    pub memory: UnifiedMemoryList<'m>,
    pub maps: minidump::UnifiedMemoryInfoList<'m>,
}

impl Memory for Streams<'_> {
    fn some(&self, address: u64, size_max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..REGIONS_MAX {
            let left = size_max.saturating_sub(bytes.len());
            let at = u64::try_from(bytes.len()).ok().and_then(|done| address.checked_add(done));
            let Some((at, region)) =
                at.filter(|_| left > 0).and_then(|at| Some((at, self.memory.memory_at_address(at)?)))
            else {
                break;
            };
            let from = usize::try_from(at.saturating_sub(region.base_address())).unwrap_or(usize::MAX);
            let rest = region.bytes().get(from..).unwrap_or_default();
            let piece = rest.get(..left.min(rest.len())).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(piece);
        }
        bytes
    }

    fn is_mapped(&self, address: u64) -> Option<bool> {
        if self.memory.memory_at_address(address).is_some() {
            return Some(true);
        }
        // A list that names nothing tells nothing; one of Windows names free memory too.
        self.maps.iter().next()?;
        let found = self.maps.memory_info_at_address(address);
        Some(found.is_some_and(|found| match found {
            minidump::UnifiedMemoryInfo::Map(_) => true,
            minidump::UnifiedMemoryInfo::Info(found) => found.state.contains(minidump::format::MemoryState::MEM_COMMIT),
        }))
    }
}
