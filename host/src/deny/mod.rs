//! Denying exec by fanotify where the kernel refuses BPF LSM: the one place where a process waits for user space, so it is
//! off unless the policy says `fallback_deny: true`.
//!
//! ```text
//! policy ─► plan: exec rules -> inodes, vital ones refused ─► worker deny: marks, answers from a table, locked memory
//!                                                               │ progress page (shared memory): life, counts, denials
//! watertight run ─► keeper: starts it, reports, writes status ◄─┴─ watchdog thread: no sign of life for 200 ms -> SIGKILL
//! ```
//!
//! A killed listener's marks end with it, and the kernel lets every exec that waited pass: whatever goes wrong, this fails
//! open, within the watchdog's limit, and says so.

mod denials;
pub mod keeper;
pub mod listener;
mod marks;
mod notes;
pub mod page;
pub mod plan;
pub mod store;
mod vital;
mod watchdog;

/// What passes this way of denying. `status` and `policy apply` list it.
pub const BYPASSES: [&str; 5] = [
    "the program given to ld.so as an argument",
    "a script given to its interpreter (sh script)",
    "a hard link, elsewhere, to a file in a folder that a rule names with under",
    "subfolders of a folder that a rule names with under",
    "a file that took a rule's path after the policy was applied",
];
