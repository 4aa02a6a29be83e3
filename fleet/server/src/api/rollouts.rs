//! Rollouts, for people and programs: planned, begun, looked at, paused, resumed, aborted, promoted; and why a host runs what it runs.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use watertight_fleet::rollout::Input;
use watertight_fleet_wire::Code;

use super::answer::Refusal;
use super::operator::{allowed, entry, read, tell, Reason};
use crate::roles::Action;
use crate::rollout::{PlanAnswer, RolloutAnswer, RolloutError, WhyAnswer, Wish};
use crate::server::Server;

impl From<RolloutError> for Refusal {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::NotFound(_) => Self::new(Code::NotFound, error.to_string()),
            RolloutError::Conflict(why) | RolloutError::NotYet { why, .. } => Self::new(Code::Conflict, why),
            RolloutError::Form(why) => Self::new(Code::Form, why),
            RolloutError::Store(error) => error.into(),
        }
    }
}

/// Say what a rollout would be; nothing is begun.
#[utoipa::path(post, path = "/v1/rollouts/plan", tag = "operator", request_body = Wish, responses((status = 200, body = PlanAnswer)))]
pub(super) async fn plan(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    let wish: Wish = read(sent).await?;
    Ok(tell(&server.rollouts.plan(&server, &wish).await?))
}

/// Begin a rollout.
#[utoipa::path(post, path = "/v1/rollouts", tag = "operator", request_body = Wish, responses((status = 200, body = RolloutAnswer)))]
pub(super) async fn start(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let actor = allowed(&server, &headers, Action::RollOut).await?;
    let wish: Wish = read(sent).await?;
    let mut entry = entry(actor, Action::RollOut, &wish.content, wish.reason.clone())?;
    "rollout_start".clone_into(&mut entry.action);
    Ok(tell(&server.rollouts.start(&server, &wish, entry).await?))
}

/// All rollouts, the newest first.
#[utoipa::path(get, path = "/v1/rollouts", tag = "operator", responses((status = 200, body = Vec<RolloutAnswer>)))]
pub(super) async fn all(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    Ok(tell(&server.rollouts.all(&server).await?))
}

/// One rollout, with what was decided in it.
#[utoipa::path(get, path = "/v1/rollouts/{id}", tag = "operator", params(("id" = String, Path)),
    responses((status = 200, body = RolloutAnswer)))]
pub(super) async fn one(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    Ok(tell(&server.rollouts.one(&server, &id).await?))
}

/// Change a rollout: `pause` (nobody else gets it for now), `resume`, `abort` (and recall it), or `promote` (end a hold).
#[utoipa::path(post, path = "/v1/rollouts/{id}/{change}", tag = "operator", request_body = Reason,
    params(("id" = String, Path), ("change" = String, Path)), responses((status = 200, body = RolloutAnswer)))]
pub(super) async fn change(
    State(server): State<Arc<Server>>,
    Path((id, change)): Path<(String, String)>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let actor = allowed(&server, &headers, Action::RollOut).await?;
    let told: Reason = read(sent).await?;
    let input = match change.as_str() {
        "pause" => Input::Pause,
        "resume" => Input::Resume,
        "abort" => Input::Abort,
        "promote" => Input::Promote,
        _ => return Err(Refusal::new(Code::NotFound, "a rollout can be paused, resumed, aborted and promoted")),
    };
    let mut entry = entry(actor, Action::RollOut, &id, told.reason)?;
    entry.action = format!("rollout_{change}");
    Ok(tell(&server.rollouts.change(&server, &id, input, entry).await?))
}

/// Why a host is on its version.
#[utoipa::path(get, path = "/v1/hosts/{id}/why", tag = "operator", params(("id" = String, Path)),
    responses((status = 200, body = WhyAnswer)))]
pub(super) async fn why(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    Ok(tell(&server.rollouts.why(&server, &id).await?))
}
