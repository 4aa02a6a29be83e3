//! The class of a fault, which is the report's type, and what it means in one plain sentence.

use super::format::Class;

/// The class. `first` and `second` are what the headline's groups hold, `access` what the detail says.
pub(super) fn of(class: Class, first: &str, second: &str, access: Option<&str>) -> &'static str {
    match class {
        Class::Is(class) => class,
        Class::Kasan => kasan(first, access),
        Class::Kfence => match (first, second) {
            ("use-after-free", "write") => "KFENCE-USE-AFTER-FREE-WRITE",
            ("use-after-free", _) => "KFENCE-USE-AFTER-FREE-READ",
            ("invalid free", _) => "KFENCE-INVALID-FREE",
            ("memory corruption", _) => "KFENCE-MEMORY-CORRUPTION",
            (_, "write") => "KFENCE-WRITE",
            (_, "read") => "KFENCE-READ",
            _ => "KFENCE-UNKNOWN",
        },
        Class::Kmsan => match first {
            "uninit-value" => "KMSAN-UNINIT-VALUE",
            _ if first.ends_with("after-free") => "KMSAN-USE-AFTER-FREE-READ",
            "kernel-infoleak" | "kernel-usb-infoleak" => "KMSAN-INFO-LEAK",
            _ => "KMSAN-UNKNOWN",
        },
    }
}

/// KASAN's classes. Where it is not said whether it was a read, it was at least one.
fn kasan(bug: &str, access: Option<&str>) -> &'static str {
    let bug = bug.split(' ').next().unwrap_or_default();
    let writes = access == Some("Write");
    match bug {
        "null-ptr-deref" if writes => "KASAN-NULL-POINTER-DEREFERENCE-WRITE",
        "null-ptr-deref" => "KASAN-NULL-POINTER-DEREFERENCE-READ",
        "double-free" | "invalid-free" => "KASAN-INVALID-FREE",
        _ if bug.ends_with("use-after-free") && writes => "KASAN-USE-AFTER-FREE-WRITE",
        _ if bug.ends_with("use-after-free") => "KASAN-USE-AFTER-FREE-READ",
        _ if bug.ends_with("out-of-bounds")
            || matches!(bug, "user-memory-access" | "wild-memory-access" | "invalid-access" | "unknown-crash") =>
        {
            if writes {
                "KASAN-WRITE"
            } else {
                "KASAN-READ"
            }
        }
        _ => "KASAN-UNKNOWN",
    }
}

/// The class of a message in words that no format knows.
pub(super) fn of_unknown(anchor: &str) -> &'static str {
    match anchor {
        "WARNING:" => "WARNING",
        "kernel BUG" | "Kernel BUG" => "BUG",
        "BUG:" | "INFO:" => "UNKNOWN",
        "UBSAN:" => "UBSAN",
        _ => "DoS",
    }
}

/// A class and what it means.
const MEANINGS: &[(&str, &str)] = &[
    ("ATOMIC_SLEEP", "may sleep where the kernel must not"),
    ("BUG", "found a state that must not be and stopped"),
    ("HANG", "does not go on"),
    ("KASAN-INVALID-FREE", "gave back memory that was not its own, or gave it back twice"),
    ("KASAN-NULL-POINTER-DEREFERENCE-READ", "read through a null pointer"),
    ("KASAN-NULL-POINTER-DEREFERENCE-WRITE", "wrote through a null pointer"),
    ("KASAN-READ", "read outside of its memory"),
    ("KASAN-UNKNOWN", "used memory that it must not use"),
    ("KASAN-USE-AFTER-FREE-READ", "read memory that had been given back"),
    ("KASAN-USE-AFTER-FREE-WRITE", "wrote to memory that had been given back"),
    ("KASAN-WRITE", "wrote outside of its memory"),
    ("KCSAN-ASSERT", "shares memory that it was promised to have alone"),
    ("KCSAN-DATARACE", "reads and writes the same memory at once, without a lock"),
    ("KCSAN-UNKNOWN", "uses memory together with others, without a lock"),
    ("KFENCE-INVALID-FREE", "gave back memory that was not its own, or gave it back twice"),
    ("KFENCE-MEMORY-CORRUPTION", "wrote past the end of its memory"),
    ("KFENCE-READ", "read outside of its memory"),
    ("KFENCE-USE-AFTER-FREE-READ", "read memory that had been given back"),
    ("KFENCE-USE-AFTER-FREE-WRITE", "wrote to memory that had been given back"),
    ("KFENCE-WRITE", "wrote outside of its memory"),
    ("KMSAN-INFO-LEAK", "gave kernel memory away that nobody had written to"),
    ("KMSAN-UNINIT-VALUE", "decided by a value that nobody had set"),
    ("KMSAN-USE-AFTER-FREE-READ", "read memory that had been given back"),
    ("LEAK", "asked for memory that nobody gave back"),
    ("LOCKDEP", "takes or gives back locks in a way that can stop the machine"),
    ("MEMORY_SAFETY_BUG", "used an address that is not mapped, or memory that was overwritten"),
    ("MEMORY_SAFETY_UBSAN", "used an index outside of its array"),
    ("NULL-POINTER-DEREFERENCE", "used a null pointer"),
    ("REFCOUNT_WARNING", "counts references wrongly, so memory may be given back too early or never"),
    ("UBSAN", "did what the C language leaves undefined"),
    ("WARNING", "found a state that it did not expect, and went on"),
];

/// What SLUB found, by the title's start: its subject had the memory, and is not always who did it.
const FOUND_IN_MEMORY: &[(&str, &str, &str)] = &[
    ("BUG: Poison", "Memory that ", " gave back was written to afterwards; by whom is not told."),
    ("BUG: Freepointer", "Memory that ", " gave back was written to afterwards; by whom is not told."),
    ("BUG: Freechain", "Memory that ", " gave back was written to afterwards; by whom is not told."),
    ("BUG: Freelist", "Memory that ", " gave back was written to afterwards; by whom is not told."),
    ("BUG: Left Redzone", "Somebody wrote before the start of memory that ", " asked for."),
    ("BUG: Right Redzone", "Somebody wrote past the end of memory that ", " asked for."),
    ("BUG: kmalloc Redzone", "Somebody wrote past the end of memory that ", " asked for."),
    ("BUG: Redzone", "Somebody wrote past the end of memory that ", " asked for."),
    ("BUG: Object already free", "", " gave memory back that had been given back already."),
];

/// What happened, in one sentence.
pub(super) fn cause(class: &str, subject: Option<&str>, title: &str) -> String {
    let who = subject.unwrap_or("A function that this text does not name");
    if let (Some(subject), Some((_, before, behind))) =
        (subject, FOUND_IN_MEMORY.iter().find(|(words, ..)| title.starts_with(words)))
    {
        return format!("{before}{subject}{behind}");
    }
    match MEANINGS.iter().find(|(name, _)| *name == class) {
        Some((_, meaning)) => format!("{who} {meaning}."),
        None => match subject {
            Some(subject) => format!("The kernel stopped in {subject}: {title}."),
            None => format!("The kernel reported: {title}."),
        },
    }
}
