//! The few commands of bpf(2) that the supervisor needs: open a pin, read, replace and remove elements. Only here, in `links.rs`
//! and in `ring.rs` is there unsafe code.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use watertight_sensor_abi::{Counters, Ring, GUARD_HOOKS, HOOKS};

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_OBJ_GET: libc::c_long = 7;
pub(crate) const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// Why a pinned map can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The pin can't be opened.
    #[error("opening the pin {path}: {cause} (is the sensor loaded? are you root?)")]
    Open {
        /// The pin.
        path: PathBuf,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// The map can't be read.
    #[error("reading counters of {hook}: {cause}")]
    Read {
        /// Program name of the hook, or the ring's name.
        hook: &'static str,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// An element can't be read, replaced or removed.
    #[error("{doing} of a pinned map: {cause} (is it of this version?)")]
    Element {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        cause: io::Error,
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

/// Of the commands on elements. `value` is the place of the next key for BPF_MAP_GET_NEXT_KEY.
#[repr(C)]
#[derive(Default)]
struct Element {
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
    let failed = |cause| MapError::Open { path: path.to_owned(), cause };
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
    Ok(map_info(map)?.max_entries)
}

fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let mut attributes = InfoByFd {
        bpf_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
        info_len: u32::try_from(std::mem::size_of::<MapInfo>()).unwrap_or(0),
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

/// The value of a key, of `value_bytes` bytes as the map has them; `None` where there is no such key.
///
/// # Errors
/// The map can't be read.
pub fn lookup(map: BorrowedFd<'_>, key: &[u8], value_bytes: usize) -> Result<Option<Vec<u8>>, MapError> {
    let mut value = vec![0_u8; value_bytes];
    let found = on_element(BPF_MAP_LOOKUP_ELEM, map, key.as_ptr() as u64, value.as_mut_ptr() as u64);
    match found {
        Ok(()) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(cause) => Err(MapError::Element { doing: "reading an element", cause }),
    }
}

/// Puts a value under a key. In a map of maps the value is a descriptor, and the kernel returns only once no program uses
/// the map that was there before.
///
/// # Errors
/// The map is frozen or takes no such element.
pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> Result<(), MapError> {
    let done = on_element(BPF_MAP_UPDATE_ELEM, map, key.as_ptr() as u64, value.as_ptr() as u64);
    done.map_err(|cause| MapError::Element { doing: "replacing an element", cause })
}

/// Removes a key.
///
/// # Errors
/// It is not there.
pub fn delete(map: BorrowedFd<'_>, key: &[u8]) -> Result<(), MapError> {
    let done = on_element(BPF_MAP_DELETE_ELEM, map, key.as_ptr() as u64, 0);
    done.map_err(|cause| MapError::Element { doing: "removing an element", cause })
}

/// The key behind `after`, or the first; `None` at the end. `key_bytes` as the map has them.
///
/// # Errors
/// The map can't be read.
pub fn next_key(map: BorrowedFd<'_>, after: Option<&[u8]>, key_bytes: usize) -> Result<Option<Vec<u8>>, MapError> {
    let mut next = vec![0_u8; key_bytes];
    let after = after.map_or(0, |key| key.as_ptr() as u64);
    match on_element(BPF_MAP_GET_NEXT_KEY, map, after, next.as_mut_ptr() as u64) {
        Ok(()) => Ok(Some(next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(cause) => Err(MapError::Element { doing: "listing the elements", cause }),
    }
}

fn on_element(command: libc::c_long, map: BorrowedFd<'_>, key: u64, value: u64) -> io::Result<()> {
    let map_fd = u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX);
    bpf(command, &mut Element { map_fd, key, value, ..Element::default() }).map(drop)
}

/// The kernel's number of a map: what a map of maps holds.
///
/// # Errors
/// The descriptor is no map.
pub fn map_id(map: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(map_info(map)?.id)
}

/// The counters of every hook, summed over processors, in the order of [`HOOKS`].
///
/// # Errors
/// The map can't be read.
pub fn read_counters(map: BorrowedFd<'_>) -> Result<Vec<Counters>, MapError> {
    read_rows(map, HOOKS.iter().map(|hook| hook.program()))
}

/// The guard's counters by hook, in the order of [`GUARD_HOOKS`], summed over the processors.
///
/// # Errors
/// The map is not the guard's counters.
pub fn read_guard_counters(map: BorrowedFd<'_>) -> Result<Vec<Counters>, MapError> {
    read_rows(map, GUARD_HOOKS.iter().map(|hook| hook.program()))
}

fn read_rows(map: BorrowedFd<'_>, hooks: impl Iterator<Item = &'static str>) -> Result<Vec<Counters>, MapError> {
    let processors = possible_processors().map_err(MapError::Processors)?;
    let mut sums = Vec::new();
    for (key, hook) in (0_u32..).zip(hooks) {
        let mut values = vec![0_u8; processors.saturating_mul(Counters::BYTES)];
        let mut attributes = Element {
            map_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
            key: std::ptr::from_ref(&key) as u64,
            value: values.as_mut_ptr() as u64,
            ..Element::default()
        };
        bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes).map_err(|cause| MapError::Read { hook, cause })?;
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
        let mut attributes = Element {
            map_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
            key: std::ptr::from_ref(&at) as u64,
            value: values.as_mut_ptr() as u64,
            ..Element::default()
        };
        bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes).map_err(|cause| MapError::Read { hook: ring.map_name(), cause })?;
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
