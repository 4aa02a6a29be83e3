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
        let environment = [ptr::null::<libc::c_char>()];
        let mut round = 0_u64;
        while !std::path::Path::new(flag).exists() {
            let name = CString::new(format!("round-{round}"))?;
            let path = CString::new(format!("{folder}/round-{round}"))?;
            // SAFETY: the path is a C string that lives through both calls.
            check(i64::from(unsafe { libc::mknod(path.as_ptr(), libc::S_IFREG | 0o600, 0) }))?;
            // SAFETY: as above.
            check(i64::from(unsafe { libc::unlink(path.as_ptr()) }))?;
            let arguments = [program.as_ptr(), name.as_ptr(), ptr::null()];
            let mut child = 0;
            // SAFETY: the path is a C string, both lists end in null, all live through the call, and the rest may be null.
            let refusal = unsafe {
                libc::posix_spawn(
                    &mut child,
                    program.as_ptr(),
                    ptr::null(),
                    ptr::null(),
                    arguments.as_ptr().cast(),
                    environment.as_ptr().cast(),
                )
            };
            if refusal != 0 {
                return Err(io::Error::from_raw_os_error(refusal));
            }
            // SAFETY: the child is our own; no status is wanted.
            check(i64::from(unsafe { libc::waitpid(child, ptr::null_mut(), 0) }))?;
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
    let arguments = [program.as_ptr(), second, ptr::null()];
    let environment = [ptr::null::<libc::c_char>()];
    for _ in 0..count {
        let mut child = 0;
        // posix_spawn, because it lends the child our memory instead of copying its tables.
        // SAFETY: the path is a C string, both lists end in null, all live through the call, and the rest may be null.
        let refusal = unsafe {
            libc::posix_spawn(
                &mut child,
                program.as_ptr(),
                ptr::null(),
                ptr::null(),
                arguments.as_ptr().cast(),
                environment.as_ptr().cast(),
            )
        };
        if refusal != 0 {
            return Err(io::Error::from_raw_os_error(refusal));
        }
        let mut status = 0;
        // SAFETY: the status is ours and the child is our own.
        check(i64::from(unsafe { libc::waitpid(child, &mut status, 0) }))?;
        if status != 0 {
            return Err(io::Error::other(format!("{NOTHING} ended with wait status {status}")));
        }
    }
    Ok(json!({ "count": count }))
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
