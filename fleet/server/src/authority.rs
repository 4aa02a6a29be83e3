//! The fleet's certificate authority: a root that agents trust, an intermediate that signs, certificates of hosts and of the server.
//!
//! The root's key is needed to make the next intermediate only; it may be moved away. A second root may lie beside the first
//! (`next-root.pem`): agents are told both, and certificates of both are good, so that one can take the other's place without any
//! agent being enrolled again.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::clock::{hex, random};

const DAY_MS: u64 = 24 * 3_600_000;
/// A host's certificate lives so long: what a thief of a key has without being noticed.
pub const HOST_LIFE_MS: u64 = 7 * DAY_MS;
/// The server's own; it is made anew at each start and at half of its life.
pub const SERVER_LIFE_MS: u64 = 30 * DAY_MS;
const ROOT_LIFE_MS: u64 = 20 * 365 * DAY_MS;
const INTERMEDIATE_LIFE_MS: u64 = 5 * 365 * DAY_MS;
/// Certificates are good from a little before they are made: clocks differ.
const CLOCK_SLACK_MS: u64 = 3_600_000;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file can't be read or written.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file is no key or certificate.
    #[error("{path}: {why}: put the file back from a copy of the state folder", path = path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// What should be signed can't be.
    #[error("{0}")]
    Sign(String),
}

/// Signs for hosts and for the server.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    intermediate_pem: String,
    intermediate: CertificateDer<'static>,
    anchors_pem: String,
    anchors: Vec<CertificateDer<'static>>,
}

/// A host's certificate.
pub struct Signed {
    /// It and the intermediate, in PEM.
    pub chain_pem: String,
    /// Milliseconds since 1970.
    pub not_after_ms: u64,
}

/// A signing request whose signature is good.
pub struct Request {
    params: CertificateSigningRequestParams,
}

impl Request {
    /// Reads PKCS #10 in PEM.
    ///
    /// # Errors
    /// It is none, asks for something unknown, or was not signed by its own key.
    pub fn read(pem: &str) -> Result<Self, AuthorityError> {
        let params = CertificateSigningRequestParams::from_pem(pem);
        Ok(Self { params: params.map_err(|error| AuthorityError::Sign(format!("the signing request: {error}")))? })
    }

    /// A digest of the public key: the same key is the same host.
    #[must_use]
    pub fn key_hash(&self) -> String {
        crate::clock::sha256_hex(rcgen::PublicKeyData::der_bytes(&self.params.public_key))
    }
}

