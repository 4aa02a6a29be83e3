//! The workloads: the driver's arguments for each, sized for some 70 million instructions a second.

use crate::world;
use anyhow::{bail, Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use watertight_lab_guest::Workload;

const DRIVER: &str = "/bench/driver";
/// The folder that auditd watches for writes, so that its row has one event as ours.
pub const FOLDER: &str = "/tmp/bench";
const FILE: &str = "/tmp/bench/file";
const TREE: &str = "/tmp/tree";
const BUILD: &str = "/tmp/tree/build.sh";

/// Files of the C tree, and functions in each.
const TREE_FILES: usize = 2;
const TREE_FUNCTIONS: usize = 10;

/// What the driver does: its work, how often, and on what.
fn plan(workload: Workload) -> (&'static str, u64, &'static [&'static str]) {
    match workload {
        Workload::ExecBare => ("exec", 400, &["/bench/bare"]),
        Workload::ExecTrue => ("exec", 80, &["/bin/true"]),
        Workload::OpenRead => ("open-read", 6_000, &[FILE]),
        Workload::OpenWrite => ("open-write", 5_000, &[FILE]),
        Workload::Connect => ("connect", 600, &[]),
        Workload::Write => ("write", 10_000, &["/tmp/scratch"]),
        Workload::Compile => ("exec", 1, &["/bin/sh", BUILD]),
    }
}

/// Processes that sleep beside the work, as on any machine in use. Without them the counters of each new process find room in
/// the part of per-processor memory that the kernel reserves while it boots, which is cheap; BPF programs take that room, and
/// would be measured by what every machine with some hundred processes has lost anyway.
const IDLE: &str = "200";

/// One part in so many of a workload is done before it counts.
const WARM_UP_PART: u64 = 10;

/// Virtual time in which the kernel does what it put off: while booting, and when a sensor's programs were detached.
pub const REST: Duration = Duration::from_secs(10);

/// Makes the files that the workloads use, and lets the machine come to rest.
pub fn prepare() -> Result<()> {
    output(DRIVER, &["idle", IDLE])?;
    thread::sleep(REST);
    for folder in [FOLDER, TREE] {
        fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    for file in [FILE, "/tmp/scratch"] {
        fs::write(file, b"").with_context(|| format!("making {file}"))?;
    }
    let mut build = format!("set -e\ncd {TREE}\n");
    for at in 0..TREE_FILES {
        fs::write(format!("{TREE}/part{at}.c"), source(at)).context("writing the C tree")?;
        let _ = writeln!(build, "gcc -ffreestanding -O1 -c -o part{at}.o part{at}.c");
        // writing to a String can't fail
    }
    build.push_str("ld -r -o whole.o part*.o\n");
    fs::write(format!("{TREE}/tree.h"), "struct node { struct node *next; unsigned long value; };\n")?;
    fs::write(BUILD, build).with_context(|| format!("writing {BUILD}"))
}

/// One file of the tree: loops and calls, enough for the compiler to work on.
fn source(part: usize) -> String {
    let mut text = String::from("#include \"tree.h\"\n");
    for at in 0..TREE_FUNCTIONS {
        let _ = writeln!(
            text,
            "unsigned long sum_{part}_{at}(const struct node *at, unsigned long limit)\n{{\n\tunsigned long sum = {at};\n\
             \tfor (; at && sum < limit; at = at->next)\n\t\tsum = sum * 31 + (at->value >> {});\n\treturn sum;\n}}",
            at % 8
        );
    }
    text
}

/// Does a little of the workload, so that caches are as full as they stay.
pub fn warm_up(workload: Workload) -> Result<()> {
    let (work, count, arguments) = plan(workload);
    match count / WARM_UP_PART {
        0 => Ok(()), // long enough for its beginning not to matter
        part => drive(work, part, arguments).map(drop),
    }
}

/// What a workload took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// How often it was done.
    pub operations: u64,
    /// Processor time of the driver and its children.
    pub cpu_ns: u64,
    /// Time that passed.
    pub elapsed_ns: u64,
}

/// Does the workload.
pub fn run(workload: Workload) -> Result<Taken> {
    let (work, count, arguments) = plan(workload);
    drive(work, count, arguments)
}

fn drive(work: &str, count: u64, arguments: &[&str]) -> Result<Taken> {
    let count = count.to_string();
    let mut words = vec![work, count.as_str()];
    words.extend_from_slice(arguments);
    let [operations, cpu_ns, elapsed_ns] = numbers(&world::as_user(|| output(DRIVER, &words))?)?;
    Ok(Taken { operations, cpu_ns, elapsed_ns })
}

/// What a program printed; one that fails is an error.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!("{program} {arguments:?} ended with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A line of so many numbers.
pub fn numbers<const COUNT: usize>(line: &str) -> Result<[u64; COUNT]> {
    let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    numbers.try_into().ok().with_context(|| format!("{line:?} is not {COUNT} numbers"))
}
