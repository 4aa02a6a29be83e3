//! Warnings: `WARNING: CPU: 1 PID: 2 at file.c:3 function+0x4/0x5`. Those in plumbing that others use wrongly are named after
//! the misuse, and the subject is whoever called.

use super::{Class, Format, PLAIN, POINTER_THEN_FRAMES, TRACE};
use crate::linux::skip::Skip::Has;

const WARNING: Format =
    Format { anchor: "WARNING:", steps: POINTER_THEN_FRAMES, otherwise: TRACE, class: Class::Is("WARNING"), ..PLAIN };

pub(super) const FORMATS: &[Format] = &[
    Format {
        headline: "WARNING: .*lib/debugobjects\\.c.* (?:debug_print|debug_check|at)",
        title: "WARNING: ODEBUG bug in {s}",
        skip: &[
            Has("debug_"),
            Has("rcu"),
            Has("hrtimer_"),
            Has("timer_"),
            Has("work_"),
            Has("percpu_"),
            Has("vunmap"),
            Has("vfree"),
            Has("__free_"),
            Has("kobject_"),
        ],
        ..WARNING
    },
    Format {
        headline: "WARNING: .*mm/usercopy\\.c.* (?:usercopy_warn|at)",
        title: "WARNING: bad usercopy in {s}",
        skip: &[Has("usercopy"), Has("__check")],
        ..WARNING
    },
    Format {
        headline: "WARNING: .*lib/kobject\\.c.* (?:kobject_|at)",
        title: "WARNING: kobject bug in {s}",
        skip: &[Has("kobject_")],
        ..WARNING
    },
    Format {
        headline: "WARNING: .*fs/proc/generic\\.c.* (?:proc_register|at)",
        title: "WARNING: proc registration bug in {s}",
        skip: &[Has("proc_")],
        ..WARNING
    },
    Format {
        headline: "WARNING: .*lib/refcount\\.c.* (?:refcount_|at)",
        title: "WARNING: refcount bug in {s}",
        skip: &[Has("refcount"), Has("kobject_")],
        class: Class::Is("REFCOUNT_WARNING"),
        ..WARNING
    },
    Format {
        headline: "WARNING: .*kernel/locking/lockdep\\.c.*lock_",
        title: "WARNING: locking bug in {s}",
        skip: &[Has("lock_sock"), Has("release_sock")],
        class: Class::Is("LOCKDEP"),
        ..WARNING
    },
    Format {
        headline: "WARNING: .*mm/.*\\.c.* k?.?malloc",
        title: "WARNING: kmalloc bug in {s}",
        skip: &[Has("kmalloc"), Has("krealloc"), Has("slab"), Has("kmem")],
        ..WARNING
    },
    Format {
        headline: "WARNING: .*mm/vmalloc.c.*__vmalloc_node",
        title: "WARNING: zero-size vmalloc in {s}",
        ..WARNING
    },
    Format {
        headline: "WARNING: .* usb_submit_urb",
        title: "WARNING in {s}/usb_submit_urb",
        skip: &[
            Has("usb_submit_urb"),
            Has("usb_start_wait_urb"),
            Has("usb_bulk_msg"),
            Has("usb_interrupt_msg"),
            Has("usb_control_msg"),
        ],
        ..WARNING
    },
    // x86 and arm64 until 6.18, with processor and process in front of the place; others and later ones without.
    Format { headline: "WARNING: (?:.* )?at {SRC} {F}", title: "WARNING in {s}", ..WARNING },
    // s390 and PowerPC until 3.10, whose warnings are traps.
    Format { headline: "WARNING: at {SRC}$", title: "WARNING in {s}", ..WARNING },
    // A kernel that knows no places in its source.
    Format { headline: "WARNING: CPU: [0-9]+ PID: [0-9]+ at {F}", title: "WARNING in {s}", ..WARNING },
    Format { headline: "WARNING: (?:\\[.*\\] )?{SRC} at (?:{F}|0x[0-9a-f]+)", title: "WARNING in {s}", ..WARNING },
    Format {
        headline: "WARNING: kernel stack regs at [0-9a-f]+ in [^ ]* has bad '([^']+)' value",
        title: "WARNING: kernel stack regs has bad '{1}' value",
        steps: &[],
        has_stack: false,
        class: Class::Is("UNKNOWN"),
        ..WARNING
    },
    Format {
        headline: "WARNING: kernel stack frame pointer at [0-9a-f]+ in [^ ]* has bad value",
        title: "WARNING: kernel stack frame pointer has bad value",
        steps: &[],
        has_stack: false,
        class: Class::Is("UNKNOWN"),
        ..WARNING
    },
    Format {
        headline: "WARNING: kernel stack (?:regs|frame pointer) .* has bad (?:'bp' )?value",
        title: "WARNING: kernel stack regs has bad value",
        steps: &[],
        has_stack: false,
        class: Class::Is("UNKNOWN"),
        ..WARNING
    },
];