impl Authority {
    /// Makes the authority in an empty folder.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn make(dir: &Path, now_ms: u64) -> Result<(), AuthorityError> {
        let sign = |error: rcgen::Error| AuthorityError::Sign(error.to_string());
        let name = hex(&random::<4>().map_err(|error| AuthorityError::Sign(error.to_string()))?);
        let root_key = KeyPair::generate().map_err(sign)?;
        let root_params = authority_params(&format!("Watertight root {name}"), 1, now_ms, ROOT_LIFE_MS);
        let root = root_params.self_signed(&root_key).map_err(sign)?;
        let key = KeyPair::generate().map_err(sign)?;
        let params = authority_params(&format!("Watertight intermediate {name}"), 0, now_ms, INTERMEDIATE_LIFE_MS);
        let intermediate = params.signed_by(&key, &Issuer::from_params(&root_params, &root_key)).map_err(sign)?;
        let file = |path: &Path| {
            let path = path.to_owned();
            move |error| AuthorityError::File { path, error }
        };
        // All of it gets its name at once: a first start that is cut off leaves no half authority.
        let fresh = dir.with_extension("new");
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file(&fresh)(error)),
            _ => fs::create_dir(&fresh).map_err(file(&fresh))?,
        }
        write_secret(&fresh.join("root.key"), &root_key.serialize_pem())?;
        write_secret(&fresh.join("root.pem"), &root.pem())?;
        write_secret(&fresh.join("intermediate.key"), &key.serialize_pem())?;
        write_secret(&fresh.join("intermediate.pem"), &intermediate.pem())?;
        fs::File::open(&fresh).and_then(|folder| folder.sync_all()).map_err(file(&fresh))?;
        fs::rename(&fresh, dir).map_err(file(dir))
    }

    /// Opens the authority.
    ///
    /// # Errors
    /// A file is missing or is not what it should be.
    pub fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let key_path = dir.join("intermediate.key");
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(|error| form(&key_path, &error))?;
        let pem_path = dir.join("intermediate.pem");
        let intermediate_pem = read(&pem_path)?;
        let intermediate = certificate(&pem_path, &intermediate_pem)?;
        let issuer = Issuer::from_ca_cert_der(&intermediate, key).map_err(|error| form(&pem_path, &error))?;
        let mut anchors_pem = String::new();
        let mut anchors = Vec::new();
        for (name, is_needed) in [("root.pem", true), ("next-root.pem", false)] {
            let path = dir.join(name);
            if is_needed || path.exists() {
                let pem = read(&path)?;
                anchors.push(certificate(&path, &pem)?);
                anchors_pem.push_str(&pem);
            }
        }
        Ok(Self { issuer, intermediate_pem, intermediate, anchors_pem, anchors })
    }

    /// Whom agents trust, in PEM.
    #[must_use]
    pub fn anchors_pem(&self) -> &str {
        &self.anchors_pem
    }

    /// The same.
    #[must_use]
    pub fn anchors(&self) -> &[CertificateDer<'static>] {
        &self.anchors
    }

    /// A host's certificate: its name is the host's id, its key the request's, everything else is ours.
    ///
    /// # Errors
    /// The key is of a kind that can't be signed for.
    pub fn sign(&self, request: &Request, host: &str, serial: &[u8], now_ms: u64) -> Result<Signed, AuthorityError> {
        let not_after_ms = now_ms.saturating_add(HOST_LIFE_MS);
        let mut params = leaf_params(host, serial, now_ms, not_after_ms);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params
            .signed_by(&request.params.public_key, &self.issuer)
            .map_err(|error| AuthorityError::Sign(error.to_string()))?;
        Ok(Signed { chain_pem: format!("{}{}", signed.pem(), self.intermediate_pem), not_after_ms })
    }

    /// A certificate for the server itself, with its key and the chain.
    ///
    /// # Errors
    /// A name is none.
    pub fn sign_server(
        &self,
        names: &[SanType],
        now_ms: u64,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let sign = |error: rcgen::Error| AuthorityError::Sign(error.to_string());
        let serial = random::<16>().map_err(|error| AuthorityError::Sign(error.to_string()))?;
        let mut params = leaf_params("Watertight server", &serial, now_ms, now_ms.saturating_add(SERVER_LIFE_MS));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = names.to_vec();
        let key = KeyPair::generate().map_err(sign)?;
        let signed = params.signed_by(&key, &self.issuer).map_err(sign)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((vec![signed.der().clone(), self.intermediate.clone()], key))
    }
}

fn authority_params(name: &str, below: u8, now_ms: u64, life_ms: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(now_ms.saturating_sub(CLOCK_SLACK_MS));
    params.not_after = moment(now_ms.saturating_add(life_ms));
    params
}

fn leaf_params(name: &str, serial: &[u8], now_ms: u64, not_after_ms: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = moment(now_ms.saturating_sub(CLOCK_SLACK_MS));
    params.not_after = moment(not_after_ms);
    params
}

fn moment(at_ms: u64) -> OffsetDateTime {
    let at_s = i64::try_from(at_ms / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(at_s).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|error| AuthorityError::File { path: path.to_owned(), error })
}

fn form(path: &Path, why: &dyn std::fmt::Display) -> AuthorityError {
    AuthorityError::Form { path: path.to_owned(), why: why.to_string() }
}

fn certificate(path: &Path, pem: &str) -> Result<CertificateDer<'static>, AuthorityError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| form(path, &error))
}

/// Writes a file that nobody else may read, durably.
///
/// # Errors
/// It can't be written, or is there.
pub fn write_secret(path: &Path, text: &str) -> Result<(), AuthorityError> {
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| AuthorityError::File { path: path.to_owned(), error })
}
