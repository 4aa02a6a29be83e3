//! The server that is put under load.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connection::{Connection, Failure};
use crate::identity::Kept;

/// Connecting and the handshake together.
const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// The server: https://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub server: String,
    /// Whom to trust as the server: `ca.pem` of its state folder
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// A token of the operator API: `admin.token` of its state folder
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: PathBuf,
    /// The server's process, whose time and memory are looked at
    #[arg(long, value_name = "PID")]
    pub server_pid: u32,
}

/// A server.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: ClientConfig,
    /// The header line that the operator API wants.
    pub authorization: String,
    /// Its process.
    pub pid: u32,
}

impl Target {
    /// Reads what is named.
    ///
    /// # Errors
    /// The URL is none, or a file can't be read.
    pub fn open(args: &TargetArgs) -> anyhow::Result<Self> {
        let authority = args.server.trim_end_matches('/').strip_prefix("https://");
        let authority =
            authority.with_context(|| format!("{}: a server is named as https://HOST:PORT", args.server))?;
        let (host, _) = authority.rsplit_once(':').context("the server's URL needs a port")?;
        let mut addresses = authority.to_socket_addrs().with_context(|| format!("looking up {authority}"))?;
        let address = addresses.next().with_context(|| format!("{host}: no address"))?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        let anchors = std::fs::read(&args.ca).with_context(|| format!("reading {}", args.ca.display()))?;
        let token = std::fs::read_to_string(&args.admin_token_file)
            .with_context(|| format!("reading {}", args.admin_token_file.display()))?;
        let mut roots = RootCertStore::empty();
        for anchor in CertificateDer::pem_slice_iter(&anchors) {
            roots.add(anchor.context("reading the anchors")?)?;
        }
        let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Ten thousand agents keep no tickets, and the server gives none.
        tls.resumption = Resumption::disabled();
        let authorization = format!("authorization: Bearer {}\r\n", token.trim());
        Ok(Self { address, name, tls, authorization, pid: args.server_pid })
    }

    /// Connects, with a host's certificate or without any.
    ///
    /// # Errors
    /// Nobody listens, or TLS fails.
    pub async fn connect(&self, own: Option<&Credentials>) -> Result<Connection, Failure> {
        let mut tls = self.tls.clone();
        if let Some(own) = own {
            tls.client_auth_cert_resolver = Arc::clone(&own.0) as Arc<_>;
        }
        let connecting = async {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(Arc::new(tls)).connect(self.name.clone(), stream).await
        };
        match timeout(CONNECT_WAIT, connecting).await {
            Ok(connected) => Ok(Connection::new(connected?)),
            Err(_) => Err(Failure::Late(CONNECT_WAIT)),
        }
    }
}

/// A host's certificate and key, ready for TLS.
#[derive(Clone, Debug)]
pub struct Credentials(Arc<SingleCertAndKey>);

impl Credentials {
    /// Reads what was kept.
    ///
    /// # Errors
    /// It is no certificate, or no key.
    pub fn read(kept: &Kept) -> anyhow::Result<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(kept.certificates_pem.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(kept.key_pem.as_bytes()).context("a host's key")?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
        let own = CertifiedKey::new(chain.context("a host's certificate")?, key);
        Ok(Self(Arc::new(SingleCertAndKey::from(own))))
    }
}
