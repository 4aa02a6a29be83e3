//! What stands in front of a kernel's message on phones: Android's `logcat`, and callers as makers' kernels print them.

use super::line::Context;
use super::prefix::is_number;

/// The caller as kernels of phones print it: `-(3)[1234:frobd]message` (processor, task; a minus where interrupts are off), and
/// ` [4:frobd: 1234] message`.
pub(super) fn by_maker(text: &str) -> Option<(Context<'_>, &str)> {
    let of_processor = text.trim_start_matches([' ', '-']).strip_prefix('(').and_then(|rest| rest.split_once(")["));
    if let Some((processor, rest)) = of_processor {
        let (task, text) = rest.split_once(']')?;
        let (pid, _) = task.split_once(':')?;
        return (is_number(processor) && is_number(pid)).then_some((Context::Caller(pid), text));
    }
    let (caller, text) = text.strip_prefix(" [")?.split_once("] ")?;
    let (processor, task) = caller.split_once(':')?;
    let (_, pid) = task.rsplit_once(':')?;
    let pid = pid.trim_start_matches(' ');
    (is_number(processor) && is_number(pid)).then_some((Context::Caller(pid), text))
}

/// The message of the kernel in a line of Android's log: `11-22 10:00:00.123  root     0     0 E kernel  : message` (`-v threadtime`, the user is
/// not always there) and `E/kernel  (    0): message` (`-v brief`).
pub(super) fn logcat(line: &str) -> Option<&str> {
    const LEVELS: [char; 7] = ['V', 'D', 'I', 'W', 'E', 'F', 'S'];
    let is_kernel = |tag: &str| matches!(tag.trim_matches(' '), "" | "kernel" | "KERNEL" | "klog");
    if let Some((tag, rest)) = line.strip_prefix(LEVELS).and_then(|rest| rest.strip_prefix('/')?.split_once('(')) {
        let (pid, text) = rest.split_once("): ")?;
        return (is_kernel(tag) && is_number(pid.trim_start_matches(' '))).then_some(text);
    }
    let (day, rest) = line.split_once(' ')?;
    let (month, day) = day.split_once('-')?;
    let (time, mut rest) = rest.split_once(' ')?;
    if !(is_number(month) && is_number(day) && time.contains(':') && time.contains('.')) {
        return None;
    }
    // Two numbers, process and thread, perhaps behind a user's name, and then the level.
    for _ in 0..4 {
        let (word, after) = rest.trim_start_matches(' ').split_once(' ')?;
        rest = after;
        if word.len() == 1 && word.starts_with(LEVELS) {
            let (tag, text) = rest.split_once(':')?;
            return is_kernel(tag).then(|| text.strip_prefix(' ').unwrap_or(text));
        }
    }
    None
}
