//! Where a report begins and ends, and what is told apart: other tasks, panics that follow, ordinary lines.

use watertight_triage::Report;

use super::reports;

#[test]
fn reports_of_two_tasks_that_are_mixed_line_by_line_are_told_apart() {
    let one = "WARNING: CPU: 0 PID: 1 at fs/frob.c:12 frob_open+0x10/0x20
RIP: 0010:frob_open+0x10/0x20
Call Trace:
 frob_attach+0x10/0x20
 vfs_open+0x10/0x20";
    let other = "WARNING: CPU: 1 PID: 2 at net/quux.c:34 quux_send+0x10/0x20
RIP: 0010:quux_send+0x10/0x20
Call Trace:
 quux_queue+0x10/0x20
 sock_sendmsg+0x10/0x20";
    let mixed: String = one
        .lines()
        .zip(other.lines())
        .map(|(one, other)| format!("[   12.300000][    T1] {one}\n[   12.300000][    T2] {other}\n"))
        .collect();
    let found = reports(&mixed);
    let titles: Vec<_> = found.iter().map(|report| report.title.as_deref().unwrap_or_default()).collect();
    assert_eq!(titles, ["WARNING in frob_open", "WARNING in quux_send"]);
    assert_eq!(
        found[0].frames.iter().map(|frame| frame.function.as_deref().unwrap_or_default()).collect::<Vec<_>>(),
        ["frob_open", "frob_attach", "vfs_open"]
    );
}

#[test]
fn parsing_from_a_report_on_finds_it_again_and_from_its_end_does_not() {
    let report = "BUG: scheduling while atomic: frobd/77/0x00000002
Call Trace:
 dump_stack+0x10/0x20
 __schedule_bug+0x10/0x20
 schedule+0x10/0x20
 frob_wait+0x10/0x20
";
    let text: String = format!("frob0: link up\n{report}frob0: link down\n")
        .lines()
        .map(|line| format!("[    1.000000] {line}\n"))
        .collect();
    let found = reports(&text);
    assert_eq!(found.len(), 1);
    let span = found[0].span.expect("a span");
    let (start, end) = (usize::try_from(span.start).expect("small"), usize::try_from(span.end).expect("small"));
    assert_eq!(reports(&text[start..])[0].title, found[0].title);
    assert!(reports(&text[end..]).is_empty());
    assert_eq!(found[0].title.as_deref(), Some("BUG: scheduling while atomic in frob_wait"));
}

