//! The detection engine beside `rsigma-eval` and `sigma-rust`: the same rules, the same events, one machine.
//!
//! ```text
//! rivals bench [--corpora DIR] [--out FILE] [--scene NAME]
//!                                               time, memory and load, each engine in a process of its own; with `--keep DIR` rules
//!                                               and events stay there, for `rivals measure` by hand
//! rivals compare [--corpora DIR]                which rules fire where, each difference against `differences.csv`
//! ```
//! Without the public rules (`--corpora`, `WATERTIGHT_CORPORA`) there is nothing to compare, and it says so.

mod bench;
mod compare;
mod copies;
mod engines;
mod events;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, Context as _, Result};

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rivals: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    let option = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
    let corpora = option("--corpora").or_else(|| std::env::var("WATERTIGHT_CORPORA").ok()).map(PathBuf::from);
    let corpora = || match &corpora {
        Some(folder) if folder.join("sigma/rules").is_dir() => Ok(Some(folder.clone())),
        Some(folder) => bail!("there is no sigma/rules in {}: name the folder that has it", folder.display()),
        None => Ok(None),
    };
    match args.first().map(String::as_str) {
        Some("bench") => match corpora()? {
            Some(corpora) => {
                let path = |name: &str| option(name).map(PathBuf::from);
                let only = option("--scene");
                bench::run(&corpora, path("--out").as_deref(), path("--keep"), only.as_deref())
            }
            None => Ok(skipped()),
        },
        Some("compare") => match corpora()? {
            Some(corpora) => compare::run(&corpora),
            None => Ok(skipped()),
        },
        // What `bench` starts for each engine.
        Some("measure") => {
            let named = |name: &str| option(name).with_context(|| format!("measure needs {name}"));
            bench::measure(&named("--engine")?, &named("--rules")?, &named("--events")?)
        }
        _ => bail!("usage: rivals bench|compare [--corpora DIR] [--out FILE]"),
    }
}

fn skipped() -> ExitCode {
    println!("skipped: no corpus (name the folder with --corpora or WATERTIGHT_CORPORA)");
    ExitCode::SUCCESS
}
