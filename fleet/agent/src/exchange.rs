//! One request to the server over TLS with the host's certificate, its answer, and what can go wrong, each with its mend.
//!
//! Only the fleet's own authorities are good, no others of the machine. No redirect is followed, no proxy's answer believed.

use std::io::{self, Read as _};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rustls::CertificateError;
use ureq::tls::{parse_pem, Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};
use ureq::Agent;
use watertight_fleet_wire::limits::WAIT_S_MAX;
use watertight_fleet_wire::protocol::{read, write, Message, Speaks, OURS};
use watertight_fleet_wire::{Code, Problem, PROTOCOL_HEADER};

/// An answer of the server is smaller: an identity with its certificates is the largest.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Connecting, sending, and waiting for an answer take at most this each.
const WAIT: Duration = Duration::from_secs(30);
/// How much longer than the server says the doorbell is waited for: it spreads its answers.
const WAIT_LONGER_S: u64 = 30;

/// Why there is no answer that helps.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was named can't be used: no time mends it.
    #[error("{0}")]
    Named(String),
    /// Nobody answers there. It passes, or the address is wrong.
    #[error("{url}: nobody answers ({why})")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// Somebody else answers.
    #[error("{url}: this is not the fleet's server ({why}): `--ca` must be the file `ca.pem` of the server's state folder, and the server must be known by the name in the URL (`server run --name`)")]
    Foreign {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// One of the two clocks is wrong.
    #[error("{url}: by this machine's clock ({now_s} s since 1970) the server's certificate is not good now ({why}): set the clock of whichever is wrong")]
    Clock {
        /// Where.
        url: String,
        /// Why.
        why: String,
        /// What this machine takes for now.
        now_s: u64,
    },
    /// The server refuses.
    #[error("the server refuses: {}", .0.message)]
    Refused(Problem),
    /// What came is no answer of this protocol.
    #[error("{url}: no answer of a fleet server: {why}")]
    Unreadable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
}

impl Failure {
    /// When the server wants to be asked again.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Refused(problem) => problem.retry_after_ms,
            _ => None,
        }
    }

    /// What the server called it, if it was the server.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            _ => None,
        }
    }

    /// Whether only a person can mend it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Named(_) | Self::Foreign { .. })
            || matches!(
                self.code(),
                Some(Code::Token | Code::Revoked | Code::Unauthenticated | Code::Form | Code::Protocol)
            )
    }
}

/// Who shows which certificate to whom.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Whom to trust as the server.
    pub anchors_pem: &'a str,
    /// The host's certificates and key, once it has some.
    pub own_pem: Option<(&'a str, &'a str)>,
}

/// A server, as one identity sees it.
#[derive(Debug)]
pub struct Exchange {
    agent: Agent,
    url: String,
    /// The newest protocol that the server said it speaks; 0 before its first answer.
    server_newest: AtomicU32,
    speaks: Speaks,
}

