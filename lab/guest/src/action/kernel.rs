//! Requests that change or extend the kernel itself.

use super::{actions, check, number};
use rustix::time::{clock_gettime, clock_settime, ClockId};
use serde_json::json;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd as _;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_MAP_GET_NEXT_ID: libc::c_int = 12;
const BPF_MAP_GET_FD_BY_ID: libc::c_int = 14;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_DETACH: libc::c_int = 34;
/// A descriptor of a map by which nothing can be changed.
const BPF_F_RDONLY: u32 = 1 << 3;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
/// `r0 = 0; exit`: the least that the verifier accepts.
const LEAST_PROGRAM: [u64; 2] = [0xb7, 0x95];
const IORING_SETUP_SQPOLL: u32 = 1 << 1;
/// include/uapi/linux/kexec.h
const KEXEC_FILE_ON_CRASH: libc::c_ulong = 2;
const PERF_TYPE_SOFTWARE: u32 = 1;
/// Bytes of `bpf_attr` that we fill: every field used here lies before this.
const BPF_ATTRIBUTES_BYTES: usize = 72;
/// PERF_ATTR_SIZE_VER5: known to both kernels.
const PERF_ATTRIBUTES_BYTES: usize = 112;

/// A C structure filled by offset, for calls whose structure no library declares.
#[repr(C, align(8))]
pub(super) struct Fields<const SIZE_BYTES: usize>(pub(super) [u8; SIZE_BYTES]);

type Attributes = Fields<BPF_ATTRIBUTES_BYTES>;

impl<const SIZE_BYTES: usize> Fields<SIZE_BYTES> {
    pub(super) fn new() -> Self {
        Self([0; SIZE_BYTES])
    }

    pub(super) fn set(mut self, offset: usize, bytes: &[u8]) -> Self {
        for (to, from) in self.0.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
        self
    }

    pub(super) fn u32_at(&self, offset: usize) -> u32 {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk::<4>());
        bytes.copied().map(u32::from_ne_bytes).unwrap_or_default()
    }
}

actions! {
    /// Loads a module that the lab brought, with the parameters that it brought for it.
    "kernel.insert_module" => insert_module(name) {
        let file = std::fs::File::open(format!("/lab/modules/{name}.ko"))?;
        let parameters = std::fs::read(format!("/lab/modules/{name}.parameters")).unwrap_or_default();
        rustix::system::finit_module(&file, &CString::new(parameters)?, 0)?;
        Ok(json!(null))
    }

    /// Loads a module that the lab brought from memory: the kernel sees no file.
    "kernel.insert_module_from_memory" => insert_module_from_memory(name) {
        let bytes = std::fs::read(format!("/lab/modules/{name}.ko"))?;
        rustix::system::init_module(&bytes, c"")?;
        Ok(json!(null))
    }

    /// Unloads a module.
    "kernel.remove_module" => remove_module(name) {
        let name = CString::new(name)?;
        rustix::system::delete_module(&name, 0)?;
        Ok(json!(null))
    }

    /// Loads the kernel that starts when this one crashes, with its root and its parameters, into the memory of `crashkernel=`.
    "kernel.load_crash_kernel" => load_crash_kernel(image, root, parameters) {
        let (image, root) = (std::fs::File::open(image)?, std::fs::File::open(root)?);
        let parameters = CString::new(parameters)?;
        // SAFETY: both descriptors are open through the call, and the kernel reads the text with its final zero, as long as said.
        check(unsafe {
            libc::syscall(
                libc::SYS_kexec_file_load,
                image.as_raw_fd(),
                root.as_raw_fd(),
                parameters.as_bytes_with_nul().len(),
                parameters.as_ptr(),
                KEXEC_FILE_ON_CRASH,
            )
        })?;
        Ok(json!(null))
    }

    /// Makes a BPF array map with a name of at most 15 letters.
    "kernel.bpf_map" => bpf_map(name) {
        make_map(name)?;
        Ok(json!(null))
    }

    /// Makes a BPF array map and pins it.
    "kernel.bpf_pin" => bpf_pin(name, path) {
        let map = make_map(name)?;
        let path = CString::new(path)?;
        let attributes = Attributes::new()
            .set(0, &(path.as_ptr().expose_provenance()).to_ne_bytes())
            .set(8, &descriptor(map)?.to_ne_bytes());
        bpf(BPF_OBJ_PIN, &attributes)?;
        Ok(json!(null))
    }

    /// Opens a pinned BPF object.
    "kernel.bpf_open_pin" => bpf_open_pin(path) {
        open_pin(path)?;
        Ok(json!(null))
    }

    /// Opens a pinned BPF link and forces it off its hook.
    "kernel.bpf_detach_link" => bpf_detach_link(path) {
        let link = open_pin(path)?;
        bpf(BPF_LINK_DETACH, &Attributes::new().set(0, &descriptor(link)?.to_ne_bytes()))?;
        Ok(json!(null))
    }

    /// The ids of all BPF maps in the kernel. Gives `ids`.
    "kernel.bpf_map_ids" => bpf_map_ids() {
        Ok(json!({ "ids": map_ids()? }))
    }

    /// Opens a BPF map by its id, as one who has no pin would.
    "kernel.bpf_open_map" => bpf_open_map(id) {
        let id: u32 = number(id)?;
        bpf(BPF_MAP_GET_FD_BY_ID, &Attributes::new().set(0, &id.to_ne_bytes()))?;
        Ok(json!(null))
    }

    /// The ids of all BPF maps whose names begin so. Gives `ids`.
    "kernel.bpf_maps_named" => bpf_maps_named(prefix) {
        let mut found = Vec::new();
        for id in map_ids()? {
            // Read-only: who looks may always do that.
            let attributes = Attributes::new().set(0, &id.to_ne_bytes()).set(8, &BPF_F_RDONLY.to_ne_bytes());
            let Ok(map) = bpf(BPF_MAP_GET_FD_BY_ID, &attributes) else { continue };
            if map_name(map)?.starts_with(prefix.as_bytes()) {
                found.push(id);
            }
        }
        Ok(json!({ "ids": found }))
    }

    /// Loads a BPF program that does nothing, with a name of at most 15 letters.
    "kernel.bpf_program" => bpf_program(name) {
        let instructions = LEAST_PROGRAM;
        let licence = c"GPL";
        let attributes = Attributes::new()
            .set(0, &BPF_PROG_TYPE_SOCKET_FILTER.to_ne_bytes())
            .set(4, &2_u32.to_ne_bytes())
            .set(8, &(instructions.as_ptr().expose_provenance()).to_ne_bytes())
            .set(16, &(licence.as_ptr().expose_provenance()).to_ne_bytes())
            .set(48, short(name)?);
        bpf(BPF_PROG_LOAD, &attributes)?;
        Ok(json!(null))
    }

    /// Opens a performance counter on the CPU clock of itself.
    "kernel.perf_event" => perf_event() {
        let size = PERF_ATTRIBUTES_BYTES as u32;
        let attributes = Fields::<PERF_ATTRIBUTES_BYTES>::new()
            .set(0, &PERF_TYPE_SOFTWARE.to_ne_bytes())
            .set(4, &size.to_ne_bytes());
        // SAFETY: the structure is as long as its size field says, and the kernel only reads it.
        check(unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.0.as_ptr(), 0, -1, -1, 0) })?;
        Ok(json!(null))
    }

    /// Makes an io_uring whose submissions a kernel thread polls.
    "kernel.io_uring_sqpoll" => io_uring_sqpoll() {
        let mut parameters = Fields::<120>::new().set(8, &IORING_SETUP_SQPOLL.to_ne_bytes());
        // SAFETY: io_uring_params is 120 bytes, which the kernel reads and fills in.
        check(unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, parameters.0.as_mut_ptr()) })?;
        Ok(json!(null))
    }

    /// Sets the wall clock to what it is.
    "kernel.set_clock" => set_clock() {
        clock_settime(ClockId::Realtime, clock_gettime(ClockId::Realtime))?;
        Ok(json!(null))
    }
}

