//! Crash texts that were damaged or written to do harm: no panic, no report without end, no work without end.

#[path = "mutants/mod.rs"]
mod mutants;

use std::time::{Duration, Instant};

use watertight_triage::report::{Kind, Report};
use watertight_triage::{examine_source, Options};

use mutants::{peak_bytes, Seeded};

/// Mutants of each seed.
const MUTANTS: u64 = 400;

/// Texts that are mutated, in the kernel's formats.
const SEEDS: [&str; 9] = [
    "[    1.000000][   T7] BUG: KASAN: slab-out-of-bounds in frob_open+0x10/0x20 [frob]\n[    1.000000][   T7] Write of size 8 at addr ffff888012345678 by task frobd/77\n[    1.000000][   T7] CPU: 1 PID: 77 Comm: frobd Tainted: G        W          6.1.0 #1\n[    1.000000][   T7] Call Trace:\n[    1.000000][   T7]  frob_open+0x10/0x20 [frob]\n[    1.000000][   T7]  vfs_open+0x10/0x20\n",
    "Unable to handle kernel paging request at virtual address dead0110\nInternal error: Oops: 5 [#1] SMP ARM\nModules linked in: frob(O) quux\n 12bar\nPC is at frob_open+0x10/0x20\nr10: c0010000 r9 : 00000000\nBacktrace:\n[<bf000010>] (frob_open) from [<c0110020>] (vfs_open+0x20/0x40)\nCode: e5933000 (e5832000)\n",
    "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [frobd:77]\nRIP: 0010:frob_next+0x10/0x20\nRAX: 0000000000000000 RBX: ffff888012345678 RCX: 0000000000000003\nCode: 48 89 <0f> 0b\nCall Trace:\n <IRQ>\n frob_walk+0x30/0x80\n <EOI>\n do_syscall_64+0x10/0x20\n",
    "6,1234,5678901,-,caller=T17;WARNING: possible circular locking dependency detected\n6,1235,5678902,-,caller=T17;frobd/77 is trying to acquire lock:\n6,1236,5678903,-,caller=T17; (&frob){+.+.}, at: [<ffffffff81000000>] frob_lock+0x10/0x20\n",
    "kernel BUG at fs/frob.c:12!\nrust_kernel: panicked at frob.rs:1:2:\nattempt to add with overflow\nCall Trace:\n _RNvCscSpY9Juk0HT_4frob4open+0x15b/0x160\n _ZN4frob4open17h0123456789abcdefE+0x1/0x2\n",
    "Nov 22 08:45:24 host kernel: INFO: task frobd:77 blocked for more than 143 seconds.\nNov 22 08:45:24 host kernel: Call Trace:\nNov 22 08:45:24 host kernel:  schedule+0x10/0x20\nNov 22 08:45:24 host kernel:  frob_wait+0x10/0x20\nKernel panic - not syncing: hung_task: blocked tasks\n",
    "{\"log\":\"[    1.000000] BUG: KASAN: use-after-free in frob_open+0x10/0x20\\r\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T10:00:00Z\"}\n{\"log\":\"[    1.000000] Read of size 8 at addr ffff888012345678\\r\\n\",\"stream\":\"stdout\"}\n{\"log\":\"[    1.000000]  \\u003cTASK\\u003e \\ud83d\\\\\\t\\n\"}\n{\"log\":\"[    1.000000] Call Trace:\\n\"}\n{\"log\":\"[    1.000000]  frob_open+0x10/0x20\\n\"}\n",
    "11-22 10:00:00.123  root     0     0 E kernel  : [    1.000000] -(3)[77:frobd]WARNING: at net/frob.c:2776 frob_alert+0xc7a/0xd10()\nE/KERNEL  (    0): [    1.000000]  [4:  frobd: 77] Call Trace:\n11-22 10:00:00.123     0     0 W         :  <IRQ>  [<ffffffff81656735>] dump_stack+0x19/0x1b\nE/KERNEL  (    0):  [<ffffffffa0123456>] 0xffffffffa0123456\n",
    "\x1b[32m[   T77] \x1b[0m\x1b[1;31mspecification exception: 0006 ilc:2 [#1] SMP \x1b[0m\n[   T77] Krnl PSW : 0704c00180000000 000003ff8001234a (frob_fill+0x2a/0x50 [frob])\n\0\0[   T77] Call Trace:\n[   T77]  <TASK>\n[   T77]  frob_fill+0x2a/0x50 [frob]\n[   T77]  </TASK>\n",
];

