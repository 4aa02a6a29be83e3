//! Many operations of one kind, one after the other, by one process, with as little of their own cost as can be: what is
//! measured or overrun is the sensor, not the driver.

use super::{actions, check, number, Outcome};
use serde_json::json;
use std::ffi::CString;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::ptr;

/// The lab's static program that exits at once: no libc, no loader, so that a storm of processes is mostly fork and exec.
pub const NOTHING: &str = "/bin/wt-nothing";

actions! {
    /// Creates a file and removes its name so many times. Gives `count`.
    "storm.unlink" => unlink(folder, count) {
        let count: u32 = number(count)?;
        let path = CString::new(format!("{folder}/wt-storm"))?;
        for _ in 0..count {
            // mknod and not open: one hook fewer a file, and no descriptor.
            // SAFETY: the path is a C string that lives through the call.
            check(i64::from(unsafe { libc::mknod(path.as_ptr(), libc::S_IFREG | 0o600, 0) }))?;
            // SAFETY: as above.
            check(i64::from(unsafe { libc::unlink(path.as_ptr()) }))?;
        }
        Ok(json!({ "count": count }))
    }

    /// Until a file is there: creates a file of a new name, removes it, and starts a program with that name as its argument.
    /// Names are `round-0`, `round-1` ... Gives `count`.
    "storm.until" => until(folder, flag) {
        let program = CString::new(NOTHING)?;
        let mut spawner = Spawner::new()?;
        let mut round = 0_u64;
        while !std::path::Path::new(flag).exists() {
            let name = CString::new(format!("round-{round}"))?;
            let path = CString::new(format!("{folder}/round-{round}"))?;
            // SAFETY: the path is a C string that lives through both calls.
            check(i64::from(unsafe { libc::mknod(path.as_ptr(), libc::S_IFREG | 0o600, 0) }))?;
            // SAFETY: as above.
            check(i64::from(unsafe { libc::unlink(path.as_ptr()) }))?;
            spawner.run(&[program.as_ptr(), name.as_ptr(), ptr::null()])?;
            round += 1;
            // Others have to come to run too: the guest has one processor's worth of time.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(json!({ "count": round }))
    }

    /// Opens so many TCP connections to itself over loopback, and cuts each. Gives `count` and `port`.
    "storm.connect" => connect(count) {
        let count: u32 = number(count)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        for _ in 0..count {
            let caller = TcpStream::connect(address)?;
            let (callee, _) = listener.accept()?;
            reset_on_close(&caller)?;
            drop(caller);
            drop(callee);
        }
        Ok(json!({ "count": count, "port": address.port() }))
    }

    /// Forks, starts the program that does nothing and waits for its end, so many times. Gives `count`.
    "storm.exec" => exec(count) {
        run(number(count)?, 0)
    }

    /// The same with an argument of so many bytes: large events, that fill a ring with few processes. Gives `count`.
    "storm.exec_long" => exec_long(count, bytes) {
        run(number(count)?, number(bytes)?)
    }
}

fn run(count: u32, argument_bytes: usize) -> Outcome {
    let program = CString::new(NOTHING)?;
    let argument = CString::new(vec![b'x'; argument_bytes])?;
    let second = if argument_bytes == 0 { ptr::null() } else { argument.as_ptr() };
    let mut spawner = Spawner::new()?;
    for _ in 0..count {
        spawner.run(&[program.as_ptr(), second, ptr::null()])?;
    }
    Ok(json!({ "count": count }))
}

/// Starts [`NOTHING`] as cheaply as the kernel lets: the child has our memory and a small stack in it until it executes, and
/// none of the hundred system calls by which posix_spawn tidies up signals.
struct Spawner {
    program: CString,
    stack: Vec<u128>,
}

/// What the child executes.
struct Execution {
    program: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
}

/// For one call that goes straight into the kernel.
const STACK_BYTES: usize = 64 << 10;
/// Exit code of a child that could not execute.
const EXIT_NOT_EXECUTED: libc::c_int = 127;

impl Spawner {
    fn new() -> io::Result<Self> {
        Ok(Self { program: CString::new(NOTHING)?, stack: vec![0; STACK_BYTES / size_of::<u128>()] })
    }

    /// Starts it with a list of arguments that ends in null, and waits for its end, which must be a success.
    fn run(&mut self, arguments: &[*const libc::c_char]) -> io::Result<()> {
        let environment = [ptr::null::<libc::c_char>()];
        let execution = Execution {
            program: self.program.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
        };
        let top = self.stack.as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the stack is ours and aligned. With CLONE_VFORK we go on only once the child has executed or ended, so
        // what it points to lives as long as it looks at it, and nobody else uses its stack.
        let child = unsafe { libc::clone(execute, top.cast(), flags, ptr::from_ref(&execution).cast_mut().cast()) };
        let child = check(i64::from(child))? as libc::pid_t;
        let mut status = 0;
        // SAFETY: the status is ours and the child is our own.
        check(i64::from(unsafe { libc::waitpid(child, &mut status, 0) }))?;
        if status != 0 {
            return Err(io::Error::other(format!("{NOTHING} ended with wait status {status}")));
        }
        Ok(())
    }
}

extern "C" fn execute(execution: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `Spawner::run` passes an execution that it keeps until this process has executed or ended.
    let Execution { program, arguments, environment } = unsafe { execution.cast::<Execution>().read() };
    // SAFETY: the path is a C string and both lists end in null.
    unsafe { libc::execve(program, arguments, environment) };
    EXIT_NOT_EXECUTED
}

/// A connection cut this way leaves no port in TIME_WAIT, of which there are fewer than a storm needs.
fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let bytes = size_of::<libc::linger>() as libc::socklen_t;
    let value = ptr::from_ref(&linger).cast();
    // SAFETY: the value is as long as said and only read.
    let done = unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, bytes) };
    check(i64::from(done)).map(|_| ())
}
