//! The audit log: what was changed, by whom and why, to its first entry.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use watertight_fleet_wire::Code;

use super::answer::Refusal;
use super::operator::{allowed, tell};
use crate::roles::Action;
use crate::server::Server;
use crate::store::AuditRow;

/// Entries of one answer.
const ENTRIES_MAX: u32 = 1_000;

/// A part of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// At most so many entries, from 1 to 1,000, which it is if nothing is said.
    limit: Option<u32>,
    /// Only entries with a smaller number: the last of the part before.
    before: Option<u64>,
}

/// Changes, the newest first. The whole log is read in parts: `before` is the number of the last entry that is known, and an empty part is
/// the end.
#[utoipa::path(get, path = "/v1/audit", tag = "operator", params(AuditQuery), responses((status = 200, body = Vec<AuditRow>)))]
pub(super) async fn audit(
    State(server): State<Arc<Server>>,
    query: Result<Query<AuditQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::ReadAudit).await?;
    let Query(AuditQuery { limit, before }) = query.map_err(|error| Refusal::new(Code::Form, error.body_text()))?;
    let limit = limit.unwrap_or(ENTRIES_MAX);
    if !(1..=ENTRIES_MAX).contains(&limit) {
        return Err(Refusal::new(Code::Form, format!("limit: 1 to {ENTRIES_MAX}")));
    }
    Ok(tell(&server.store.audit(before.unwrap_or(u64::MAX), limit).await?))
}
