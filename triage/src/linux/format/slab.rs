//! What SLUB prints when its checks find memory that somebody overwrote, or that was given back wrongly (`mm/slub.c`):
//! `BUG cache (taint): reason`, then who allocated the object and who gave it back, the object's bytes, and last the stack of whoever
//! looked. That one is a bystander unless it is giving the memory back itself.

use super::{Class, Format, Step, PLAIN};
use crate::linux::skip::Skip::{self, Has, Is, Starts};

/// Cache and taint. The message has no words of its own at the front, so only the formats below make a headline of it.
macro_rules! slab {
    ($reason:literal) => {
        concat!("^BUG [^ ]+ \\((?:Not tainted|Tainted: [A-Z \\[\\]=_,]+)\\): ", $reason)
    };
}

/// Who asked for the memory, and who gave it back: until 5.13 with `INFO: ` in front.
pub(in crate::linux) const ALLOCATED: &str = "Allocated in ";
pub(in crate::linux) const FREED: &str = "Freed in ";

const SLAB: Format = Format {
    anchor: "BUG ",
    title: "BUG: {1} in {s}",
    class: Class::Is("MEMORY_SAFETY_BUG"),
    skip: ALLOCATOR,
    // The stack of whoever looked.
    otherwise: &[Step::Trace, Step::Frames],
    ..PLAIN
};

/// The allocator's own functions that are no driver's: its debugging and what gives memory back in bulk or later.
const ALLOCATOR: &[Skip] = &[
    Has("slab"),
    Has("object_err"),
    Has("print_trailer"),
    Has("check_bytes_and_report"),
    Has("_debug_processing"),
    Has("_consistency_checks"),
    Has("on_freelist"),
    Has("init_object"),
    Has("free_to_partial_list"),
    Has("get_partial"),
    Starts("put_cpu_partial"),
    Has("unfreeze_partials"),
    Starts("flush_cpu"),
    Starts("deactivate_"),
    Is("kfree_sensitive"),
    Starts("kvfree"),
    Starts("devm_k"),
    Starts("rcu_"),
    Is("__rcu_free_sheaf"),
];

pub(super) const FORMATS: &[Format] = &[
    // Poison is what lies in memory while nobody has it, and the free list's pointers lie there too: written to after it was given back.
    Format { headline: slab!("(Poison|End Poison) overwritten"), title: "BUG: {1} overwritten in {s}", steps: &[Step::Said(FREED), Step::Frames], ..SLAB },
    Format {
        headline: slab!("(Freepointer corrupt|Freechain corrupt|Freelist Pointer check fails)"),
        steps: &[Step::Said(FREED), Step::Frames],
        ..SLAB
    },
    // Beside the object: whoever has it wrote past its end, or before its start.
    Format {
        headline: slab!("((?:Left |Right |kmalloc )?Redzone|Object padding|Alignment padding|Padding) overwritten"),
        title: "BUG: {1} overwritten in {s}",
        steps: &[Step::Said(ALLOCATED), Step::Frames],
        ..SLAB
    },
    // The public corpus has no function in this title.
    Format {
        headline: slab!("Object already free"),
        title: "BUG: Object already free",
        others: &["invalid-free in {s}"],
        class: Class::Is("DoS"),
        steps: &[Step::Trace, Step::Frames],
        otherwise: &[],
        ..SLAB
    },
    Format {
        headline: slab!("(Invalid object pointer|Attempt to free object)"),
        title: "BUG: {1} in {s}",
        others: &["invalid-free in {s}"],
        steps: &[Step::Trace, Step::Frames],
        otherwise: &[],
        ..SLAB
    },
    // The cache is the bug's name; the stack is that of the module which goes away.
    Format {
        headline: slab!("Objects remaining (?:in ([^ ]+) )?on __kmem_cache_shutdown"),
        title: "BUG: Objects remaining in {1} on __kmem_cache_shutdown",
        class: Class::Is("LEAK"),
        steps: &[Step::Trace, Step::Frames],
        otherwise: &[],
        ..SLAB
    },
    // What SLUB keeps for itself: page, counts, lists.
    Format {
        headline: slab!("(Wrong object count|Wrong number of objects|Not a valid slab page|Bulk free expected|page slab pointer corrupt|Slab disabled|objects|inuse)"),
        steps: &[Step::Trace, Step::Frames],
        otherwise: &[],
        ..SLAB
    },
];
