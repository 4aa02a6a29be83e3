//! Functions that are never what a report is about: they do what their caller asks.
//!
//! A use after free inside `memcpy` is the bug of whoever called `memcpy`. So the subject is the first function that is in none of
//! these groups; each group says why its functions are transparent.

use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

/// How a name is recognised.
#[derive(Clone, Copy, Debug)]
pub(super) enum Skip {
    Is(&'static str),
    Starts(&'static str),
    Ends(&'static str),
    Has(&'static str),
    /// Both, in this order.
    HasThen(&'static str, &'static str),
}

use Skip::{Ends, Has, HasThen, Is, Starts};

impl Skip {
    /// A word that every name has that fits.
    fn word(self) -> &'static str {
        match self {
            Is(word) | Starts(word) | Ends(word) | Has(word) | HasThen(word, _) => word,
        }
    }

    pub(super) fn fits(self, name: &str) -> bool {
        match self {
            Is(word) => name == word,
            Starts(word) => name.starts_with(word),
            Ends(word) => name.ends_with(word),
            Has(word) => name.contains(word),
            HasThen(first, second) => name.split_once(first).is_some_and(|(_, rest)| rest.contains(second)),
        }
    }
}

/// Functions with one reason to be passed over.
#[derive(Debug)]
pub(super) struct Group {
    /// Why they are no subject. A report says it of the functions that it passed over.
    pub(super) why: &'static str,
    names: &'static [Skip],
}

/// The group that a function is in.
pub(super) fn group(name: &str) -> Option<&'static Group> {
    let search = SEARCH.get_or_init(Search::new).as_ref()?;
    let fits = search.words.find_overlapping_iter(name.as_bytes()).filter_map(|found| {
        let (group, skip) = search.rules.get(found.pattern().as_usize())?;
        skip.fits(name).then_some(*group)
    });
    GROUPS.get(fits.min()?)
}

/// All groups' words at once: there are hundreds, and a stack has dozens of names.
#[derive(Debug)]
struct Search {
    words: AhoCorasick,
    /// By word: its group's number, and the rule that it is the first word of.
    rules: Vec<(usize, Skip)>,
}

static SEARCH: OnceLock<Option<Search>> = OnceLock::new();

impl Search {
    fn new() -> Option<Self> {
        let rules: Vec<(usize, Skip)> = GROUPS
            .iter()
            .enumerate()
            .flat_map(|(number, group)| group.names.iter().map(move |skip| (number, *skip)))
            .collect();
        let words = AhoCorasick::new(rules.iter().map(|(_, skip)| skip.word())).ok()?;
        Some(Self { words, rules })
    }
}

static GROUPS: &[Group] = &[
    Group {
        why: "sanitizers and their instrumentation",
        names: &[
            Has("__sanitizer"),
            Has("__asan"),
            Has("kasan"),
            Has("hwasan"),
            Has("__msan"),
            Has("kmsan"),
            Has("kcsan_setup_watchpoint"),
            Has("check_memory_region"),
            Has("check_heap_object"),
            Has("check_object"),
            Has("read_word_at_a_time"),
            HasThen("read_once_", "nocheck"),
            HasThen("write_once_", "nocheck"),
            Has("__fortify_report"),
        ],
    },
    Group {
        why: "traps, and reports of them",
        names: &[
            Has("print_address_description"),
            Has("panic"),
            Has("invalid_op"),
            Has("report_bug"),
            Has("fixup_bug"),
            Has("print_report"),
            Has("print_usage_bug"),
            Has("do_error"),
            Ends("_trap"),
            Has("do_trap"),
            Has("show_stack"),
            Has("dump_stack"),
            Has("walk_stack"),
            Has("dump_backtrace"),
            Is("unwind_backtrace"),
            Has("warn_slowpath"),
            Has("warn_alloc"),
            Has("warn_bogus"),
            Has("__warn"),
            Has("print_unlock"),
            Has("imbalance_bug"),
            Has("assertfail"),
            Is("assfail"),
            Has("exc_control_protection"),
            Has("do_kernel_cp_fault"),
            Has("program_check_exception"),
            Has("program_check_common"),
            Has("do_kernel_fault"),
            Has("do_translation_fault"),
            Has("do_mem_abort"),
            Has("el1_abort"),
            Has("el1h_64_sync"),
            Has("print_tainted"),
            Is("get_taint"),
            Has("rust_helper_BUG"),
            Has("rust_begin_unwind"),
            Has("core::panicking::"),
            Has("core::option::"),
            Has("core::result::"),
            Has("stack_trace_consume_entry"),
            Has("arch_stack_walk"),
            Has("stack_trace_save"),
            Has("perf_trace"),
            Has("_indirect_thunk_"),
        ],
    },
    Group {
        why: "allocators: the bug is in who asked or who gave back",
        names: &[
            Has("alloc_page"),
            Has("malloc"),
            Has("zalloc"),
            Has("calloc"),
            // `kalloc`, `valloc` and plain `alloc`-like names of the slab are not among these on purpose: they are drivers' too.
            Has("krealloc"),
            Has("kmem_cache"),
            Has("allocate_slab"),
            Has("__alloc_frozen_pages_noprof"),
            Has("slab_"),
            Is("kfree"),
            Is("kvfree"),
            Has("kfree_skb"),
            Has("ida_free"),
            Has("__phys_addr"),
        ],
    },
    Group {
        why: "the page cache's lookups",
        names: &[
            Has("folio_alloc"),
            Has("folio_unlock"),
            Has("filemap_alloc_folio"),
            Has("__filemap_get_folio"),
            Has("find_or_create_page"),
            Has("do_read_cache_folio"),
            Has("read_cache_page"),
            Has("pagecache_get_page"),
            Has("grab_cache_page_write_begin"),
            Has("find_lock_entries"),
            Has("truncate_inode_pages_range"),
            Starts("lock_page"),
            Starts("unlock_page"),
            Has("xas_start"),
            Has("xas_load"),
            Has("xas_find"),
        ],
    },
    Group {
        why: "locks and what checks them",
        names: &[
            Has("lockdep"),
            Has("bh_enable"),
            Has("bh_disable"),
            Has("lock_acquire"),
            Has("lock_release"),
            Has("lock_class"),
            Has("mark_lock"),
            Has("reacquire_held_locks"),
            Has("mark_held_locks"),
            Has("raw_spin_rq"),
            Has("spin_lock"),
            Has("spin_trylock"),
            Has("spin_unlock"),
            Has("read_lock"),
            Has("read_trylock"),
            Has("read_unlock"),
            Has("write_lock"),
            Has("write_trylock"),
            Has("write_unlock"),
            Is("down"),
            Has("down_read"),
            Has("down_write"),
            Has("down_trylock"),
            Has("up_read"),
            Has("up_write"),
            Starts("mutex_"),
            Starts("__mutex_"),
            Starts("rt_mutex_"),
            Has("owner_on_cpu"),
            Has("osq_lock"),
            Has("osq_unlock"),
            Has("seqprop_assert"),
            Has("lock_timer_base"),
            Has("__might_fault"),
            Has("might_fault"),
            Has("might_sleep"),
            Has("__might_resched"),
            Has("trace_hardirq"),
            Has("trace_softirq"),
            Has("lockdep_hardirq"),
            Has("lockdep_softirq"),
            Has("cleanup_srcu_struct"),
        ],
    },
    Group {
        why: "objects that are checked while they live",
        names: &[Has("debug_object"), Has("timer_is_static_object"), Has("work_is_static_object")],
    },
    Group {
        why: "atomic operations and reference counts",
        names: &[
            Has("atomic_dec"),
            Has("atomic_inc"),
            Has("atomic_read"),
            Has("atomic_set"),
            Has("atomic_or"),
            Has("atomic_xor"),
            Has("atomic_and"),
            Has("atomic_add"),
            Has("atomic_sub"),
            Has("atomic_fetch"),
            Has("atomic_xchg"),
            Has("atomic_cmpxchg"),
            Has("atomic_try"),
            Has("atomic64_dec"),
            Has("atomic64_inc"),
            Has("atomic64_read"),
            Has("atomic64_set"),
            Has("atomic64_or"),
            Has("atomic64_xor"),
            Has("atomic64_and"),
            Has("atomic64_add"),
            Has("atomic64_sub"),
            Has("atomic64_fetch"),
            Has("atomic64_xchg"),
            Has("atomic64_cmpxchg"),
            Has("atomic64_try"),
            Has("set_bit"),
            Has("clear_bit"),
            Has("change_bit"),
            Has("test_bit"),
            Starts("refcount_"),
            Starts("kref_"),
            Has("ref_tracker"),
        ],
    },
    Group {
        why: "memory and string functions",
        names: &[
            Has("memcpy"),
            Has("memcmp"),
            Has("memset"),
            Has("memchr"),
            Has("memmove"),
            Has("memdup"),
            Has("strcmp"),
            Has("strncmp"),
            Has("strcpy"),
            Has("strlcpy"),
            Has("strncpy"),
            Has("strscpy"),
            Has("strlen"),
            Has("strstr"),
            Has("strnstr"),
            Has("strnlen"),
            Has("strchr"),
            Has("strdup"),
            Has("strndup"),
            Has("string"),
            Has("pointer"),
            Starts("crc"),
            Has("crc_itu_t"),
            Has("hex_dump_to_buffer"),
            Has("print_hex_dump"),
        ],
    },
    Group {
        why: "copies to and from user memory",
        names: &[
            Has("copy_to_user"),
            Has("copy_from_user"),
            Has("copy_to_iter"),
            Has("copy_from_iter"),
            Has("copy_page_to_iter"),
            Has("copy_page_from_iter"),
            Has("copy_folio_to_iter"),
            Is("copyin"),
            Is("copyout"),
            Has("put_user"),
            Has("get_user"),
            Has("extract_user_to_sg"),
            Has("extract_iter_to_sg"),
        ],
    },
    Group {
        why: "lists and trees",
        names: &[
            Has("list_add"),
            Has("list_del"),
            Has("list_replace"),
            Has("list_move"),
            Has("list_splice"),
            Starts("rb_"),
            Starts("__rb_"),
            Starts("klist_"),
            Has("rhashtable_lookup"),
        ],
    },
    Group {
        why: "printing",
        names: &[
            Has("snprintf"),
            Has("scnprintf"),
            Has("kasprintf"),
            Has("kvasprintf"),
            Has("printk"),
            Has("va_format"),
            Has("dev_info"),
            Has("dev_notice"),
            Has("dev_warn"),
            Has("dev_err"),
            Has("dev_alert"),
            Has("dev_crit"),
            Has("dev_emerg"),
        ],
    },
    Group {
        why: "timers, work and wakeups: the bug is in whose they are",
        names: &[
            Has("del_timer"),
            Has("__timer_delete_sync"),
            Has("sk_stop_timer_sync"),
            Has("__mod_timer"),
            Has("flush_work"),
            Has("__cancel_work_timer"),
            Has("cancel_work_sync"),
            Has("try_to_grab_pending"),
            Has("drain_workqueue"),
            Has("destroy_workqueue"),
            Has("queue_work"),
            Has("insert_work"),
            Has("__queue_delayed_work"),
            Has("queue_delayed_work_on"),
            Has("__wake_up"),
            Has("finish_wait"),
            Has("kthread_stop"),
            Is("complete"),
            Has("wait_for_completion"),
        ],
    },
    Group {
        why: "the device model's own code",
        names: &[
            Has("kobject_"),
            Has("add_uevent_var"),
            Has("get_device_parent"),
            Has("device_add"),
            Has("device_del"),
            Has("device_unregister"),
            Has("device_destroy"),
            Has("device_release"),
            Has("devres_release_all"),
            Has("hwrng_unregister"),
            Has("i2c_del_adapter"),
            Has("__unregister_client"),
            Has("device_for_each_child"),
            Has("sysfs_remove"),
            Has("device_remove_file"),
            Has("tty_unregister_device"),
            Is("put_device"),
            Has("rollback_registered"),
            Has("unregister_netdev"),
        ],
    },
    Group {
        why: "USB requests on their way",
        names: &[
            Has("dummy_urb_enqueue"),
            Has("usb_kill_urb"),
            Has("usb_kill_anchored_urbs"),
            Has("usb_control_msg"),
            Has("usb_hcd_submit_urb"),
            Has("usb_submit_urb"),
        ],
    },
    Group {
        why: "access to device registers",
        names: &[
            Ends("readb"),
            Ends("readw"),
            Ends("readl"),
            Ends("readq"),
            Ends("writeb"),
            Ends("writew"),
            Ends("writel"),
            Ends("writeq"),
            Has("logic_in"),
            Has("logic_out"),
        ],
    },
    Group { why: "the buffer cache: it marks what a file system gives it", names: &[Is("mark_buffer_dirty")] },
    Group {
        why: "inodes and directory entries given back",
        names: &[Is("iput"), Is("iput_final"), Is("ihold"), Has("drop_nlink"), Has("fast_dput"), Has("dput")],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_found_by_its_word_and_the_first_group_is_told() {
        for (number, group) in GROUPS.iter().enumerate() {
            for skip in group.names {
                let name = match *skip {
                    HasThen(first, second) => format!("{first}{second}"),
                    other => other.word().to_owned(),
                };
                let slow = GROUPS.iter().position(|group| group.names.iter().any(|skip| skip.fits(&name)));
                let found =
                    super::group(&name).and_then(|group| GROUPS.iter().position(|one| std::ptr::eq(one, group)));
                assert!(found == slow && found.is_some_and(|found| found <= number), "{name}: {found:?}");
            }
        }
    }

    #[test]
    fn plumbing_is_passed_over_and_own_code_is_not() {
        for name in
            ["__asan_load8", "memcpy", "_raw_spin_lock_irqsave", "__list_del_entry_valid", "refcount_inc", "vsnprintf"]
        {
            assert!(group(name).is_some(), "{name}");
        }
        for name in ["frob_open", "sctp_sendmsg", "ext4_readdir", "tun_chr_close", "countdown"] {
            assert!(group(name).is_none(), "{name}: {:?}", group(name));
        }
    }
}
