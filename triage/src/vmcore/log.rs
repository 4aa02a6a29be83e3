//! Which crash of the log is the core's. A log may tell of several: warnings that the machine survived, the fault, and the panic
//! that the fault led to.

use crate::linux;
use crate::report::{Kind, Report};

/// A task that the kernel found waiting for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HungTask {
    pub name: String,
    pub pid: u32,
}

/// The task that the last report of a hung task names, if that is the last fault: `INFO: task NAME:PID blocked for more than`.
pub(super) fn hung(report: &Report, log: &str) -> Option<HungTask> {
    report.title.as_ref().filter(|title| title.starts_with("INFO: task hung"))?;
    let line = log.lines().rev().find(|line| line.contains(" blocked for more than "))?;
    let (_, rest) = line.split_once("INFO: task ")?;
    let (task, _) = rest.split_once(" blocked for more than ")?;
    let (name, pid) = task.rsplit_once(':')?;
    Some(HungTask { name: name.to_owned(), pid: pid.parse().ok()? })
}

/// Fills the report with what the log says of the last fault in it.
pub(super) fn fill(report: &mut Report, log: &str, warnings: &mut Vec<String>) {
    let mut found = Vec::new();
    linux::read(log, &mut |one| found.push(one));
    let fatal = linux::fatal(found.iter().map(|one| one.title.as_deref().unwrap_or_default()));
    let found = fatal.map(|place| found.swap_remove(place));
    match found {
        // Places in the log are no places in the file.
        Some(found) => *report = Report { kind: Kind::LinuxVmcore, span: None, ..found },
        None => warnings
            .push("the kernel's log tells of no crash: the core may have been made of a live machine".to_owned()),
    }
}
