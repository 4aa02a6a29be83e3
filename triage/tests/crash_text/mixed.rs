//! Reports of two tasks that run through each other where the kernel does not say who printed a line.

use super::reports;

const ONE: &str = "BUG: kernel NULL pointer dereference, address: 0000000000000018
Oops: 0000 [#1] PREEMPT SMP NOPTI
CPU: 3 PID: 77 Comm: frobd Not tainted 6.1.0 #1
RIP: 0010:frob_show+0x1a/0x60 [frob]
Call Trace:
 <TASK>
 frob_read+0x19/0x40 [frob]
 vfs_read+0x201/0x2e0
 ksys_read+0x6f/0xf0
 </TASK>
---[ end trace 0000000000000000 ]---
";

const OTHER: &str = "WARNING: CPU: 1 PID: 78 at net/quux.c:34 quux_send+0x10/0x20
CPU: 1 PID: 78 Comm: quuxd Not tainted 6.1.0 #1
RIP: 0010:quux_send+0x10/0x20 [quux]
Call Trace:
 <TASK>
 quux_queue+0x10/0x20 [quux]
 sock_sendmsg+0x10/0x20
 __sys_sendto+0x10/0x20
 </TASK>
---[ end trace 0000000000000000 ]---
";

fn stamped(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("[    1.000000] {line}\n")).collect()
}

/// The lines of two texts, of which each turn takes so many.
fn in_turns(one: &str, other: &str, of_one: usize, of_other: usize) -> String {
    let (mut one, mut other) = (one.lines().peekable(), other.lines().peekable());
    let mut mixed = Vec::new();
    while one.peek().is_some() || other.peek().is_some() {
        mixed.extend(one.by_ref().take(of_one));
        mixed.extend(other.by_ref().take(of_other));
    }
    stamped(&mixed)
}

#[test]
fn no_report_joins_one_crash_s_headline_with_another_s_function_unmarked() {
    for (of_one, of_other) in [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (4, 4), (6, 1), (1, 6)] {
        for (one, other) in [(ONE, OTHER), (OTHER, ONE)] {
            let text = in_turns(one, other, of_one, of_other);
            for report in reports(&text) {
                let title = report.title.as_deref().unwrap_or_default();
                let is_right = (title.starts_with("BUG:") && title.ends_with(" frob_show")
                    || title.starts_with("WARNING") && title.ends_with(" quux_send"))
                    && report.frames.iter().all(|frame| {
                        let is_ones = ["frob_show", "frob_read", "vfs_read", "ksys_read"]
                            .contains(&frame.function.as_deref().unwrap_or_default());
                        is_ones == title.starts_with("BUG:")
                    });
                assert!(report.corrupted || is_right, "{of_one} and {of_other}: {title}: {:?}\n{text}", report.frames);
            }
        }
    }
}

/// The same two crashes as kernels print them that put no marks around a task's stack.
fn without_marks(text: &str) -> String {
    text.lines().filter(|line| !line.contains("TASK>")).map(|line| format!("{line}\n")).collect()
}

const OLDER: &str = "Unable to handle kernel paging request at virtual address ffff800081234560
Internal error: Oops: 000000009600004f [#1] PREEMPT SMP
CPU: 2 PID: 79 Comm: frobd Not tainted 6.1.0 #1
pc : frob_show+0x1a/0x60 [frob]
lr : frob_read+0x19/0x40 [frob]
Call trace:
 frob_show+0x1a/0x60 [frob]
 frob_read+0x19/0x40 [frob]
 vfs_read+0x201/0x2e0
 ksys_read+0x6f/0xf0
 el0t_64_sync+0x1ac/0x1b0
---[ end trace 0000000000000000 ]---
";

#[test]
fn no_report_joins_two_crashes_unmarked_where_stacks_have_no_marks() {
    let other = without_marks(OTHER);
    for one in [without_marks(ONE), OLDER.to_owned()] {
        assert!(!reports(&stamped(&one.lines().collect::<Vec<_>>()))[0].corrupted, "{one}");
        for (of_one, of_other) in [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (4, 4), (6, 1), (1, 6), (7, 9), (8, 8)] {
            for (first, second) in [(&one, &other), (&other, &one)] {
                let text = in_turns(first, second, of_one, of_other);
                for report in reports(&text).iter().filter(|report| !report.corrupted) {
                    let is_ones = report.title.as_deref().is_some_and(|title| title.starts_with("BUG:"));
                    let names = ["frob_show", "frob_read", "vfs_read", "ksys_read", "el0t_64_sync"];
                    let own = |name: &str| names.contains(&name) == is_ones;
                    let functions = report.frames.iter().filter_map(|frame| frame.function.as_deref());
                    let subject = report.guilty.as_deref().unwrap_or_default();
                    assert!(own(subject) && functions.clone().all(own), "{of_one} and {of_other}: {report:?}\n{text}");
                }
            }
        }
    }
}

#[test]
fn one_report_inside_another_s_stack_marks_both() {
    let one: Vec<&str> = ONE.lines().collect();
    let (before, behind) = one.split_at(7);
    let text = stamped(&[before, &OTHER.lines().collect::<Vec<_>>(), behind].concat());
    let found = reports(&text);
    assert!(found.len() == 2 && found.iter().all(|one| one.corrupted), "{found:?}");
}

#[test]
fn reports_one_behind_the_other_are_whole() {
    let text = stamped(&format!("{ONE}{OTHER}{ONE}").lines().collect::<Vec<_>>());
    let found = reports(&text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|one| !one.corrupted), "{found:?}");
    // Stacks of earlier times, and what was put into its caller.
    let history = "Allocated by task 70:\n kasan_save_stack+0x1e/0x40\n frob_new fs/frob.c:12 [inline]\n frob_open+0x20/0x40 [frob]\npage last allocated via order 0, pid 70\n get_page+0x1e/0x40\n";
    let text = ONE.replace("---[ end", &format!("{history}---[ end"));
    assert!(!reports(&text)[0].corrupted, "{:?}", reports(&text)[0].warnings);
}
