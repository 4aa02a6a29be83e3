//! Words for the numbers by which the kernel asks its security modules about an access to a process or to performance counters.

use watertight_event::Text;

/// `PTRACE_MODE_*`, include/linux/ptrace.h.
const PTRACE_MODES: [(u32, &str); 5] =
    [(0x01, "read"), (PTRACE_ATTACH, "attach"), (0x04, "noaudit"), (0x08, "fscreds"), (0x10, "realcreds")];
/// The one that gives all: memory to read and write, registers, descriptors.
const PTRACE_ATTACH: u32 = 0x02;

/// What is done to the process. ptrace(2), process_vm_readv, /proc/PID/mem and pidfd_getfd ask alike: which of them it is the
/// kernel does not say.
pub(crate) fn operation(mode: u32) -> &'static str {
    if mode & PTRACE_ATTACH == 0 {
        "read"
    } else {
        "attach"
    }
}

/// Every bit by its name; bits without one as a number.
pub(crate) fn ptrace_mode(mode: u32) -> Vec<Text> {
    let mut words: Vec<Text> =
        PTRACE_MODES.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, word)| Text::fixed(word)).collect();
    let rest = PTRACE_MODES.iter().fold(mode, |rest, (bit, _)| rest & !bit);
    if rest != 0 {
        words.push(Text::from(format!("{rest:#x}").as_str()));
    }
    words
}

/// `PERF_SECURITY_*`, include/linux/perf_event.h.
pub(crate) fn perf_question(number: u32) -> Text {
    match number {
        0 => Text::fixed("open"),
        1 => Text::fixed("cpu"),
        2 => Text::fixed("kernel"),
        3 => Text::fixed("tracepoint"),
        other => Text::from(other.to_string().as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(mode: u32) -> String {
        ptrace_mode(mode).iter().map(|word| word.lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_mode_is_told_by_its_bits_and_none_is_swallowed() {
        assert_eq!((words(0x12), operation(0x12)), ("attach realcreds".into(), "attach"));
        assert_eq!((words(0x09), operation(0x09)), ("read fscreds".into(), "read"));
        assert_eq!(words(0x46), "attach noaudit 0x40");
        assert_eq!(words(0), "");
    }

    #[test]
    fn a_question_about_counters_is_told_by_name_and_a_new_one_by_number() {
        let told: Vec<String> = (0..5).map(|number| perf_question(number).lossy().into_owned()).collect();
        assert_eq!(told, ["open", "cpu", "kernel", "tracepoint", "4"]);
    }
}
