//! `watertight agent intake`: reads what the run writes and puts what is to be reported into the spool. It has no network, and its death
//! costs at most what it had read within the last second.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::sync::mpsc::{sync_channel, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use watertight_fleet_agent::clock::now_ms;
use watertight_fleet_agent::intake::{Intake, Made};
use watertight_fleet_agent::machine::boot_id;
use watertight_fleet_agent::spool::{Writer, STREAM_BYTES_MAX};
use watertight_fleet_wire::records::Stream;

/// Records that are not urgent are on disk within this time.
const FLUSH: Duration = Duration::from_secs(1);
/// What the run's processes use is looked at so often.
const LOOK: Duration = Duration::from_secs(30);
/// A line of the run's is shorter; of one that is not, no more is kept.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Records that are made and not yet taken; then the reader waits, and the pipe does.
const WAITING_MAX: usize = 1_000;

/// Where to put records.
#[derive(Debug, clap::Args)]
pub struct IntakeArgs {
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

/// Until its input ends.
///
/// # Errors
/// The spool can't be opened, or the input can't be read.
pub(super) fn run(args: &IntakeArgs) -> anyhow::Result<u8> {
    watertight_host::signals::ignore().context("setting signals aside")?; // its input ends when the run has
    let spool = super::layout::spool(&args.state)?;
    let boot = boot_id();
    let writer = |stream| Writer::new(&spool, stream, &boot, STREAM_BYTES_MAX);
    let mut writers = [writer(Stream::Crash)?, writer(Stream::Health)?, writer(Stream::Alert)?];
    let (made, records) = sync_channel::<Made>(WAITING_MAX);
    let intake = Arc::new(Mutex::new(Intake::new(now_ms())));
    let lines = Arc::clone(&intake);
    let reader = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut input, mut line) = (BufReader::new(std::io::stdin()), Vec::new());
        loop {
            line.clear();
            if (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let records = lines.lock().unwrap_or_else(PoisonError::into_inner).take(&line, now_ms());
            for record in records {
                if made.send(record).is_err() {
                    return Ok(());
                }
            }
        }
    });
    let (mut flushed, mut looked) = (Instant::now(), Instant::now());
    loop {
        let is_ended = match records.recv_timeout(FLUSH) {
            Ok(record) => {
                let place = match record.stream {
                    Stream::Crash => 0,
                    Stream::Health => 1,
                    _ => 2,
                };
                let Some(writer) = writers.get_mut(place) else { continue };
                writer.add(now_ms(), record.body);
                if record.is_urgent {
                    writer.flush();
                }
                if flushed.elapsed() < FLUSH {
                    continue;
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            let crossed = intake.lock().unwrap_or_else(PoisonError::into_inner).look(now_ms());
            if let (Some(crossed), [_, health, _]) = (crossed, &mut writers) {
                health.add(now_ms(), crossed.body);
            }
        }
        writers.iter_mut().for_each(Writer::flush);
        flushed = Instant::now();
        if is_ended {
            break;
        }
    }
    reader.join().ok().context("the reader panicked")?.context("reading what the run says")?;
    Ok(0)
}
