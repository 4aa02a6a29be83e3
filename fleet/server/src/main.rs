//! Parses the arguments, runs the server or makes a token, turns an error into text and an exit code.

#![forbid(unsafe_code)]
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use watertight_server::run::{run, say, RunArgs};
use watertight_server::tokens::{operator, token, OperatorArgs, TokenArgs};

/// The fleet server.
#[derive(Debug, Parser)]
#[command(name = "watertight server", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    Token(TokenArgs),
    Operator(OperatorArgs),
}

fn main() -> ExitCode {
    match done(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads it, the exit code tells.
            let _ = writeln!(std::io::stderr(), "watertight-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn done(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match &args.command {
            Command::Run(args) => run(args, say).await,
            Command::Token(args) => say(&token(args).await?),
            Command::Operator(args) => say(&operator(args).await?),
        }
    })
}
