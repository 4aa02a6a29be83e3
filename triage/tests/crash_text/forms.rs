//! Logs in the forms of those that keep them, read as files are.

use watertight_triage::{examine_source, Options, Report};

const TEXT: &str = "BUG: kernel NULL pointer dereference, address: 0000000000000018
Oops: 0000 [#1] PREEMPT SMP NOPTI
CPU: 3 PID: 77 Comm: frobd Not tainted 6.1.0 #1
RIP: 0010:frob_show+0x1a/0x60 [frob]
Call Trace:
 <TASK>
 frob_read+0x19/0x40 [frob]
 ? frob_stale+0x10/0x20 [frob]
 vfs_read+0x201/0x2e0
 </TASK>
Modules linked in: frob(OE) quux
---[ end trace 0000000000000000 ]---
";

/// What a line becomes in a log.
type Made = fn(&str) -> String;

fn read(log: &str) -> Vec<Report> {
    let mut reports = Vec::new();
    examine_source("log", &log.as_bytes().to_vec(), &|| None, &Options::default(), &mut |one| reports.push(one));
    reports
}

/// The log that Docker makes of it: Go writes `<`, `>` and `&` as numbers.
fn docker(line: &str) -> String {
    let line = line.replace('<', "\\u003c").replace('>', "\\u003e").replace('"', "\\\"");
    format!("{{\"log\":\"{line}\\r\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T10:00:00.123456789Z\"}}\n")
}

#[test]
fn a_crash_is_told_alike_in_the_logs_of_containers_of_phones_and_of_terminals() {
    let forms: [(&str, Made); 9] = [
        ("colours", |line| format!("\x1b[32m[   12.345678] \x1b[0m\x1b[1;31m{line}\x1b[0m\n")),
        ("NULs", |line| format!("\0\0[   12.345678] {line}\n")),
        ("dmesg -T with callers", |line| format!("[Sun Nov 22 10:00:00 2026] [   T77] {line}\n")),
        ("callers without a time", |line| format!("[   T77] {line}\n")),
        ("docker", |line| docker(&format!("[   12.345678] {line}"))),
        ("docker of a console with callers", |line| docker(&format!("[   12.345678][   T77] {line}"))),
        ("logcat", |line| format!("11-22 10:00:00.123  root     0     0 E kernel  : [   12.345678] {line}\n")),
        ("logcat in short", |line| format!("E/KERNEL  (    0): {line}\n")),
        ("a maker's kernel", |line| format!("[   12.345678] -(3)[77:frobd]{line}\n")),
    ];
    for (form, made) in forms {
        let quiet = made("frob0: link up");
        let log = format!("{quiet}{}{quiet}", TEXT.lines().map(made).collect::<String>());
        let found = read(&log);
        let [report] = found.as_slice() else { panic!("{form}: {found:?}\n{log}") };
        assert_eq!(
            report.title.as_deref(),
            Some("BUG: unable to handle kernel NULL pointer dereference in frob_show"),
            "{form}"
        );
        assert!(!report.corrupted, "{form}: {:?}", report.warnings);
        assert_eq!((report.frames.len(), report.modules.len()), (4, 2), "{form}: {:?}", report.frames);
        assert_eq!((report.process.as_deref(), report.pid), (Some("frobd"), Some(77)), "{form}");
        // The bytes of the file, from the line of the headline to that of the last.
        let span = report.span.expect("a span");
        let at = |byte: u64| usize::try_from(byte).expect("small");
        assert_eq!(at(span.start), quiet.len(), "{form}");
        assert_eq!(log[..at(span.end)].lines().count(), TEXT.lines().count() + 1, "{form}");
    }
}

#[test]
fn what_a_program_prints_in_a_container_or_on_a_phone_is_no_crash() {
    let line = "frobd: BUG: unable to handle kernel NULL pointer dereference, address: 0000000000000018";
    for log in [docker(line), format!("11-22 10:00:00.123  1000  1017 E frobd   : {line}\n")] {
        assert!(read(&log).iter().all(|one| one.title.is_none()), "{log}");
    }
}

#[test]
fn a_crash_in_the_first_line_of_a_text_with_a_mark_is_whole() {
    let log: String = TEXT.lines().map(|line| format!("[   12.345678] {line}\n")).collect();
    let found = read(&format!("\u{feff}{log}"));
    assert!(!found[0].corrupted && found[0].frames.len() == 4, "{found:?}");
}

#[test]
fn a_log_of_two_bytes_a_letter_is_told_alike() {
    let log: String = TEXT.lines().map(|line| format!("[   12.345678] {line}\r\n")).collect();
    let bytes: Vec<u8> =
        format!("\u{feff}[   12.000000] frob0: link up\r\n{log}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut found = Vec::new();
    examine_source("log", &bytes, &|| None, &Options::default(), &mut |one| found.push(one));
    let [report] = found.as_slice() else { panic!("{found:?}") };
    assert!(!report.corrupted, "{:?}", report.warnings);
    assert_eq!((report.frames.len(), report.modules.len(), report.pid), (4, 2, Some(77)));
    let start = 2 * "\u{feff}[   12.000000] frob0: link up\r\n".encode_utf16().count();
    assert_eq!(report.span.map(|span| span.start), u64::try_from(start).ok());
}

#[test]
fn leftovers_of_a_text_without_timestamps_are_no_callers() {
    let text = TEXT
        .replace(" frob_read+0x19", " ? __die+0x1f/0x70\n frob_read+0x19")
        .replace("frob_show+0x1a/0x60 [frob]", "0xffffffffc0123456");
    let report = &read(&text)[0];
    assert_eq!(report.title.as_deref(), Some("BUG: unable to handle kernel NULL pointer dereference in frob_read"));
}
