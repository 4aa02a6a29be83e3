//! One kernel ring buffer, mapped and read in place (kernel/bpf/ringbuf.c).
//!
//! A consumer page that we write, a producer page and the data that we only read. The kernel offers the data twice in a row, so
//! that a record that wraps is in one piece. Of the second time only the beginning is mapped, as much as one record: every
//! mapped page counts as memory of the process, read or not.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use watertight_sensor_abi::RECORD_BYTES_MAX;

/// Header of a record in the ring: length and flags, then a page offset.
const RECORD_HEADER_BYTES: u64 = 8;
/// Mapped behind the data for the record that begins at its end.
const OVERLAP_BYTES: usize = RECORD_BYTES_MAX as usize + RECORD_HEADER_BYTES as usize;
const BUSY_BIT: u32 = 1 << 31;
const DISCARD_BIT: u32 = 1 << 30;

/// Why a ring can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The descriptor could not be mapped.
    #[error("mapping the ring: {0}")]
    Map(#[from] io::Error),
    /// Its size is none that a ring can have.
    #[error("a ring of {bytes} bytes does not exist: the size is a power of two from one page up")]
    Size {
        /// The size that was said.
        bytes: u32,
    },
}

/// From the C library, which had it from the kernel at start: /proc/self/auxv is closed to a process that gave up root.
fn page_bytes() -> usize {
    // SAFETY: sysconf takes no pointer.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

/// Pages of a descriptor, mapped until dropped.
struct Mapping {
    at: *mut std::ffi::c_void,
    bytes: usize,
}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, from: usize, bytes: usize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let at = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, from as u64) }?;
        Ok(Self { at, bytes })
    }

    /// The number at this place, which the kernel may change at any time.
    fn word(&self, at: usize) -> Option<&AtomicU32> {
        let end = at.checked_add(size_of::<AtomicU32>())?;
        if end > self.bytes || !at.is_multiple_of(align_of::<AtomicU32>()) {
            return None;
        }
        // SAFETY: the four bytes lie within the mapping, are aligned, and live as long as it does.
        Some(unsafe { &*self.at.cast::<u8>().add(at).cast::<AtomicU32>() })
    }

    /// The position at the start of a ring's first or second page.
    fn position(&self) -> &AtomicU64 {
        // SAFETY: a mapping is at least a page, which is aligned, and lives as long as self.
        unsafe { &*self.at.cast::<AtomicU64>() }
    }

    /// These bytes, as far as they are mapped.
    ///
    /// # Safety
    /// Nobody may change them while the answer is used.
    // SAFETY: the kernel writes to this memory whenever it likes; where it does not is only known to the caller, who has read
    // the positions of the ring.
    unsafe fn bytes(&self, at: usize, count: usize) -> &[u8] {
        let at = at.min(self.bytes);
        let count = count.min(self.bytes.saturating_sub(at));
        // SAFETY: the range lies within the mapping; that it does not change is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.at.cast::<u8>().add(at), count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new` with this size, and no reference into it outlives self.
        let _ = unsafe { munmap(self.at, self.bytes) };
    }
}

/// A ring and what is mapped of it.
pub struct RingBuffer {
    fd: OwnedFd,
    consumer: Mapping,
    producer: Mapping,
    data: Mapping,
    data_bytes: usize,
}

// SAFETY: the mappings belong to this value alone and are only used through &mut self or atomically.
unsafe impl Send for RingBuffer {}

impl RingBuffer {
    /// Maps a ring of `data_bytes` from its descriptor. Needs no privilege.
    ///
    /// # Errors
    /// The descriptor is no ring or the size is not its size.
    pub fn map(fd: OwnedFd, data_bytes: u32) -> Result<Self, RingError> {
        let page_bytes = page_bytes();
        let size = usize::try_from(data_bytes).map_err(|_| RingError::Size { bytes: data_bytes })?;
        if !size.is_power_of_two() || size < page_bytes {
            return Err(RingError::Size { bytes: data_bytes });
        }
        let consumer = Mapping::new(fd.as_fd(), 0, page_bytes, ProtFlags::READ | ProtFlags::WRITE)?;
        let producer = Mapping::new(fd.as_fd(), page_bytes, page_bytes, ProtFlags::READ)?;
        let overlap = OVERLAP_BYTES.next_multiple_of(page_bytes).min(size);
        let data_from = page_bytes.saturating_mul(2);
        let data = Mapping::new(fd.as_fd(), data_from, size.saturating_add(overlap), ProtFlags::READ)?;
        // A ring that is smaller than said has no page at the end of the second time.
        let last = data_from.saturating_add(size.saturating_mul(2)).saturating_sub(page_bytes);
        drop(Mapping::new(fd.as_fd(), last, page_bytes, ProtFlags::READ)?);
        Ok(Self { fd, consumer, producer, data, data_bytes: size })
    }

    /// For poll(2): readable when the kernel side woke the reader.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Bytes of the ring's data area.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.data_bytes
    }

    /// Whether the kernel put nothing there that was not taken. Costs no system call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let taken = self.consumer.position().load(Ordering::Acquire);
        taken >= self.producer.position().load(Ordering::Acquire)
    }

    /// Whether everything that begins before `until` was taken.
    #[must_use]
    pub fn is_drained(&self, until: u64) -> bool {
        self.consumer.position().load(Ordering::Acquire) >= until
    }

    /// How far the kernel has come: what it puts there from now on lies behind.
    #[must_use]
    pub fn produced(&self) -> u64 {
        self.producer.position().load(Ordering::Acquire)
    }

    /// Hands at most `records_max` records that begin before `until` to `take`, oldest first, and returns how many there were.
    /// Each is given back to the kernel only when `take` has returned.
    pub fn drain(&mut self, records_max: usize, until: u64, mut take: impl FnMut(&[u8])) -> usize {
        let mut position = self.consumer.position().load(Ordering::Acquire);
        let mut count = 0;
        while count < records_max && position < until.min(self.producer.position().load(Ordering::Acquire)) {
            let at = usize::try_from(position).unwrap_or(usize::MAX) & self.data_bytes.saturating_sub(1);
            let Some(header) = self.data.word(at) else { break };
            let length = header.load(Ordering::Acquire);
            if length & BUSY_BIT != 0 {
                break; // a program is still writing it; everything behind it waits
            }
            let bytes = u64::from(length & !DISCARD_BIT);
            if length & DISCARD_BIT == 0 {
                let size = usize::try_from(bytes).unwrap_or(usize::MAX);
                // SAFETY: the record is complete, and the kernel does not touch it until the consumer position passes it.
                take(unsafe { self.data.bytes(at.saturating_add(RECORD_HEADER_BYTES as usize), size) });
                count = count.saturating_add(1);
            }
            position = position.saturating_add((bytes.saturating_add(RECORD_HEADER_BYTES).saturating_add(7)) & !7);
            self.consumer.position().store(position, Ordering::Release);
        }
        count
    }
}
