//! The stack at the fault, of all those that a report may print.

use crate::report::{Frame, Hex, Trust};

use super::frame::{calls, interrupted, pointer, without_name, Pointer};
use super::region::Region;
use super::subject::{is_trace, starts_stack};

/// Frames of a report, at most.
const FRAMES_MAX: usize = 512;

/// Special stacks, by what the kernel prints around their frames.
const STACKS: &[(&str, &str, &str)] = &[
    ("<IRQ>", "</IRQ>", "IRQ"),
    ("<NMI>", "</NMI>", "NMI"),
    ("<#DF>", "</#DF>", "#DF"),
    ("<IRQ>", "<EOI>", "IRQ"),
    ("<NMI>", "<<EOE>>", "NMI"),
];

/// The stack at the fault: the instruction pointer where one is printed before the stack, then the stack.
pub(super) fn frames(region: &Region<'_>) -> Vec<Frame> {
    let texts = region.whole.as_slice();
    let start = stack_start(texts);
    let before = texts.get(1..start.unwrap_or(texts.len())).unwrap_or_default();
    let mut frames: Vec<Frame> = Vec::new();
    if let Some(Pointer::At(call)) = before.iter().find_map(|text| pointer(text)) {
        frames.push(Frame { is_fault: true, ..call.frame(0, Trust::Context) });
    }
    // Some print a stack without saying so; then every frame is of it.
    let below = texts.get(start.map_or(1, |start| start.saturating_add(1))..).unwrap_or_default();
    let mut stack: Option<&str> = None;
    let has_frames = |frames: &[Frame]| frames.iter().any(|frame| frame.trust != Trust::Context);
    for text in below {
        let is_other = starts_stack(text) || is_history(text);
        if is_other && has_frames(&frames) || frames.len() >= FRAMES_MAX {
            break;
        }
        let marks = if text.contains('<') { STACKS } else { &[] };
        for (open, close, name) in marks {
            if text.contains(open) {
                stack = Some(name);
            } else if text.contains(close) && stack == Some(name) {
                stack = None;
            }
        }
        let Some(frame) = frame(text, frames.len()) else { continue };
        // ARM's stack has no offset where the fault is.
        let repeats = frames.last().is_some_and(|last| {
            last.trust == Trust::Context
                && frame.function.is_some()
                && last.function == frame.function
                && (last.function_offset == frame.function_offset || frame.function_offset == Some(Hex(0)))
        });
        if !repeats {
            frames.push(Frame { stack: stack.map(str::to_owned), ..frame });
        }
    }
    frames
}

/// The line's frame, with that number.
fn frame(text: &str, n: usize) -> Option<Frame> {
    if let Some(call) = calls(text).next().or_else(|| interrupted(text)) {
        return Some(call.frame(n, Trust::Unwind));
    }
    let (address, is_leftover) = without_name(text)?;
    let trust = if is_leftover { Trust::Scan } else { Trust::Unwind };
    Some(Frame { n: u32::try_from(n).unwrap_or(u32::MAX), ip: Some(Hex(address)), trust, ..Frame::default() })
}

/// Whether a stack begins that is not the fault's: KFENCE's of earlier times, `allocated by task 99 on cpu 1 at 20.001s:`, or KCSAN's of an access,
/// `read to 0xffff888103a1b000 of 8 bytes by task 401 on cpu 1:`, of which the first is the fault's. s390 tells in the same form where it jumped last.
fn is_history(text: &str) -> bool {
    ["allocated by task ", "freed by task ", "Last Breaking-Event-Address:"].iter().any(|words| text.starts_with(words))
        || text.ends_with(':') && [" bytes by task ", " bytes by interrupt "].iter().any(|words| text.contains(words))
}

/// Where the stack at the fault begins. What checks locks prints others before it, of where locks were taken.
fn stack_start(texts: &[&str]) -> Option<usize> {
    let backtrace = texts.iter().position(|text| text.contains("stack backtrace:"));
    let from = backtrace.unwrap_or(0);
    let trace = texts.iter().skip(from).position(|text| is_trace(text)).map(|at| from.saturating_add(at));
    trace
        .or(backtrace)
        .or_else(|| texts.iter().position(|text| text.contains(" backtrace:") || text.contains(" backtrace (crc")))
}
