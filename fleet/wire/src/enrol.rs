//! How a host gets its identity: a token and a signing request in, a certificate of seven days out; later the certificate itself
//! vouches for the next one. The key is made on the host and never leaves it.

use serde::{Deserialize, Serialize};

use crate::checkin::HostPart;
use crate::protocol::Message;

/// `POST /v1/agent/enrol`, without a certificate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// As an operator made it.
    pub token: String,
    /// PKCS #10, in PEM. Only its public key is taken over; the server says who the host is.
    pub csr_pem: String,
    /// What the host is.
    pub host: HostPart,
}

impl std::fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolRequest").field("host", &self.host).finish_non_exhaustive()
        // the token is a secret
    }
}

/// `POST /v1/agent/renew`, with the certificate that it replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// As in `EnrolRequest`.
    pub csr_pem: String,
}

/// Who the host is from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The host's id in the fleet.
    pub host: String,
    /// Whose fleet.
    pub tenant: String,
    /// Its ring.
    pub ring: String,
    /// The host's certificate and the authority's between it and the root, in PEM.
    pub certificates_pem: String,
    /// Whom to trust as the server from now on, in PEM: two while one takes the other's place.
    pub trust_anchors_pem: String,
    /// Milliseconds since 1970, on the server's clock.
    pub renew_after_ms: u64,
    /// The same.
    pub not_after_ms: u64,
}

impl Message for EnrolRequest {}
impl Message for RenewRequest {}
impl Message for Identity {}