/// Words that a mutation puts in: those that parsers split at, and headlines.
const WORDS: [&str; 20] = [
    "[",
    "]",
    "<",
    ">",
    "(",
    ")",
    ":",
    ";",
    "+0x",
    " from ",
    "at: ",
    "Call Trace:\n",
    "BUG: ",
    "WARNING: ",
    "INFO:",
    "{s}",
    "\u{fffd}",
    "\r\n",
    "\0",
    "_RNv",
];

/// Most memory that all of these tests may take, in bytes.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// How long any text here may take to read. A hang, not a measure: tests are built without optimisation and run side by side.
const HANG: Duration = Duration::from_secs(60);

fn mutant(seed: &str, numbers: &mut Seeded) -> Vec<u8> {
    let mut bytes = seed.as_bytes().to_vec();
    for _ in 0..=numbers.below(8) {
        let at = numbers.below(bytes.len());
        match numbers.below(6) {
            0 => bytes[at] = u8::try_from(numbers.below(256)).expect("a byte"),
            1 => bytes.truncate(at.max(1)),
            2 => drop(bytes.splice(at..at, WORDS[numbers.below(WORDS.len())].bytes())),
            3 => {
                let end = (at + numbers.below(40)).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            4 => {
                let end = (at + numbers.below(200)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            _ => {
                let other = SEEDS[numbers.below(SEEDS.len())];
                drop(bytes.splice(at..at, other.bytes()));
            }
        }
        if bytes.is_empty() {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// Reads it as a file is read.
fn reports(bytes: &[u8]) -> Vec<Report> {
    let mut reports = Vec::new();
    let begun = Instant::now();
    examine_source("a log", &bytes.to_vec(), &|| None, &Options::default(), &mut |report| reports.push(report));
    assert!(begun.elapsed() < HANG, "{} bytes take {:?}", bytes.len(), begun.elapsed());
    assert!(peak_bytes() <= MEMORY_BYTES_MAX, "{} bytes", peak_bytes());
    reports.retain(|report| report.kind != Kind::None);
    for report in &reports {
        let span = report.span.expect("every report has its place");
        assert!(span.start <= span.end && span.end <= u64::try_from(bytes.len()).expect("small"));
        assert!(report.title.as_ref().is_some_and(|title| title.len() <= 120));
        assert!(report.frames.len() <= 1024 && report.modules.len() <= 4096);
        drop(serde_json::to_string(report).expect("every report is JSON"));
        drop(report.to_string());
    }
    reports
}

#[test]
fn thousands_of_damaged_logs_panic_nowhere() {
    let mut numbers = Seeded(0x5eed_0c0f_fee0_0001);
    let (mut tried, mut found) = (0_u64, 0_usize);
    for seed in SEEDS {
        for _ in 0..MUTANTS {
            let mut text = mutant(seed, &mut numbers);
            found += reports(&text).len();
            // The same bytes as letters of two bytes: noise, of any length.
            text.splice(0..0, [0xff, 0xfe]);
            reports(&text);
            tried += 1;
        }
    }
    assert!(tried >= 2_000);
    assert!(found > 1_000, "{found} reports: the mutants are too far from logs to test anything");
}

#[test]
fn a_log_of_headlines_alone_ends_and_says_that_there_is_more() {
    let text = "[    1.000000] BUG: KASAN: use-after-free in frob+0x1/0x2\n".repeat(5_000);
    let found = reports(text.as_bytes());
    assert_eq!(found.len(), 1_000);
    assert!(found.last().expect("reports").warnings.iter().any(|warning| warning.contains("more than 1000")));
}

/// Reads it and gives what is said about the text as a whole.
fn warnings(text: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    examine_source("a log", &text.as_bytes().to_vec(), &|| None, &Options::default(), &mut |report| {
        warnings.extend(report.warnings);
    });
    warnings
}

#[test]
fn a_log_of_words_that_no_table_knows_is_read_to_its_end_without_looking_for_stacks_at_each() {
    // As programs write them. No stack anywhere: one look tells it for all.
    let mut text = String::new();
    (0..30_000_u32).for_each(|number| text.push_str(&format!("INFO: request {number} done\nWARNING: slow\n")));
    assert!(reports(text.as_bytes()).is_empty() && warnings(&text).is_empty());
    text.push_str("BUG: KASAN: use-after-free in frob_open+0x10/0x20\nRead of size 8 at addr ffff888012345678\nCall Trace:\n frob_open+0x10/0x20\n");
    assert_eq!(reports(text.as_bytes()).len(), 1);
}

#[test]
fn a_log_in_which_stacks_stand_near_many_false_headlines_is_bounded_and_told() {
    // Every headline has 500 lines of others below it, and a stack of nobody's.
    let mut text = String::new();
    for number in 0..4_500_u32 {
        text.push_str(&format!("[    1.000000][{:>6}] BUG: frob says {number}\n", format!("T{}", number % 997)));
        if number % 400 == 0 {
            text.push_str("[    1.000000][ T9999] Call Trace:\n");
        }
    }
    assert!(warnings(&text).concat().contains("too many lines look like a crash's first"));
}

#[test]
fn lines_of_nothing_but_headlines_words_cost_no_more_than_their_length() {
    for words in
        ["[BUG: ", "[WARNING: ", "BUG: BUG:", "x BUG: ", "INFO: task ", "[Unable to handle kernel[Oops:[kernel BUG at["]
    {
        let line = format!("[    1.000000] {}\n", words.repeat(4_000 / words.len()));
        reports(line.repeat(300).as_bytes());
    }
}

#[test]
fn lines_in_which_a_function_s_name_may_begin_anywhere_cost_no_more_than_their_length() {
    let head = "[    1.000000] BUG: KASAN: use-after-free in a+0x1/0x2\n[    1.000000] Read of size 8 at addr ffff888012345678\n";
    for words in ["a", "[", "at: ", "Read of size ", "Comm: PID: ", "RAX: ", "00 ", "+0x"] {
        let line = format!("[    1.000000] Comm: {}\n", words.repeat(4_000 / words.len()));
        let found = reports(format!("{head}{}", line.repeat(600)).as_bytes());
        assert!(found.len() <= 2, "{words}: {}", found.len());
    }
}

#[test]
fn a_stack_without_end_is_cut() {
    let mut text = String::from(
        "[    1.000000] WARNING: CPU: 0 PID: 1 at fs/frob.c:12 frob+0x1/0x2\n[    1.000000] Call Trace:\n",
    );
    (0..50_000).for_each(|number| text.push_str(&format!("[    1.000000]  frob_{number}+0x1/0x2\n")));
    let found = reports(text.as_bytes());
    assert!(found[0].frames.len() <= 1024);
}

#[test]
fn one_line_of_megabytes_is_no_trouble() {
    let text = format!("BUG: KASAN: {} in frob+0x1/0x2\n{}", "a-".repeat(2 << 20), "[".repeat(1 << 20));
    reports(text.as_bytes());
}

#[test]
fn headlines_of_thousands_of_callers_mixed_line_by_line_end_by_a_count() {
    let mut text = String::new();
    for number in 0..40_000_u32 {
        let caller = format!("T{}", number % 997);
        text.push_str(&format!(
            "[    1.000000][{caller:>6}] WARNING: CPU: 0 PID: 1 at fs/frob.c:{number} frob_{caller}+0x1/0x2\n"
        ));
    }
    let found = reports(text.as_bytes());
    assert!(found.len() < 1_000, "{}", found.len());
    assert!(found.last().expect("reports").warnings.iter().any(|warning| warning.contains("the rest is left out")));
}
