//! What a worker does at its own crash: it hands its registers to the supervisor over a socket and waits until somebody else has made a
//! dump of it. It makes none itself: what has crashed can be trusted with nothing, and its sandbox has no file to write one to.
//!
//! Handlers that other libraries offer reset signals and name who may trace them with system calls that no worker may make. This one
//! is set up to be gone after its first signal, so that the second ends the process as if there had been none.

use std::cell::UnsafeCell;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use crash_context::CrashContext;

/// How long a worker waits for its dump. The supervisor gives up before.
const WAIT_MAX_MS: libc::c_int = 15_000;
/// Signals by which a process ends for what it did itself.
const CAUGHT: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGXCPU];
/// Stack of the handlers of the first thread, whose own one may be what has overflowed; the kernel puts the processor's whole state on
/// it, which takes some kilobytes.
const STACK_BYTES: usize = 64 << 10;

/// Where the supervisor hears of it; -1 where nobody does.
static SOCKET: AtomicI32 = AtomicI32::new(-1);
/// A dump is asked for once.
static IS_ASKED: AtomicBool = AtomicBool::new(false);
/// Kept here because a handler's stack is small.
static CONTEXT: Kept = Kept(UnsafeCell::new(None));

struct Kept(UnsafeCell<Option<CrashContext>>);

// SAFETY: it is touched by the one thread that has set `IS_ASKED`.
unsafe impl Sync for Kept {}

/// From here on a crash of this process is told on this socket, which the supervisor left for it.
///
/// # Errors
/// There is no such descriptor, or the kernel refused.
pub fn tell_on(socket: RawFd) -> io::Result<()> {
    // SAFETY: fcntl of a number that is no descriptor fails without harm.
    check(unsafe { libc::fcntl(socket, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    let stack = Box::leak(vec![0_u8; STACK_BYTES].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_BYTES };
    // SAFETY: the memory is given away for the rest of this process's life.
    check(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) })?;
    SOCKET.store(socket, Ordering::SeqCst);
    CAUGHT.into_iter().try_for_each(catch)
}

/// Whether crashes of this process are told.
#[must_use]
pub fn is_told() -> bool {
    SOCKET.load(Ordering::SeqCst) >= 0
}

fn catch(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: sigaction is plain old C data; all zeroes is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_crash;
    action.sa_sigaction = handler as libc::sighandler_t;
    // Gone after its first signal, and not held back meanwhile: the next one ends the process.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND | libc::SA_NODEFER;
    // SAFETY: the handler makes system calls and touches memory of its own, which is allowed in a signal handler.
    check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) })
}

extern "C" fn on_crash(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes both to a handler that asks for them.
    unsafe { ask(signal, info, context) };
    // SAFETY: plain system calls on our own process; the signal has its default meaning again.
    unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::syscall(libc::SYS_gettid), signal);
    }
}

/// Asks for a dump of this process and waits until it is made. To be called in a signal handler alone: system calls, and no memory but
/// its own.
///
/// # Safety
/// `info` and `context` are what the kernel passed to the handler.
pub unsafe fn ask(signal: libc::c_int, info: *const libc::siginfo_t, context: *const libc::c_void) {
    let socket = SOCKET.load(Ordering::SeqCst);
    if socket < 0 || IS_ASKED.swap(true, Ordering::SeqCst) {
        return;
    }
    // SAFETY: nobody else touches it, because nobody else has set `IS_ASKED`; the rest is the caller's word.
    unsafe {
        let Some(message) = fill(&mut *CONTEXT.0.get(), signal, info, context) else { return };
        let length = size_of::<CrashContext>();
        if libc::write(socket, std::ptr::from_ref(message).cast(), length) != length.cast_signed() {
            return;
        }
        let mut answer = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
        libc::poll(&raw mut answer, 1, WAIT_MAX_MS);
    }
}

/// The registers as the kernel left them on the handler's stack, in the form in which dumps are asked for.
///
/// # Safety
/// As [`ask`].
#[cfg(target_arch = "x86_64")]
unsafe fn fill(
    kept: &mut Option<CrashContext>,
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    context: *const libc::c_void,
) -> Option<&CrashContext> {
    // SAFETY: plain old C data, for all of which zeroes are valid.
    let kept = kept.insert(unsafe { std::mem::zeroed() });
    // The kernel's form is shorter than the C library's: what follows the registers is not the same.
    let length = offset_of!(crash_context::ucontext_t, uc_sigmask);
    // SAFETY: the kernel's frame begins with these bytes.
    unsafe {
        let to = (&raw mut kept.context).cast::<u8>();
        std::ptr::copy_nonoverlapping(context.cast::<u8>(), to, length);
        let float = kept.context.uc_mcontext.fpregs;
        if !float.is_null() {
            std::ptr::copy_nonoverlapping(float, &raw mut kept.float_state, 1);
        }
        kept.siginfo.ssi_signo = signal.unsigned_abs();
        kept.siginfo.ssi_errno = (*info).si_errno;
        kept.siginfo.ssi_code = (*info).si_code;
        kept.siginfo.ssi_addr = (*info).si_addr() as u64;
        kept.pid = libc::getpid();
        kept.tid = i32::try_from(libc::syscall(libc::SYS_gettid)).unwrap_or(0);
    }
    Some(kept)
}

/// Where the frame's form is not known here there is no dump, as is told.
///
/// # Safety
/// As [`ask`].
#[cfg(not(target_arch = "x86_64"))]
unsafe fn fill(
    _kept: &mut Option<CrashContext>,
    _signal: libc::c_int,
    _info: *const libc::siginfo_t,
    _context: *const libc::c_void,
) -> Option<&CrashContext> {
    None
}

fn check(answer: libc::c_int) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
