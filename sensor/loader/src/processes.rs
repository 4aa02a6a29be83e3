//! The processes that are there already, read by a BPF task iterator and written as records: a JSON line that says how,
//! then the records one after the other, each with its size in its header.
//!
//! The form that may sleep reads arguments too. Where the kernel admits only the other, the line says so, and whoever reads
//! it takes the arguments from /proc.

use std::io::{self, Read as _, Write};

use anyhow::{Context as _, Result};
use libbpf_rs::{Iter, ObjectBuilder};
use serde::Serialize;

use crate::objects::SNAPSHOT;
use crate::trial;

/// The program that reads everything, and the one that reads no arguments.
const WITH_ARGUMENTS: &str = "processes";
const WITHOUT_ARGUMENTS: &str = "processes_without_arguments";
/// What the kernel gives at once: its own buffer's size.
const READ_BYTES: usize = 32 << 10;

/// How the records were read.
#[derive(Serialize)]
struct Reading {
    /// Arguments are among what was read.
    arguments: bool,
    /// Why not.
    refused: Option<String>,
}

/// Writes the line and the records.
///
/// # Errors
/// The kernel refuses both forms, or the output is gone.
pub fn write(out: &mut impl Write) -> Result<()> {
    trial::silence_libbpf();
    let first = read_by(WITH_ARGUMENTS);
    let (records, reading) = match first {
        Ok(records) => (records, Reading { arguments: true, refused: None }),
        Err(error) => {
            let refused = Some(trial::root_cause(&error));
            (read_by(WITHOUT_ARGUMENTS)?, Reading { arguments: false, refused })
        }
    };
    writeln!(out, "{}", serde_json::to_string(&reading)?)?;
    out.write_all(&records)?;
    out.flush().context("writing the records")
}

fn read_by(program_name: &str) -> Result<Vec<u8>> {
    let mut open = ObjectBuilder::default().open_memory(SNAPSHOT.verified()?).context("opening the snapshot object")?;
    for mut map in open.maps_mut() {
        // The rings and counters are the hooks' own.
        if map.name() != "scratches" {
            map.set_autocreate(false).context("leaving out a map")?;
        }
    }
    for mut program in open.progs_mut() {
        let is_it = program.name() == program_name;
        program.set_autoload(is_it);
    }
    let object = open.load().with_context(|| format!("loading the iterator {program_name}"))?;
    let program = object
        .progs_mut()
        .find(|program| program.name() == program_name)
        .with_context(|| format!("this build has no program {program_name}"))?;
    let link = program.attach().context("attaching the iterator")?;
    read_to_end(Iter::new(&link).context("opening the iterator")?)
}

fn read_to_end(mut iterator: Iter) -> Result<Vec<u8>> {
    let mut records = Vec::new();
    let mut buffer = vec![0_u8; READ_BYTES];
    loop {
        match iterator.read(&mut buffer) {
            Ok(0) => return Ok(records),
            Ok(length) => records.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            // Very many threads in a row that give no record: the kernel wants to be asked again.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("reading the iterator"),
        }
    }
}
