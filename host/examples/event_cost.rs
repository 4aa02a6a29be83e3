//! What an event costs the detector, step by step, over made-up records: for a profiler that counts instructions.
//! FILE is a recording of events: these take turns, and reading them is in every step.
//!
//! `event_cost COUNT read|translate|tree|json|rules|together [open|exec|fork|FILE]`: each step includes those before it, json and rules both
//! come after tree, and together is both and what correlations make of the hits, an event each tenth of a millisecond. The difference between two counts is the cost without the start.

use std::hint::black_box;

use anyhow::{bail, Context as _, Result};
use watertight_engine::Image;
use watertight_event::{Event, JsonLines};
use watertight_host::tree::Tree;
use watertight_host::users::Names;
use watertight_host::worker::rules;
use watertight_sensor_abi::{
    Exec, File, Fork, Header, Hook, Process, Record, RecordType, ABI_VERSION, FLAG_HAS_PROCESS,
};
use watertight_sensor_reader::{translate, ProcessIds};

/// When the machine was booted, nanoseconds since 1970.
const NOW_NS: u64 = 1_763_726_400_123_456_789;
/// Between two events, and how long the detector lets them settle.
const APART_NS: u64 = 100_000;
const SETTLE_NS: u64 = 100_000_000;
/// As long as a real boot's id.
const BOOT_ID: &str = "0123456789abcdef0123456789abcdef";
/// Tags of attachments, as in the ABI.
const EXECUTABLE: u16 = 1;
const ARGV: u16 = 2;
const CWD: u16 = 3;
const PATH: u16 = 5;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().context("usage: event_cost COUNT STEP [KIND]")?.parse()?;
    let step = arguments.next().context("usage: event_cost COUNT STEP [KIND]")?;
    let source = match arguments.next().as_deref() {
        None | Some("open") => Repeated::Record(open()),
        Some("exec") => Repeated::Record(exec()),
        Some("fork") => Repeated::Record(fork()),
        Some(file) => Repeated::events_of(file)?,
    };
    let image = rules::load(&[])?.image;
    let rules = rules::Rules::of(Image::open(&image)?);
    let mut tree = Tree::new(Names::of_this_machine());
    let mut ids = ProcessIds::new(BOOT_ID);
    let mut steps = Steps { step, rules, line: Vec::new(), lines: JsonLines::default(), now_ns: 77_000_000_000 };
    let repeated = match source {
        Repeated::Events(events) => {
            return events.iter().cycle().take(count).try_for_each(|event| steps.take(event.clone()))
        }
        Repeated::Record(bytes) => bytes,
    };
    // An exec comes first, so that the process is known.
    for bytes in std::iter::once(&exec()).chain(std::iter::repeat_n(&repeated, count)) {
        let record = Record::read(bytes).context("a record of our own")?;
        if steps.step == "read" {
            black_box(&record);
            continue;
        }
        let mut event = translate(&record, &mut ids);
        if steps.step == "translate" {
            black_box(&event);
            continue;
        }
        tree.enrich(&mut event);
        event.unix_ns = event.boot_ns.saturating_add(NOW_NS);
        steps.take(event)?;
    }
    Ok(())
}

/// What is done again and again.
enum Repeated {
    Record(Vec<u8>),
    Events(Vec<Event>),
}

impl Repeated {
    fn events_of(file: &str) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{file:?} is none of open, exec, fork"))?;
        let events: Result<Vec<Event>, _> = text.lines().map(Event::from_json).collect();
        Ok(Self::Events(events.with_context(|| format!("reading {file}"))?))
    }
}

/// What follows once an event is whole.
struct Steps<'i> {
    step: String,
    rules: rules::Rules<'i>,
    line: Vec<u8>,
    lines: JsonLines,
    now_ns: u64,
}

impl Steps<'_> {
    fn take(&mut self, mut event: Event) -> Result<()> {
        let Self { step, rules, line, lines, now_ns } = self;
        match step.as_str() {
            "tree" => {
                black_box(&event);
            }
            "json" => {
                line.clear();
                lines.write(&event, line);
                black_box(&line);
            }
            "rules" => {
                black_box(rules.evaluate(&event, &mut |_| {}));
            }
            "together" => {
                event.boot_ns = *now_ns;
                *now_ns += APART_NS;
                line.clear();
                lines.write(&event, line);
                black_box(rules.evaluate_next(&event, line, &mut |_| {}, &mut |_| {}));
                rules.advance(now_ns.saturating_sub(SETTLE_NS), &mut |_| {});
            }
            other => bail!("{other:?} is no step"),
        }
        Ok(())
    }
}

fn exec() -> Vec<u8> {
    let body = Exec { inode: 2_345_678, dev: 2_049, links: 1, ..Exec::default() };
    let attachments: [(u16, &[u8]); 3] = [
        (EXECUTABLE, b"driver\0bench\0\0"),
        (ARGV, b"/bench/driver\0open-write\0many\0/tmp/bench/file\0"),
        (CWD, b"\0"),
    ];
    record(Hook::TaskExec, RecordType::Exec, |out| body.write(out), &attachments)
}

fn open() -> Vec<u8> {
    let body = File { inode: 1_234_567, dev: 2_049, mode: 0o100_644, flags: 1, ..File::default() };
    record(Hook::FileOpen, RecordType::File, |out| body.write(out), &[(PATH, b"file\0bench\0tmp\0\0")])
}

fn fork() -> Vec<u8> {
    let body = Fork { child_pid: 4243, child_tid: 4243, ..Fork::default() };
    record(Hook::TaskFork, RecordType::Fork, |out| body.write(out), &[])
}

fn record(hook: Hook, kind: RecordType, body: impl Fn(&mut Vec<u8>), attachments: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = Header {
        version: ABI_VERSION,
        record: kind as u16,
        hook: hook as u16,
        flags: FLAG_HAS_PROCESS,
        boot_ns: 77_000_000_000,
        ..Header::default()
    };
    header.write(&mut bytes);
    let process = Process {
        pid: 4242,
        tid: 4242,
        start_ns: 76_000_000_000,
        parent_pid: 4000,
        parent_start_ns: 70_000_000_000,
        comm: *b"driver\0\0\0\0\0\0\0\0\0\0",
        capabilities: 0x1ff_ffff_ffff,
        loginuid: u32::MAX,
        pid_ns: 4_026_531_836,
        mnt_ns: 4_026_531_841,
        user_ns: 4_026_531_837,
        cgroup_id: 4_711,
        ..Process::default()
    };
    process.write(&mut bytes);
    body(&mut bytes);
    for (tag, text) in attachments {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&0_u16.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(text);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let size = u32::try_from(bytes.len()).unwrap_or(0);
    if let Some(slot) = bytes.get_mut(4..8) {
        slot.copy_from_slice(&size.to_le_bytes());
    }
    bytes
}
