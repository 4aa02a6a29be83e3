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
pub(crate) mod vital;
mod watchdog;

/// What passes this way of denying. `status` and `policy apply` list it.
pub const BYPASSES: [&str; 6] = [
    "the program given to ld.so as an argument",
    "a script given to its interpreter (sh script)",
    "a hard link, elsewhere, to a file in a folder that a rule names with under",
    "a file that was moved out of a folder that a rule names with under",
    "subfolders of a folder that a rule names with under",
    "a file that took a rule's path after the policy was applied",
];

#[cfg(test)]
mod tests {
    use super::BYPASSES;

    #[test]
    fn the_documentation_lists_what_passes_as_the_program_does() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.md");
        let page = std::fs::read_to_string(page).expect("the page").replace('`', "");
        let (_, list) = page.split_once("These pass, and status lists them:\n\n").expect("where the list begins");
        let listed: Vec<&str> = list.lines().map_while(|line| line.strip_prefix("- ")).collect();
        let listed: Vec<&str> = listed.iter().map(|line| line.trim_end_matches([';', '.'])).collect();
        assert_eq!(listed, BYPASSES);
    }
}
