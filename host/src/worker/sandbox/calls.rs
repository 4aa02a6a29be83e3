//! seccomp: the system calls that a worker makes once it is set up, and nothing else. Measured by tracing real runs, with the
//! calls that the C library falls back to.
//!
//! A forbidden call is not carried out: the kernel traps into a handler that says the call's number on the report pipe and
//! then makes a forbidden call itself, which ends the process (the trap is blocked inside its own handler, and the kernel
//! does not let a blocked trap pass).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use seccompiler::{
    apply_filter_all_threads, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

use super::Profile;
use crate::worker::crash;

/// Reading and writing what is open, waiting, memory, the clock, the end.
const EVERYBODY: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_poll,
    libc::SYS_pread64,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_clock_gettime, // where the clock can't be read without the kernel, as under emulation
    libc::SYS_clock_nanosleep,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_getrandom, // seeds of hash tables
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What the sources do beside it: folders by handle, processes by /proc, netlink, marks.
const SOURCES: &[libc::c_long] = &[
    libc::SYS_openat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_mark,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_readlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_fcntl, // folders of /proc are listed on a duplicate
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_timerfd_settime,
    libc::SYS_geteuid,
];

/// What who speaks to web servers does beside it: sockets, and files of the C library where names are looked up.
const DOWNLOADER: &[libc::c_long] = &[
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_bind, // of netlink: which addresses this machine has
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_uname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_gettimeofday,
];

/// Kinds of sockets for that: of the network, of the resolver on this machine, and to ask the kernel for its addresses.
const DOWNLOADER_SOCKETS: [libc::c_int; 4] = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK];

/// What the uplink does beside that: files of its own folder are written beside, synced, renamed, taken away. It makes no link.
const UPLINK: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_getdents64,
    libc::SYS_fsync,
    libc::SYS_flock,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
];

/// What a dumper does beside it: it reads /proc and files, and stops threads to read their registers and memory.
const DUMPER: &[libc::c_long] = &[
    libc::SYS_openat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    libc::SYS_process_vm_readv,
    libc::SYS_wait4,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_uname,
    libc::SYS_nanosleep,
];

/// What of ptrace(2) only looks, and goes on from where it has stopped something.
const LOOKING: &[libc::c_uint] = &[
    libc::PTRACE_ATTACH,
    libc::PTRACE_DETACH,
    libc::PTRACE_CONT,
    libc::PTRACE_PEEKDATA,
    libc::PTRACE_PEEKUSER,
    libc::PTRACE_GETREGS,
    libc::PTRACE_GETFPREGS,
    libc::PTRACE_GETREGSET,
];

/// ioctl commands of a terminal: its modes, size and foreground group. TIOCSTI, which types for the user, is not among them.
const TERMINAL: &[libc::c_ulong] = &[
    libc::TCGETS,
    libc::TCSETS,
    libc::TCGETS2,
    libc::TCSETS2,
    libc::TIOCGWINSZ,
    libc::TIOCGPGRP,
    libc::TIOCGSID,
    libc::FIONBIO,
];

/// Flags of open(2) with which a file can be written or made.
const WRITING: libc::c_int = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;

/// Where the handler says which call it was.
static REPORT: AtomicI32 = AtomicI32::new(-1);

