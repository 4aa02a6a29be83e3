//! `watertight server run`.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::SanType;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};

use crate::clock::now_ms;
use crate::rollout::director::KeyArgs;
use crate::serve::serve;
use crate::server::{Server, Settings};
use crate::state_folder::StateFolder;
use crate::tls::{server_config, OwnCertificate};

/// Descriptors for what is no connection: database, listener, files that are served.
const OTHER_DESCRIPTORS: u64 = 512;

/// Run the server until it is told to end (SIGTERM, Ctrl-C).
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The folder that holds all of the fleet's state; made at the first start.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Where agents, people and programs come: `0.0.0.0:8443`. With port 0 the system picks one, which the ready line tells.
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,
    /// A name or an address that agents know this server by; may be given several times. `localhost` and the address it listens on are
    /// always in its certificate.
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// Hosts check in so often, unless there are too many for it.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = Settings::default().interval_ms, value_parser = clap::value_parser!(u64).range(100..=900_000))]
    pub check_in_ms: u64,
    /// Keys with which rollouts are carried out.
    #[command(flatten)]
    pub keys: KeyArgs,
}

/// Runs the server. `ready` is called once, with the line that says where it is.
///
/// # Errors
/// The state folder can't be used, or nothing can listen there.
pub async fn run(args: &RunArgs, ready: impl FnOnce(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let keys = args.keys.open()?;
    let folder = StateFolder::take(&args.state)?;
    let (store, authority) = folder.open().await?;
    let settings =
        Settings { interval_ms: args.check_in_ms, connections_max: connections_max(), ..Settings::default() };
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
    let address = listener.local_addr()?;
    let names = own_names(&args.names, address)?;
    let own = Arc::new(OwnCertificate::new(&authority, &names, now_ms())?);
    let tls = server_config(&authority, Arc::clone(&own))?;
    let server = Server::new(Arc::new(store), authority, folder.path().to_owned(), settings).await?;
    let server = Arc::new(server.with_keys(keys));
    let ending = tokio::spawn(end_by_signal(Arc::clone(&server)));
    ready(&ready_line(&folder, address))?;
    tokio::join!(
        serve(Arc::clone(&server), listener, tls),
        server.run_beside(&own, &names),
        server.rollouts.carry_out(&server)
    );
    server.store.close().await;
    ending.abort();
    Ok(())
}

/// The one line on standard output.
fn ready_line(folder: &StateFolder, address: SocketAddr) -> String {
    serde_json::json!({
        "ready": true,
        "listen": address.to_string(),
        "url": format!("https://{address}"),
        "ca": folder.path().join("ca.pem"),
        "content": folder.path().join("content"),
        "admin_token_file": folder.path().join("admin.token"),
    })
    .to_string()
}

async fn end_by_signal(server: Arc<Server>) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    server.stop();
}

/// As many as the system lets one process have.
fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    // Not raised is no error: there are fewer connections then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    let now = getrlimit(Resource::Nofile).current.unwrap_or(most);
    let room = usize::try_from(now.saturating_sub(OTHER_DESCRIPTORS)).unwrap_or(usize::MAX);
    room.clamp(64, Settings::default().connections_max)
}

/// The names in the server's certificate.
fn own_names(given: &[String], address: SocketAddr) -> anyhow::Result<Vec<SanType>> {
    let mut names = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(IpAddr::from([127, 0, 0, 1])),
        SanType::IpAddress(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)),
    ];
    if !address.ip().is_unspecified() && !address.ip().is_loopback() {
        names.push(SanType::IpAddress(address.ip()));
    }
    for name in given {
        names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                SanType::DnsName(name.as_str().try_into().with_context(|| format!("--name {name}: no name of a host"))?)
            }
        });
    }
    Ok(names)
}

/// Writes a line to standard output, at once.
///
/// # Errors
/// Nobody takes it.
pub fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("writing to standard output")
}
