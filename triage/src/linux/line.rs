//! A log's lines: what stands before the message is taken off, and it is told who printed it.
//!
//! Kernel messages reach a file in many ways: `dmesg`, a serial console, the journal, netconsole, pstore. Each puts something in
//! front. Where the kernel tells the caller (`[  T123]` a task, `[    C1]` a processor), reports of two callers that are mixed line
//! by line can be told apart, so the caller is kept.

/// Longest line that is looked at; what comes after is noise of a binary file.
const LINE_BYTES_MAX: usize = 4096;

/// Who printed a line, as far as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context<'a> {
    /// No timestamp: a program, or a kernel that prints none.
    Bare,
    /// The kernel; the caller is not told.
    Kernel,
    /// The kernel, by task (`T123`) or processor (`C1`).
    Caller(&'a str),
}

impl Context<'_> {
    /// Whether lines of several callers can be told apart.
    pub(super) fn is_caller(self) -> bool {
        matches!(self, Self::Caller(_))
    }

    /// Whether a processor printed it outside any task.
    pub(super) fn is_processor(self) -> bool {
        matches!(self, Self::Caller(caller) if caller.starts_with('C'))
    }
}

/// A line of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Its first byte in the file.
    pub(super) start: usize,
    /// The byte behind its last, without the line's end.
    pub(super) end: usize,
    pub(super) context: Context<'a>,
    /// The message.
    pub(super) text: &'a str,
}

/// All lines of a text from the one at `start` on.
pub(super) fn lines_from<'a>(text: &'a str, start: usize) -> impl Iterator<Item = Line<'a>> {
    let mut next = Some(start);
    std::iter::from_fn(move || {
        let start = next?;
        let rest = text.get(start..)?;
        let length = memchr::memchr(b'\n', rest.as_bytes());
        next = length.and_then(|length| start.checked_add(length)?.checked_add(1)).filter(|next| *next < text.len());
        Some(line(start, rest.get(..length.unwrap_or(rest.len()))?))
    })
}

/// The line with that many bytes before it.
fn line(start: usize, raw: &str) -> Line<'_> {
    let whole = raw.trim_end_matches('\r');
    let end = start.saturating_add(whole.len());
    let (context, text) = split(cut(whole, LINE_BYTES_MAX));
    Line { start, end, context, text }
}

/// At most so many bytes, and no letter is cut in two.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut length = text.len().min(bytes_max);
    while !text.is_char_boundary(length) {
        length = length.saturating_sub(1);
    }
    text.get(..length).unwrap_or_default()
}

/// Takes off what is in front of the message.
fn split(line: &str) -> (Context<'_>, &str) {
    if let Some(text) = netconsole(line) {
        return text;
    }
    let rest = after_dropped(line);
    if let Some(found) = stamped(after_level(rest)) {
        return found;
    }
    // `host kernel: [ 1.2] message` of a journal, `host login: [ 1.2] message` of a console: a timestamp follows.
    for marker in [" login: ", "kernel: "] {
        if let Some((_, after)) = rest.split_once(marker) {
            if let Some(found) = stamped(after_level(after)) {
                return found;
            }
            if marker == "kernel: " && starts_with_date(rest) {
                return (Context::Kernel, after);
            }
        }
    }
    (Context::Bare, rest)
}

/// `[   12.345678][  T123] message`, with or without the caller.
fn stamped(text: &str) -> Option<(Context<'_>, &str)> {
    let (stamp, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (seconds, fraction) = stamp.trim_start_matches(' ').split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    if let Some((caller, rest)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let caller = caller.trim_start_matches(' ');
        let is_caller = caller.strip_prefix(['T', 'C']).is_some_and(is_number);
        if let (true, Some(text)) = (is_caller, rest.strip_prefix(' ')) {
            return Some((Context::Caller(caller), text));
        }
    }
    // An empty message keeps its timestamp and loses the space behind it.
    rest.strip_prefix(' ').or(rest.is_empty().then_some(rest)).map(|text| (Context::Kernel, text))
}

/// The level that `/proc/kmsg` and pstore put in front: `<4>`.
fn after_level(line: &str) -> &str {
    line.strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .filter(|(level, _)| (1..=3).contains(&level.len()) && level.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(line, |(_, rest)| rest)
}

/// What a console says where it was too slow: `** 12 printk messages dropped ** `.
fn after_dropped(line: &str) -> &str {
    line.strip_prefix("** ")
        .and_then(|rest| rest.split_once(" printk messages dropped ** "))
        .map_or(line, |(_, rest)| rest)
}

/// The form of `/dev/kmsg` and of the extended netconsole: `level,sequence,microseconds,flags[,...];message`.
fn netconsole(line: &str) -> Option<(Context<'_>, &str)> {
    let (head, text) = line.split_once(';')?;
    let mut fields = head.split(',');
    for _ in 0..3 {
        let field = fields.next()?;
        if field.is_empty() || field.len() > 20 || !field.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
    }
    fields.next().filter(|flags| matches!(*flags, "-" | "c" | "+"))?;
    let caller = fields.find_map(|field| field.strip_prefix("caller="));
    Some((caller.map_or(Context::Kernel, Context::Caller), text))
}

/// `Nov 22 08:45:24 host` or `2026-11-22T08:45:24+00:00 host`.
fn starts_with_date(line: &str) -> bool {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let is_year = line.len() > 10
        && line.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && line.as_bytes().get(4) == Some(&b'-');
    is_year || MONTHS.iter().any(|month| line.starts_with(month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_front_of_a_message_is_taken_off() {
        for (line, context, text) in [
            ("[   12.345678] BUG: x", Context::Kernel, "BUG: x"),
            ("[   12.345678][  T123] BUG: x", Context::Caller("T123"), "BUG: x"),
            ("<4>[   12.345678][    C1]  <IRQ>", Context::Caller("C1"), " <IRQ>"),
            ("Nov 22 08:45:24 host kernel: [   12.345678] BUG: x", Context::Kernel, "BUG: x"),
            ("Nov 22 08:45:24 host kernel: BUG: x", Context::Kernel, "BUG: x"),
            ("2026-11-22T08:45:24+00:00 host kernel: BUG: x", Context::Kernel, "BUG: x"),
            ("6,1234,5678901,-;BUG: x", Context::Kernel, "BUG: x"),
            ("6,1234,5678901,-,caller=T17;BUG: x", Context::Caller("T17"), "BUG: x"),
            ("** 12 printk messages dropped ** [    1.000000] BUG: x", Context::Kernel, "BUG: x"),
            ("host login: [    1.000000] BUG: x", Context::Kernel, "BUG: x"),
            ("BUG: x", Context::Bare, "BUG: x"),
            ("[ BUG: x ]", Context::Bare, "[ BUG: x ]"),
            ("[   12.345678]  [<ffff>] x", Context::Kernel, " [<ffff>] x"),
        ] {
            let found: Vec<_> = lines_from(line, 0).collect();
            assert_eq!((found[0].context, found[0].text), (context, text), "{line}");
        }
    }

    #[test]
    fn lines_know_their_bytes() {
        let text = "one\r\n\ntwo";
        let spans: Vec<_> = lines_from(text, 0).map(|line| (line.start, line.end)).collect();
        assert_eq!(spans, [(0, 3), (5, 5), (6, 9)]);
        assert_eq!(lines_from(text, 6).count(), 1);
        assert_eq!(lines_from(text, 99).count(), 0);
    }
}
