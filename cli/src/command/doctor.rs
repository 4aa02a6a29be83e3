//! `watertight doctor`: tries what this machine admits, detaches it again, and prints the exact mend for what is missing.

use std::io::Write as _;
use std::path::PathBuf;

use watertight_host::loader::Loader;
use watertight_host::matrix::{Fallbacks, Found, Mend};
use watertight_host::printable::printable_lines;
use watertight_sensor_fallback::{fanotify, Fanotify};

use super::run::Form;

/// Try what this machine admits and say what would raise the level.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// `live` for people or `json`.
    #[arg(short, long, value_enum, default_value = "live")]
    pub output: Form,
    /// The loader, when it does not lie beside this executable.
    #[arg(long, value_name = "FILE")]
    pub loader: Option<PathBuf>,
    /// Folder on a bpffs for the trial; removed afterwards.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/watertight-doctor")]
    pub pins: PathBuf,
}

/// Exit code 0 if nothing is missing, 3 otherwise.
///
/// # Errors
/// There is no loader.
pub fn run(args: &DoctorArgs) -> anyhow::Result<u8> {
    let loader = Loader::find(args.loader.as_deref(), &args.pins)?;
    let mut found = Found::default();
    match loader.load(&[]) {
        Ok(report) => {
            loader.unload()?;
            let _ = std::fs::remove_dir(&args.pins); // an empty folder that stays does no harm
            found.kernel = Some(report);
        }
        Err(error) => found.kernel_refused = format!("{error:#}"),
    }
    let marks = Fanotify::open(fanotify::Options::default());
    found.fallbacks =
        Fallbacks { fanotify: Some(marks.map(drop).map_err(|error| error.to_string())), ..Fallbacks::default() };
    let matrix = found.matrix(&Mend::of_this_machine());
    let mut out = std::io::stdout().lock();
    if args.output == Form::Json {
        writeln!(out, "{}", serde_json::to_string(&matrix)?)?;
    } else {
        write!(out, "{}", printable_lines(&matrix.to_text()))?;
    }
    Ok(if matrix.is_whole() { 0 } else { 3 })
}
