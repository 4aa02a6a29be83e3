//! Functions that hand over to others by a table: system calls, file and socket operations, timers, interrupts, threads.
//!
//! A loop that never ends is interrupted anywhere in it, so its innermost function is different in every report. What was called by
//! the innermost dispatcher is the same in all of them.

use super::skip::Skip::{self, Has, Is, Starts};

/// Whether the function is a dispatcher.
pub(super) fn is_dispatcher(name: &str) -> bool {
    DISPATCHERS.iter().any(|skip| skip.fits(name))
}

/// Callers of dispatchers are listed too: where a compiler inlined one, its caller is still there.
const DISPATCHERS: &[Skip] = &[
    // Work, timers, soft interrupts, threads.
    Has("process_one_work"),
    Has("do_softirq"),
    Has("call_timer_fn"),
    Has("_run_timers"),
    Has("run_timer_softirq"),
    Has("hrtimer_run"),
    Has("run_ksoftirqd"),
    Has("smpboot_thread_fn"),
    Is("kthread"),
    Has("start_secondary"),
    Has("cpu_startup_entry"),
    Has("ret_from_fork"),
    Has("tasklet_action"),
    Has("tasklet_hi_action"),
    Has("smp_call_function"),
    // System calls.
    Has("do_syscall_"),
    Has("do_fast_syscall_"),
    Has("sysenter_dispatch"),
    Has("tracesys_phase2"),
    Has("el0_svc_handler"),
    Has("invoke_syscall"),
    Has("ret_fast_syscall"),
    Has("task_work_run"),
    Has("exit_to_usermode"),
    // Files.
    Has("vfs_write"),
    Has("vfs_read"),
    Has("vfs_iter_read"),
    Has("vfs_iter_write"),
    Has("do_iter_read"),
    Has("do_iter_write"),
    Has("call_read_iter"),
    Has("call_write_iter"),
    Has("new_sync_read"),
    Has("new_sync_write"),
    Has("vfs_ioctl"),
    Has("ksys_ioctl"),
    Has("compat_ioctl"),
    Has("compat_sys_ioctl"),
    Has("blkdev_driver_ioctl"),
    Has("blkdev_ioctl"),
    Starts("call_mmap"),
    Has("mmap_region"),
    Has("do_mmap"),
    Has("do_dentry_open"),
    Has("vfs_open"),
    Has("__fput"),
    // Sockets.
    Has("netif_receive_skb"),
    Starts("sock_sendmsg"),
    Starts("sock_recvmsg"),
    Starts("sock_release"),
    Starts("__sock_release"),
    Is("setsockopt"),
    Has("kernel_setsockopt"),
    Has("sock_common_setsockopt"),
    Is("listen"),
    Has("kernel_listen"),
    Has("sk_common_release"),
    Starts("sock_mmap"),
    Is("accept"),
    Has("kernel_accept"),
    Starts("sock_do_ioctl"),
    Starts("sock_ioctl"),
    Starts("compat_sock_ioctl"),
    Starts("nfnetlink_rcv_msg"),
    Starts("rtnetlink_rcv_msg"),
    Starts("netlink_dump"),
    Starts("socketpair"),
    Starts("connect"),
    Starts("ioctl"),
    Starts("sys_socketpair"),
    Starts("sys_connect"),
    Starts("sys_ioctl"),
    // Page faults.
    Has("__do_fault"),
    Has("do_page_fault"),
    Is("page_fault"),
];

/// Functions of waiting, by a part of their name.
const WAITING: &[&str] = &[
    "sched",
    "_lock",
    "_slowlock",
    "down",
    "rwsem",
    "completion",
    "kthread",
    "wait",
    "synchronize",
    "context_switch",
    "__switch_to",
    "cancel_delayed_work",
    "rcu_barrier",
];

/// Whether the function is about waiting.
pub(super) fn is_waiting(name: &str) -> bool {
    WAITING.iter().any(|part| name.contains(part))
}

/// When RCU or the lock of all network interfaces hangs, every task that needs it hangs with it, each with a stack of its own. Such
/// tasks are one bug; this is its name.
pub(super) fn joined(name: &str) -> Option<&str> {
    if ["synchronize_rcu", "synchronize_srcu", "synchronize_net", "synchronize_sched"]
        .iter()
        .any(|part| name.contains(part))
    {
        return Some("synchronize_rcu");
    }
    name.contains("rtnl_lock").then_some(name)
}

/// What architectures and kernel versions put in front of a system call's name.
const CALL_PREFIXES: &[&str] = &[
    "SYSC_",
    "SyS_",
    "sys_",
    "__x64_",
    "__ia32_",
    "__arm64_",
    "____sys_",
    "___sys_",
    "__sys_",
    "__se_",
    "__se_sys_",
    "__do_sys_",
    "compat_SYSC_",
    "compat_SyS_",
    "ksys_",
];

/// The name without the longest of these.
pub(super) fn without_call_prefix(name: &str) -> &str {
    CALL_PREFIXES.iter().filter_map(|prefix| name.strip_prefix(prefix)).min_by_key(|rest| rest.len()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_have_one_name_on_every_architecture() {
        for name in ["sys_mmap", "__x64_sys_mmap", "SyS_mmap", "__do_sys_mmap", "__arm64_sys_mmap", "ksys_mmap"] {
            let short = without_call_prefix(name);
            assert!(short == "mmap" || short == "sys_mmap", "{name}: {short}");
        }
        assert_eq!(without_call_prefix("frob_open"), "frob_open");
    }

    #[test]
    fn tasks_that_wait_for_rcu_are_one_bug() {
        assert_eq!(joined("synchronize_rcu_expedited"), Some("synchronize_rcu"));
        assert_eq!(joined("synchronize_net"), Some("synchronize_rcu"));
        assert_eq!(joined("rtnl_lock"), Some("rtnl_lock"));
        assert_eq!(joined("frob_wait"), None);
    }
}
