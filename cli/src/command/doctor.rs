//! `watertight doctor`: tries what this machine admits, detaches it again, and prints the exact mend for what is missing.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use watertight_host::loader::{load_or_clear, Loader};
use watertight_host::matrix::{Fallbacks, Found, Mend};
use watertight_host::printable::printable_lines;
use watertight_host::say::not_written;
use watertight_host::there::There;
use watertight_sensor_fallback::{fanotify, proc_connector, Fanotify, ProcConnector, SockDiag};

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

/// Between two dumps of the sockets; here none is made.
const SOCKETS_EVERY: Duration = Duration::from_secs(1);

/// Exit code 0 if nothing is missing, 3 otherwise.
///
/// # Errors
/// What the trial attached could not be taken away.
pub fn run(args: &DoctorArgs) -> anyhow::Result<u8> {
    let loader = Loader::find(args.loader.as_deref(), &args.pins);
    let mut found = Found::default();
    match load_or_clear(loader.as_ref(), &[]) {
        Ok(report) => {
            if let Ok(loader) = &loader {
                (found.processes, _) = There::read(Some(loader), Some(&report));
                loader.unload()?;
            }
            let _ = std::fs::remove_dir(&args.pins); // an empty folder that stays does no harm
            found.kernel = Some(report);
        }
        Err(refused) => found = Found::without_kernel(refused),
    }
    let told = |error: watertight_sensor_fallback::Error| error.to_string();
    found.fallbacks = Fallbacks {
        fanotify: Some(Fanotify::open(fanotify::Options::default()).map(drop).map_err(told)),
        proc_connector: Some(ProcConnector::open(proc_connector::Options::default()).map(drop).map_err(told)),
        sock_diag: Some(SockDiag::open(SOCKETS_EVERY).map(drop).map_err(told)),
    };
    let matrix = found.matrix(&Mend::of_this_machine());
    let text = match args.output {
        Form::Json => format!("{}\n", serde_json::to_string(&matrix)?),
        Form::Live => printable_lines(&matrix.to_text()),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(not_written("the matrix"))?;
    Ok(if matrix.is_whole() { 0 } else { 3 })
}
