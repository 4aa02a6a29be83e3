//! Prints the log of a Linux kernel core, to be compared with what other tools print: `vmcore_dmesg FILE`.

use std::path::PathBuf;
use std::process::ExitCode;

use watertight_triage::source::FileSource;
use watertight_triage::vmcore;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: vmcore_dmesg FILE");
        return ExitCode::from(2);
    };
    match FileSource::open(&path).and_then(|source| vmcore::dmesg(&source)) {
        Ok(log) => {
            print!("{log}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
