//! Crash texts written for these tests in the kernel's formats, with the title, type and subject that each must get.

mod extent;
mod facts;
mod forms;
mod machines;
mod mixed;
mod slab;
mod stalls;
mod titles;

use watertight_triage::report::{Kind, Report};

fn reports(text: &str) -> Vec<Report> {
    let mut reports = Vec::new();
    watertight_triage::linux::read(text, &mut |report| reports.push(report));
    reports
}

/// Asserts the title and type of the first report; `text` is a log without timestamps.
fn assert_named(text: &str, title: &str, class: &str) {
    let stamped: String = text.lines().map(|line| format!("[   12.345678] {line}\n")).collect();
    let called: String = text.lines().map(|line| format!("[   12.345678][  T77] {line}\n")).collect();
    let journal: String = text.lines().map(|line| format!("Nov 22 08:45:24 host kernel: {line}\n")).collect();
    let pstore: String = text.lines().map(|line| format!("<4>[   12.345678] {line}\r\n")).collect();
    let human: String = text.lines().map(|line| format!("[Sun Nov 22 10:00:00 2026] {line}\n")).collect();
    let decoded: String = text.lines().map(|line| format!("kern  :alert : [   12.345678] {line}\n")).collect();
    let monotonic: String = text.lines().map(|line| format!("[   12.345678] web-1 kernel: {line}\n")).collect();
    for form in [text, &stamped, &called, &journal, &pstore, &human, &decoded, &monotonic] {
        let found = reports(form);
        assert!(!found.is_empty(), "no report in\n{form}");
        let first = &found[0];
        assert_eq!(first.title.as_deref(), Some(title), "{form}");
        assert_eq!(first.type_.as_deref(), Some(class), "{form}");
        assert_eq!(first.kind, Kind::LinuxOops);
    }
}
