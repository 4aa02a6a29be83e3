//! The server's operator API, as a person's program asks it.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use serde_json::Value as Json;
use ureq::tls::{parse_pem, Certificate, PemItem, RootCerts, TlsConfig};
use ureq::Agent;

/// Whoever asks does not wait longer for an answer.
const WAIT: Duration = Duration::from_secs(10);

/// A server and a token for it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    agent: Agent,
    url: String,
    token: String,
}

impl Api {
    pub(crate) fn new(url: &str, ca_pem: &str, token: &str) -> Result<Self> {
        let mut anchors: Vec<Certificate<'static>> = Vec::new();
        for item in parse_pem(ca_pem.as_bytes()) {
            if let PemItem::Certificate(anchor) = item.context("the server's `ca.pem`")? {
                anchors.push(anchor);
            }
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&anchors)).build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(WAIT))
            .tls_config(tls)
            .build()
            .new_agent();
        Ok(Self { agent, url: url.to_owned(), token: format!("Bearer {}", token.trim()) })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Json> {
        let asked = self.agent.get(format!("{}{path}", self.url)).header("authorization", &self.token).call();
        answer(path, asked)
    }

    pub(crate) fn post(&self, path: &str, body: &Json) -> Result<Json> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("authorization", &self.token);
        answer(path, request.send(body.to_string()))
    }
}

fn answer(path: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Json> {
    let mut answer = answer.with_context(|| format!("asking the server for {path}"))?;
    let body = answer.body_mut().read_to_string().with_context(|| format!("reading the answer to {path}"))?;
    ensure!(answer.status().is_success(), "{path}: {}: {body}", answer.status());
    serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))
}
