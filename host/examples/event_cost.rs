//! What an event costs the detector, step by step: decode, translate, process tree, JSON and rules over made-up records.
//!
//! `event_cost COUNT read|translate|tree|json|rules|all`; run it under a counter of instructions. Output goes to standard output.

use anyhow::{Context as _, Result};
use watertight_host::output::Output;
use watertight_host::tree::Tree;
use watertight_host::users::Names;
use watertight_host::worker::protocol::Format;
use watertight_host::worker::rules;
use watertight_sensor_abi::{
    Exec, File, Fork, Header, Hook, Process, Record, RecordType, ABI_VERSION, FLAG_HAS_PROCESS,
};
use watertight_sensor_reader::translate;

const BOOT_ID: &str = "0123456789abcdef0123456789abcdef";

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

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().context("usage: event_cost COUNT STEP")?.parse()?;
    let step = arguments.next().unwrap_or_default();
    let (mut rules, _) = rules::load(&[])?;
    let mut tree = Tree::new(Names::of_this_machine());
    let mut output = Output::new(Format::Native, false, None, rules.len(), 0);
    let path: &[u8] = b"file\0bench\0tmp\0\0";
    let exec = record(
        Hook::TaskExec,
        RecordType::Exec,
        |out| Exec { inode: 7, dev: 2, links: 1, ..Exec::default() }.write(out),
        &[(1, b"driver\0bench\0\0"), (2, b"/bench/driver\0open-write\0100\0/tmp/bench/file\0"), (3, b"\0")],
    );
    let open = record(
        Hook::FileOpen,
        RecordType::File,
        |out| File { inode: 9, dev: 3, mode: 0o100_644, flags: 1, ..File::default() }.write(out),
        &[(5, path)],
    );
    let fork = record(
        Hook::TaskFork,
        RecordType::Fork,
        |out| Fork { child_pid: 4243, child_tid: 4243, ..Fork::default() }.write(out),
        &[],
    );
    let which = arguments.next().unwrap_or_default();
    let repeated = match which.as_str() {
        "exec" => &exec,
        "fork" => &fork,
        _ => &open,
    };
    let first = [&exec];
    let mut line = Vec::new();
    for bytes in first.into_iter().chain(std::iter::repeat_n(repeated, usize::try_from(count)?)) {
        let record = Record::read(bytes).context("a record of our own")?;
        if step == "read" {
            std::hint::black_box(&record);
            continue;
        }
        let mut event = translate(&record, BOOT_ID);
        if step == "translate" {
            std::hint::black_box(&event);
            continue;
        }
        tree.enrich(&mut event);
        if step == "tree" {
            std::hint::black_box(&event);
            continue;
        }
        if step == "json" {
            line.clear();
            event.write_json(&mut line);
            std::hint::black_box(&line);
            continue;
        }
        if step == "rules" {
            rules.evaluate(&event, &mut |alert| eprintln!("{}", alert.rule.title));
            continue;
        }
        output.event(&mut event, &mut rules, &tree)?;
    }
    output.flush()?;
    Ok(())
}