fn map_ids() -> io::Result<Vec<u32>> {
    let mut ids: Vec<u32> = Vec::new();
    loop {
        let last = ids.last().copied().unwrap_or(0);
        let mut attributes = Attributes::new().set(0, &last.to_ne_bytes());
        match bpf_answer(BPF_MAP_GET_NEXT_ID, &mut attributes) {
            Ok(_) => ids.push(attributes.u32_at(4)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(ids),
            Err(error) => return Err(error),
        }
    }
}

/// The name in `struct bpf_map_info`, include/uapi/linux/bpf.h.
fn map_name(map: i64) -> io::Result<Vec<u8>> {
    let mut told = [0_u8; 88];
    let attributes = Attributes::new()
        .set(0, &descriptor(map)?.to_ne_bytes())
        .set(4, &88_u32.to_ne_bytes())
        .set(8, &told.as_mut_ptr().expose_provenance().to_ne_bytes());
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)?;
    let name = told.get(24..40).unwrap_or_default();
    Ok(name.iter().copied().take_while(|byte| *byte != 0).collect())
}

fn make_map(name: &str) -> io::Result<i64> {
    let attributes = Attributes::new()
        .set(0, &BPF_MAP_TYPE_ARRAY.to_ne_bytes())
        .set(4, &4_u32.to_ne_bytes()) // bytes of a key
        .set(8, &8_u32.to_ne_bytes()) // bytes of a value
        .set(12, &1_u32.to_ne_bytes()) // entries
        .set(28, short(name)?);
    bpf(BPF_MAP_CREATE, &attributes)
}

fn open_pin(path: &str) -> io::Result<i64> {
    let path = CString::new(path)?;
    bpf(BPF_OBJ_GET, &Attributes::new().set(0, &(path.as_ptr().expose_provenance()).to_ne_bytes()))
}

/// The result of a bpf call as the descriptor that it is. Never closed: the acting process ends soon.
fn descriptor(result: i64) -> io::Result<u32> {
    u32::try_from(result).map_err(io::Error::other)
}

fn bpf(command: libc::c_int, attributes: &Attributes) -> io::Result<i64> {
    // SAFETY: the attributes are as long as said, the commands used with this function only read them, and what they
    // point to lives through the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attributes.0.as_ptr(), BPF_ATTRIBUTES_BYTES) })
}

/// The same for a command that writes its answer into the attributes.
fn bpf_answer(command: libc::c_int, attributes: &mut Attributes) -> io::Result<i64> {
    // SAFETY: the attributes are as long as said and ours alone.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attributes.0.as_mut_ptr(), BPF_ATTRIBUTES_BYTES) })
}

/// A name that fits a BPF object: 15 letters and the final zero.
fn short(name: &str) -> io::Result<&[u8]> {
    if name.len() > 15 {
        return Err(io::Error::other(format!("{name:?} is longer than the 15 letters of a BPF name")));
    }
    Ok(name.as_bytes())
}
