//! Opening a pack and running its canaries takes little memory, whatever the pack claims: the process that does it on a host may
//! have 64 MiB, the pack included.

#[path = "support/mutants.rs"]
#[allow(dead_code)] // the other tests use the rest
mod mutants;
#[allow(dead_code)]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use mutants::{other_pack, Mutants, SEED};
use support::pack;
use watertight_content_pack::Pack;

/// Mutants that are tried.
const MUTANTS: u32 = 2_000;

/// What may be allocated beside the pack. Far below what its process may have.
const ALLOCATED_BYTES_MAX: usize = 16 << 20;

/// The system's allocator, and how much it has given at most.
struct Counting {
    now: AtomicUsize,
    most: AtomicUsize,
}

#[global_allocator]
static COUNTING: Counting = Counting { now: AtomicUsize::new(0), most: AtomicUsize::new(0) };

// SAFETY: every call is handed to the system's allocator as it came; only numbers are kept beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = self.now.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.most.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.now.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: it came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most that was allocated at once while `work` ran.
fn allocated(work: impl FnOnce()) -> usize {
    let before = COUNTING.now.load(Ordering::Relaxed);
    COUNTING.most.store(before, Ordering::Relaxed);
    work();
    COUNTING.most.load(Ordering::Relaxed).saturating_sub(before)
}

/// One test, so that nothing else is allocated beside it.
#[test]
fn no_pack_takes_more_memory_than_its_process_may_have() {
    let judge = |bytes: &[u8]| {
        allocated(|| {
            let _ = Pack::open(bytes).map(|pack| pack.self_test());
        })
    };
    let good = pack();
    assert!(judge(&good) > 0, "the count works");
    let mut mutants = Mutants::of(vec![good, other_pack()], SEED);
    for number in 0..MUTANTS {
        let mutant = mutants.next();
        let bytes = judge(&mutant);
        assert!(bytes <= ALLOCATED_BYTES_MAX, "mutant {number} of {} bytes took {bytes}", mutant.len());
    }
}
