//! What does not go on: lockups, hung tasks, RCU stalls.

use super::{assert_named, reports};

#[test]
fn a_stall_is_named_after_what_the_dispatcher_called_wherever_it_was_interrupted() {
    for inner in [" frob_hash+0x10/0x20\n frob_walk+0x30/0x80\n", " frob_walk+0x38/0x80\n", ""] {
        let text = format!(
            "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [frobd:77]
CPU: 1 PID: 77 Comm: frobd Not tainted 6.1.0 #1
RIP: 0010:frob_next+0x10/0x20
Call Trace:
{inner} frob_ioctl+0x30/0x80
 vfs_ioctl+0x10/0x20
 __x64_sys_ioctl+0x10/0x20
 do_syscall_64+0x10/0x20
"
        );
        assert_named(&text, "BUG: soft lockup in frob_ioctl", "HANG");
    }
}

#[test]
fn tasks_that_hang_on_rcu_or_rtnl_are_one_bug_each() {
    for (inner, subject) in [
        (" synchronize_rcu_expedited+0x10/0x20\n frob_close+0x10/0x20\n", "synchronize_rcu"),
        (" rtnl_lock+0x10/0x20\n frob_close+0x10/0x20\n", "rtnl_lock"),
        (" schedule_timeout+0x10/0x20\n __wait_for_common+0x10/0x20\n frob_drain+0x10/0x20\n", "frob_drain"),
    ] {
        let text = format!(
            "INFO: task frobd:77 blocked for more than 143 seconds.
      Not tainted 6.1.0 #1
task:frobd state:D stack:    0 pid:   77 ppid:     1 flags:0x00004000
Call Trace:
 __schedule+0x10/0x20
 schedule+0x10/0x20
{inner} do_syscall_64+0x10/0x20
"
        );
        assert_named(&text, &format!("INFO: task hung in {subject}"), "HANG");
    }
}

const STALL: &str = "rcu: INFO: rcu_preempt self-detected stall on CPU
rcu: \t1-....: (20999 ticks this GP) idle=5a4c/1/0x4000000000000000 softirq=1234/1234 fqs=5250
rcu: \t(t=21000 jiffies g=1234 q=56 ncpus=4)
";

const STALLED: &str = "CPU: 1 PID: 401 Comm: frobd Not tainted 6.6.0 #1
RIP: 0010:frob_loop+0x10/0x40 [frob]
Call Trace:
 <IRQ>
 ? rcu_dump_cpu_stacks+0xc4/0x100
 ? sysvec_apic_timer_interrupt+0x6e/0x90
 </IRQ>
 <TASK>
 ? asm_sysvec_apic_timer_interrupt+0x1a/0x20
 frob_spin+0x10/0x40 [frob]
 frob_ioctl+0x10/0x40 [frob]
 __x64_sys_ioctl+0x87/0xc0
 do_syscall_64+0x55/0xb0
 </TASK>
";

#[test]
fn a_stall_whose_interrupt_left_no_frames_is_named_after_what_was_interrupted() {
    let elsewhere = "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
rcu: \t1-....: (20999 ticks this GP) idle=5a4c/1/0x4000000000000000 softirq=1234/1234 fqs=5250
\t(detected by 0, t=21002 jiffies, g=1234, q=56 ncpus=4)
Sending NMI from CPU 0 to CPUs 1:
NMI backtrace for cpu 1
";
    for text in [format!("{STALL}{STALLED}"), format!("{elsewhere}{STALLED}")] {
        let stamped: String = text.lines().map(|line| format!("[    1.000000] {line}\n")).collect();
        let report = &reports(&stamped)[0];
        assert_eq!(report.title.as_deref(), Some("INFO: rcu detected stall in frob_ioctl"));
        assert!(!report.corrupted, "{:?}", report.warnings);
        assert_eq!(report.frames[0].function.as_deref(), Some("frob_loop"));
    }
}

#[test]
fn a_stall_that_shows_the_stacks_of_other_tasks_alone_is_named_after_nobody() {
    let text = format!(
        "{STALL}task:frobd           state:R  running task     stack:21064 pid:401   ppid:1      flags:0x00004000
Call Trace:
 <TASK>
 __schedule+0x1335/0x44b0
 frob_wait+0x10/0x40
 frob_ioctl+0x10/0x40
 __x64_sys_ioctl+0x87/0xc0
 do_syscall_64+0x55/0xb0
 </TASK>
{STALLED}"
    );
    let stamped: String = text.lines().map(|line| format!("[    1.000000] {line}\n")).collect();
    let report = &reports(&stamped)[0];
    assert_eq!(report.title.as_deref(), Some("INFO: rcu detected stall in corrupted"));
    assert!(report.corrupted);
}
