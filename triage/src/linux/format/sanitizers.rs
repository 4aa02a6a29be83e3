//! Checks that the kernel was built with: KASAN, KMSAN, KCSAN, KFENCE, UBSAN, kmemleak.

use super::{Class, Detail, Format, Step, PLAIN, TRACE};
use crate::linux::skip::Skip::{Ends, Has, Starts};

/// The function of the headline comes first: a check that is inlined leaves no frame.
const HEADLINE_THEN_TRACE: &[Step] = &[Step::Headline, Step::Trace, Step::Frames];

/// KFENCE prints its stack right below the headline.
const HEADLINE_THEN_FRAMES: &[Step] = &[Step::Headline, Step::Frames];

/// KMSAN prints where a value was used, then where it came from.
const USE_THEN_ORIGIN: &[Step] =
    &[Step::Frames, Step::Line(&["Local variable", "Uninit was created at:"]), Step::Frames];

const KASAN: Format = Format { anchor: "BUG:", class: Class::Kasan, steps: HEADLINE_THEN_TRACE, ..PLAIN };
const KMSAN: Format = Format { anchor: "BUG:", class: Class::Kmsan, steps: USE_THEN_ORIGIN, has_stack: false, ..PLAIN };
/// KCSAN prints both accesses, the one that it was asked about first. Without its stack the headline's function may be all there is.
const HEADLINE_THEN_ACCESS: &[Step] =
    &[Step::Headline, Step::Line(&[" bytes by task ", " bytes by interrupt "]), Step::Frames];

const KCSAN: Format = Format { anchor: "BUG:", steps: HEADLINE_THEN_ACCESS, has_stack: false, ..PLAIN };
const KFENCE: Format =
    Format { anchor: "BUG:", class: Class::Kfence, steps: HEADLINE_THEN_FRAMES, has_stack: false, ..PLAIN };
const UBSAN: Format = Format {
    anchor: "UBSAN:",
    class: Class::Is("UBSAN"),
    steps: TRACE,
    skip: &[Has("ubsan"), Has("overflow")],
    ..PLAIN
};

pub(super) const FORMATS: &[Format] = &[
    Format {
        headline: "BUG: KASAN: ([a-z-]+) in {F}",
        detail: Detail::Access,
        title: "KASAN: {1} {access} in {s}",
        others: &["bad-access in {s}"],
        // With tags checked by the processor the access traps, and the trap's own frames are on the stack.
        skip: &[Has("kernel_fault"), Has("tag_check"), Has("mem_abort"), Starts("el1_"), Starts("el1h_")],
        ..KASAN
    },
    Format {
        headline: "BUG: KASAN: (?:double-free or invalid-free|double-free|invalid-free) in {F}",
        title: "KASAN: invalid-free in {s}",
        others: &["invalid-free in {s}"],
        skip: &[Has("slab_"), Has("kfree"), Has("vunmap"), Has("vfree")],
        class: Class::Is("KASAN-INVALID-FREE"),
        ..KASAN
    },
    Format {
        headline: "BUG: KASAN: ([a-z-]+) on address",
        detail: Detail::Access,
        title: "KASAN: {1} {access}",
        steps: &[],
        ..KASAN
    },
    Format { headline: "BUG: KASAN: (.*)", title: "KASAN: {1}", steps: &[], is_remnant: true, ..KASAN },
    Format {
        headline: "BUG: KMSAN: (kernel-usb-infoleak) in {F}",
        title: "KMSAN: kernel-usb-infoleak in {s}",
        others: &["KMSAN origin in {o}"],
        skip: &[
            Has("alloc_skb"),
            Has("usb_submit_urb"),
            Has("usb_start_wait_urb"),
            Has("usb_bulk_msg"),
            Has("usb_interrupt_msg"),
            Has("usb_control_msg"),
        ],
        ..KMSAN
    },
    Format {
        headline: "BUG: KMSAN: ([a-z-]+) in {F}",
        title: "KMSAN: {1} in {s}",
        others: &["bad-access in {s}"],
        // Netlink's and the ciphers' own code handles whatever it is given.
        skip: &[
            Has("alloc_skb"),
            Has("netlink_ack"),
            Has("netlink_rcv_skb"),
            Ends("_encrypt"),
            Starts("crypto_"),
            Starts("cipher_"),
            Starts("drbg_"),
            Starts("rng_"),
        ],
        ..KMSAN
    },
    Format { headline: "BUG: KCSAN: (data-race.*)", title: "KCSAN: {1}", class: Class::Is("KCSAN-DATARACE"), ..KCSAN },
    Format { headline: "BUG: KCSAN: (assert: race.*)", title: "KCSAN: {1}", class: Class::Is("KCSAN-ASSERT"), ..KCSAN },
    Format { headline: "BUG: KCSAN: (.*)", title: "KCSAN: {1}", class: Class::Is("KCSAN-UNKNOWN"), ..KCSAN },
    Format {
        headline: "BUG: KFENCE: (use-after-free|out-of-bounds|invalid) (read|write) in {F}",
        title: "KFENCE: {1} {2} in {s}",
        others: &["bad-access in {s}"],
        has_stack: true,
        ..KFENCE
    },
    Format {
        headline: "BUG: KFENCE: (invalid free) in {F}",
        title: "KFENCE: {1} in {s}",
        others: &["invalid-free in {s}"],
        ..KFENCE
    },
    Format { headline: "BUG: KFENCE: (memory corruption) in {F}", title: "KFENCE: {1} in {s}", ..KFENCE },
    Format {
        anchor: "BUG:",
        headline: "BUG: memory leak",
        title: "memory leak in {s}",
        steps: &[Step::Line(&["backtrace:", "backtrace (crc"]), Step::Frames],
        // Whoever asked the allocator is the subject, not the allocator.
        skip: &[
            Has("kmemleak"),
            Has("mmap"),
            Has("kmem"),
            Has("slab"),
            Has("alloc"),
            Has("create_object"),
            Has("idr_get"),
            Has("list_lru_init"),
            Has("pcpu_create"),
        ],
        class: Class::Is("LEAK"),
        ..PLAIN
    },
    Format { headline: "UBSAN: Undefined behaviour in", title: "UBSAN: undefined-behaviour in {s}", ..UBSAN },
    Format {
        headline: "UBSAN: array-index-out-of-bounds in",
        title: "UBSAN: array-index-out-of-bounds in {s}",
        others: &["bad-access in {s}"],
        class: Class::Is("MEMORY_SAFETY_UBSAN"),
        ..UBSAN
    },
    Format { headline: "UBSAN: (.*?) in", title: "UBSAN: {1} in {s}", ..UBSAN },
];
