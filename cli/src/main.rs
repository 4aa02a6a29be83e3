//! Parses the arguments, calls the command, turns its error into text and an exit code.

#![deny(clippy::print_stderr, clippy::print_stdout)] // they panic where the words go nowhere: see `watertight_host::say`

mod closed;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use watertight_cli::command::{
    agent, content, crash, detect, doctor, policy, rollout, rules, run, server, sim, status, triage, worker,
};
use watertight_host::printable::printable;

/// Endpoint security that a bad update cannot sink.
#[derive(Debug, Parser)]
#[command(name = "watertight", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Doctor(doctor::DoctorArgs),
    Detect(detect::DetectArgs),
    Rules(rules::RulesArgs),
    Policy(policy::PolicyArgs),
    Content(content::ContentArgs),
    Triage(triage::TriageArgs),
    Crash(crash::CrashArgs),
    Rollout(rollout::RolloutArgs),
    Sim(sim::SimArgs),
    Server(server::ServerArgs),
    Agent(agent::AgentArgs),
    Pause(agent::PauseArgs),
    Resume(agent::ResumeArgs),
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.command {
        Command::Run(args) => closed::stdout_is_open().and_then(|()| run::run(args)),
        Command::Status(args) => status::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Detect(args) => detect::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Policy(args) => policy::run(args),
        Command::Content(args) => content::run(args),
        Command::Triage(args) => triage::run(args),
        Command::Crash(args) => crash::run(args),
        Command::Rollout(args) => rollout::run(args),
        Command::Sim(args) => sim::run(args),
        Command::Server(args) => server::run(args),
        Command::Agent(args) => agent::run(args),
        Command::Pause(args) => agent::pause(args),
        Command::Resume(args) => agent::resume(args),
        Command::Worker(args) => worker::run(args),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            watertight_host::say!("watertight: {}", printable(&format!("{error:#}")));
            ExitCode::from(1)
        }
    }
}
