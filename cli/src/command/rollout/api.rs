//! The server's operator API, as far as rollouts need it: JSON over TLS with the server's own authority, and a token from a file.

use std::io::{ErrorKind, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, Context as _};
use serde_json::Value;
use ureq::http::StatusCode;
use ureq::tls::{parse_pem, PemItem, RootCerts, TlsConfig};
use ureq::Agent;

/// The longest wait for an answer.
pub(super) const WAIT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Which server, and who asks.
#[derive(Debug, clap::Args)]
pub(super) struct ApiArgs {
    /// The server: `https://fleet.example:8443`.
    #[arg(long, value_name = "URL")]
    server: String,
    /// Whom to trust as the server: `ca.pem` of its state folder.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// File with a token of the operator API; the first is `admin.token` in the server's state folder.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

/// The API of a server.
pub(super) struct Api {
    agent: Agent,
    url: String,
    authorization: String,
}

/// What the server answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// As asked.
    Good(Value),
    /// Its word for programs, and its sentence.
    Refused(String, String),
    /// None, for a reason that passes by itself: nobody listens, the line broke, or the server says to come again.
    Later(String),
}

impl ApiArgs {
    /// Reads authority and token.
    ///
    /// # Errors
    /// A file can't be read, or the URL is none.
    pub(super) fn open(&self) -> anyhow::Result<Api> {
        // A token goes over no line that others can read.
        if !self.server.starts_with("https://") {
            bail!("--server {}: a URL that begins with https://", self.server);
        }
        let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| path.display().to_string());
        let mut authorities = Vec::new();
        for item in parse_pem(read(&self.ca)?.as_bytes()) {
            if let PemItem::Certificate(certificate) = item.with_context(|| self.ca.display().to_string())? {
                authorities.push(certificate);
            }
        }
        if authorities.is_empty() {
            bail!("{}: no certificate in PEM form", self.ca.display());
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&authorities)).build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("watertight/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(WAIT))
            .tls_config(tls)
            .build()
            .new_agent();
        let authorization = format!("Bearer {}", read(&self.token_file)?.trim());
        Ok(Api { agent, url: self.server.trim_end_matches('/').to_owned(), authorization })
    }
}

impl Api {
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.get_within(path, WAIT)
    }

    /// The same, with no longer a wait for the answer.
    pub(super) fn get_within(&self, path: &str, wait: Duration) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.url);
        let request = self.agent.get(&url).config().timeout_global(Some(wait)).build();
        let sent = request.header("authorization", &self.authorization).call();
        or_later(sent.and_then(answer), url)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.url);
        let request = self.agent.post(&url).header("authorization", &self.authorization);
        let sent = request.header("content-type", "application/json").send(body.to_string());
        or_later(sent.and_then(answer), url)
    }
}

/// Status and body.
fn answer(response: ureq::http::Response<ureq::Body>) -> Result<(StatusCode, Vec<u8>), ureq::Error> {
    let status = response.status();
    let mut bytes = Vec::new();
    response.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok((status, bytes))
}

fn or_later(answer: Result<(StatusCode, Vec<u8>), ureq::Error>, url: String) -> anyhow::Result<Answer> {
    let (status, bytes) = match answer {
        Ok(answer) => answer,
        Err(error) if passes(&error) => return Ok(Answer::Later(format!("{url}: {error}"))),
        Err(error) => return Err(error).context(url),
    };
    let value: Result<Value, _> = serde_json::from_slice(&bytes);
    let text = |name: &str| {
        let text = value.as_ref().ok().and_then(|value| value.get(name)).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        // Whoever stands before the server says it in no JSON.
        return Ok(Answer::Later(format!("{url}: {status} {}", text("message"))));
    }
    if !status.is_success() && value.is_ok() {
        return Ok(Answer::Refused(text("code"), text("message")));
    }
    value.map(Answer::Good).context("the answer is no JSON: is this a watertight server?")
}

/// Whether it is what a server that starts anew, or the way to it, does for a while. A certificate that is not trusted, or a name that
/// nobody has, is no such thing.
fn passes(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
                | ErrorKind::TimedOut
                | ErrorKind::WouldBlock
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
        ),
        _ => false,
    }
}
