//! What stands in front of a kernel's message: timestamps, levels, callers, hosts, in the forms of those that write logs.
//!
//! Each writer has its own: `dmesg` (`-T`, `-H`, `-d`, `-x`, `--time-format iso`), `journalctl` (`-o short`, `short-full`,
//! `short-monotonic`, `short-iso`), syslog daemons (RFC 3164 and 5424), netconsole, pstore, terminals. Two of them may be on top of each other: a
//! terminal's timestamp before the kernel's own. What phones have in front is in `phones.rs`.

use super::line::Context;
use super::phones::{by_maker, logcat};

/// Takes off what is in front of the message.
pub(super) fn split(line: &str) -> (Context<'_>, &str) {
    if let Some(text) = netconsole(line) {
        return text;
    }
    let rest = after_facility(after_level(after_dropped(line)));
    if let Some(found) = stamped(rest).or_else(|| alone(rest)).or_else(|| pasted(rest)) {
        return found;
    }
    if let Some(found) = dated(rest) {
        return found;
    }
    if let Some(text) = logcat(rest) {
        return stamped(after_level(text)).unwrap_or((Context::Kernel, text));
    }
    // `host login: [ 1.2] message` of a console, `anything kernel: [ 1.2] message`: a timestamp follows.
    for marker in [" login: ", "kernel: "] {
        let after = rest.split_once(marker).and_then(|(_, after)| stamped(after_level(after)));
        if let Some(found) = after {
            return found;
        }
    }
    (Context::Bare, after_level(after_dropped(line)))
}

/// `[   12.345678] message`, with what may follow the timestamp: the caller, the journal's host, or the kernel's own timestamp.
fn stamped(text: &str) -> Option<(Context<'_>, &str)> {
    let (stamp, rest) = text.strip_prefix('[')?.split_once(']')?;
    if is_seconds(stamp) {
        return behind_seconds(rest);
    }
    if !is_moment(stamp) {
        return None;
    }
    if let Some(found) = called(rest) {
        return Some(found);
    }
    let text = message(rest)?;
    Some(stamped(text).unwrap_or((Context::Kernel, text)))
}

/// The caller, `[  T123] message`: the kernel puts it right behind the time, `dmesg` a space between.
fn called(rest: &str) -> Option<(Context<'_>, &str)> {
    let (caller, rest) = rest.strip_prefix(' ').unwrap_or(rest).strip_prefix('[')?.split_once(']')?;
    let caller = caller.trim_start_matches(' ');
    let is_caller = caller.strip_prefix(['T', 'C']).is_some_and(is_number);
    Some((Context::Caller(caller), message(rest).filter(|_| is_caller)?))
}

/// The caller alone, of a kernel that prints no time: `[  T123] message`, in six letters at least.
fn alone(text: &str) -> Option<(Context<'_>, &str)> {
    const CALLER_BYTES_MIN: usize = 6;
    let caller = text.strip_prefix('[')?.split_once(']')?.0;
    called(text).filter(|_| caller.len() >= CALLER_BYTES_MIN)
}

/// A line that somebody pasted: indented, quoted (`> `) or numbered (`grep -n`, `cat -n`) before the kernel's own timestamp, which has six
/// digits behind the point.
fn pasted(text: &str) -> Option<(Context<'_>, &str)> {
    const FRACTION_DIGITS: usize = 6;
    let rest = text.trim_start_matches([' ', '\t', '>']).trim_start_matches(|letter: char| letter.is_ascii_digit());
    let rest = rest.strip_prefix(':').unwrap_or(rest).trim_start_matches([' ', '\t']);
    let (stamp, behind) = rest.strip_prefix('[')?.split_once(']')?;
    let is_kernels = is_seconds(stamp) && stamp.split_once('.').is_some_and(|(_, rest)| rest.len() == FRACTION_DIGITS);
    behind_seconds(behind).filter(|_| is_kernels && rest.len() < text.len())
}

/// What follows seconds since boot.
fn behind_seconds(rest: &str) -> Option<(Context<'_>, &str)> {
    if let Some(found) = called(rest) {
        return Some(found);
    }
    let text = message(rest)?;
    if let Some(found) = by_maker(text) {
        return Some(found);
    }
    // `journalctl -o short-monotonic` has host and writer there.
    let journal = text.split_once(' ').filter(|(host, _)| is_host(host)).and_then(|(_, rest)| by_kernel(rest));
    Some((Context::Kernel, journal.unwrap_or(text)))
}

/// The message behind a bracket. An empty one keeps its timestamp and loses the space behind it.
fn message(rest: &str) -> Option<&str> {
    rest.strip_prefix(' ').or(rest.is_empty().then_some(rest))
}