impl Exchange {
    /// With a server at a URL.
    ///
    /// # Errors
    /// The URL is none, or the certificates are none.
    pub fn new(url: &str, credentials: Credentials<'_>) -> Result<Self, Failure> {
        let url = url.trim_end_matches('/').to_owned();
        let host = url.strip_prefix("https://").unwrap_or_default();
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(Failure::Named(format!("{url}: a server is named as https://HOST:PORT")));
        }
        let mut tls =
            TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates(credentials.anchors_pem)?));
        if let Some((chain, key)) = credentials.own_pem {
            let key = PrivateKey::from_pem(key.as_bytes())
                .map_err(|error| Failure::Named(format!("the host's key: {error}")))?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&certificates(chain)?, key)));
        }
        // Looking up a name has no wait of ours: it would take a thread. The C library gives a name up after some tries of its own.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .accept_encoding("identity")
            .user_agent(concat!("watertight/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(WAIT))
            .timeout_send_request(Some(WAIT))
            .timeout_send_body(Some(WAIT))
            .timeout_recv_body(Some(WAIT))
            .tls_config(tls.build())
            .build()
            .new_agent();
        Ok(Self { agent, url, server_newest: AtomicU32::new(0), speaks: OURS })
    }

    /// The same by an agent that speaks other numbers than this build.
    #[must_use]
    pub fn speaking(self, speaks: Speaks) -> Self {
        Self { speaks, ..self }
    }

    /// Sends a message, and reads the answer.
    ///
    /// # Errors
    /// See `Failure`.
    pub fn post<Q: Message, A: Message>(&self, path: &str, message: &Q) -> Result<A, Failure> {
        self.asked(|protocol| self.post_bytes(protocol, path, "application/json", &write(protocol, message)))
    }

    /// Sends a batch.
    ///
    /// # Errors
    /// See `Failure`.
    pub fn post_batch<A: Message>(&self, path: &str, packed: &[u8]) -> Result<A, Failure> {
        self.asked(|protocol| self.post_bytes(protocol, path, "application/zstd", packed))
    }

    /// Asks, and waits as long as the server holds a doorbell.
    ///
    /// # Errors
    /// See `Failure`.
    pub fn wait<A: Message>(&self, path: &str) -> Result<A, Failure> {
        let held = Duration::from_secs(WAIT_S_MAX.saturating_add(WAIT_LONGER_S));
        self.asked(|protocol| {
            let url = format!("{}{path}", self.url);
            let request = self.agent.get(&url).config().timeout_recv_response(Some(held)).build();
            let answer = request.header(PROTOCOL_HEADER, protocol.to_string()).call();
            self.answer(protocol, url, answer)
        })
    }

    /// Asks, and once more in the server's number where it turned ours away: nothing was done then, and its answer said what it speaks.
    /// Without that a host could not enrol with a server that is older by one.
    fn asked<A>(&self, ask: impl Fn(u32) -> Result<A, Failure>) -> Result<A, Failure> {
        let protocol = self.protocol();
        match ask(protocol) {
            Err(refused) if refused.code() == Some(Code::Protocol) && self.protocol() != protocol => {
                ask(self.protocol())
            }
            answered => answered,
        }
    }

    fn post_bytes<A: Message>(&self, protocol: u32, path: &str, kind: &str, body: &[u8]) -> Result<A, Failure> {
        let url = format!("{}{path}", self.url);
        let request = self.agent.post(&url).config().timeout_recv_response(Some(WAIT)).build();
        let request = request.header(PROTOCOL_HEADER, protocol.to_string()).header("content-type", kind);
        let answer = request.send(body);
        self.answer(protocol, url, answer)
    }

    fn protocol(&self) -> u32 {
        self.speaks.to_speak(Some(self.server_newest.load(Relaxed)).filter(|newest| *newest > 0))
    }

    fn answer<A: Message>(
        &self,
        protocol: u32,
        url: String,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<A, Failure> {
        let answer = answer.map_err(|error| failed(&url, error))?;
        let newest = answer.headers().get(PROTOCOL_HEADER).and_then(|number| number.to_str().ok()?.parse::<u32>().ok());
        let Some(newest) = newest else {
            let why = format!("it has no header `{PROTOCOL_HEADER}` (status {})", answer.status());
            return Err(Failure::Unreadable { url, why });
        };
        self.server_newest.store(newest, Relaxed);
        let is_good = answer.status().is_success();
        let mut bytes = Vec::new();
        let body = answer.into_body().into_reader().take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
        body.map_err(|error| Failure::Unreachable { url: url.clone(), why: error.to_string() })?;
        let unreadable =
            |why: watertight_fleet_wire::Refused| Failure::Unreadable { url: url.clone(), why: why.to_string() };
        if is_good {
            return read(protocol, &bytes, ANSWER_BYTES_MAX).map_err(unreadable);
        }
        // A refusal may be of the protocol itself: it is in the server's own.
        Err(Failure::Refused(read(self.speaks.to_speak(Some(newest)), &bytes, ANSWER_BYTES_MAX).map_err(unreadable)?))
    }
}

fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, Failure> {
    let mut found = Vec::new();
    for item in parse_pem(pem.as_bytes()) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(Failure::Named(format!("certificates: {error}"))),
        }
    }
    if found.is_empty() {
        return Err(Failure::Named("certificates: there is none in PEM form".into()));
    }
    Ok(found)
}

/// What the network, or TLS, made of it.
fn failed(url: &str, error: ureq::Error) -> Failure {
    let (url, why) = (url.to_owned(), error.to_string());
    match of_tls(&error) {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                Failure::Clock { url, why, now_s: crate::clock::now_ms() / 1000 }
            }
            _ => Failure::Foreign { url, why },
        },
        _ => Failure::Unreachable { url, why },
    }
}

fn of_tls(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => inner(error),
        _ => None,
    }
}

fn inner(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_addresses_are_servers() {
        let credentials = Credentials { anchors_pem: "", own_pem: None };
        for url in ["http://host:1", "host:1", "https://", "https://host/path", "https://host?x", "file:///x"] {
            let refused = Exchange::new(url, credentials).expect_err("no server");
            assert!(refused.to_string().contains("named as https://"), "{url}: {refused}");
        }
        let refused = Exchange::new("https://host:1", credentials).expect_err("no anchors");
        assert!(refused.is_final() && refused.to_string().contains("none in PEM form"), "{refused}");
    }
}
