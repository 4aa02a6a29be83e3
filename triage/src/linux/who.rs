//! Who was at work when it happened: processor, process, release of the kernel, what taints it.

use crate::report::Report;

/// `CPU: 1 UID: 0 PID: 2148 Comm: frob Tainted: G W 6.12.23-frob #1`.
pub(super) fn process(report: &mut Report, text: &str) {
    // Until 3.10 it was `Pid: 1, comm: frob Not tainted 3.4.0 #1`.
    let Some((front, rest)) = text.split_once("Comm: ").or_else(|| text.split_once("comm: ")) else {
        // What checks locks names release and taint alone: `3.5.0-rc5 #2 Tainted: G        W`.
        if let (true, Some((_, tail))) = (report.taint.is_empty(), text.split_once(" Tainted: ")) {
            tainted(report, tail);
        }
        return;
    };
    if !(front.contains("PID:") || front.contains("Pid:")) || report.os_build.is_some() {
        return;
    }
    let number = |name: &str| {
        front
            .split_once(name)
            .and_then(|(_, rest)| rest.split_whitespace().next()?.trim_end_matches(',').parse::<u64>().ok())
    };
    report.cpu = number("CPU: ").and_then(|cpu| u32::try_from(cpu).ok());
    report.pid = number(" PID: ").or_else(|| number("PID: ")).or_else(|| number("Pid: "));
    report.thread = report.pid.map(|pid| pid.to_string());
    let (comm, rest) = match (rest.split_once(" Not tainted "), rest.split_once(" Tainted: ")) {
        (Some((comm, build)), _) => (comm, Some(build)),
        (None, Some((comm, tail))) => (comm, Some(tainted(report, tail))),
        (None, None) => (rest, None),
    };
    report.process = Some(comm.trim().to_owned());
    // That older line goes on with the machine's model, which is no part of the build.
    let build = rest.map(|build| if front.contains("Pid:") { release(build) } else { build });
    report.os_build =
        build.map(|build| build.trim_end_matches([' ', ']']).trim().to_owned()).filter(|build| !build.is_empty());
}

/// Release and number of the build: `3.6.1-1.fc17.i686.PAE #1` of what goes on behind it.
fn release(text: &str) -> &str {
    let number = text.find(" #").map(|at| at.saturating_add(1));
    let end = number.and_then(|at| Some(at.saturating_add(text.get(at..)?.find(' ')?)));
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// How a report of such a task begins.
pub(super) const HUNG: &str = "INFO: task ";

/// A task that hangs is named in the headline, and the release stands alone in the next line: `      Not tainted 6.1.0 #1`.
pub(super) fn hung_task(report: &mut Report, text: &str) {
    let task = text.split_once(HUNG).and_then(|(_, rest)| rest.split_once(" blocked "));
    if let (None, Some((name, pid))) = (&report.process, task.and_then(|(task, _)| task.rsplit_once(':'))) {
        report.process = Some(name.to_owned());
        report.pid = pid.parse().ok();
        report.thread = Some(pid.to_owned());
        return;
    }
    let line = text.trim_start();
    if report.process.is_none() || report.os_build.is_some() || line.len() == text.len() {
        return;
    }
    let build = match line.strip_prefix("Not tainted ") {
        Some(build) => Some(build),
        None => line.strip_prefix("Tainted: ").map(|tail| tainted(report, tail)),
    };
    report.os_build = build.map(|build| build.trim().to_owned()).filter(|build| !build.is_empty());
}

/// Flags of `Tainted:`, up to the release behind them.
fn tainted<'a>(report: &mut Report, tail: &'a str) -> &'a str {
    let mut rest = tail.trim_start();
    // Later kernels name the flags: `Tainted: [W]=WARN, [O]=OOT_MODULE`.
    while let Some((word, after)) = rest.split_once([' ', ',']).or(Some((rest, ""))) {
        let letters = word.trim_start_matches('[').split(']').next().unwrap_or_default().trim_end_matches('-');
        let is_flags = !word.is_empty() && letters.bytes().all(|byte| byte.is_ascii_uppercase()) && letters.len() <= 20;
        if !is_flags {
            break;
        }
        for flag in letters.chars() {
            let name = TAINT
                .iter()
                .find(|(letter, _)| *letter == flag)
                .map_or_else(|| flag.to_string(), |(_, name)| (*name).to_owned());
            // `G` says that nothing proprietary is loaded: the opposite of taint.
            if flag != 'G' && !report.taint.contains(&name) {
                report.taint.push(name);
            }
        }
        rest = after.trim_start_matches([' ', ',']);
        if rest.is_empty() {
            break;
        }
    }
    rest
}

/// Letters of taint.
const TAINT: &[(char, &str)] = &[
    ('P', "proprietary module"),
    ('F', "module loaded by force"),
    ('S', "processor out of specification"),
    ('R', "module unloaded by force"),
    ('M', "machine check"),
    ('B', "bad page"),
    ('U', "asked for by a user"),
    ('D', "died before"),
    ('A', "ACPI table overridden"),
    ('W', "warned before"),
    ('C', "staging driver"),
    ('I', "firmware workaround"),
    ('O', "module out of tree"),
    ('E', "module without signature"),
    ('L', "soft lockup before"),
    ('K', "live patched"),
    ('X', "auxiliary"),
    ('T', "structure layout randomised"),
    ('N', "in-kernel test"),
];
