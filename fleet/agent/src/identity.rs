//! Who the host is in the fleet: a key that never leaves the state folder, and the certificate that the server gave for it.
//!
//! The key is durable before a token is shown, so that an answer that is lost costs none: the same key with the same token is the same
//! host. It is kept over renewals; what a thief of it would need is the folder, and then he has the next one, too.

use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use watertight_fleet_wire::checkin::HostPart;
use watertight_fleet_wire::{EnrolRequest, Identity, RenewRequest};

use crate::exchange::{Credentials, Exchange, Failure};
use crate::folder::{Folder, FolderError};

const KEY: &str = "host.key";
const IDENTITY: &str = "identity.json";

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It can't be kept, or what lies there is damaged.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The key is none, or a request can't be made of it.
    #[error("the host's key: {0}: remove the file {KEY} to enrol as a new host")]
    Key(String),
    /// There is a certificate without its key.
    #[error("{IDENTITY} is there and {KEY} is gone: put the key back, or remove {IDENTITY} to enrol as a new host")]
    KeyGone,
    /// The server did not give one.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl IdentityError {
    /// Whether only a person can mend it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Folder(FolderError::Disk { .. }) => false,
            Self::Failure(failure) => failure.is_final(),
            _ => true,
        }
    }

    /// When the server wants to be asked again.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Failure(failure) => failure.retry_after_ms(),
            _ => None,
        }
    }
}

/// An identity, and the server that gave it.
#[derive(Clone)]
pub struct Own {
    /// As the server gave it.
    pub identity: Kept,
    key_pem: String,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("identity", &self.identity).finish_non_exhaustive()
        // the key is a secret
    }
}

/// What is kept of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The host's id.
    pub host: String,
    /// Whose fleet.
    pub tenant: String,
    /// Its ring.
    pub ring: String,
    certificates_pem: String,
    /// Whom to trust as the server.
    pub trust_anchors_pem: String,
}

impl From<Identity> for Kept {
    fn from(given: Identity) -> Self {
        let Identity { host, tenant, ring, certificates_pem, trust_anchors_pem, .. } = given;
        Self { host, tenant, ring, certificates_pem, trust_anchors_pem }
    }
}

impl Own {
    /// The one that is kept; `None` if the host is not enrolled.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read(state: &Folder) -> Result<Option<Self>, IdentityError> {
        let Some(identity) = state.read_json::<Kept>(IDENTITY)? else { return Ok(None) };
        let key_pem = read_key(state)?.ok_or(IdentityError::KeyGone)?;
        Ok(Some(Self { identity, key_pem }))
    }

    /// Gets one for a token.
    ///
    /// # Errors
    /// The server refuses, nobody answers, or it can't be kept.
    pub fn enrol(state: &Folder, url: &str, ca_pem: &str, token: &str, host: &HostPart) -> Result<Self, IdentityError> {
        let exchange = Exchange::new(url, Credentials { anchors_pem: ca_pem, own_pem: None })?;
        let key_pem = match read_key(state)? {
            Some(key) => key,
            None => make_key(state)?,
        };
        let request = EnrolRequest { token: token.to_owned(), csr_pem: csr(&key_pem)?, host: host.clone() };
        let identity: Identity = exchange.post("/v1/agent/enrol", &request)?;
        Self::keep(state, identity, key_pem)
    }

    /// Gets the next certificate by the one that there is.
    ///
    /// # Errors
    /// As `enrol`.
    pub fn renew(&self, state: &Folder, exchange: &Exchange) -> Result<Self, IdentityError> {
        let request = RenewRequest { csr_pem: csr(&self.key_pem)? };
        let identity: Identity = exchange.post("/v1/agent/renew", &request)?;
        Self::keep(state, identity, self.key_pem.clone())
    }

    /// Speaks with the server as this host.
    ///
    /// # Errors
    /// What is kept is no certificate.
    pub fn exchange(&self, url: &str) -> Result<Exchange, Failure> {
        let Kept { certificates_pem, trust_anchors_pem, .. } = &self.identity;
        Exchange::new(
            url,
            Credentials { anchors_pem: trust_anchors_pem, own_pem: Some((certificates_pem, &self.key_pem)) },
        )
    }

    fn keep(state: &Folder, identity: Identity, key_pem: String) -> Result<Self, IdentityError> {
        let identity = Kept::from(identity);
        state.write_json(IDENTITY, &identity)?;
        Ok(Self { identity, key_pem })
    }
}

fn read_key(state: &Folder) -> Result<Option<String>, IdentityError> {
    let key = state.read(KEY)?.map(String::from_utf8);
    key.transpose().map_err(|error| IdentityError::Key(error.to_string()))
}

fn make_key(state: &Folder) -> Result<String, IdentityError> {
    let key = KeyPair::generate().map_err(|error| IdentityError::Key(error.to_string()))?.serialize_pem();
    state.write(KEY, key.as_bytes())?;
    Ok(key)
}

fn csr(key_pem: &str) -> Result<String, IdentityError> {
    let made = || -> Result<String, rcgen::Error> {
        CertificateParams::default().serialize_request(&KeyPair::from_pem(key_pem)?)?.pem()
    };
    made().map_err(|error| IdentityError::Key(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_without_its_key_is_told_with_the_mend() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = Folder::make(dir.path()).expect("made");
        assert!(Own::read(&state).expect("nothing there").is_none());
        let text = || "x".to_owned();
        let kept =
            Kept { host: text(), tenant: text(), ring: text(), certificates_pem: text(), trust_anchors_pem: text() };
        state.write_json(IDENTITY, &kept).expect("written");
        let error = Own::read(&state).expect_err("no key");
        assert!(error.is_final() && error.to_string().contains("put the key back"), "{error}");
        let key = make_key(&state).expect("a key");
        assert_eq!(Own::read(&state).expect("both").expect("enrolled").identity, kept);
        assert!(csr(&key).expect("a request").contains("CERTIFICATE REQUEST"));
    }
}
