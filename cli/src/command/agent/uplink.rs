//! `watertight agent uplink`: the one process of the agent that speaks with the server. What comes from there meets no right of this
//! machine: before the first byte goes out the process is another user without capabilities, and has the network, its own folder, and the
//! lines to the updater, which believes none of its words.

use std::io;
use std::net::ToSocketAddrs as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::Context as _;
use rustix::process::Signal;
use watertight_fleet_agent::crew::Crew;
use watertight_fleet_agent::folder::Folder;
use watertight_fleet_agent::identity::IdentityError;
use watertight_fleet_agent::machine::{boot_id, this_host};
use watertight_fleet_agent::service::{self, Options};
use watertight_host::printable::printable;
use watertight_host::worker::sandbox::{self, Profile, Sandbox};

use super::down::Down;
use super::remote::{Remote, RemoteFetcher};
use super::words::End;
use super::{layout, FleetArgs, FORBIDDEN};
use crate::command::content::fetch::download::host_of;

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
/// The state folder or a file that was named can't be read, or the process can't be confined.
pub(super) fn run(args: &UplinkArgs) -> anyhow::Result<u8> {
    super::end_with_parent(Signal::KILL)?;
    let options = options(&args.fleet)?;
    let was_root = rustix::process::geteuid().is_root();
    let (sandbox, crew) = confine(&args.fleet)?;
    let outcome = if args.enrol {
        service::identity(&options).map(|_| ())
    } else if let Some(down) = args.leave {
        service::leave(&options, down == Down::Reboot)
    } else {
        let questions = End::inherit(io::stdin()).context("taking the line for questions")?;
        let fetches = End::inherit(io::stdout()).context("taking the line for fetches")?;
        service::run(&options, &mut Remote::new(questions, say), Box::new(RemoteFetcher(fetches)), crew)
    };
    let code = match outcome {
        Ok(()) => 0,
        Err(error) => {
            say(&error.to_string());
            if matches!(error, IdentityError::Failure(_)) && !error.is_final() {
                3
            } else {
                FORBIDDEN
            }
        }
    };
    // Once, at the start of the agent, and not where nothing is started.
    if args.enrol && code != FORBIDDEN {
        tell_what_is_missing(&sandbox, was_root);
    }
    Ok(code)
}

/// Confines this process, whose working directory is its folder. Files that were named are read, and a name is looked up for what the C
/// library loads for that. Threads are there and wait.
fn confine(args: &FleetArgs) -> anyhow::Result<(Sandbox, Crew)> {
    watertight_host::say::prepare();
    let report = io::stderr().as_fd().try_clone_to_owned().context("a descriptor for the report")?;
    let start = || {
        drop((host_of(&args.server), 0).to_socket_addrs()); // whether it is known does not matter here
        Crew::start(service::THREADS)
    };
    let confined = sandbox::enter_with(Profile::Uplink, report.as_fd(), start).context("confining the uplink")?;
    std::mem::forget(report); // it tells of a forbidden call
    end_with_a_thread();
    Ok(confined)
}

/// A thread that panics takes all with it, and the parent starts them again.
fn end_with_a_thread() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
}

fn tell_what_is_missing(sandbox: &Sandbox, was_root: bool) {
    if sandbox.is_degraded() {
        watertight_host::say!("watertight: fleet: the uplink is not confined in every way: {sandbox}");
    } else if !was_root {
        watertight_host::say!(
            "watertight: fleet: the uplink has the agent's user: only root can give it one of its own"
        );
    }
}

fn options(args: &FleetArgs) -> anyhow::Result<Options> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    let own = layout::uplink(&args.state);
    // A token that was used may be gone: it is asked for only where there is no identity.
    let token = args.token_file.as_deref().filter(|_| !own.join("identity.json").exists()).map(read).transpose()?;
    let ca_pem = read(&args.ca)?;
    let host = this_host(args.kernel.as_deref(), args.distribution.as_deref(), args.workload.as_deref());
    // it is read once
    drop(boot_id());
    // From here on names that were given mean something else.
    std::env::set_current_dir(&own).with_context(|| own.display().to_string())?;
    Ok(Options {
        url: args.server.clone(),
        ca_pem,
        token: token.map(|token| token.trim().to_owned()),
        host,
        stratum: args.stratum.clone(),
        state: Folder::here(&own),
        say,
    })
}

fn say(words: &str) {
    watertight_host::say!("watertight: fleet: {}", printable(words));
}
