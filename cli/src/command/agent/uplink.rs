//! `watertight agent uplink`: the one process of the agent that speaks with the server.

use std::path::Path;

use anyhow::Context as _;
use rustix::process::Signal;
use watertight_fleet_agent::identity::IdentityError;
use watertight_fleet_agent::machine::this_host;
use watertight_fleet_agent::service::{self, Options};
use watertight_host::printable::printable;

use super::down::Down;
use super::host::Host;
use super::{FleetArgs, FORBIDDEN};

/// As `agent run`.
#[derive(Debug, clap::Args)]
pub struct UplinkArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Only see to it that there is an identity.
    #[arg(long)]
    enrol: bool,
    /// Only say that the machine goes down.
    #[arg(long, conflicts_with = "enrol")]
    leave: Option<Down>,
}

/// Exit code 5 if the server gives no identity and time does not mend that, 3 if nobody answers (with `--enrol`).
///
/// # Errors
/// The state folder or a file that was named can't be read.
pub(super) fn run(args: &UplinkArgs) -> anyhow::Result<u8> {
    super::end_with_parent(Signal::KILL)?;
    let options = options(&args.fleet)?;
    let outcome = if args.enrol {
        service::identity(&options).map(|_| ())
    } else if let Some(down) = args.leave {
        service::leave(&options, down == Down::Reboot).map(|_| ())
    } else {
        let mut host = host(&args.fleet);
        service::run(&options, &mut host)
    };
    match outcome {
        Ok(()) => Ok(0),
        Err(error) => {
            say(&error.to_string());
            Ok(if matches!(error, IdentityError::Failure(_)) && !error.is_final() { 3 } else { FORBIDDEN })
        }
    }
}

fn options(args: &FleetArgs) -> anyhow::Result<Options> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    let state = super::folder(&args.state)?;
    // A token that was used may be gone: it is asked for only where there is no identity.
    let token =
        args.token_file.as_deref().filter(|_| !args.state.join("identity.json").exists()).map(read).transpose()?;
    Ok(Options {
        url: args.server.clone(),
        ca_pem: read(&args.ca)?,
        token: token.map(|token| token.trim().to_owned()),
        host: this_host(args.kernel.as_deref(), args.distribution.as_deref(), args.workload.as_deref()),
        stratum: args.stratum.clone(),
        state,
        say,
    })
}

fn host(args: &FleetArgs) -> Host {
    Host {
        state: args.state.clone(),
        pins: args.pins.clone(),
        from: format!("{}/content", args.server.trim_end_matches('/')),
        ca: args.ca.clone(),
        root: args.content_root.clone(),
    }
}

fn say(words: &str) {
    watertight_host::say!("watertight: fleet: {}", printable(words));
}
