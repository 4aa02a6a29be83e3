//! What a report tells besides its title: accesses, stacks, the process.

use watertight_triage::report::{Operation, Trust};

use super::reports;

#[test]
fn leftovers_on_the_stack_are_kept_with_less_trust_and_never_name_a_report() {
    let text = "[    1.000000] WARNING: CPU: 0 PID: 1 at fs/frob.c:12 frob_warn+0x10/0x20
[    1.000000] Call Trace:
[    1.000000]  ? frob_stale+0x10/0x20
[    1.000000]  frob_warn+0x10/0x20
[    1.000000]  vfs_open+0x10/0x20
";
    let report = &reports(text)[0];
    assert_eq!(report.title.as_deref(), Some("WARNING in frob_warn"));
    assert_eq!(report.frames[0].trust, Trust::Scan);
    assert_eq!(report.frames[1].trust, Trust::Unwind);
}

#[test]
fn what_the_machine_wanted_is_read_in_the_words_of_each_architecture() {
    for (line, operation) in [
        ("Unable to handle kernel NULL pointer dereference at virtual address 00000014 when write", Operation::Write),
        ("Unable to handle kernel NULL pointer dereference at virtual address 00000014 when read", Operation::Read),
        (
            "Unable to handle kernel NULL pointer dereference at virtual address 00000014 when execute",
            Operation::Execute,
        ),
        ("BUG: Kernel NULL pointer dereference on read at 0x00000014", Operation::Read),
        ("BUG: Kernel NULL pointer dereference on write at 0x00000014", Operation::Write),
    ] {
        let text = format!("[    1.000000] {line}\n[    1.000000] pc : frob_open+0x10/0x20 [frob]\n");
        let access = reports(&text)[0].access.clone().expect("an access");
        assert_eq!((access.operation, access.address.0), (operation, 0x14), "{line}");
    }
}

