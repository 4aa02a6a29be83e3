//! Tells whether lines of two reports run through each other. Where the kernel names the caller of each line they are told apart
//! (`region.rs`); where it does not, a title could join one crash's headline with another's function. What gives it away: a report is of one
//! task, stands at one place, and closes each stack that it opens.

use super::format::Pick;
use super::frame::{calls, pointer, Pointer};
use super::subject::starts_stack;

/// What is wrong with the report, if it is mixed. `is_cut` says that another headline ended it.
pub(super) fn mixed(lines: &[&str], pick: Pick, is_cut: bool) -> Option<&'static str> {
    let is_mixed = tasks_do_not_close(lines, is_cut)
        || frames_go_on(lines)
        // Stalls and hung tasks show other processors and tasks too.
        || pick == Pick::First && (of_two_tasks(lines) || at_two_places(lines));
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

/// Whether frames stand behind a stack's end without words that begin another stack.
fn frames_go_on(lines: &[&str]) -> bool {
    let Some(end) = lines.iter().position(|line| line.contains("</TASK>")) else { return false };
    let mut begins = false;
    for line in lines.iter().skip(end) {
        if line.contains("<TASK>") || line.contains("<IRQ>") || line.contains("<NMI>") {
            begins = !line.contains('/');
        } else if calls(line).next().is_some() {
            if !begins {
                return true;
            }
        } else if !line.contains("[inline]") {
            begins = starts_stack(line) || line.ends_with(':') || OF_PAGES.iter().any(|words| line.contains(words));
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
