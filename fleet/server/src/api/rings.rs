//! Rings, for people and programs: what was said of each, and what is said in its place.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use watertight_fleet::plan::ring::RingPolicy;

use super::answer::Refusal;
use super::operator::{allowed, entry, name, read, tell};
use crate::roles::Action;
use crate::rollout::RingAnswer;
use crate::server::Server;

/// What is said of a ring.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetRing {
    /// All of it: what is not named is as if nothing had been said.
    policy: RingPolicy,
    /// Why, for the audit log.
    reason: String,
}

/// Rings of which something was said.
#[utoipa::path(get, path = "/v1/rings", tag = "operator", responses((status = 200, body = Vec<RingAnswer>)))]
pub(super) async fn all(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    Ok(tell(&server.rollouts.rings(&server).await?))
}

/// Say something else of a ring.
#[utoipa::path(post, path = "/v1/rings/{ring}", tag = "operator", request_body = SetRing, params(("ring" = String, Path)),
    responses((status = 200, body = RingAnswer)))]
pub(super) async fn set(
    State(server): State<Arc<Server>>,
    Path(ring): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let actor = allowed(&server, &headers, Action::SetRing).await?;
    let told: SetRing = read(sent).await?;
    name("ring", &ring)?;
    let entry = entry(actor, Action::SetRing, &ring, told.reason)?;
    Ok(tell(&server.rollouts.set_ring(&server, &ring, told.policy, entry).await?))
}
