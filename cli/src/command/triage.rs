//! `watertight triage`: crash files in, a report of each crash out.
//!
//! The files are read by a worker that has no rights (`watertight_host::examiner`): who made a machine crash may have written its dump too.
//! Reports are written as they are found, file after file in the given order, so that a pipe can be read while it runs.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use watertight_host::examiner::Examiner;
use watertight_host::say::not_written;
use watertight_triage::{Examined, Report};

use super::parts::pieces;

/// Exit code when every file was read.
const OK: u8 = 0;

/// Exit code when no file could be read.
const FAILED: u8 = 1;

/// Exit code when some could not.
const PARTIAL: u8 = 3;

/// From this many files on a terminal gets a progress bar.
const FILES_WITH_BAR_MIN: usize = 8;

/// Say what crashed, where and in whose code: logs of a Linux kernel, dumps.
#[derive(Debug, clap::Args)]
pub struct TriageArgs {
    /// Crash texts or dumps.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Form of the reports.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
    /// Leave out what may be secret: stack words outside modules, memory, arguments of processes.
    #[arg(long)]
    redact: bool,
    /// Folder with symbol files (PDB, Breakpad's .sym), for the names of functions; may be given more than once. Nothing is fetched.
    #[arg(long, value_name = "DIR")]
    symbols: Vec<PathBuf>,
}

/// Forms of output; a stream of JSON is JSON Lines under either name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// What an analyst reads.
    Text,
    /// One JSON object a line.
    Json,
    /// The same.
    Jsonl,
}

/// Runs the subcommand. Exit code 0, 3 if some file could not be read, 1 if none could.
///
/// # Errors
/// When the reports can't be written, or the worker that reads the files can't be started.
pub fn run(args: &TriageArgs) -> anyhow::Result<u8> {
    let mut examiner = Examiner::new(args.redact, args.symbols.clone());
    let mut out = BufWriter::new(io::stdout().lock());
    let bar = bar(args.files.len());
    let (mut failed, mut is_first) = (0_usize, true);
    for piece in pieces(&args.files) {
        let mut written = Ok(());
        let examined = piece.examine(&mut examiner, &mut |report| {
            if written.is_ok() {
                written = write(&report, args.output, is_first, &mut out);
                is_first = false;
            }
        })?;
        written.map_err(not_written("the reports"))?;
        let count = piece.files().len();
        failed += if examined == Examined::Failed { count } else { 0 };
        bar.inc(u64::try_from(count).unwrap_or(u64::MAX));
    }
    bar.finish_and_clear();
    out.flush().map_err(not_written("the reports"))?;
    Ok(match failed {
        0 => OK,
        all if all == args.files.len() => FAILED,
        _ => PARTIAL,
    })
}

fn write(report: &Report, form: Form, is_first: bool, out: &mut dyn Write) -> io::Result<()> {
    if form != Form::Text {
        serde_json::to_writer(&mut *out, report)?;
        return writeln!(out);
    }
    if !is_first {
        writeln!(out)?;
    }
    write!(out, "{report}")
}

/// A bar on standard error for many files, unless the reports go to the same terminal.
fn bar(files: usize) -> ProgressBar {
    if files < FILES_WITH_BAR_MIN || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let files = u64::try_from(files).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(files), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} files, {eta} left") {
        bar.set_style(style);
    }
    bar
}
