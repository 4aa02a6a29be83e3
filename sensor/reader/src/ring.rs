//! One kernel ring buffer, mapped and read in place (kernel/bpf/ringbuf.c).
//!
//! A consumer page that we write, a producer page and twice the data that we only read: the second mapping of the data lets
//! a record that wraps be read in one piece.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};

/// Header of a record in the ring: length and flags, then a page offset.
const RECORD_HEADER_BYTES: u64 = 8;
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

/// A mapped ring.
pub struct RingBuffer {
    fd: OwnedFd,
    consumer: *mut std::ffi::c_void,
    producer: *mut std::ffi::c_void,
    page_bytes: usize,
    data_bytes: usize,
    mask: u64,
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
        let mapped = size.saturating_mul(2).saturating_add(page_bytes);
        // SAFETY: new mappings at an address that the kernel chooses, of a descriptor that we own.
        let consumer = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), page_bytes, protection, MapFlags::SHARED, fd.as_fd(), 0)
        }
        .map_err(io::Error::from)?;
        // SAFETY: as above; read-only.
        let producer = unsafe {
            mmap(std::ptr::null_mut(), mapped, ProtFlags::READ, MapFlags::SHARED, fd.as_fd(), page_bytes as u64)
        };
        let producer = match producer {
            Ok(producer) => producer,
            Err(error) => {
                // SAFETY: the mapping was made above and is used nowhere.
                let _ = unsafe { munmap(consumer, page_bytes) };
                return Err(RingError::Map(error.into()));
            }
        };
        Ok(Self { fd, consumer, producer, page_bytes, data_bytes: size, mask: u64::from(data_bytes).saturating_sub(1) })
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

    /// Hands at most `records_max` records to `take`, oldest first, and returns how many there were. Each is given back to
    /// the kernel only when `take` has returned.
    pub fn drain(&mut self, records_max: usize, mut take: impl FnMut(&[u8])) -> usize {
        // SAFETY: both positions lie at the start of their pages, are aligned, and live as long as the mappings.
        let (consumer, producer) =
            unsafe { (&*self.consumer.cast::<AtomicU64>(), &*self.producer.cast::<AtomicU64>()) };
        let mut position = consumer.load(Ordering::Acquire);
        let mut count = 0;
        while count < records_max && position < producer.load(Ordering::Acquire) {
            let offset = usize::try_from(position & self.mask).unwrap_or(0);
            // SAFETY: `offset` is below the data's size, so header and record lie within the doubly mapped data; the kernel
            // aligns headers to 8 bytes.
            let header = unsafe {
                let at = self.producer.cast::<u8>().add(self.page_bytes).add(offset);
                &*at.cast::<AtomicU32>()
            };
            let length = header.load(Ordering::Acquire);
            if length & BUSY_BIT != 0 {
                break; // a program is still writing it; everything behind it waits
            }
            let bytes = u64::from(length & !DISCARD_BIT);
            if length & DISCARD_BIT == 0 {
                let size = usize::try_from(bytes).unwrap_or(0).min(self.data_bytes);
                // SAFETY: the record begins after its header and its length was bounded by the data's size; the kernel does
                // not touch it until the consumer position passes it.
                let record = unsafe {
                    let at =
                        self.producer.cast::<u8>().add(self.page_bytes).add(offset).add(RECORD_HEADER_BYTES as usize);
                    std::slice::from_raw_parts(at, size)
                };
                take(record);
                count = count.saturating_add(1);
            }
            position = position.saturating_add((bytes.saturating_add(RECORD_HEADER_BYTES).saturating_add(7)) & !7);
            consumer.store(position, Ordering::Release);
        }
        count
    }
}

impl Drop for RingBuffer {
    fn drop(&mut self) {
        let mapped = self.data_bytes.saturating_mul(2).saturating_add(self.page_bytes);
        // SAFETY: the mappings were made by `map` with these sizes, and no reference to them outlives self.
        unsafe {
            let _ = munmap(self.producer, mapped);
            let _ = munmap(self.consumer, self.page_bytes);
        }
    }
}
