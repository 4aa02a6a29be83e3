//! The crash of a process in words: title, cause, and what goes where in the report.

use super::annotations::HANG;
use super::blame;
use super::fault::Fault;
use super::Crash;
use crate::report::{Access, Frame, Operation, Report};

/// Puts the report together.
pub(super) fn report(crash: Crash<'_>, mut frames: Vec<Frame>, fault: Fault) -> Report {
    let blamed = blame::find(&frames);
    if let Some(first) = frames.first_mut() {
        first.is_fault = true;
    }
    let mut report = Report::of(crash.kind);
    let place = blamed.as_ref().and_then(|(at, _)| frames.get(*at)).map(titled);
    report.title = Some(title(&crash, fault.access.as_ref(), place.as_deref()));
    report.cause = Some(cause(&crash, fault.access.as_ref(), frames.first(), place.as_deref()));
    report.type_.clone_from(&crash.reason);
    if let Some(context) = &crash.context {
        for (name, value) in context.valid_registers() {
            report.registers.set(name, value, true);
        }
    }
    report.modules = crash.listed();
    report.exception = crash.exception;
    report.process = crash.process;
    report.pid = crash.pid;
    report.thread = crash.thread;
    report.os_build = crash.os_build;
    report.facts = crash.facts;
    report.instruction = fault.instruction;
    report.listing = fault.listing;
    report.access = fault.access;
    report.unloaded = crash.unloaded;
    report.blamed = blamed.map(|(_, blamed)| blamed);
    report.frames = frames;
    report.warnings = crash.warnings;
    report
}

/// A frame for a title: without an offset, which every build has another of.
fn titled(frame: &Frame) -> String {
    match (&frame.module, &frame.function) {
        (Some(module), Some(function)) => {
            // What is left of `write::<u8>` without its types.
            format!("{module}!{}", crate::bucket::steady_name(function).trim_end_matches("::"))
        }
        (Some(module), None) => module.clone(),
        (None, _) => "code of no module".to_owned(),
    }
}

/// The fault in one line.
fn title(crash: &Crash<'_>, access: Option<&Access>, place: Option<&str>) -> String {
    let reason = crash.reason.as_deref().unwrap_or("no exception");
    let reason = reason.split(" / ").next().unwrap_or(reason);
    // The access says it already.
    let plain = ["_READ", "_WRITE", "_EXEC"].iter().find_map(|suffix| reason.strip_suffix(suffix));
    let reason = plain.filter(|_| access.is_some()).unwrap_or(reason);
    let what = access.map(|access| {
        let class = access.class.as_deref().unwrap_or("unknown");
        format!(" {} ({class})", access.operation)
    });
    let place = place.map(|place| format!(" in {place}")).unwrap_or_default();
    format!("{reason}{}{place}", what.unwrap_or_default())
}

/// What happened, in one sentence.
fn cause(crash: &Crash<'_>, access: Option<&Access>, first: Option<&Frame>, place: Option<&str>) -> String {
    let first = first.map_or_else(|| "The thread".to_owned(), blame::place);
    let Some(reason) = &crash.reason else {
        // Whoever asks for a dump gets at least the registers of a thread.
        return match crash.context {
            Some(_) => "The dump was asked for: it names no exception.",
            None => "The dump is damaged: neither an exception nor a thread's registers are in it.",
        }
        .to_owned();
    };
    let by = match place {
        Some(place) if !first.starts_with(place) => format!(", called by {place}"),
        _ => String::new(),
    };
    if reason == HANG {
        return format!("{first}{by} is where a process was that did not go on.");
    }
    match access {
        Some(access) => {
            let did = match access.operation {
                Operation::Read => "read",
                Operation::Write => "wrote to",
                Operation::Execute => "went on at",
            };
            let class = access.class.as_deref().unwrap_or("unknown");
            let state = match access.mapped {
                Some(true) => ", which is mapped",
                Some(false) => ", which is not mapped",
                None => "",
            };
            format!("{first}{by} {did} {} ({class}){state}: {reason}.", access.address)
        }
        None => format!("{first}{by} was stopped by {reason}."),
    }
}
