//! One bug as many machines tell it: kernels built by other compilers, which name, split and inline functions each in its own way, other
//! addresses, processors and tasks, other words in front of a line. Everything is drawn from one seed, so every run makes the same.
//!
//! Bugs of one driver share functions, as real ones do: a grouping that looks at too little joins them, one that looks at too much
//! splits a bug by its builds.

const BUGS: usize = 48;
const DRIVERS: usize = 12;
const VARIANTS: usize = 10;
/// Out of a hundred: how often a caller is inlined into its own, and how often the function at fault is.
const CALLER_INLINED: u64 = 12;
const FAULT_INLINED: u64 = 4;

/// How the kernel was reached; bugs of all drivers share these.
const WAYS_IN: [&[&str]; 4] = [
    &["vfs_ioctl", "__se_sys_ioctl", "__x64_sys_ioctl", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"],
    &["vfs_write", "ksys_write", "__x64_sys_write", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"],
    &[
        "do_dentry_open",
        "vfs_open",
        "path_openat",
        "do_filp_open",
        "do_sys_openat2",
        "__x64_sys_openat",
        "do_syscall_64",
    ],
    &["process_one_work", "worker_thread", "kthread", "ret_from_fork"],
];

const VERBS: [&str; 10] = ["open", "fill", "copy", "parse", "flush", "attach", "probe", "submit", "drain", "reap"];

/// A bug: what it does, and its own calls from the fault outwards.
struct Bug {
    fault: usize,
    module: String,
    calls: Vec<String>,
    way_in: &'static [&'static str],
}

/// A generator whose numbers are the same in every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// Each variant with the name of its bug.
pub fn all() -> impl Iterator<Item = (String, String)> {
    let mut numbers = Numbers(1);
    let bugs: Vec<Bug> = (0..BUGS).map(|number| bug(number, &mut numbers)).collect();
    (0..BUGS * VARIANTS).map(move |at| (format!("bug {}", at / VARIANTS), text(&bugs[at / VARIANTS], &mut numbers)))
}

fn bug(number: usize, numbers: &mut Numbers) -> Bug {
    let module = format!("drv{}", number % DRIVERS);
    let mut verbs = VERBS.to_vec();
    let depth = 3 + numbers.below(3);
    let mut calls = Vec::new();
    for _ in 0..depth {
        let verb = verbs.remove(numbers.below(verbs.len()));
        calls.push(format!("{module}_{verb}"));
    }
    Bug { fault: numbers.below(4), module, calls, way_in: WAYS_IN[numbers.below(WAYS_IN.len())] }
}

/// The bug as one machine's log has it.
fn text(bug: &Bug, numbers: &mut Numbers) -> String {
    let is_clang = numbers.happens(40);
    let mut calls = bug.calls.clone();
    if calls.len() > 2 && numbers.happens(FAULT_INLINED) {
        calls.remove(0);
    }
    let mut kept = vec![calls.remove(0)];
    kept.extend(calls.into_iter().filter(|_| !numbers.happens(CALLER_INLINED)));
    let named: Vec<String> =
        kept.iter().map(|call| place(&split(call, is_clang, numbers), Some(&bug.module), numbers)).collect();
    let (processor, task) = (numbers.below(64), 100 + numbers.below(30_000));
    let build = format!("6.{}.{}-{}-amd64", numbers.below(13), numbers.below(90), numbers.below(40));
    let mut lines = head(bug.fault, &named[0], numbers);
    lines.insert(1, format!("CPU: {processor} PID: {task} Comm: job{} Not tainted {build} #1", task % 7));
    lines.push("Call Trace:".to_owned());
    lines.push(" <TASK>".to_owned());
    for call in named.iter().skip(1) {
        if numbers.happens(15) {
            lines.push(format!(" ? {}", place("stale_word", None, numbers)));
        }
        lines.push(format!(" {call}"));
    }
    lines.extend(bug.way_in.iter().map(|call| format!(" {}", place(call, None, numbers))));
    lines.push(" </TASK>".to_owned());
    let stamp = numbers.below(9_000);
    let prefix: Box<dyn Fn(usize) -> String> = match numbers.below(3) {
        0 => Box::new(|_| String::new()),
        1 => Box::new(move |at| format!("[{stamp:>5}.{at:06}] ")),
        _ => {
            Box::new(move |at| format!("Nov 22 10:{:02}:{:02} host{task} kernel: [{stamp}.{at:06}] ", at / 60, at % 60))
        }
    };
    lines.iter().enumerate().map(|(at, line)| format!("{}{line}\n", prefix(at))).collect()
}

/// The first lines, in the kernel's own words; the line of the processor comes between them.
fn head(fault: usize, at: &str, numbers: &mut Numbers) -> Vec<String> {
    let address = 0xffff_8880_0000_0000 + (numbers.next() & 0xfff_fff8);
    let lines = match fault {
        0 => [format!("BUG: kernel NULL pointer dereference, address: {:016x}", numbers.next() & 0xff8), String::new()],
        1 => [
            format!(
                "general protection fault, probably for non-canonical address {:#x}: 0000 [#1] SMP",
                0xdead_0000_0000_0000 | (address & 0xffff)
            ),
            String::new(),
        ],
        2 => [
            format!("BUG: unable to handle page fault for address: {address:016x}"),
            "#PF: supervisor write access in kernel mode".to_owned(),
        ],
        _ => [format!("WARNING: CPU: 1 PID: 7 at drivers/frob/core.c:{} {at}", 10 + numbers.below(900)), String::new()],
    };
    let mut lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    lines.push(format!("RIP: 0010:{at}"));
    lines
}

/// A function's name as this build has it.
fn split(call: &str, is_clang: bool, numbers: &mut Numbers) -> String {
    let number = numbers.below(5);
    match (numbers.below(6), is_clang) {
        (0, false) => format!("{call}.isra.{number}"),
        (1, false) => format!("{call}.constprop.{number}"),
        (2, false) => format!("{call}.part.{number}.cold"),
        (0, true) => format!("{call}.llvm.{}", numbers.next()),
        (1, true) => format!("{call}.cold"),
        _ => call.to_owned(),
    }
}

fn place(call: &str, module: Option<&str>, numbers: &mut Numbers) -> String {
    let size = 0x40 + numbers.below(0x400);
    let module = module.map(|module| format!(" [{module}]")).unwrap_or_default();
    format!("{call}+{:#x}/{size:#x}{module}", numbers.below(size))
}
