//! A repository on any static web server, over `http` or `https`.
//!
//! The server is not trusted: nothing that it sends is believed before it is verified, and it can neither fill memory (every file has
//! a limit, counted while it is read) nor hold the client (a wait for each read, and a least speed for the whole).

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::tls::{parse_pem, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Error, Timeout};

use super::{Source, SourceError, Tree};
use crate::path::encode_url_path;

/// How long the client bears with a server.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connecting, the whole head of an answer, and each read of its body take at most this.
    pub wait_ms_max: u64,
    /// A body comes at this speed at least, once `wait_ms_max` has passed: else it could drip for ever.
    pub speed_bytes_per_s_min: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { wait_ms_max: 30_000, speed_bytes_per_s_min: 1024 }
    }
}

/// Redirects that are followed for one file.
const REDIRECTS_MAX: u32 = 3;
/// The head of an answer.
const HEAD_SIZE_BYTES_MAX: usize = 16 * 1024;
const READ_SIZE_BYTES: usize = 16 * 1024;

/// Files from a web server.
#[derive(Debug)]
pub struct HttpSource {
    agent: Agent,
    metadata_url: String,
    targets_url: String,
    limits: HttpLimits,
}

impl HttpSource {
    /// The repository whose `metadata/` and `targets/` are below `url`.
    ///
    /// # Errors
    /// As `with_urls`.
    pub fn new(url: &str, ca_pem: Option<&[u8]>, limits: HttpLimits) -> Result<Self, SourceError> {
        let url = url.trim_end_matches('/');
        Self::with_urls(&format!("{url}/metadata"), &format!("{url}/targets"), ca_pem, limits)
    }

    /// The repository whose two trees are at these URLs. With `ca_pem` only certificates of these authorities are good.
    ///
    /// # Errors
    /// A URL is no plain `http` or `https` URL; the authorities are no certificates.
    pub fn with_urls(
        metadata_url: &str,
        targets_url: &str,
        ca_pem: Option<&[u8]>,
        limits: HttpLimits,
    ) -> Result<Self, SourceError> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = ca_pem {
            tls = tls.root_certs(authorities(pem)?);
        }
        let wait = Some(Duration::from_millis(limits.wait_ms_max));
        // Looking up a name has no wait of ours: it would take a thread. The C library gives a name up after some tries of its own.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // followed below, where the scheme is looked at
            .max_redirects_will_error(false)
            .max_response_header_size(HEAD_SIZE_BYTES_MAX)
            .accept_encoding("identity")
            .user_agent(concat!("watertight/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(wait)
            .timeout_send_request(wait)
            .timeout_recv_response(wait)
            .timeout_per_read(wait)
            .tls_config(tls.build())
            .build()
            .new_agent();
        Ok(Self { agent, metadata_url: base(metadata_url)?, targets_url: base(targets_url)?, limits })
    }

    /// The answer at `url`, redirects followed.
    fn answer(&self, url: String) -> Result<(String, ureq::http::Response<ureq::Body>), SourceError> {
        let mut url = url;
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.agent.get(&url).call().map_err(|error| self.failed(&url, error))?;
            if !answer.status().is_redirection() {
                return Ok((url, answer));
            }
            let target = answer.headers().get("location").and_then(|target| target.to_str().ok()).unwrap_or_default();
            url = redirected(&url, target)?;
        }
        Err(SourceError::Redirect { place: url, target: String::new(), why: "more than 3 in a row" })
    }

    /// The body, as long as it comes at a bearable speed and has at most so many bytes.
    fn body(&self, url: &str, mut body: impl Read, size_bytes_max: u64) -> Result<Vec<u8>, SourceError> {
        let begun = Instant::now();
        let mut bytes = Vec::new();
        let mut part = [0; READ_SIZE_BYTES];
        loop {
            let count = match body.read(&mut part) {
                Ok(0) => return Ok(bytes),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(url, Error::from(error))),
            };
            bytes.extend(part.iter().take(count));
            if bytes.len() as u64 > size_bytes_max {
                return Err(SourceError::TooLarge { place: url.into(), size_bytes_max });
            }
            let speed_bytes_per_s = self.limits.speed_bytes_per_s_min.max(1);
            let allowed_ms = (bytes.len() as u64).saturating_mul(1000).wrapping_div(speed_bytes_per_s);
            if begun.elapsed() > Duration::from_millis(self.limits.wait_ms_max.saturating_add(allowed_ms)) {
                let why = format!("less than {speed_bytes_per_s} bytes a second");
                return Err(SourceError::TooSlow { place: url.into(), why });
            }
        }
    }

    fn failed(&self, url: &str, error: Error) -> SourceError {
        let place = url.to_owned();
        match error {
            Error::Timeout(what) => SourceError::TooSlow { place, why: self.waited(what) },
            Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                SourceError::TooSlow { place, why: self.waited(Timeout::RecvBody) }
            }
            error => SourceError::Failed { place, why: error.to_string() },
        }
    }

    fn waited(&self, what: Timeout) -> String {
        format!("waited {} ms ({what})", self.limits.wait_ms_max)
    }
}

