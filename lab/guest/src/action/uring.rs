//! File and socket operations handed to the kernel through io_uring, so that no system call of their name is ever made:
//! what a sensor or a guard sees of them must not depend on system calls.
//!
//! Raw and not by a library, because a test wants to know exactly what was submitted: one entry in a ring of its own, waited for.

use super::kernel::Fields;
use super::{actions, check};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use serde_json::json;
use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{fence, Ordering};

const OPCODE_CONNECT: u8 = 16;
const OPCODE_OPENAT: u8 = 18;
const OPCODE_RENAMEAT: u8 = 35;
const OPCODE_UNLINKAT: u8 = 36;
const OPCODE_LINKAT: u8 = 39;
/// One operation at a time is all that an action does.
const ENTRIES: u32 = 1;
/// Takes the caller's credentials for entries that name them.
const REGISTER_PERSONALITY: u32 = 9;
/// Waits for the completion within the call that submits.
const ENTER_GETEVENTS: u32 = 1;
/// Where the entries are mapped from; the rings themselves lie at 0.
const ENTRIES_OFFSET: u64 = 0x1000_0000;
/// Bytes of `io_uring_params`, of one submission entry and one completion entry.
const PARAMETERS_BYTES: usize = 120;
const SUBMISSION_BYTES: usize = 64;
const COMPLETION_BYTES: usize = 16;
/// The mapping of both rings: one entry each and their heads, well within a page.
const RINGS_BYTES: usize = 4096;

type Submission = Fields<SUBMISSION_BYTES>;

actions! {
    /// Opens an existing file for writing through io_uring.
    "uring.open" => open(path) {
        let path = CString::new(path)?;
        let flags = (libc::O_RDWR | libc::O_CLOEXEC).cast_unsigned();
        submit(&at(OPCODE_OPENAT, &path).set(28, &flags.to_ne_bytes()))?;
        Ok(json!(null))
    }

    /// Creates a file that must not exist yet through io_uring.
    "uring.create" => create(path) {
        let path = CString::new(path)?;
        let flags = (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC).cast_unsigned();
        submit(&at(OPCODE_OPENAT, &path).set(24, &0o600_u32.to_ne_bytes()).set(28, &flags.to_ne_bytes()))?;
        Ok(json!(null))
    }

    /// Removes a file's name through io_uring.
    "uring.unlink" => unlink(path) {
        let path = CString::new(path)?;
        submit(&at(OPCODE_UNLINKAT, &path))?;
        Ok(json!(null))
    }

    /// Renames through io_uring.
    "uring.rename" => rename(from, to) {
        let (from, to) = (CString::new(from)?, CString::new(to)?);
        submit(&to_second(at(OPCODE_RENAMEAT, &from), &to))?;
        Ok(json!(null))
    }

    /// Gives a file a second name through io_uring.
    "uring.link" => link(path, second) {
        let (path, second) = (CString::new(path)?, CString::new(second)?);
        submit(&to_second(at(OPCODE_LINKAT, &path), &second))?;
        Ok(json!(null))
    }

    /// Creates a file through io_uring with credentials that were registered before: those of the process itself.
    "uring.create_as" => create_as(path) {
        let path = CString::new(path)?;
        let flags = (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC).cast_unsigned();
        let entry = at(OPCODE_OPENAT, &path).set(24, &0o600_u32.to_ne_bytes()).set(28, &flags.to_ne_bytes());
        let (ring, parameters) = set_up()?;
        // SAFETY: this registration takes no argument.
        let personality = check(unsafe {
            libc::syscall(libc::SYS_io_uring_register, ring.as_raw_fd(), REGISTER_PERSONALITY, ptr::null::<u8>(), 0)
        })?;
        let personality = u16::try_from(personality).map_err(io::Error::other)?;
        submit_to(&ring, &parameters, &entry.set(42, &personality.to_ne_bytes()))?;
        Ok(json!(null))
    }

    /// Connects a TCP socket to a listener through io_uring.
    "uring.connect" => connect(address) {
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        let (family, peer) = socket_address(address);
        // SAFETY: socket takes no pointer.
        let socket = check(i64::from(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) }))?;
        let descriptor = i32::try_from(socket).map_err(io::Error::other)?;
        // The kernel takes the address of the peer in `addr` and its length in `off`.
        let entry = Submission::new()
            .set(0, &[OPCODE_CONNECT])
            .set(4, &descriptor.to_ne_bytes())
            .set(8, &(peer.len() as u64).to_ne_bytes())
            .set(16, &(peer.as_ptr().expose_provenance() as u64).to_ne_bytes());
        submit(&entry)?;
        Ok(json!(null))
    }
}

