//! Content that kills, for tests: in builds with debug assertions alone, content of such a name does what its name says to the
//! process that uses it. What is released has none of it.

/// What begins the name of such content.
pub const PREFIX: &str = "fault-";

/// Does to this process what the name says, if it says so.
#[cfg(debug_assertions)]
pub fn meet(name: &str) {
    match name.strip_prefix(PREFIX) {
        Some("abort") => std::process::abort(),
        Some("spin") => loop {
            std::hint::spin_loop();
        },
        Some("sleep") => loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
        },
        Some("memory") => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1 << 20]);
            }
        }
        // SAFETY: none: that the kernel ends the process for it is what is tried.
        Some("touch") => unsafe {
            std::ptr::read_volatile(std::ptr::without_provenance::<u8>(1));
        },
        Some("overflow") => drop(deeper(0)),
        Some("call") => drop(std::fs::File::open("/etc/hostname")),
        _ => {}
    }
}

/// Uses up the stack.
#[cfg(debug_assertions)]
#[allow(unconditional_recursion, reason = "that is what is tried")]
fn deeper(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    deeper(depth.wrapping_add(1)).wrapping_add(here.iter().sum())
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub fn meet(_name: &str) {}