impl Source for HttpSource {
    fn fetch(&self, tree: Tree, path: &str, size_bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let url = match tree {
            // The names of documents are such that they mean themselves in a URL; encoded again they would be others.
            Tree::Metadata => format!("{}{path}", self.metadata_url),
            Tree::Targets => format!("{}{}", self.targets_url, encode_url_path(path)),
        };
        let (url, answer) = self.answer(url)?;
        match answer.status().as_u16() {
            200 => {}
            // Object stores answer 403 where there is nothing and the folder can't be listed.
            403 | 404 | 410 => return Ok(None),
            status => return Err(SourceError::Status { place: url, status }),
        }
        let told = answer.headers().get("content-length").and_then(|told| told.to_str().ok()?.parse::<u64>().ok());
        if told.is_some_and(|told| told > size_bytes_max) {
            return Err(SourceError::TooLarge { place: url, size_bytes_max });
        }
        self.body(&url, answer.into_body().into_reader(), size_bytes_max).map(Some)
    }
}

/// A base URL that ends in `/`.
fn base(url: &str) -> Result<String, SourceError> {
    let refuse = |why: &str| SourceError::Place { place: url.into(), why: why.into() };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("no URL: it has no `http://` or `https://`"))?;
    if !matches!(scheme, "http" | "https") {
        return Err(refuse("only `http` and `https` are spoken"));
    }
    if rest.split('/').next().is_none_or(str::is_empty) {
        return Err(refuse("it names no host"));
    }
    if rest.contains(['?', '#', ' ']) || rest.chars().any(char::is_control) {
        return Err(refuse("a query, a fragment or a space can't be part of it"));
    }
    Ok(format!("{}/", url.trim_end_matches('/')))
}

/// Where a redirect leads, if it stays with the scheme.
fn redirected(url: &str, target: &str) -> Result<String, SourceError> {
    let refuse = |why| Err(SourceError::Redirect { place: url.into(), target: target.into(), why });
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    if target.starts_with('/') && !target.starts_with("//") {
        let host = rest.split('/').next().unwrap_or_default();
        return Ok(format!("{scheme}://{host}{target}"));
    }
    match target.split_once("://") {
        Some((other, _)) if other.eq_ignore_ascii_case(scheme) => Ok(target.into()),
        Some(_) => refuse("to another scheme: name the repository's real URL"),
        None => refuse("neither a URL nor a path from the root"),
    }
}

fn authorities(pem: &[u8]) -> Result<RootCerts, SourceError> {
    let refuse = |why: String| SourceError::Place { place: "the file of authorities".into(), why };
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| refuse(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(refuse("it holds no certificate in PEM form".into()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_to_another_scheme_is_refused() {
        for target in ["http://elsewhere/x", "file:///etc/passwd", "ftp://elsewhere/x", "", "x", "//elsewhere/x"] {
            assert!(matches!(redirected("https://host/a", target), Err(SourceError::Redirect { .. })), "{target}");
        }
        assert_eq!(redirected("https://host/a", "/b").expect("a path"), "https://host/b");
        assert_eq!(redirected("https://host/a", "https://cdn/b").expect("the same scheme"), "https://cdn/b");
    }

    #[test]
    fn only_plain_web_addresses_are_repositories() {
        for url in ["file:///srv", "host/x", "http://", "https://host/?x", "http://host/#x", "ftp://host/"] {
            assert!(base(url).is_err(), "{url}");
        }
        assert_eq!(base("https://host/repo").expect("a URL"), "https://host/repo/");
    }
}