#[test]
fn those_who_had_the_memory_are_not_on_the_stack_of_who_used_it() {
    let text = "BUG: KFENCE: use-after-free read in frob_get+0x20/0x60 [frob]

Use-after-free read at 0x00000000abcdef12 (in kfence-#77):
 frob_get+0x20/0x60 [frob]
 frob_ioctl+0x20/0x60 [frob]

allocated by task 99 on cpu 1 at 20.001s:
 frob_alloc+0x20/0x60 [frob]

freed by task 99 on cpu 1 at 20.002s:
 frob_free+0x20/0x60 [frob]
";
    let stamped: String = text.lines().map(|line| format!("[    1.000000] {line}\n")).collect();
    let names: Vec<_> = reports(&stamped)[0].frames.iter().filter_map(|frame| frame.function.clone()).collect();
    assert_eq!(names, ["frob_get", "frob_ioctl"]);
}

#[test]
fn a_stack_of_arm_needs_no_words_before_it() {
    let text = "Unable to handle kernel NULL pointer dereference at virtual address 00000004 when write
Internal error: Oops: 805 [#1] SMP ARM
PC is at frob_store+0x14/0x40 [frob]
Stack: (0xd0a05ee0 to 0xd0a06000)
 frob_store [frob] from vfs_write+0x2b0/0x3f0
 vfs_write from ksys_write+0x6c/0xec
";
    let stamped: String = text.lines().map(|line| format!("[    1.000000] {line}\n")).collect();
    assert!(!reports(&stamped)[0].corrupted);
}

#[test]
fn a_task_that_hangs_is_told_by_the_headline_and_the_release_by_the_line_below() {
    for (tainted, taint) in [("Not tainted", ""), ("Tainted: G        W ", "warned before")] {
        let text = format!(
            "[  484.000000] INFO: task frobd/sda1-8:210 blocked for more than 120 seconds.
[  484.000000]       {tainted} 6.1.0-25-amd64 #1
[  484.000000] task:frobd/sda1-8     state:D stack:0     pid:210   ppid:2      flags:0x00004000
[  484.000000] Call Trace:
[  484.000000]  frob_commit+0x10/0x20
[  484.000000] NMI backtrace for cpu 0
[  484.000000] CPU: 0 PID: 30 Comm: khungtaskd Not tainted 6.1.0-25-amd64 #1
"
        );
        let report = &reports(&text)[0];
        assert_eq!((report.process.as_deref(), report.pid), (Some("frobd/sda1-8"), Some(210)));
        assert_eq!((report.thread.as_deref(), report.os_build.as_deref()), (Some("210"), Some("6.1.0-25-amd64 #1")));
        assert_eq!(report.taint.join(" "), taint);
    }
}

#[test]
fn whether_the_page_was_there_is_what_the_processor_said() {
    for (words, mapped) in
        [("not-present page", Some(false)), ("permissions violation", Some(true)), ("reserved bit violation", None)]
    {
        let text = format!(
            "[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000018
[    1.000000] #PF: supervisor write access in kernel mode
[    1.000000] #PF: error_code(0x0002) - {words}
[    1.000000] RIP: 0010:frob_open+0x10/0x20
"
        );
        let access = reports(&text)[0].access.clone().expect("an access");
        assert_eq!((access.operation, access.mapped), (Operation::Write, mapped), "{words}");
    }
}

#[test]
fn a_frame_behind_a_mark_and_one_without_a_name_are_frames_too() {
    let text = "[    1.000000] WARNING: at net/frob.c:2776 frob_alert+0xc7a/0xd10()
[    1.000000] Pid: 1797, comm: frobd Not tainted 3.6.1-1.fc17.i686 #1 Hewlett-Packard HP Mini 110-1100/308F
[    1.000000] Call Trace:
[    1.000000]  <IRQ>  [<ffffffff81656735>] dump_stack+0x19/0x1b
[    1.000000]  [<ffffffff8159d19a>] frob_alert+0xc7a/0xd10
[    1.000000]  [<ffffffffa0123456>] 0xffffffffa0123456
[    1.000000]  <EOI>  [<ffffffffa044ff36>] frob_tasklet+0x16/0x90 [frob]
";
    let report = &reports(text)[0];
    let told: Vec<_> = report.frames.iter().map(|frame| (frame.function.as_deref(), frame.stack.as_deref())).collect();
    assert_eq!(
        told,
        [
            (Some("dump_stack"), Some("IRQ")),
            (Some("frob_alert"), Some("IRQ")),
            (None, Some("IRQ")),
            (Some("frob_tasklet"), None)
        ]
    );
    assert_eq!(report.frames[2].ip.map(|ip| ip.0), Some(0xffff_ffff_a012_3456));
    assert_eq!(report.os_build.as_deref(), Some("3.6.1-1.fc17.i686 #1"), "the machine's model is no build");
}

#[test]
fn the_fault_is_one_frame_and_what_stands_behind_its_stack_is_none_of_it() {
    let arm = "[    1.000000] Unable to handle kernel NULL pointer dereference at virtual address 00000009
[    1.000000] PC is at frob_getpage+0x584/0x72c
[    1.000000] [<c0333330>] (frob_getpage) from [<c031c7a0>] (frob_write+0xa8/0x1c0)
[    1.000000] [<c031c7a0>] (frob_write) from [<c031e698>] (vfs_write+0x31c/0x38c)
";
    let race = "[    1.000000] BUG: KCSAN: data-race in frob_inc / frob_read
[    1.000000] write to 0xffff888103a1b000 of 8 bytes by interrupt on cpu 0:
[    1.000000]  frob_inc+0x30/0x60
[    1.000000] read to 0xffff888103a1b000 of 8 bytes by task 401 on cpu 1:
[    1.000000]  frob_read+0x30/0x60
";
    let s390 = "[    1.000000] kernel BUG at drivers/frob.c:12!
[    1.000000] Krnl PSW : 0704f00180000000 000003ff8086d03a (frob_init+0x3a/0x1000 [frob])
[    1.000000] Call Trace:
[    1.000000]  [<000000000010014e>] do_one_initcall+0xce/0x160
[    1.000000] Last Breaking-Event-Address:
[    1.000000]  [<000003ff8086d036>] frob_jump+0x36/0x1000 [frob]
";
    for (text, expected) in [
        (arm, vec!["frob_getpage", "frob_write"]),
        (race, vec!["frob_inc"]),
        (s390, vec!["frob_init", "do_one_initcall"]),
    ] {
        let names: Vec<_> = reports(text)[0].frames.iter().filter_map(|frame| frame.function.clone()).collect();
        assert_eq!(names, expected);
    }
}
