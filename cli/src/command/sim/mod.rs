//! `watertight sim`: what would happen, computed.

mod rollout;

/// Simulate what is too dear to try.
#[derive(Debug, clap::Args)]
pub struct SimArgs {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SimCommand {
    Rollout(rollout::RolloutArgs),
}

/// Runs the subcommand and gives its exit code.
///
/// # Errors
/// When the arguments fit no rollout or the answer can't be written.
pub fn run(args: &SimArgs) -> anyhow::Result<u8> {
    match &args.command {
        SimCommand::Rollout(args) => rollout::run(args),
    }
}
