//! `watertight worker`: how the supervisor starts its own workers. Not for people.

use std::path::PathBuf;

use anyhow::Context as _;
use watertight_host::deny::listener;
use watertight_host::worker::{content, crash, detector, dumper, sources, triage};

use super::confined;
use super::content::fetch::{download, update};

/// A worker of `watertight run`.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Socket on which this process tells its own crash.
    #[arg(long, global = true)]
    crash_fd: Option<i32>,
    #[command(subcommand)]
    worker: Worker,
}

#[derive(Debug, clap::Subcommand)]
enum Worker {
    /// Reads rings and evaluates rules.
    Detector {
        #[arg(long = "report-fd")]
        report: i32,
    },
    /// Turns a pack into an image.
    Load {
        #[arg(long = "report-fd")]
        report: i32,
    },
    /// Turns rules in text into an image.
    Compile {
        #[arg(long = "report-fd")]
        report: i32,
    },
    /// Reads crash files.
    Triage {
        #[arg(long = "report-fd")]
        report: i32,
        /// Leave out what may be secret.
        #[arg(long)]
        redact: bool,
        /// Symbol files can be asked for.
        #[arg(long)]
        symbols: bool,
    },
    /// Gets files from a web server.
    Download {
        #[arg(long = "report-fd")]
        report: i32,
    },
    /// Reads what a repository sent.
    Update {
        #[arg(long = "report-fd")]
        report: i32,
    },
    /// Makes a dump of a worker that has crashed.
    Dump {
        #[arg(long = "report-fd")]
        report: i32,
    },
    /// Denies exec by fanotify.
    Deny {
        /// Descriptor of the progress page.
        #[arg(long)]
        page_fd: i32,
        /// The loader, which is never marked.
        #[arg(long)]
        loader: Option<PathBuf>,
    },
    /// Confines itself like the detector or the uplink and makes a call, to show what becomes of it.
    Confined(confined::ConfinedArgs),
    /// Opens the sources that need privileges.
    Sources {
        #[arg(long)]
        fanotify: bool,
        #[arg(long)]
        proc_connector: bool,
        #[arg(long)]
        sock_diag: bool,
        #[arg(long = "report-fd")]
        report: i32,
        #[arg(long = "ignore-pid")]
        ignored_pids: Vec<i32>,
        /// Events from here, in place of the machine.
        #[arg(long)]
        recording: Option<PathBuf>,
        /// Descriptor of the page of beats.
        #[arg(long)]
        page_fd: i32,
    },
}

/// Runs the worker to its end.
///
/// # Errors
/// As the worker's own.
pub fn run(args: &WorkerArgs) -> anyhow::Result<u8> {
    if let Some(socket) = args.crash_fd {
        crash::tell_on(socket).context("preparing for a crash of this worker")?;
    }
    match &args.worker {
        Worker::Detector { report } => detector::run(*report),
        Worker::Load { report } => content::load(*report),
        Worker::Compile { report } => content::compile(*report),
        Worker::Triage { report, redact, symbols } => triage::run(*report, *redact, *symbols),
        Worker::Download { report } => download::run(*report),
        Worker::Update { report } => update::run(*report),
        Worker::Dump { report } => dumper::run(*report).map(|()| 0),
        Worker::Deny { page_fd, loader } => listener::run(*page_fd, loader.as_deref()).map(|()| 0),
        Worker::Confined(args) => confined::run(args).map(|()| 0),
        Worker::Sources { fanotify, proc_connector, sock_diag, report, ignored_pids, recording, page_fd } => {
            let wanted = sources::Wanted {
                fanotify: *fanotify,
                proc_connector: *proc_connector,
                sock_diag: *sock_diag,
                ignored_pids: ignored_pids.clone(),
                recording: recording.clone(),
            };
            sources::run(&wanted, *report, *page_fd).map(|()| 0)
        }
    }
}
