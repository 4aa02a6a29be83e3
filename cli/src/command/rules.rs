//! `watertight rules check`: says of every rule whether it can ever fire on this sensor's events, and why not.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use watertight_content::sigma::supply::supply;
use watertight_content::sigma::verdict::{rows, Row, Verdict};
use watertight_content::sigma::{load_dir, Kind};
use watertight_host::printable::printable;
use watertight_host::say::not_written;

/// Exit code when every rule was accepted.
const OK: u8 = 0;

/// Exit code when a file could not be read, or there are no rules.
const FAILED: u8 = 1;

/// Exit code when some rule was rejected.
const PARTIAL: u8 = 3;

/// Work with detection rules.
#[derive(Debug, clap::Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RulesCommand {
    Check(CheckArgs),
}

/// Say of every rule whether it can fire on this sensor's events.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Folder (or file) with rules.
    pub dir: PathBuf,
    /// Form of the verdicts.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A line per rule and a summary.
    Text,
    /// One JSON array.
    Json,
}

/// Runs the subcommand and gives its exit code.
///
/// # Errors
/// When the verdicts can't be written.
pub fn run(args: &RulesArgs) -> anyhow::Result<u8> {
    match &args.command {
        RulesCommand::Check(args) => check(args),
    }
}

/// Exit code 0 if every rule was accepted, 3 if some were rejected, 1 if a file could not be read or there are no rules.
fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let mut library = load_dir(&args.dir);
    // What a rule may take shows when it is compiled.
    library.image().context("compiling the rules")?;
    let verdicts = rows(&library, &supply());
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        Form::Json => serde_json::to_writer_pretty(&mut out, &verdicts).map_err(io::Error::from),
        Form::Text => write_text(&verdicts, library.tests, &mut out),
    }
    .and_then(|()| writeln!(out))
    .and_then(|()| out.flush())
    .map_err(not_written("the verdicts"))?;
    super::refused::tell(&library.rejections);
    for error in &library.unreadable {
        watertight_host::say!("watertight: {}", printable(&error.to_string()));
    }
    Ok(match (library.unreadable.is_empty(), library.rejections.is_empty()) {
        (false, _) => FAILED,
        (true, false) => PARTIAL,
        (true, true) => OK,
    })
}

fn write_text(verdicts: &[Row], tests: usize, out: &mut dyn Write) -> io::Result<()> {
    for row in verdicts {
        let kind = if row.kind == Kind::Exception { "exception " } else { "" };
        let (rule, file) = (printable(&row.rule), printable(&row.file));
        writeln!(out, "{:<9} {kind}{rule}  {file}{}", name(row.verdict), reason(row))?;
    }
    // What needs several events is a rule as any other.
    let (exceptions, rules): (Vec<&Row>, Vec<&Row>) = verdicts.iter().partition(|row| row.kind == Kind::Exception);
    let count = |verdict| rules.iter().filter(|row| row.verdict == verdict).count();
    write!(
        out,
        "{} can fire, {} degraded, {} never, {} rejected",
        count(Verdict::CanFire),
        count(Verdict::Degraded),
        count(Verdict::Never),
        count(Verdict::Rejected)
    )?;
    if !exceptions.is_empty() {
        let not_in_use = |row: &&&Row| matches!(row.verdict, Verdict::Never | Verdict::Rejected);
        let not = exceptions.iter().filter(not_in_use).count();
        write!(out, "; {} exceptions: {} in use, {not} not", exceptions.len(), exceptions.len().saturating_sub(not))?;
    }
    if tests > 0 {
        write!(out, "; {tests} files with tests of rules left out")?;
    }
    Ok(())
}

fn reason(row: &Row) -> String {
    if row.reason.is_empty() {
        String::new()
    } else {
        format!("\n          {}", printable(&row.reason))
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::CanFire => "can-fire",
        Verdict::Degraded => "degraded",
        Verdict::Never => "never",
        Verdict::Rejected => "rejected",
    }
}