/// Restricts the process to its profile's calls and returns how many there are.
///
/// # Errors
/// The kernel refused: no worker runs without this.
pub fn restrict(profile: Profile, report: BorrowedFd<'_>) -> io::Result<usize> {
    REPORT.store(report.as_raw_fd(), Ordering::Relaxed);
    catch_traps()?;
    if !crash::is_told() {
        leave_faults_to_the_kernel()?;
    }
    let rules = rules(profile).map_err(io::Error::other)?;
    let count = rules.len();
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    apply_filter_all_threads(&program).map_err(io::Error::other)?;
    Ok(count)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(profile: Profile) -> Result<Rules, seccompiler::BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq};
    let mut rules: Rules = EVERYBODY.iter().map(|call| (*call, Vec::new())).collect();
    // Memory is never code, and nothing but fresh memory is mapped.
    let not_code = |argument| one(argument, MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs())), 0);
    let fresh = u64::from(libc::MAP_ANONYMOUS.unsigned_abs());
    let map = SeccompRule::new(vec![not_code(2)?, one(3, MaskedEq(fresh), fresh)?])?;
    rules.insert(libc::SYS_mmap, vec![map]);
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![not_code(2)?])?]);
    // abort(3) sends a signal to itself, to nobody else.
    let own_pid = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![one(0, Eq, own_pid)?])?]);
    // Asking a descriptor for its flags, as the standard library does where it checks itself; duplicating none.
    let asking = [libc::F_GETFD, libc::F_GETFL].map(|command| u64::from(command.unsigned_abs()));
    let asking = asking.into_iter().map(|command| SeccompRule::new(vec![one(1, Eq, command)?]));
    rules.insert(libc::SYS_fcntl, asking.collect::<Result<_, _>>()?);
    match profile {
        Profile::Detector => {
            let terminal = TERMINAL.iter().map(|command| SeccompRule::new(vec![one(1, Eq, *command)?]));
            rules.insert(libc::SYS_ioctl, terminal.collect::<Result<_, _>>()?);
            rules.insert(libc::SYS_getpgid, Vec::new()); // whether the terminal's foreground is ours
            #[cfg(target_arch = "x86_64")]
            rules.insert(libc::SYS_getpgrp, Vec::new());
        }
        Profile::Loader | Profile::Compiler | Profile::Updater => {}
        Profile::Uplink => {
            let all = DOWNLOADER.iter().chain(UPLINK);
            rules.extend(all.map(|call| (*call, Vec::new())));
            rules.insert(libc::SYS_socket, downloader_sockets()?);
        }
        Profile::Downloader => {
            rules.extend(DOWNLOADER.iter().map(|call| (*call, Vec::new())));
            rules.insert(libc::SYS_socket, downloader_sockets()?);
            // Files are read and never written.
            let read_only = |argument| one(argument, MaskedEq(u64::from(WRITING.unsigned_abs())), 0);
            rules.insert(libc::SYS_openat, vec![SeccompRule::new(vec![read_only(2)?])?]);
            #[cfg(target_arch = "x86_64")]
            rules.insert(libc::SYS_open, vec![SeccompRule::new(vec![read_only(1)?])?]);
        }
        // Files come with messages, and those of symbols are read here and there.
        Profile::Triage => rules.extend([libc::SYS_recvmsg, libc::SYS_lseek].map(|call| (call, Vec::new()))),
        Profile::Dumper => {
            rules.extend(DUMPER.iter().map(|call| (*call, Vec::new())));
            // Files are read and never written; one may be mapped to be read.
            let read_only = |argument| one(argument, MaskedEq(u64::from(WRITING.unsigned_abs())), 0);
            rules.insert(libc::SYS_openat, vec![SeccompRule::new(vec![read_only(2)?])?]);
            #[cfg(target_arch = "x86_64")]
            rules.insert(libc::SYS_open, vec![SeccompRule::new(vec![read_only(1)?])?]);
            rules.entry(libc::SYS_mmap).or_default().push(SeccompRule::new(vec![not_code(2)?])?);
            let looks = LOOKING.iter().map(|request| SeccompRule::new(vec![one(0, Eq, u64::from(*request))?]));
            rules.insert(libc::SYS_ptrace, looks.collect::<Result<_, _>>()?);
            let stops = [libc::SIGSTOP, libc::SIGCONT].map(|signal| u64::from(signal.unsigned_abs()));
            let stops = stops.into_iter().map(|signal| SeccompRule::new(vec![one(1, Eq, signal)?]));
            rules.insert(libc::SYS_kill, stops.collect::<Result<_, _>>()?);
        }
        Profile::Sources { .. } => rules.extend(SOURCES.iter().map(|call| (*call, Vec::new()))),
    }
    Ok(rules)
}

