//! TLS 1.3 with certificates of hosts, and who is on the other end.
//!
//! A certificate that has run out still makes a connection, if it was ours: such a host may renew it and nothing else. Otherwise a fleet
//! whose server was gone for a week, or whose server's clock jumps, would have to be enrolled again by hand.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rcgen::SanType;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::Authority;
use crate::clock::hex;

/// What a host's certificate says. It was verified by TLS; whether it still counts is looked up at each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The host's id.
    pub host: String,
    /// In hexadecimal.
    pub serial: String,
    /// Milliseconds since 1970.
    pub not_before_ms: u64,
    /// The same.
    pub not_after_ms: u64,
}

impl Shown {
    /// Reads a certificate.
    #[must_use]
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let host = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
        let ms = |moment: i64| u64::try_from(moment).unwrap_or(0).saturating_mul(1000);
        Some(Self {
            host,
            serial: hex(parsed.raw_serial()),
            not_before_ms: ms(parsed.validity().not_before.timestamp()),
            not_after_ms: ms(parsed.validity().not_after.timestamp()),
        })
    }

    /// Whether it is good at a time.
    #[must_use]
    pub fn is_good(&self, now_ms: u64) -> bool {
        (self.not_before_ms..self.not_after_ms).contains(&now_ms)
    }
}

/// The server's own certificate, which changes while it runs.
#[derive(Debug)]
pub struct OwnCertificate {
    now: RwLock<Arc<CertifiedKey>>,
}

impl OwnCertificate {
    /// Makes the first.
    ///
    /// # Errors
    /// The authority can't sign for these names.
    pub fn new(authority: &Authority, names: &[SanType], now_ms: u64) -> anyhow::Result<Self> {
        Ok(Self { now: RwLock::new(make(authority, names, now_ms)?) })
    }

    /// Makes the next.
    ///
    /// # Errors
    /// As `new`.
    pub fn change(&self, authority: &Authority, names: &[SanType], now_ms: u64) -> anyhow::Result<()> {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = make(authority, names, now_ms)?;
        Ok(())
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn make(authority: &Authority, names: &[SanType], now_ms: u64) -> anyhow::Result<Arc<CertifiedKey>> {
    let (chain, key) = authority.sign_server(names, now_ms)?;
    let key = provider().key_provider.load_private_key(key)?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The server's side of TLS: version 1.3 alone, a certificate asked for and not insisted on (who enrols has none).
///
/// # Errors
/// The anchors are none.
pub fn server_config(authority: &Authority, own: Arc<OwnCertificate>) -> anyhow::Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for anchor in authority.anchors() {
        roots.add(anchor.clone())?;
    }
    let inner =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).allow_unauthenticated().build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier { inner }))
        .with_cert_resolver(own);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The usual verifier, but for the time.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        match self.inner.verify_client_cert(certificate, between, now) {
            Err(Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
            )) => {
                let shown = Shown::read(certificate).ok_or(CertificateError::BadEncoding)?;
                let then = Duration::from_millis(shown.not_after_ms.saturating_sub(1000));
                self.inner.verify_client_cert(certificate, between, UnixTime::since_unix_epoch(then))
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
