//! Numbers that grow while the server runs: what a load costs is the difference of two looks. Reading them touches no database.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Refusal;
use super::operator::{allowed, tell};
use crate::roles::Action;
use crate::server::Server;

/// What the server did since its start.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Counters {
    /// Check-ins answered.
    check_ins: u64,
    /// Questions to the database, whoever asked.
    database_reads: u64,
    /// Changes of the database, each of one or many rows.
    database_changes: u64,
    /// Times that the content repository was read and verified.
    repository_reads: u64,
    /// Agents that wait for the doorbell now.
    waiting: u64,
    /// Hosts, the revoked ones too.
    hosts: u64,
    /// The generation of the desired state.
    generation: u64,
}

/// What the server did since its start, in numbers.
#[utoipa::path(get, path = "/v1/counters", tag = "operator", responses((status = 200, body = Counters)))]
pub(super) async fn counters(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    let uses = server.store.uses();
    Ok(tell(&Counters {
        check_ins: server.check_ins.load(Relaxed),
        database_reads: uses.reads,
        database_changes: uses.changes,
        repository_reads: server.rollouts.repository_reads(),
        waiting: server.waiting.load(Relaxed),
        hosts: u64::try_from(server.hosts.len()).unwrap_or(u64::MAX),
        generation: server.generation(),
    }))
}
