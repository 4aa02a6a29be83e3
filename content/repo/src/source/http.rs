//! A repository on any static web server, over `http` or `https`.
//!
//! The server is not trusted: nothing that it sends is believed before it is verified, and it can neither fill memory (every file has
//! a limit, counted while it is read) nor hold the client (a wait for each read, and a least speed).

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::tls::{parse_pem, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Error, Timeout};

use super::{Source, SourceError, Tree};
use crate::path::encode_url_path;

/// How long the client bears with a server.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// The whole head of an answer and each read of its body take at most this, connecting and asking a third of it each.
    pub wait_ms_max: u64,
    /// In every stretch of `wait_ms_max` a body comes at this speed at least: else it could drip for ever, or after a good beginning.
    pub speed_bytes_per_s_min: u64,
}

impl HttpLimits {
    /// The longest that [`HttpSource::fetch_telling`] tells nothing: a name that is looked up (by the C library, with tries of its own, here
    /// taken for one wait), a connection, a request and the head of its answer.
    #[must_use]
    pub fn silence_ms_max(&self) -> u64 {
        self.wait_ms_max.saturating_mul(3)
    }

    /// The longest that a file may take: its body, a last stretch that is cut off, and as many heads as there may be redirects.
    #[must_use]
    pub fn longest_ms(&self, size_bytes: u64) -> u64 {
        let body_ms = size_bytes.saturating_mul(1000) / self.speed_bytes_per_s_min.max(1);
        let waits = self.silence_ms_max().saturating_mul(u64::from(REDIRECTS_MAX) + 1);
        body_ms.saturating_add(waits).saturating_add(self.wait_ms_max.saturating_mul(2))
    }
}

impl Default for HttpLimits {
    /// At 16 KiB/s, which any line that is in use gives, a pack of 2 MB takes two minutes. While a server drips, no recall can be heard.
    fn default() -> Self {
        Self { wait_ms_max: 20_000, speed_bytes_per_s_min: 16 * 1024 }
    }
}

/// Redirects that are followed for one file.
const REDIRECTS_MAX: u32 = 3;
/// The head of an answer.
const HEAD_SIZE_BYTES_MAX: usize = 16 * 1024;
const READ_SIZE_BYTES: usize = 16 * 1024;

/// Is told how many bytes of a file have come, whenever some have.
type Telling<'t> = &'t mut dyn FnMut(u64);

/// A stretch of a body. What came before it is no credit: a server would drip for an hour after sixty megabytes at once.
struct Stretch {
    limits: HttpLimits,
    begun: Instant,
    bytes: u64,
}

impl Stretch {
    fn new(limits: HttpLimits) -> Self {
        Self { limits, begun: Instant::now(), bytes: 0 }
    }

    /// So many bytes more. At the end of the stretch the next one begins, if there were enough.
    fn goes_on(&mut self, bytes: u64) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(bytes);
        let elapsed_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if elapsed_ms < self.limits.wait_ms_max {
            return Ok(());
        }
        let speed_min = self.limits.speed_bytes_per_s_min;
        let speed = self.bytes.saturating_mul(1000).checked_div(elapsed_ms).unwrap_or(u64::MAX);
        if speed < speed_min {
            return Err(format!("{speed} bytes a second for {} s, less than {speed_min}", elapsed_ms / 1000));
        }
        *self = Self::new(self.limits);
        Ok(())
    }
}

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
        let third = wait.and_then(|wait| wait.checked_div(3));
        // Looking up a name has no wait of ours: it would take a thread. The C library gives a name up after some tries of its own.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // followed below, where the scheme is looked at
            .max_redirects_will_error(false)
            .max_response_header_size(HEAD_SIZE_BYTES_MAX)
            .accept_encoding("identity")
            .user_agent(concat!("watertight/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(third)
            .timeout_send_request(third)
            .timeout_recv_response(wait)
            .timeout_per_read(wait)
            .tls_config(tls.build())
            .build()
            .new_agent();
        Ok(Self { agent, metadata_url: base(metadata_url)?, targets_url: base(targets_url)?, limits })
    }

    /// As [`Source::fetch`]; `tell` is called whenever something came, with the bytes of the file that are there.
    ///
    /// # Errors
    /// As [`Source::fetch`].
    pub fn fetch_telling(
        &self,
        tree: Tree,
        path: &str,
        size_bytes_max: u64,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let url = match tree {
            // The names of documents are such that they mean themselves in a URL; encoded again they would be others.
            Tree::Metadata => format!("{}{path}", self.metadata_url),
            Tree::Targets => format!("{}{}", self.targets_url, encode_url_path(path)),
        };
        let (url, answer) = self.answer(url, tell)?;
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
        self.body(&url, answer.into_body().into_reader(), size_bytes_max, tell).map(Some)
    }

    /// The answer at `url`, redirects followed.
    fn answer(
        &self,
        url: String,
        tell: Telling<'_>,
    ) -> Result<(String, ureq::http::Response<ureq::Body>), SourceError> {
        let mut url = url;
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.agent.get(&url).call().map_err(|error| self.failed(&url, error))?;
            tell(0);
            if !answer.status().is_redirection() {
                return Ok((url, answer));
            }
            let target = answer.headers().get("location").and_then(|target| target.to_str().ok()).unwrap_or_default();
            url = redirected(&url, target)?;
        }
        Err(SourceError::Redirect { place: url, target: String::new(), why: "more than 3 in a row" })
    }

    /// The body, as long as it comes at a bearable speed and has at most so many bytes.
    fn body(&self, url: &str, mut body: impl Read, most: u64, tell: Telling<'_>) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        let mut part = [0; READ_SIZE_BYTES];
        let mut stretch = Stretch::new(self.limits);
        loop {
            let count = match body.read(&mut part) {
                Ok(0) => return Ok(bytes),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(url, Error::from(error))),
            };
            bytes.extend(part.iter().take(count));
            if bytes.len() as u64 > most {
                return Err(SourceError::TooLarge { place: url.into(), size_bytes_max: most });
            }
            tell(bytes.len() as u64);
            stretch.goes_on(count as u64).map_err(|why| SourceError::TooSlow { place: url.into(), why })?;
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
        self.fetch_telling(tree, path, size_bytes_max, &mut |_| ())
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