/// An entry for an operation on a path, relative to the working folder.
fn at(opcode: u8, path: &CString) -> Submission {
    Submission::new()
        .set(0, &[opcode])
        .set(4, &libc::AT_FDCWD.to_ne_bytes())
        .set(16, &(path.as_ptr().expose_provenance() as u64).to_ne_bytes())
}

/// The same with a second path: its folder goes into `len`, its text into `addr2`.
fn to_second(entry: Submission, path: &CString) -> Submission {
    entry.set(8, &(path.as_ptr().expose_provenance() as u64).to_ne_bytes()).set(24, &libc::AT_FDCWD.to_ne_bytes())
}

/// The family and the bytes of `sockaddr_in` or `sockaddr_in6`.
fn socket_address(address: SocketAddr) -> (libc::c_int, Vec<u8>) {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(address) => {
            let family = (libc::AF_INET as u16).to_ne_bytes();
            let octets = address.ip().octets();
            (libc::AF_INET, [&family[..], &port, &octets, &[0; 8]].concat())
        }
        SocketAddr::V6(address) => {
            let family = (libc::AF_INET6 as u16).to_ne_bytes();
            let octets = address.ip().octets();
            (libc::AF_INET6, [&family[..], &port, &[0; 4], &octets, &[0; 4]].concat())
        }
    }
}

/// Does one operation and returns its result, as the system call of its name would.
fn submit(entry: &Submission) -> io::Result<i32> {
    let (ring, parameters) = set_up()?;
    submit_to(&ring, &parameters, entry)
}

/// A ring for one operation, and what the kernel says of where its parts lie.
fn set_up() -> io::Result<(OwnedFd, Fields<PARAMETERS_BYTES>)> {
    let mut parameters = Fields::<PARAMETERS_BYTES>::new();
    // SAFETY: the structure is as long as the kernel's, which reads it and fills it in.
    let ring = check(unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, parameters.0.as_mut_ptr()) })?;
    // SAFETY: the call has just given us this descriptor and nobody else knows it.
    let ring = unsafe { OwnedFd::from_raw_fd(i32::try_from(ring).map_err(io::Error::other)?) };
    Ok((ring, parameters))
}

fn submit_to(ring: &OwnedFd, parameters: &Fields<PARAMETERS_BYTES>, entry: &Submission) -> io::Result<i32> {
    let rings = Mapping::of(ring, RINGS_BYTES, 0)?;
    let entries = Mapping::of(ring, SUBMISSION_BYTES, ENTRIES_OFFSET)?;
    let offset = |field: usize| parameters.u32_at(field) as usize;

    entries.write(0, &entry.0)?;
    rings.write(offset(64), &0_u32.to_ne_bytes())?; // array[0]: the first entry
    fence(Ordering::Release);
    rings.write(offset(44), &1_u32.to_ne_bytes())?; // tail: one entry is ready
                                                    // SAFETY: the call takes no pointer but the null mask; the entry's pointers live in the caller through it.
    check(unsafe {
        libc::syscall(libc::SYS_io_uring_enter, ring.as_raw_fd(), 1, 1, ENTER_GETEVENTS, ptr::null::<u8>(), 0_usize)
    })?;
    fence(Ordering::Acquire);
    if rings.read_u32(offset(84))? == rings.read_u32(offset(80))? {
        return Err(io::Error::other("io_uring_enter returned without a completion"));
    }
    // A ring of one entry has two completion slots; the first completion is in the first.
    let result = rings.read_u32(offset(100).saturating_add(COMPLETION_BYTES / 2))?.cast_signed();
    if result < 0 {
        return Err(io::Error::from_raw_os_error(result.saturating_neg()));
    }
    Ok(result)
}

/// Memory shared with the kernel.
struct Mapping {
    start: *mut u8,
    bytes: usize,
}

impl Mapping {
    fn of(ring: &OwnedFd, bytes: usize, offset: u64) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: the kernel chooses the place, so no memory of ours is replaced.
        let start = unsafe { mmap(ptr::null_mut(), bytes, protection, flags, ring.as_fd(), offset) }?;
        Ok(Self { start: start.cast(), bytes })
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.holds(offset, bytes.len())?;
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: just checked to lie within the mapping, which lives as long as self.
            unsafe { self.start.add(offset).add(index).write_volatile(*byte) };
        }
        Ok(())
    }

    fn read_u32(&self, offset: usize) -> io::Result<u32> {
        self.holds(offset, 4)?;
        let mut bytes = [0_u8; 4];
        for (index, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: just checked to lie within the mapping, which lives as long as self.
            *byte = unsafe { self.start.add(offset).add(index).read_volatile() };
        }
        Ok(u32::from_ne_bytes(bytes))
    }

    fn holds(&self, offset: usize, bytes: usize) -> io::Result<()> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(io::Error::other("the kernel named a place outside the ring's mapping")),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.cast(), self.bytes) };
    }
}
