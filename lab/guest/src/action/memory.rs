//! Memory that becomes code, and memory of other processes.

use super::process::Victim;
use super::{actions, check};
use rustix::fs::{memfd_create, MemfdFlags};
use rustix::mm::{mmap, mmap_anonymous, mprotect, MapFlags, MprotectFlags, ProtFlags};
use serde_json::json;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr;

const PAGE_BYTES: usize = 4096;

actions! {
    /// Maps a file's first page as code.
    "memory.map_file_executable" => map_file_executable(path) {
        let file = File::open(path)?;
        let protection = ProtFlags::READ | ProtFlags::EXEC;
        // SAFETY: the kernel chooses the place, so no memory of ours is replaced; nothing reads the mapping.
        unsafe { mmap(ptr::null_mut(), PAGE_BYTES, protection, MapFlags::PRIVATE, &file, 0) }?;
        Ok(json!(null))
    }

    /// Maps a file's first page to be read, then makes it code.
    "memory.protect_file_executable" => protect_file_executable(path) {
        let file = File::open(path)?;
        // SAFETY: the kernel chooses the place, so no memory of ours is replaced; nothing reads the mapping.
        let page = unsafe { mmap(ptr::null_mut(), PAGE_BYTES, ProtFlags::READ, MapFlags::PRIVATE, &file, 0) }?;
        // SAFETY: the page is the one just mapped and nothing else refers to it.
        unsafe { mprotect(page, PAGE_BYTES, MprotectFlags::READ | MprotectFlags::EXEC) }?;
        Ok(json!(null))
    }

    /// Maps a writable page, then makes it code.
    "memory.make_executable" => make_executable() {
        // SAFETY: the kernel chooses the place, so no memory of ours is replaced.
        let page = unsafe {
            mmap_anonymous(ptr::null_mut(), PAGE_BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        // SAFETY: the page is the one just mapped and nothing else refers to it.
        unsafe { mprotect(page, PAGE_BYTES, MprotectFlags::READ | MprotectFlags::EXEC) }?;
        Ok(json!(null))
    }

    /// Copies a program into a memory file of this name and becomes it.
    "memory.exec_memfd" => exec_memfd(program, name) {
        let mut memory = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
        memory.write_all(&fs::read(program)?)?;
        let argument = CString::new(name)?;
        let arguments = [argument.as_ptr(), ptr::null()];
        let environment = [ptr::null::<libc::c_char>()];
        // SAFETY: the path is a C string, both lists end in null and live through the call.
        check(unsafe {
            libc::syscall(
                libc::SYS_execveat,
                memory.as_raw_fd(),
                c"".as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        })?;
        Ok(json!(null))
    }

    /// Attaches to a child as a debugger would, and lets go. Gives `victim`.
    "memory.trace" => trace() {
        let victim = Victim::start()?;
        let none = ptr::null_mut::<libc::c_void>();
        // SAFETY: PTRACE_ATTACH uses neither address nor data.
        check(unsafe { libc::ptrace(libc::PTRACE_ATTACH, victim.raw_pid(), none, none) })?;
        let mut status = 0;
        // SAFETY: the status is ours and the stopped process is our own child.
        check(i64::from(unsafe { libc::waitpid(victim.raw_pid(), &mut status, 0) }))?;
        // SAFETY: PTRACE_DETACH uses no address; data 0 means no signal.
        check(unsafe { libc::ptrace(libc::PTRACE_DETACH, victim.raw_pid(), none, none) })?;
        Ok(json!({ "victim": victim.child.id() }))
    }

    /// Writes a byte of a child's memory back through /proc/PID/mem. Gives `victim`.
    "memory.write_proc_mem" => write_proc_mem() {
        let victim = Victim::start()?;
        let address = writable_address(&victim)?;
        let path = format!("/proc/{}/mem", victim.child.id());
        let memory = OpenOptions::new().read(true).write(true).open(path)?;
        let mut byte = [0];
        memory.read_exact_at(&mut byte, address)?;
        memory.write_all_at(&byte, address)?;
        Ok(json!({ "victim": victim.child.id() }))
    }

    /// Writes eight bytes into a child with process_vm_writev. Gives `victim`.
    "memory.write_process_vm" => write_process_vm() {
        let victim = Victim::start()?;
        let address = usize::try_from(writable_address(&victim)?).map_err(io::Error::other)?;
        let mut bytes = [0_u8; 8];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let remote = libc::iovec { iov_base: ptr::without_provenance_mut(address), iov_len: bytes.len() };
        // SAFETY: the local vector covers `bytes`; the remote one is an address of the child that only the kernel uses.
        let written = check(unsafe { libc::process_vm_writev(victim.raw_pid(), &local, 1, &remote, 1, 0) } as i64)?;
        Ok(json!({ "victim": victim.child.id(), "bytes": written }))
    }
}

/// The start of the first writable mapping of a process.
fn writable_address(victim: &Victim) -> io::Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", victim.child.id()))?;
    let line =
        maps.lines().find(|line| line.contains(" rw-p ")).ok_or_else(|| io::Error::other("no writable mapping"))?;
    let start = line.split('-').next().unwrap_or_default();
    u64::from_str_radix(start, 16).map_err(io::Error::other)
}
