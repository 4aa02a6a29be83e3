//! What can be asked of the server, by path.
//!
//! ```text
//! agent.rs     enrol, renew, check in, wait, leave records.rs  health, crashes, alerts
//! operator.rs  hosts, tokens, status               content.rs  the repository's files
//! rollouts.rs  rollouts, and why a host runs what it runs
//! rings.rs     what a ring may begin, and when
//! page.rs      the status page                     answer.rs   bodies, answers, refusals
//! counters.rs  how often what was done             audit.rs    what was changed, by whom and why
//! ```

mod agent;
mod answer;
mod audit;
mod content;
mod counters;
mod operator;
mod page;
mod records;
mod rings;
mod rollouts;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::Router;
use utoipa::OpenApi as _;

pub use answer::in_words;

use crate::hosts::HostCell;
use crate::server::Server;
use crate::tls::Shown;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its certificate, which TLS has verified.
    pub shown: Option<Arc<Shown>>,
    /// The host that the certificate names, if there is one.
    pub cell: Option<Arc<HostCell>>,
    /// Where it is.
    pub address: SocketAddr,
}

/// All paths.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .merge(without_parameters())
        .route("/v1/agent/wait", get(agent::wait))
        .route("/v1/hosts", get(operator::hosts))
        .route("/v1/audit", get(audit::audit))
        .route("/content/{*path}", get(content::file))
        .route("/", get(page::page))
        .route("/status.css", get(page::style))
        .fallback(answer::no_such_path)
        .layer(DefaultBodyLimit::disable()) // each path has its own, in `answer::body`
        .with_state(server)
}

/// Those that take no parameters: who names one means something by it, and is told that it says nothing here.
fn without_parameters() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/agent/enrol", post(agent::enrol))
        .route("/v1/agent/renew", post(agent::renew))
        .route("/v1/agent/checkin", post(agent::check_in))
        .route("/v1/agent/leave", post(agent::leave))
        .route("/v1/agent/records", post(records::take))
        .route("/v1/status", get(operator::status))
        .route("/v1/counters", get(counters::counters))
        .route("/v1/hosts/{id}", get(operator::host))
        .route("/v1/hosts/{id}/revoke", post(operator::revoke_host))
        .route("/v1/hosts/{id}/why", get(rollouts::why))
        .route("/v1/rollouts", get(rollouts::all).post(rollouts::start))
        .route("/v1/rollouts/plan", post(rollouts::plan))
        .route("/v1/rollouts/{id}", get(rollouts::one))
        .route("/v1/rollouts/{id}/{change}", post(rollouts::change))
        .route("/v1/rings", get(rings::all))
        .route("/v1/rings/{ring}", post(rings::set))
        .route("/v1/buckets", get(operator::buckets))
        .route("/v1/enrol-tokens", post(operator::make_enrol_token))
        .route("/v1/operator-tokens", post(operator::make_operator_token))
        .route("/v1/operator-tokens/{name}/revoke", post(operator::revoke_operator_token))
        .route("/v1/openapi.json", get(operator::description))
        .route_layer(from_fn(answer::no_parameters))
}

/// The API's description, from the types that the server reads and writes.
///
/// # Errors
/// It has no JSON form, which the test of the file that is checked in would show.
pub fn description() -> Result<String, serde_json::Error> {
    let mut text = operator::Description::openapi().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    /// `WATERTIGHT_BLESS=1 cargo test -p watertight-server` writes it.
    #[test]
    fn the_description_that_is_checked_in_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let fresh = super::description().expect("a description");
        if std::env::var_os("WATERTIGHT_BLESS").is_some() {
            std::fs::write(path, &fresh).expect("written");
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == fresh, "fleet/server/openapi.json is old: run this test with WATERTIGHT_BLESS=1");
    }

    #[test]
    fn every_path_is_described() {
        let source = include_str!("mod.rs");
        let described = super::description().expect("a description");
        let routes = source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next());
        let api: Vec<&str> = routes.filter(|path| path.starts_with("/v1/")).collect();
        assert!(api.len() > 10);
        for path in api {
            assert!(described.contains(&format!("\"{path}\": {{")), "{path}");
        }
    }

    #[test]
    fn a_parameter_is_described_where_it_is() {
        let described: serde_json::Value =
            serde_json::from_str(&super::description().expect("a description")).expect("JSON");
        let operations = described["paths"].as_object().expect("paths").iter().flat_map(|(path, operations)| {
            operations.as_object().expect("operations").values().map(move |operation| (path, operation))
        });
        let mut queries = 0;
        for (path, operation) in operations {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let is_of_path = path.contains(&format!("{{{}}}", parameter["name"].as_str().expect("a name")));
                assert_eq!(parameter["in"], if is_of_path { "path" } else { "query" }, "{path}: {parameter}");
                queries += usize::from(!is_of_path);
            }
        }
        assert!(queries > 2, "{queries}");
    }
}
