//! `watertight crash`: crashes of a fleet, counted by bucket in one file.

mod chart;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use watertight_host::examiner::Examiner;
use watertight_host::printable::printable;
use watertight_host::say::not_written;
use watertight_triage::store::{Added, Associated, Estimate, Origin, Shown, Store, StoreError};
use watertight_triage::Examined;

use super::parts::pieces;

/// Exit code when all went well.
const OK: u8 = 0;

/// Exit code when no file could be read.
const FAILED: u8 = 1;

/// Exit code when some file could not be read.
const PARTIAL: u8 = 3;

/// Exit code when the bucket is not there.
const NOT_FOUND: u8 = 4;

/// Count crashes of a fleet by bucket: one bug, one bucket.
#[derive(Debug, clap::Args)]
pub struct CrashArgs {
    #[command(subcommand)]
    command: CrashCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CrashCommand {
    Add(AddArgs),
    /// Name the buckets, those of most machines first.
    List(ListArgs),
    Show(ShowArgs),
    Chart(chart::ChartArgs),
    /// Name pairs of buckets that may be one bug, those most alike first. Nothing is merged: `rebucket` does that.
    MergeSuggestions(ListArgs),
    Rebucket(RebucketArgs),
}

/// Which store, and in which form.
#[derive(Debug, clap::Args)]
struct In {
    /// The file with the counts; it is made when it is not there.
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Forms of output; JSON is one object a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// The same.
    Jsonl,
}

/// Triage crash files and count what they tell.
#[derive(Debug, clap::Args)]
struct AddArgs {
    #[command(flatten)]
    place: In,
    /// The machine that crashed.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    host: String,
    /// When: `2026-11-22T08:45:00Z`. Without it the time of the file's last change.
    #[arg(long)]
    at: Option<Timestamp>,
    /// Which boot of the machine: the same crash of another boot counts again.
    #[arg(long, default_value = "")]
    boot: String,
    /// Release of the sensor. Without it what a dump of our own says.
    #[arg(long, default_value = "")]
    release: String,
    /// Version of the content. Without it what a dump of our own says.
    #[arg(long, default_value = "")]
    content: String,
    /// Build of the operating system. Without it what the crash says.
    #[arg(long, default_value = "")]
    os_build: String,
    /// Crash texts or dumps. Parts of one crash in pstore, given together, are one crash.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Where to look.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    place: In,
}

/// Show a bucket: counts, stack, what it is associated with.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    place: In,
    /// Of so many machines that were asked, how many send their crashes: `25/100`. Gives an estimate of all machines affected.
    #[arg(long, value_name = "N/M", value_parser = share)]
    reporting: Option<(u64, u64)>,
    /// The bucket's id, its start, or an id that it had before.
    bucket: String,
}

/// Join a bucket to another; its id stays as an alias.
#[derive(Debug, clap::Args)]
struct RebucketArgs {
    #[command(flatten)]
    place: In,
    /// The bucket that goes.
    old: String,
    /// The bucket that stays.
    new: String,
}

/// Runs the subcommand and gives its exit code.
///
/// # Errors
/// When the store can't be used or the answer can't be written.
pub fn run(args: &CrashArgs) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(io::stdout().lock());
    let answered = match &args.command {
        CrashCommand::Add(args) => add(args, &mut out),
        CrashCommand::List(args) => list(args, &mut out),
        CrashCommand::Show(args) => show(args, &mut out),
        CrashCommand::Chart(args) => chart::run(args, &mut out),
        CrashCommand::MergeSuggestions(args) => suggestions(args, &mut out),
        CrashCommand::Rebucket(args) => rebucket(args),
    };
    let code = match answered {
        Err(error) if error.chain().any(|cause| matches!(cause.downcast_ref(), Some(StoreError::NoBucket { .. }))) => {
            watertight_host::say!("watertight: {}", printable(&format!("{error:#}")));
            NOT_FOUND
        }
        answered => answered?,
    };
    out.flush().map_err(not_written("the answer"))?;
    Ok(code)
}

fn open(path: &Path) -> anyhow::Result<Store> {
    Store::open(path).with_context(|| path.display().to_string())
}

/// A store that must be there: a typing error in its name must not make an empty one.
fn open_existing(path: &Path) -> anyhow::Result<Store> {
    anyhow::ensure!(path.exists(), "{}: no such store: `watertight crash add` makes one", path.display());
    open(path)
}

/// `25/100`.
fn share(text: &str) -> Result<(u64, u64), String> {
    text.split_once('/')
        .and_then(|(part, all)| Some((part.parse().ok()?, all.parse().ok()?)))
        .filter(|(part, all)| *part > 0 && part <= all)
        .ok_or_else(|| "expected two counts of machines, such as 25/100".to_owned())
}

