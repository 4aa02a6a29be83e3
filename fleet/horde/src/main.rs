//! Parses the arguments, runs a scene, writes what it found as a line of JSON to standard output and as a sentence to standard error.

#![forbid(unsafe_code)]
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use watertight_horde::scene::{closed, enrol, faults, held, open, storm};
use watertight_horde::target::TargetArgs;
use watertight_horde::Target;

/// Virtual agents that put a fleet server under load. Only for a server that is made for it: what they say stays in its database.
#[derive(Debug, Parser)]
#[command(name = "watertight-horde", version)]
struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// Threads that agents run on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    #[command(subcommand)]
    scene: Scene,
}

#[derive(Debug, Subcommand)]
enum Scene {
    Enrol(enrol::EnrolArgs),
    Closed(closed::ClosedArgs),
    Open(open::OpenArgs),
    Held(held::HeldArgs),
    Storm(storm::StormArgs),
    Faults(faults::FaultsArgs),
}

fn main() -> ExitCode {
    match done(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Where nobody reads it, the exit code tells.
            let _ = writeln!(std::io::stderr(), "watertight-horde: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn done(args: &Args) -> anyhow::Result<ExitCode> {
    let target = Arc::new(Target::open(&args.target)?);
    let threads = usize::from(args.threads);
    let runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        _ => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
    };
    runtime.block_on(async {
        let (json, sentence, is_good) = match &args.scene {
            Scene::Enrol(args) => told(enrol::run(&target, args).await?, enrol::Enrolled::said)?,
            Scene::Closed(args) => told(closed::run(&target, args).await?, closed::Closed::said)?,
            Scene::Open(args) => told(open::run(&target, args).await?, open::Open::said)?,
            Scene::Held(args) => told(held::run(&target, args).await?, held::Held::said)?,
            Scene::Storm(args) => told(storm::run(&target, args).await?, storm::Storm::said)?,
            Scene::Faults(args) => {
                let found = faults::run(&target, args).await?;
                let is_good = found.are_answered_as_they_should();
                let (json, sentence, _) = told(found, faults::Faults::said)?;
                (json, sentence, is_good)
            }
        };
        writeln!(std::io::stdout(), "{json}")?;
        writeln!(std::io::stderr(), "{sentence}")?;
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(2) })
    })
}

fn told<T: serde::Serialize>(found: T, said: fn(&T) -> String) -> anyhow::Result<(String, String, bool)> {
    Ok((serde_json::to_string(&found)?, said(&found), true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_options_contradict_each_other_nowhere() {
        Args::command().debug_assert();
    }
}
