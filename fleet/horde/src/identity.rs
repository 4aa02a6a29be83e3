//! Identities of virtual hosts, enrolled once and kept in a file, so that each scene need not enrol ten thousand.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use watertight_fleet_wire::checkin::HostPart;
use watertight_fleet_wire::{EnrolRequest, Identity, RenewRequest};

use crate::connection::{Connection, Failure};

/// A host's identity as it is kept: a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The id that the server gave it.
    pub host: String,
    /// Its key.
    pub key_pem: String,
    /// Its certificate and the authority's.
    pub certificates_pem: String,
}

/// A key that has no certificate yet.
#[derive(Debug)]
pub struct Fresh {
    key_pem: String,
    csr_pem: String,
}

impl Fresh {
    /// Makes a key, and asks for its certificate.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let csr_pem = CertificateParams::default().serialize_request(&key)?.pem()?;
        Ok(Self { key_pem: key.serialize_pem(), csr_pem })
    }

    /// Enrols a host of a number with a token.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn enrol(&self, connection: &mut Connection, token: &str, number: usize) -> Result<Kept, Failure> {
        let request =
            EnrolRequest { token: token.to_owned(), csr_pem: self.csr_pem.clone(), host: virtual_host(number) };
        Ok(self.kept(connection.post("/v1/agent/enrol", &request).await?))
    }

    /// Takes the place of the certificate that the connection shows.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn renew(&self, connection: &mut Connection) -> Result<Kept, Failure> {
        let request = RenewRequest { csr_pem: self.csr_pem.clone() };
        Ok(self.kept(connection.post("/v1/agent/renew", &request).await?))
    }

    fn kept(&self, identity: Identity) -> Kept {
        Kept { host: identity.host, key_pem: self.key_pem.clone(), certificates_pem: identity.certificates_pem }
    }
}

/// What a virtual host says that it is: a few kinds, as in a fleet.
#[must_use]
pub fn virtual_host(number: usize) -> HostPart {
    let of = |kinds: [&str; 3], every: usize| {
        kinds.into_iter().cycle().nth(number.checked_div(every).unwrap_or(0) % 3).unwrap_or_default().to_owned()
    };
    HostPart {
        name: format!("virtual-{number}"),
        kernel: of(["6.1", "6.6", "6.12"], 1),
        distribution: of(["debian-12", "ubuntu-24.04", "fedora-42"], 3),
        architecture: "x86_64".to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        workload: of(["web", "database", "batch"], 9),
    }
}

/// Writes identities to a file that is its owner's alone: they have keys.
///
/// # Errors
/// The file can't be written.
pub fn write(path: &Path, hosts: &[Kept]) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut out = BufWriter::new(file.with_context(|| format!("writing {}", path.display()))?);
    for host in hosts {
        serde_json::to_writer(&mut out, host)?;
        out.write_all(b"\n")?;
    }
    out.flush().with_context(|| format!("writing {}", path.display()))
}

/// Reads so many.
///
/// # Errors
/// The file can't be read, or has fewer.
pub fn read(path: &Path, count: usize) -> anyhow::Result<Vec<Kept>> {
    let file = std::fs::File::open(path)
        .with_context(|| format!("reading {}: `watertight-horde enrol` makes it", path.display()))?;
    let mut hosts = Vec::new();
    for line in BufReader::new(file).lines().take(count) {
        hosts.push(serde_json::from_str(&line?).with_context(|| format!("{}: no identity", path.display()))?);
    }
    anyhow::ensure!(
        hosts.len() == count,
        "{} has {} identities, {count} are needed: `watertight-horde enrol --agents {count}` makes them",
        path.display(),
        hosts.len()
    );
    Ok(hosts)
}