fn add(args: &AddArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut store = open(&args.place.store)?;
    let (mut new, mut known, mut suppressed, mut nothing, mut failed) = (0_u64, 0_u64, 0_u64, 0_usize, 0_usize);
    let mut examiner = Examiner::new(false, Vec::new());
    for piece in pieces(&args.files) {
        // Of parts the one that was written last.
        let changed_s = || piece.files().iter().map(|file| changed_s(file)).max().unwrap_or_default();
        let origin = Origin {
            host: args.host.clone(),
            at_s: args.at.map_or_else(changed_s, Timestamp::as_second),
            boot: args.boot.clone(),
            release: args.release.clone(),
            content: args.content.clone(),
            os_build: args.os_build.clone(),
        };
        let mut added = Ok(());
        let count = piece.files().len();
        let examined = piece.examine(&mut examiner, &mut |report| {
            if added.is_err() {
                return;
            }
            if let Some(error) = &report.error {
                watertight_host::say!("watertight: {}: {}", printable(&report.file), printable(error));
            }
            match store.add(&report, &origin) {
                Ok(Added::New) => new += 1,
                Ok(Added::Known) => known += 1,
                Ok(Added::Suppressed) => suppressed += 1,
                Ok(Added::NoCrash) if report.error.is_none() => nothing += count,
                Ok(Added::NoCrash) => {}
                Err(error) => added = Err(error),
            }
        })?;
        added.with_context(|| args.place.store.display().to_string())?;
        failed += if examined == Examined::Failed { count } else { 0 };
    }
    if args.place.output == Form::Text {
        let apart = if suppressed == 0 { String::new() } else { format!(", {suppressed} say nothing of their own") };
        writeln!(
            out,
            "{new} crashes counted, {known} were known{apart}, {nothing} files without a crash, {failed} could not be read"
        )
    } else {
        let line = serde_json::json!({"counted": new, "known": known, "suppressed": suppressed, "without_crash": nothing, "failed": failed});
        writeln!(out, "{line}")
    }
    .map_err(not_written("the answer"))?;
    Ok(match failed {
        0 => OK,
        all if all == args.files.len() => FAILED,
        _ => PARTIAL,
    })
}

/// When the file was changed last, in seconds since 1970.
fn changed_s(file: &Path) -> i64 {
    let changed = std::fs::metadata(file).and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
    changed.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

/// A time as people write it.
fn time(at_s: i64) -> String {
    Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |at| at.to_string())
}

fn list(args: &ListArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let rows = open_existing(&args.place.store)?.list()?;
    lines(&rows, args.place.output, out, |row| {
        let (title, last) = (printable(&row.title), time(row.last_s));
        format!("{}  {:>6} hosts {:>7} crashes  last {last}  {title}", row.bucket, row.hosts, row.crashes)
    })
}

fn suggestions(args: &ListArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let rows = open_existing(&args.place.store)?.merge_suggestions()?;
    lines(&rows, args.place.output, out, |row| {
        let (title, other) = (printable(&row.title), printable(&row.other_title));
        format!("{:.2}  {} {title}\n      {} {other}", row.similarity, row.one, row.other)
    })
}

/// Rows in the form that was asked for.
fn lines<T: Serialize>(rows: &[T], form: Form, out: &mut dyn Write, text: impl Fn(&T) -> String) -> anyhow::Result<u8> {
    for row in rows {
        let line = if form == Form::Text { text(row) } else { serde_json::to_string(row)? };
        writeln!(out, "{line}").map_err(not_written("the answer"))?;
    }
    Ok(OK)
}

fn rebucket(args: &RebucketArgs) -> anyhow::Result<u8> {
    open_existing(&args.place.store)?.rebucket(&args.old, &args.new)?;
    Ok(OK)
}

/// A bucket with what it is associated with, as JSON has it.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    shown: Shown,
    associated_with: Vec<Associated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
}

fn show(args: &ShowArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let store = open_existing(&args.place.store)?;
    let shown = store.show(&args.bucket)?;
    let associated_with = store.associated(&args.bucket)?;
    let estimate = args.reporting.and_then(|(part, all)| Estimate::of(shown.counted.hosts, part, all));
    let answer = Answer { shown, associated_with, estimate };
    if args.place.output == Form::Text {
        write_shown(&answer, out)
    } else {
        serde_json::to_writer(&mut *out, &answer).map_err(io::Error::from).and_then(|()| writeln!(out))
    }
    .map_err(not_written("the answer"))?;
    Ok(OK)
}

fn write_shown(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let counted = &answer.shown.counted;
    writeln!(out, "TITLE:     {}", printable(&counted.title))?;
    writeln!(out, "TYPE:      {}", printable(&counted.class))?;
    writeln!(out, "BUCKET_ID: {}", counted.bucket)?;
    writeln!(out, "KEY:       {}", printable(&answer.shown.key))?;
    if !answer.shown.aliases.is_empty() {
        writeln!(out, "BEFORE:    {}", answer.shown.aliases.join(" "))?;
    }
    writeln!(out, "COUNTED:   {} crashes of {} hosts, {} places", counted.crashes, counted.hosts, answer.shown.exact)?;
    writeln!(out, "FROM, TO:  {}  {}", time(counted.first_s), time(counted.last_s))?;
    if let Some(estimate) = &answer.estimate {
        writeln!(
            out,
            "ESTIMATE:  {:.0} hosts affected, {:.0} to {:.0} (at least 95 %)",
            estimate.affected, estimate.low, estimate.high
        )?;
        writeln!(
            out,
            "           if those that crashed report as often as those asked; a host that can't boot does not"
        )?;
    }
    if !answer.shown.calls.is_empty() {
        writeln!(out, "STACK:")?;
        answer.shown.calls.iter().try_for_each(|call| writeln!(out, "  {}", printable(call)))?;
    }
    if !answer.associated_with.is_empty() {
        writeln!(
            out,
            "ASSOCIATED WITH (share among its hosts / share among hosts with other crashes, 95 % interval):"
        )?;
    }
    answer.associated_with.iter().try_for_each(|one| {
        let value = printable(&one.value);
        let of = format!("{} of {} hosts", one.hosts, one.of);
        writeln!(out, "  {:<8} {value}  {:.1}x ({:.1} to {:.1})  {of}", one.dimension, one.lift, one.low, one.high)
    })
}