#[test]
fn an_ordinary_log_has_no_crash() {
    let text = "[    0.000000] Linux version 6.1.0 (frob@host)
[    0.100000] Kernel command line: panic=10 oops=panic
[    1.000000] EXT4-fs (vda1): warning: mounting fs with errors
[    1.100000] frob0: WARNING: cable unplugged
[    1.200000] INFO: NMI handler (perf) took too long to run: 1.2 msecs
[    1.300000] systemd[1]: Started BUG: tracker.
[    1.400000] warning: `frobd' uses wireless extensions which will stop working
[    1.500000] traps: frobd[77] general protection fault ip:7f00 sp:7f00 error:0 in libfrob.so[7f00+1000]
[    1.600000] WARNING: The mand mount option has been deprecated and
";
    assert!(reports(text).is_empty(), "{:?}", reports(text));
}

const FATAL: &str = "WARNING: CPU: 0 PID: 7 at fs/frob.c:12 frob_open+0x10/0x20
Modules linked in:
CPU: 0 PID: 7 Comm: frobd Not tainted 6.1.0 #1
RIP: 0010:frob_open+0x10/0x20
Call Trace:
 <TASK>
 vfs_frob+0x10/0x20
 do_syscall_64+0x10/0x20
 </TASK>
---[ end trace 0000000000000000 ]---
";

#[test]
fn a_panic_that_only_says_that_something_was_fatal_is_no_crash_of_its_own() {
    let panic = "Kernel panic - not syncing: panic_on_warn set ...\nCPU: 0 PID: 7 Comm: frobd Not tainted 6.1.0 #1\nCall Trace:\n \
        panic+0x1/0x2\n __warn+0x1/0x2\n frob_open+0x10/0x20\n vfs_frob+0x10/0x20\n";
    let found = reports(&format!("{FATAL}{panic}"));
    let told: Vec<bool> = found.iter().map(|report| report.suppressed).collect();
    assert!(!told[0] && told[1..].iter().all(|is_suppressed| *is_suppressed), "{found:?}");
    // Alone it is all that is known.
    assert_eq!(reports(panic).iter().map(|report| report.suppressed).collect::<Vec<_>>(), [false]);
    // A panic for a reason of its own counts.
    let own = panic.replace("panic_on_warn set ...", "frob is gone");
    assert!(reports(&format!("{FATAL}{own}")).iter().all(|report| !report.suppressed));
}

#[test]
fn a_page_fault_and_its_panic_are_one_crash_with_and_without_the_caller() {
    let mut text = String::from(
        "BUG: kernel NULL pointer dereference, address: 0000000000000018
#PF: supervisor read access in kernel mode
Oops: 0000 [#1] PREEMPT SMP NOPTI
CPU: 3 PID: 77 Comm: frobd Not tainted 6.1.0 #1
RIP: 0010:frob_show+0x1a/0x60 [frob]
Call Trace:
 <TASK>
",
    );
    (0..20).for_each(|number| text.push_str(&format!(" frob_{number}+0x10/0x20\n")));
    text.push_str(" </TASK>\nModules linked in: frob\n---[ end trace 0000000000000000 ]---\n");
    text.push_str("RIP: 0010:frob_show+0x1a/0x60 [frob]\nKernel panic - not syncing: Fatal exception\n");
    for front in ["[   12.345678] ", "[   12.345678][   T77] ", "[   12.345678][    C3] ", "6,1,2,-,caller=T77;"] {
        // Twice: the second crash is one of its own.
        let form: String =
            [text.as_str(), text.as_str()].concat().lines().map(|line| format!("{front}{line}\n")).collect();
        let found = reports(&form);
        let own: Vec<&Report> = found.iter().filter(|one| !one.suppressed).collect();
        assert_eq!(own.len(), 2, "{front}: {:?}", found.iter().map(|one| &one.title).collect::<Vec<_>>());
        for one in own {
            let title = one.title.as_deref();
            assert_eq!(title, Some("BUG: unable to handle kernel NULL pointer dereference in frob_show"), "{front}");
            assert_eq!((one.frames.len(), one.modules.len()), (21, 1), "{front}");
        }
    }
}

#[test]
fn what_another_task_meets_while_a_crash_is_printed_is_told_too() {
    let text = "[    1.000000][   T77] BUG: kernel NULL pointer dereference, address: 0000000000000018
[    1.000000][   T78] WARNING: CPU: 0 PID: 78 at fs/frob.c:12 frob_open+0x10/0x20
[    1.000000][   T77] Oops: 0000 [#1] PREEMPT SMP NOPTI
[    1.000000][   T78] RIP: 0010:frob_open+0x10/0x20
[    1.000000][   T77] RIP: 0010:frob_show+0x1a/0x60 [frob]
[    1.000000][   T78] Call Trace:
[    1.000000][   T77] Call Trace:
[    1.000000][   T78]  vfs_open+0x10/0x20
[    1.000000][   T77]  vfs_read+0x10/0x20
";
    let titles: Vec<_> = reports(text).into_iter().filter_map(|one| one.title).collect();
    assert_eq!(titles, ["BUG: unable to handle kernel NULL pointer dereference in frob_show", "WARNING in frob_open"]);
}

#[test]
fn advice_prose_and_stacks_that_somebody_asked_for_are_no_crash() {
    let asked = "sysrq: Show backtrace of all active CPUs
NMI backtrace for cpu 1
CPU: 1 PID: 0 Comm: swapper/1 Not tainted 6.1.0 #1
RIP: 0010:native_safe_halt+0xb/0x10
Call Trace:
 <TASK>
 default_idle+0xa/0x10
 </TASK>
";
    let devices: String = (0..20).map(|number| format!("usb 1-1: new device {number}\n")).collect();
    for text in [
        format!("WARNING: CPU microcode out of date\nusb 1-1: new device\n{asked}"),
        format!("WARNING: CPU microcode out of date\n{devices}Call Trace:\n default_idle+0xa/0x10\n"),
        "Internal error: frobnicator is out of oil\n".to_owned(),
        "BUG: unable to handle page fault for address: 0\n".to_owned(),
    ] {
        let stamped: String = text.lines().map(|line| format!("[    1.000000] {line}\n")).collect();
        for form in [text, stamped] {
            let titles: Vec<_> = reports(&form).into_iter().filter_map(|one| one.title).collect();
            assert!(titles.is_empty(), "{titles:?} in\n{form}");
        }
    }
}
