//! What SLUB says of memory that was overwritten: named after who had it.

use super::{assert_named, reports};

/// A report of SLUB with the stacks of an object's life; `info` is what kernels up to 5.12 put in front of some lines.
fn slab(reason: &str, info: &str) -> String {
    format!(
        "=============================================================================
BUG frob_cache (Tainted: G    B   W        ): {reason}
-----------------------------------------------------------------------------

{info}0xffff888012345678-0xffff88801234567f @offset=1656. First byte 0x0 instead of 0x6b
{info}Allocated in frob_open+0x20/0x40 [frob] age=123 cpu=1 pid=70
	__slab_alloc.constprop.0+0x4e/0x90
	kmem_cache_alloc+0x2e1/0x330
	frob_open+0x20/0x40 [frob]
	vfs_open+0x2d/0x40
{info}Freed in frob_release+0x31/0x50 [frob] age=7 cpu=0 pid=71
	kmem_cache_free+0x2e1/0x330
	frob_release+0x31/0x50 [frob]
	__fput+0x9e/0x250
{info}Slab 0xffffea0000048d00 objects=16 used=3 fp=0xffff888012345678 flags=0x200
{info}Object 0xffff888012345640 @offset=1600 fp=0x0000000000000000

Redzone  ffff888012345600: bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb  ................
Object   ffff888012345640: 6b 6b 6b 6b 6b 6b 6b 6b 00 00 00 00 00 00 00 00  kkkkkkkk........
CPU: 1 PID: 77 Comm: frobd Tainted: G    B   W         6.1.0-56-cloud-amd64 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x45/0x59
 check_bytes_and_report.cold+0x6c/0x9e
 check_object+0x1f5/0x290
 free_debug_processing+0x1a0/0x2a0
 __slab_free+0x1f0/0x310
 quux_write+0x30/0x80 [quux]
 vfs_write+0x100/0x300
 </TASK>
FIX frob_cache: Restoring Poison 0xffff888012345678-0xffff88801234567f=0x6b
"
    )
}

#[test]
fn memory_that_was_overwritten_is_named_after_who_had_it_and_not_after_who_looked() {
    for info in ["", "INFO: "] {
        for (reason, title, class, guilty, module) in [
            (
                "Poison overwritten",
                "BUG: Poison overwritten in frob_release",
                "MEMORY_SAFETY_BUG",
                "frob_release",
                "frob",
            ),
            (
                "Freepointer corrupt",
                "BUG: Freepointer corrupt in frob_release",
                "MEMORY_SAFETY_BUG",
                "frob_release",
                "frob",
            ),
            ("Redzone overwritten", "BUG: Redzone overwritten in frob_open", "MEMORY_SAFETY_BUG", "frob_open", "frob"),
            (
                "Left Redzone overwritten",
                "BUG: Left Redzone overwritten in frob_open",
                "MEMORY_SAFETY_BUG",
                "frob_open",
                "frob",
            ),
            (
                "kmalloc Redzone overwritten",
                "BUG: kmalloc Redzone overwritten in frob_open",
                "MEMORY_SAFETY_BUG",
                "frob_open",
                "frob",
            ),
            (
                "Object padding overwritten",
                "BUG: Object padding overwritten in frob_open",
                "MEMORY_SAFETY_BUG",
                "frob_open",
                "frob",
            ),
            ("Object already free", "BUG: Object already free", "DoS", "quux_write", "quux"),
            (
                "Invalid object pointer 0xffff888012345679",
                "BUG: Invalid object pointer in quux_write",
                "MEMORY_SAFETY_BUG",
                "quux_write",
                "quux",
            ),
            (
                "Wrong object count. Counter is 3 but counted were 4",
                "BUG: Wrong object count in quux_write",
                "MEMORY_SAFETY_BUG",
                "quux_write",
                "quux",
            ),
            (
                "Objects remaining in frob_cache on __kmem_cache_shutdown()",
                "BUG: Objects remaining in frob_cache on __kmem_cache_shutdown",
                "LEAK",
                "quux_write",
                "quux",
            ),
        ] {
            let text = slab(reason, info);
            assert_named(&text, title, class);
            let found = reports(&text);
            assert_eq!(found.len(), 1, "{reason}: {:?}", found.iter().map(|one| &one.title).collect::<Vec<_>>());
            assert!(!found[0].corrupted, "{reason}: {:?}", found[0].warnings);
            let blamed = found[0].blamed.as_ref().expect("blamed");
            assert_eq!(
                (blamed.module.as_deref(), blamed.function.as_deref()),
                (Some(module), Some(guilty)),
                "{reason}"
            );
        }
    }
}

#[test]
fn memory_of_which_nobody_was_recorded_is_named_after_who_looked() {
    let whole = slab("Poison overwritten", "");
    let text: String = whole
        .lines()
        .filter(|line| !line.starts_with('\t') && !line.starts_with("Allocated in") && !line.starts_with("Freed in"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_named(&text, "BUG: Poison overwritten in quux_write", "MEMORY_SAFETY_BUG");
    let why = |text: &str| reports(text)[0].blamed.as_ref().map(|blamed| blamed.why.clone()).expect("blamed");
    assert!(why(&whole).starts_with("the one that gave the memory back"), "{}", why(&whole));
    assert!(why(&text).starts_with("the innermost function"), "{}", why(&text));
}
