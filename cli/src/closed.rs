//! Whether standard output was open when we were started. Once `main` runs it always is: Rust's runtime puts /dev/null in the
//! place of a closed one, and what is written then goes nowhere without a word. So this looks before.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static IS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Called by the C library's start-up code, before Rust's.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: fcntl of a number that is no descriptor fails without harm; nothing of Rust's runtime is used.
    let answer = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    IS_STDOUT_CLOSED.store(answer == -1, Relaxed);
}

/// Says why a run would tell nobody anything.
///
/// # Errors
/// Standard output was closed.
pub fn stdout_is_open() -> anyhow::Result<()> {
    anyhow::ensure!(
        !IS_STDOUT_CLOSED.load(Relaxed),
        "standard output is closed: events would go nowhere; send it to a file or a pipe, or to /dev/null if that is meant"
    );
    Ok(())
}
