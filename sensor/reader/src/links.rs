//! What a pinned link really is, asked of the kernel: a pin's name says nothing of the program behind it, and a link that can
//! be found by its id is one that the kernel has.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use watertight_sensor_abi::HookClass;

use crate::maps::{bpf, open_pinned, InfoByFd, MapError, BPF_OBJ_GET_INFO_BY_FD};

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
/// `enum bpf_link_type`, the same file: LSM and tp_btf programs.
const BPF_LINK_TYPE_RAW_TRACEPOINT: u32 = 1;
const BPF_LINK_TYPE_TRACING: u32 = 2;
/// `enum bpf_attach_type`, the same file.
const BPF_TRACE_RAW_TP: u32 = 23;
const BPF_LSM_MAC: u32 = 27;
/// A program's name in the kernel, without its NUL.
const NAME_BYTES: usize = 15;

/// A link that the kernel has, with the program that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedLink {
    /// Its id.
    pub link: u32,
    /// Its program's id.
    pub program: u32,
}

/// Why a pin is not a hook in force.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The pin can't be opened.
    #[error(transparent)]
    Open(#[from] MapError),
    /// The kernel does not tell.
    #[error("asking the kernel for {what} of {hook}: {cause}")]
    Ask {
        /// What was asked for.
        what: &'static str,
        /// Program name of the hook.
        hook: &'static str,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// It runs something else.
    #[error("the pin {hook} holds {found}: somebody put it there")]
    Foreign {
        /// Program name of the hook.
        hook: &'static str,
        /// What it is.
        found: String,
    },
}

/// `struct bpf_get_fd_by_id`'s first members.
#[repr(C)]
#[derive(Default)]
struct FdById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// `struct bpf_link_info` of a tracing link; that of a raw tracepoint has a pointer and a length in place of the last ones.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    attach_type: u32,
    target_obj_id: u32,
    target_btf_id: u32,
    reserved: u32,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    program_type: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    instructions: [u64; 2],
    load_time: u64,
    created_by_uid: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; NAME_BYTES + 1],
}

/// Reads the pinned link of a hook's program back from the kernel: by its pin, then link and program by their ids.
///
/// # Errors
/// There is no such link, or it runs another program.
pub fn read_link(pin: &Path, name: &'static str, class: HookClass) -> Result<PinnedLink, LinkError> {
    let ask = |what| move |cause| LinkError::Ask { what, hook: name, cause };
    let pinned: LinkInfo = read_info(open_pinned(pin)?.as_fd()).map_err(ask("the link"))?;
    let link = by_id(BPF_LINK_GET_FD_BY_ID, pinned.id).map_err(ask("the link by its id"))?;
    let link: LinkInfo = read_info(link.as_fd()).map_err(ask("the link"))?;
    let program = by_id(BPF_PROG_GET_FD_BY_ID, link.prog_id).map_err(ask("the program by its id"))?;
    let program: ProgramInfo = read_info(program.as_fd()).map_err(ask("the program"))?;
    let found = program.name.split(|byte| *byte == 0).next().unwrap_or_default();
    let wanted = name.as_bytes().get(..NAME_BYTES).unwrap_or(name.as_bytes());
    if !is_attached_as(&link, class) || found != wanted {
        let found = String::from_utf8_lossy(found);
        let found = format!("a link of type {} to the program {found:?}", link.link_type);
        return Err(LinkError::Foreign { hook: name, found });
    }
    Ok(PinnedLink { link: link.id, program: link.prog_id })
}

/// Older kernels call a tp_btf link a raw tracepoint, newer ones a tracing link.
fn is_attached_as(link: &LinkInfo, class: HookClass) -> bool {
    match class {
        HookClass::Lsm => link.link_type == BPF_LINK_TYPE_TRACING && link.attach_type == BPF_LSM_MAC,
        HookClass::Tracepoint => {
            link.link_type == BPF_LINK_TYPE_RAW_TRACEPOINT
                || (link.link_type == BPF_LINK_TYPE_TRACING && link.attach_type == BPF_TRACE_RAW_TP)
        }
    }
}

fn by_id(command: libc::c_long, id: u32) -> io::Result<OwnedFd> {
    let fd = bpf(command, &mut FdById { id, ..FdById::default() })?;
    // SAFETY: these commands answer with a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `T` is one of the structs above: plain numbers, for which any bytes are a value.
fn read_info<T: Default>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = T::default();
    let mut attributes = InfoByFd {
        bpf_fd: u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX),
        info_len: u32::try_from(std::mem::size_of::<T>()).unwrap_or(0),
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}
