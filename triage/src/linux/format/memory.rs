//! Memory and files whose counts do not add up.

use super::{Class, Detail, Format, Pick, Step, PLAIN, POINTER_THEN_TRACE, TRACE};
use crate::linux::skip::Skip::{Has, Is, Starts};

const BUG: Format = Format { anchor: "BUG:", ..PLAIN };
const DOS: Class = Class::Is("DoS");

pub(super) const FORMATS: &[Format] = &[
    Format { headline: "BUG: Bad rss-counter state", title: "BUG: Bad rss-counter state", has_stack: false, ..BUG },
    Format {
        headline: "BUG: non-zero (nr_ptes|nr_pmds) on freeing mm",
        title: "BUG: non-zero {1} on freeing mm",
        has_stack: false,
        ..BUG
    },
    Format {
        headline: "BUG: non-zero pgtables_bytes on freeing mm",
        title: "BUG: non-zero pgtables_bytes on freeing mm",
        has_stack: false,
        ..BUG
    },
    // The file system and the device are in the message; neither is the bug's name.
    Format {
        headline: "BUG: Dentry .* still in use \\([0-9]+\\) \\[(unmount) of ([^\\]]+)\\]",
        title: "BUG: Dentry still in use in {1}",
        others: &["BUG: Dentry still in use [{1} of {2}]"],
        ..BUG
    },
    // Where a bad page was found says little; who allocated it says more, where the kernel records it (page_owner).
    Format {
        headline: "BUG: Bad page (state|cache)",
        title: "BUG: Bad page {1} in {s}",
        steps: &[Step::Line(&["page last allocated"]), Step::Frames],
        otherwise: TRACE,
        skip: &[
            Is("bad_page"),
            Has("new_page"),
            Has("rmqueue"),
            Has("pcppages"),
            Has("free_page"),
            Has("put_page"),
            Has("get_page"),
            Has("update_page"),
            Has("release_page"),
            Has("free_unref"),
            Starts("folio"),
            Starts("_folio"),
            Starts("__folio"),
            Has("truncate_inode_pages"),
            Has("page_frag_free"),
            Has("alloc"),
            Has("vmap"),
            Has("page_owner"),
        ],
        ..BUG
    },
    Format { headline: "BUG: Bad page map", title: "BUG: Bad page map", ..BUG },
    Format {
        headline: "BUG: .*stack guard page was hit at",
        title: "BUG: stack guard page was hit in {s}",
        others: &["stack-overflow in {s}"],
        steps: POINTER_THEN_TRACE,
        pick: Pick::Stall,
        ..BUG
    },
    // What SLUB prints behind a report of KASAN that itself is lost.
    Format {
        anchor: "INFO:",
        headline: "INFO: (Freed|Allocated) in (.*)",
        title: "INFO: {1} in {2}",
        is_remnant: true,
        ..PLAIN
    },
    Format {
        anchor: "VFS: Close: file count is 0",
        headline: "VFS: Close: file count is 0",
        title: "VFS: Close: file count is zero (use-after-free)",
        has_stack: false,
        class: DOS,
        ..PLAIN
    },
    Format {
        anchor: "VFS: Busy inodes after unmount",
        headline: "VFS: Busy inodes after unmount",
        title: "VFS: Busy inodes after unmount (use-after-free)",
        has_stack: false,
        class: DOS,
        ..PLAIN
    },
    Format { headline: "BUG:[ \t]*$", title: "BUG: corrupted", is_remnant: true, detail: Detail::Nothing, ..BUG },
    Format { anchor: "INFO:", headline: "INFO:[ \t]*$", title: "INFO: corrupted", is_remnant: true, ..PLAIN },
    Format { anchor: "WARNING:", headline: "WARNING:[ \t]*$", title: "WARNING: corrupted", is_remnant: true, ..PLAIN },
];
