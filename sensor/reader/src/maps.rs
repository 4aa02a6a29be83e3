//! The commands of bpf(2) that the supervisor needs: open a pin, read a per-processor counter. Only here, in `links.rs` and in
//! `ring.rs` is there unsafe code.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use watertight_sensor_abi::{Counters, Ring, HOOKS};

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_OBJ_GET: libc::c_long = 7;
pub(crate) const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// Why a pinned map can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The pin can't be opened.
    #[error("opening the pin {path}: {source} (is the sensor loaded? are you root?)")]
    Open {
        /// The pin.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The map can't be read.
    #[error("reading counters of {hook}: {source}")]
    Read {
        /// Program name of the hook, or the ring's name.
        hook: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The machine's file that tells how many processors there may be is not readable.
    #[error("reading /sys/devices/system/cpu/possible: {0}")]
    Processors(io::Error),
}

#[repr(C)]
#[derive(Default)]
struct ObjectGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Lookup {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
pub(crate) struct InfoByFd {
    pub bpf_fd: u32,
    pub info_len: u32,
    pub info: u64,
}

/// The first members of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

pub(crate) fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most the given size of the attributes, which we own; pointers inside them are
    // made by the callers from live buffers of the size that the command writes.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), std::mem::size_of::<T>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(answer).map_err(|_| io::Error::other("bpf(2) answered with no descriptor"))
}

/// Opens a pinned map.
///
/// # Errors
/// The pin is not there or may not be opened.
pub fn open_pinned(path: &Path) -> Result<OwnedFd, MapError> {
    let failed = |source| MapError::Open { path: path.to_owned(), source };
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    let mut attributes = ObjectGet { pathname: name.as_ptr() as u64, ..ObjectGet::default() };
    let fd = bpf(BPF_OBJ_GET, &mut attributes).map_err(failed)?;
    // SAFETY: BPF_OBJ_GET answers with a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Size of a ring's data, bytes: `max_entries` of its map. The worker is told it beside the descriptor.
///
/// # Errors
/// The descriptor is no map.
pub fn ring_size(map: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = MapInfo::default();
    let mut attributes = InfoByFd {
        bpf_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
        info_len: u32::try_from(std::mem::size_of::<MapInfo>()).unwrap_or(0),
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info.max_entries)
}

/// The counters of every hook, summed over processors, in the order of [`HOOKS`].
///
/// # Errors
/// The map can't be read.
pub fn read_counters(map: BorrowedFd<'_>) -> Result<Vec<Counters>, MapError> {
    let processors = possible_processors().map_err(MapError::Processors)?;
    let mut sums = Vec::with_capacity(HOOKS.len());
    for hook in HOOKS {
        let key = u32::from(*hook as u16);
        let mut values = vec![0_u8; processors.saturating_mul(Counters::BYTES)];
        let mut attributes = Lookup {
            map_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
            key: std::ptr::from_ref(&key) as u64,
            value: values.as_mut_ptr() as u64,
            ..Lookup::default()
        };
        bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes).map_err(|source| MapError::Read { hook: hook.program(), source })?;
        let sum = values.chunks(Counters::BYTES).filter_map(Counters::read).fold(Counters::default(), add);
        sums.push(sum);
    }
    Ok(sums)
}

/// Sequence numbers that each ring's records have used up, by processor, in the order of [`Ring::ALL`].
///
/// # Errors
/// The map can't be read.
pub fn read_sequences(map: BorrowedFd<'_>) -> Result<Vec<Vec<u64>>, MapError> {
    let processors = possible_processors().map_err(MapError::Processors)?;
    let mut rings = Vec::with_capacity(Ring::ALL.len());
    for (ring, at) in Ring::ALL.iter().zip(0_u32..) {
        let mut values = vec![0_u64; processors];
        let mut attributes = Lookup {
            map_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
            key: std::ptr::from_ref(&at) as u64,
            value: values.as_mut_ptr() as u64,
            ..Lookup::default()
        };
        bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes).map_err(|source| MapError::Read { hook: ring.map_name(), source })?;
        rings.push(values);
    }
    Ok(rings)
}

fn add(sum: Counters, one: Counters) -> Counters {
    Counters {
        hits: sum.hits.saturating_add(one.hits),
        filtered: sum.filtered.saturating_add(one.filtered),
        submitted: sum.submitted.saturating_add(one.submitted),
        aggregated: sum.aggregated.saturating_add(one.aggregated),
        lost_ring_full: sum.lost_ring_full.saturating_add(one.lost_ring_full),
        lost_no_scratch: sum.lost_no_scratch.saturating_add(one.lost_no_scratch),
        helper_failures: sum.helper_failures.saturating_add(one.helper_failures),
        reserved: 0,
    }
}

/// Number of processors that the kernel may ever have: the last number of a list such as `0-3` or `0,2-7`, plus one.
fn possible_processors() -> io::Result<usize> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = list.trim().rsplit([',', '-']).next().and_then(|number| number.parse::<usize>().ok());
    last.map(|last| last.saturating_add(1))
        .ok_or_else(|| io::Error::other(format!("{list:?} is no list of processors")))
}