fn downloader_sockets() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let sockets = DOWNLOADER_SOCKETS.map(|domain| u64::from(domain.unsigned_abs()));
    sockets.into_iter().map(|domain| SeccompRule::new(vec![one(0, SeccompCmpOp::Eq, domain)?])).collect()
}

fn one(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn catch_traps() -> io::Result<()> {
    // SAFETY: sigaction is plain old C data; all zeroes is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_trap;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler does nothing but system calls, which is allowed in a signal handler.
    if unsafe { libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The standard library's handler of a touch of memory that is not there asks for the default and returns: a forbidden call, which would be
/// told as the cause in place of what happened.
fn leave_faults_to_the_kernel() -> io::Result<()> {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the kernel's own way to end a process takes nothing from this one.
        if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Beginning of `siginfo_t` for SIGSYS.
#[repr(C)]
struct Trapped {
    signal: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    address: *const libc::c_void,
    call: libc::c_int,
}

extern "C" fn on_trap(signal: libc::c_int, trapped: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo of SIGSYS, whose beginning this is.
    let call = unsafe { (*trapped.cast::<Trapped>()).call };
    let mut line = *b"call 0000000000\n";
    let mut left = call.unsigned_abs();
    for digit in line.iter_mut().rev().skip(1).take(10) {
        *digit = b'0'.wrapping_add(u8::try_from(left % 10).unwrap_or(0));
        left /= 10;
    }
    // SAFETY: the buffer is live; a lost line only costs the name of the call. The kernel passes both to this handler.
    unsafe {
        libc::write(REPORT.load(Ordering::Relaxed), line.as_ptr().cast(), line.len());
        crash::ask(signal, trapped, context);
    }
    loop {
        // SAFETY: the call is forbidden, and its trap is blocked here: the kernel ends the process.
        unsafe {
            libc::syscall(libc::SYS_execve, 0, 0, 0);
        }
    }
}

/// What a worker's last line says it was ended for, if it is one of the handler's.
#[must_use]
pub fn name_of(line: &str) -> Option<String> {
    let number: libc::c_long = line.trim().strip_prefix("call ")?.parse().ok()?;
    let known = NAMES.iter().find(|(call, _)| *call == number);
    Some(known.map_or_else(|| format!("system call {number}"), |(_, name)| (*name).to_owned()))
}

macro_rules! names {
    ($($call:ident $name:literal),* $(,)?) => { &[$((libc::$call, $name)),*] };
}

/// Calls that an attacker or a wrong allow-list would need; others are told by their number.
const NAMES: &[(libc::c_long, &str)] = names![
    SYS_socket "socket", SYS_connect "connect", SYS_bind "bind", SYS_listen "listen", SYS_accept4 "accept4",
    SYS_socketpair "socketpair", SYS_sendto "sendto", SYS_sendmsg "sendmsg", SYS_openat "openat",
    SYS_openat2 "openat2", SYS_open_by_handle_at "open_by_handle_at", SYS_execve "execve", SYS_execveat "execveat",
    SYS_clone "clone", SYS_clone3 "clone3", SYS_ptrace "ptrace", SYS_process_vm_readv "process_vm_readv",
    SYS_process_vm_writev "process_vm_writev", SYS_kill "kill", SYS_tgkill "tgkill", SYS_tkill "tkill",
    SYS_mmap "mmap", SYS_mprotect "mprotect", SYS_ioctl "ioctl", SYS_fcntl "fcntl", SYS_bpf "bpf",
    SYS_perf_event_open "perf_event_open", SYS_io_uring_setup "io_uring_setup", SYS_mount "mount",
    SYS_setns "setns", SYS_unshare "unshare", SYS_memfd_create "memfd_create", SYS_unlinkat "unlinkat",
    SYS_renameat2 "renameat2", SYS_mkdirat "mkdirat", SYS_linkat "linkat", SYS_symlinkat "symlinkat",
    SYS_fchmodat "fchmodat", SYS_fchownat "fchownat", SYS_prctl "prctl", SYS_seccomp "seccomp",
    SYS_setuid "setuid", SYS_setresuid "setresuid", SYS_capset "capset", SYS_prlimit64 "prlimit64",
    SYS_rt_sigaction "rt_sigaction", SYS_finit_module "finit_module", SYS_init_module "init_module",
    SYS_dup3 "dup3", SYS_lseek "lseek", SYS_newfstatat "newfstatat", SYS_fstat "fstat", SYS_statx "statx",
    SYS_getdents64 "getdents64", SYS_readlinkat "readlinkat", SYS_writev "writev", SYS_readv "readv",
    SYS_pwrite64 "pwrite64", SYS_sched_getaffinity "sched_getaffinity", SYS_sched_yield "sched_yield",
    SYS_nanosleep "nanosleep", SYS_getrusage "getrusage", SYS_sysinfo "sysinfo", SYS_uname "uname",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_that_ended_a_worker_is_named() {
        let line = format!("call {:010}\n", libc::SYS_socket);
        assert_eq!(name_of(&line).as_deref(), Some("socket"));
        assert_eq!(name_of("call 0000009999").as_deref(), Some("system call 9999"));
        assert_eq!(name_of("{\"kind\":\"ready\"}"), None);
    }

    #[test]
    fn the_loader_has_at_most_thirty_calls_and_no_more_than_the_detector() {
        let (loader, detector) = (rules(Profile::Loader), rules(Profile::Detector));
        let (loader, detector) =
            (loader.expect("the conditions are sound"), detector.expect("the conditions are sound"));
        assert!(loader.len() <= 30, "{}", loader.len());
        assert!(loader.keys().all(|call| detector.contains_key(call)));
        assert!(!loader.contains_key(&libc::SYS_ioctl));
    }

    #[test]
    fn who_speaks_to_web_servers_may_start_nothing_look_at_nobody_and_write_no_file() {
        let downloader = rules(Profile::Downloader).expect("the conditions are sound");
        for forbidden in [
            libc::SYS_execve,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_kill,
            libc::SYS_bpf,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_renameat2,
            libc::SYS_unlinkat,
            libc::SYS_rt_sigaction,
            libc::SYS_prctl,
        ] {
            assert!(!downloader.contains_key(&forbidden), "call {forbidden}");
        }
    }

    #[test]
    fn an_uplink_starts_nothing_signals_nobody_takes_no_connection_and_makes_nothing_but_files_and_folders() {
        let uplink = rules(Profile::Uplink).expect("the conditions are sound");
        for forbidden in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_kill,
            libc::SYS_pidfd_send_signal,
            libc::SYS_bpf,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_linkat,
            libc::SYS_symlinkat,
            libc::SYS_mknodat,
            libc::SYS_fchmodat,
            libc::SYS_fchownat,
            libc::SYS_mount,
            libc::SYS_prctl,
        ] {
            assert!(!uplink.contains_key(&forbidden), "call {forbidden}");
        }
    }

    #[test]
    fn neither_the_detector_nor_who_reads_dumps_or_updates_may_open_start_or_talk() {
        let all = [Profile::Detector, Profile::Triage, Profile::Updater]
            .map(|profile| rules(profile).expect("the conditions are sound"));
        for forbidden in [
            libc::SYS_openat,
            libc::SYS_execve,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_sendmsg,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_bpf,
            libc::SYS_rt_sigaction,
            libc::SYS_prctl,
        ] {
            assert!(all.iter().all(|rules| !rules.contains_key(&forbidden)), "call {forbidden}");
        }
    }
}
