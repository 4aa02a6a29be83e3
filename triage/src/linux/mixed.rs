//! Tells whether lines of two reports run through each other. Where the kernel names the caller of each line they are told apart
//! (`region.rs`); where it does not, a title could join one crash's headline with another's function. What gives it away: a report is of one
//! task, stands at one place, and closes each stack that it opens.

use super::format::{Format, Pick, Step};
use super::frame::{calls, pointer, Pointer};
use super::subject::{is_trace, starts_stack};

/// What is wrong with the report, if it is mixed. `is_cut` says that another headline ended it.
pub(super) fn mixed(lines: &[&str], format: &Format, is_cut: bool) -> Option<&'static str> {
    let (pick, steps) = (format.pick, format.steps);
    let is_mixed = tasks_do_not_close(lines, is_cut)
        || frames_go_on(lines)
        || frames_come_early(lines, steps)
        // Stalls and hung tasks show other processors and tasks too.
        || pick == Pick::First && (of_two_tasks(lines) || at_two_places(lines) || is_elsewhere(lines));
    is_mixed.then_some("another report runs through this one")
}

/// What stands before a stack or behind it, never in it.
const AROUND: [&str; 4] = ["CPU: ", "Modules linked in:", "---[ ", "Oops: "];

/// Behind these the kernel prints who had a page before (page_owner).
const OF_PAGES: [&str; 3] = ["page last allocated", "page last free", "stack trace"];

/// Whether a stack is opened in another, closed twice, or still open where another report begins or what stands around stacks is printed.
fn tasks_do_not_close(lines: &[&str], is_cut: bool) -> bool {
    let (mut is_open, mut was_open) = (false, false);
    for line in lines {
        if line.contains("</TASK>") {
            if !is_open && was_open {
                return true;
            }
            is_open = false;
        } else if line.contains("<TASK>") {
            if is_open {
                return true;
            }
            (is_open, was_open) = (true, true);
        } else if is_open && AROUND.iter().any(|words| line.starts_with(words)) {
            return true;
        }
    }
    is_open && is_cut
}

/// Functions by which a task comes into the kernel from a program, or begins there: behind them a stack has no more frames.
const OUTERMOST: [&str; 11] = [
    "entry_SYSCALL_64_after_hwframe",
    "entry_SYSCALL_64_fastpath",
    "entry_INT80_32",
    "ret_from_fork_asm",
    "el0_sync",
    "el0t_64_sync",
    "el0t_32_sync",
    "ret_fast_syscall",
    "ret_from_syscall",
    "secondary_startup_64_no_verify",
    "__secondary_switched",
];

/// Whether a report's stack has ended there: kernels that put no mark behind it have their last function, or the report's last line.
fn ends_stack(line: &str) -> bool {
    line.contains("</TASK>")
        || line.contains("---[ end trace")
        || calls(line).next().is_some_and(|call| !call.is_leftover && OUTERMOST.contains(&call.name))
}

/// Whether frames stand above the line that begins the stack, where the format has none.
fn frames_come_early(lines: &[&str], steps: &[Step]) -> bool {
    let is_simple = matches!(steps, [Step::Trace, Step::Frames] | [Step::Pointer, Step::Trace, Step::Frames]);
    let Some(trace) = lines.iter().position(|line| is_trace(line)).filter(|_| is_simple) else { return false };
    let before = lines.get(1..trace).unwrap_or_default();
    if before.iter().any(|line| starts_stack(line)) {
        return false;
    }
    // What checks locks prints where each was taken, with words above: `state was registered at:`.
    let mut has_words = false;
    before.iter().any(|line| {
        let is_frame = is_frame(line);
        has_words = if is_frame { has_words } else { line.ends_with(':') && !line.starts_with("Modules linked in:") };
        is_frame && !has_words
    })
}

/// Whether the line is a frame alone: a call, with nothing before it that says more.
fn is_frame(line: &str) -> bool {
    line.starts_with([' ', '[']) && calls(line).any(|call| !call.is_leftover)
}

/// Whether frames stand behind a stack's end without words that begin another stack.
fn frames_go_on(lines: &[&str]) -> bool {
    let Some(start) = lines.iter().position(|line| starts_stack(line)) else { return false };
    let (mut begins, mut has_ended) = (true, false);
    for line in lines.iter().skip(start.saturating_add(1)) {
        if starts_stack(line) || line.contains("NMI backtrace for cpu ") {
            (begins, has_ended) = (true, false);
            continue;
        }
        has_ended |= AROUND.iter().any(|words| line.starts_with(words));
        if ends_stack(line) {
            (begins, has_ended) = (false, true);
            continue;
        }
        if line.contains("<TASK>") || line.contains("<IRQ>") || line.contains("<NMI>") {
            begins = !line.contains('/');
        } else if calls(line).next().is_some() {
            // ARM's kernels may print a stack without words before it, two functions a line.
            let begins_by_itself = calls(line).nth(1).is_some();
            if has_ended && !begins && !begins_by_itself {
                return true;
            }
        } else if !line.contains("[inline]") {
            begins = line.ends_with(':') || OF_PAGES.iter().any(|words| line.contains(words));
        }
    }
    false
}

/// Whether two tasks are named as the one at work, before all processors are asked for theirs.
fn of_two_tasks(lines: &[&str]) -> bool {
    let mut tasks = lines
        .iter()
        .take_while(|line| !line.contains("NMI backtrace for cpu ") && !line.contains("Sending NMI"))
        .filter_map(|line| {
            let (front, _) = line.split_once(" Comm: ")?;
            let (_, pid) = front.strip_prefix("CPU: ")?.split_once("PID: ")?;
            pid.trim().parse::<u32>().ok()
        });
    let first = tasks.next();
    tasks.any(|task| Some(task) != first)
}

/// Whether the processor stood in two functions before the first stack.
fn at_two_places(lines: &[&str]) -> bool {
    let mut places = lines.iter().take_while(|line| !starts_stack(line)).filter_map(|line| match pointer(line)? {
        Pointer::At(call) => Some(call.name),
        Pointer::Nowhere => None,
    });
    let first = places.next();
    places.any(|place| Some(place) != first)
}

/// Whether a second stack has another place of the processor above it: right above, not in the midst of frames, where the kernel tells what it
/// interrupted.
fn is_elsewhere(lines: &[&str]) -> bool {
    let (mut first, mut last, mut stacks) = (None, None, 0_usize);
    for line in lines {
        if is_trace(line) {
            stacks = stacks.saturating_add(1);
            if stacks > 1 && last.is_some() && last != first {
                return true;
            }
            last = None;
        } else if let Some(Pointer::At(call)) = pointer(line) {
            last = Some(call.name);
            first = first.or(last);
        } else if calls(line).next().is_some() {
            last = None;
        }
    }
    false
}