/// `   12.345678`, of `dmesg -d` with the time since the line before: `   12.345678 <    0.000002>`.
fn is_seconds(stamp: &str) -> bool {
    let (stamp, is_delta) = match stamp.split_once(" <") {
        Some((stamp, delta)) => (stamp, delta.strip_suffix('>').is_some_and(is_decimal)),
        None => (stamp, true),
    };
    is_delta && is_decimal(stamp)
}

/// Digits, a point, digits; `dmesg -H` has a sign in front.
fn is_decimal(text: &str) -> bool {
    let text = text.trim_start_matches(' ').trim_start_matches('+');
    text.split_once('.').is_some_and(|(seconds, fraction)| is_number(seconds) && is_number(fraction))
}

/// A moment in brackets: `Sun Nov 22 10:00:00 2026` of `dmesg -T`, `Nov22 10:00` of `dmesg -H`, `2026-11-22 10:00:01` of a terminal.
fn is_moment(stamp: &str) -> bool {
    const MOMENT_BYTES_MAX: usize = 48;
    stamp.len() <= MOMENT_BYTES_MAX && stamp.contains(':') && starts_with_date(stamp)
}

/// A line that begins with a date: syslog's, a journal's, `dmesg --time-format iso`.
fn dated(line: &str) -> Option<(Context<'_>, &str)> {
    // RFC 5424 has its version there.
    let line = line.strip_prefix("1 ").unwrap_or(line);
    if !starts_with_date(line) {
        return None;
    }
    // Behind a colon a program speaks, and may quote a kernel.
    let head = line.split_once(": ").map_or(line, |(head, _)| head);
    let after = head.find(" kernel").and_then(|at| by_kernel(line.get(at..)?.trim_start_matches(' ')));
    if let Some(text) = after {
        return Some(stamped(after_level(text)).or_else(|| alone(text)).unwrap_or((Context::Kernel, text)));
    }
    // Only dmesg writes a comma before the fraction, and nothing between the date and the message.
    let (date, text) = line.split_once(' ')?;
    let behind_time = text.split_once(' ').filter(|(time, _)| time.contains(':')).map_or(text, |(_, text)| text);
    if let Some(found) = stamped(text).or_else(|| stamped(behind_time)) {
        return Some(found);
    }
    date.contains(',').then_some((Context::Kernel, text))
}

/// The message behind the writer's name: `kernel: `, `kernel[0]: `, and of RFC 5424 `kernel - - - `.
fn by_kernel(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("kernel")?;
    let rest = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((number, rest)) if is_number(number) => rest,
        _ => rest,
    };
    rest.strip_prefix(": ").or_else(|| rest.strip_prefix(" - - - ")).or_else(|| (rest == ":").then_some(""))
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// The level that `/proc/kmsg` and pstore put in front: `<4>`.
fn after_level(line: &str) -> &str {
    line.strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .filter(|(level, _)| (1..=3).contains(&level.len()) && is_number(level))
        .map_or(line, |(_, rest)| rest)
}

/// The facility and level that `dmesg -x` puts in front: `kern  :alert : `.
fn after_facility(line: &str) -> &str {
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
    let mut fields = line.splitn(3, ':');
    let (Some(facility), Some(level), Some(rest)) = (fields.next(), fields.next(), fields.next()) else { return line };
    let is_it = LEVELS.contains(&level.trim_end_matches(' ')) && is_host(facility.trim_end_matches(' '));
    rest.strip_prefix(' ').filter(|_| is_it).unwrap_or(line)
}

/// What a console says where it was too slow: `** 12 printk messages dropped ** `.
fn after_dropped(line: &str) -> &str {
    line.strip_prefix("** ")
        .and_then(|rest| rest.split_once(" printk messages dropped ** "))
        .map_or(line, |(_, rest)| rest)
}

/// The form of `/dev/kmsg` and of the extended netconsole: `level,sequence,microseconds,flags[,...];message`, which may have the release
/// in front.
fn netconsole(line: &str) -> Option<(Context<'_>, &str)> {
    let (head, text) = line.split_once(';')?;
    let mut fields = head.split(',').peekable();
    fields.next_if(|release| release.contains('.') && release.bytes().all(|byte| byte.is_ascii_graphic()));
    for _ in 0..3 {
        fields.next().filter(|field| field.len() <= 20 && is_number(field))?;
    }
    fields.next().filter(|flags| matches!(*flags, "-" | "c" | "+"))?;
    let caller = fields.find_map(|field| field.strip_prefix("caller="));
    Some((caller.map_or(Context::Kernel, Context::Caller), text))
}

/// `Nov 22 08:45:24 host`, `Sun 2026-11-22 10:00:00 UTC host` or `2026-11-22T08:45:24+00:00 host`.
fn starts_with_date(line: &str) -> bool {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS: [&str; 7] = ["Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "];
    let line = DAYS.iter().find_map(|day| line.strip_prefix(day)).unwrap_or(line);
    let is_year = line.len() > 10
        && line.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && line.as_bytes().get(4) == Some(&b'-');
    is_year || MONTHS.iter().any(|month| line.starts_with(month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writers_front_is_taken_off() {
        for front in [
            "[   12.345678] ",
            "<4>[   12.345678] ",
            "[   12.345678 <    0.000002>] ",
            "[  +0.000002] ",
            "[Nov22 10:00] ",
            "[Sun Nov 22 10:00:00 2026] ",
            "kern  :alert : [   12.345678] ",
            "kern  :warn  : [Sun Nov 22 10:00:00 2026] ",
            "2026-11-22T10:00:00,123456+00:00 ",
            "kern  :err   : 2026-11-22T10:00:00,123456+00:00 ",
            "[2026-11-22 10:00:01] [   12.345678] ",
            "2026-11-22 10:00:01 [   12.345678] ",
            "    [   12.345678] ",
            "\t[   12.345678] ",
            "> > [   12.345678] ",
            "117:[   12.345678] ",
            "   117\t[   12.345678] ",
            "2026-11-22T10:00:00.123Z [   12.345678] ",
            "Nov 22 08:45:24 host kernel: ",
            "Nov 22 08:45:24 host kernel: [   12.345678] ",
            "Nov 22 08:45:24 host kernel[0]: [   12.345678] ",
            "<4>Nov 22 08:45:24 host kernel: ",
            "<4>1 2026-11-22T10:00:00Z host kernel - - - ",
            "2026-11-22T08:45:24+00:00 host kernel: ",
            "Sun 2026-11-22 10:00:00 UTC host kernel: ",
            "[   12.345678] web-1 kernel: ",
            "6,1234,5678901,-;",
            "6.1.0-25-amd64,6,1234,5678901,-;",
            "** 12 printk messages dropped ** [    1.000000] ",
            "host login: [    1.000000] ",
            "11-22 10:00:00.123     0     0 E kernel  : [   12.345678] ",
            "11-22 10:00:00.123  root     0     0 I kernel  : ",
            "11-22 10:00:00.123     0     0 W         : [   12.345678] ",
            "E/KERNEL  (    0): [   12.345678] ",
        ] {
            for text in ["BUG: x", "kernel BUG at fs/frob.c:12!", " <TASK>", "Oops: kernel: x"] {
                assert_eq!(split(&format!("{front}{text}")), (Context::Kernel, text), "{front}");
            }
        }
    }

    #[test]
    fn the_caller_is_kept() {
        for (front, caller) in [
            ("[   12.345678][  T123] ", "T123"),
            ("[   12.345678] [    T123] ", "T123"),
            ("<4>[   12.345678][    C1] ", "C1"),
            ("[Sun Nov 22 10:00:00 2026] [   12.345678][    C1] ", "C1"),
            ("[Sun Nov 22 10:00:00 2026] [    C1] ", "C1"),
            ("[Sun Nov 22 10:00:00 2026][  T123] ", "T123"),
            ("[  T123] ", "T123"),
            ("<4>[    C1] ", "C1"),
            ("Nov 22 08:45:24 host kernel: [  T123] ", "T123"),
            ("    [   12.345678][  T123] ", "T123"),
            ("6,1234,5678901,-,caller=T17;", "T17"),
            ("6.1.0-25-amd64,6,1234,5678901,-,caller=T17;", "T17"),
            ("[   12.345678] -(3)[1234:frobd]", "1234"),
            ("[   12.345678]  (3)[1234:kworker/2:1]", "1234"),
            ("[   12.345678]  [4:  kworker/2:1: 1234] ", "1234"),
            ("11-22 10:00:00.123     0     0 E kernel  : [   12.345678][  T17] ", "T17"),
        ] {
            assert_eq!(split(&format!("{front} <IRQ>")), (Context::Caller(caller), " <IRQ>"), "{front}");
        }
    }

    #[test]
    fn what_only_looks_like_a_front_is_the_message() {
        for text in [
            "BUG: x",
            "[ BUG: x ]",
            "[<c010f000>] (frob_read) from [<c0110000>] (vfs_frob+0x10/0x20)",
            "[c000000001234560] [c000000000123456] frob_close+0x10/0x20 (unreliable)",
            "Nov 22 08:45:24 host frobd[12]: BUG: x",
            "11-22 10:00:00.123  1000  1017 E frobd   : BUG: x",
            "E/frobd   (   12): BUG: x",
            "RIP: 0010:frob:info: x",
            "1 frob",
            "[T1] frob",
            "  [12.3] frob",
            "frobd: [   12.345678] BUG: x",
        ] {
            assert_eq!(split(text), (Context::Bare, text));
        }
        assert_eq!(split("[   12.345678]  [<ffff>] x"), (Context::Kernel, " [<ffff>] x"));
        assert_eq!(split("[   12.345678]"), (Context::Kernel, ""));
    }
}
