//! What people and programs ask, with a token in `Authorization: Bearer`. Each change has a reason and an entry in the audit log, in the
//! same transaction.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{header, HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};
use watertight_fleet_wire::limits::OPERATOR_BYTES_MAX;
use watertight_fleet_wire::{Code, Problem};

use super::answer::{body, Refusal};
use super::status::Status;
use crate::access::{new_enrol_token, new_operator_token, Actor};
use crate::clock::{now_ms, sha256_hex};
use crate::hosts::Host;
use crate::names;
use crate::roles::{Action, Role};
use crate::server::Server;
use crate::store::{AuditEntry, BucketRow, Dropped, EnrolToken, OperatorToken, Seen};

const HOSTS_MAX: usize = 1_000;
const BUCKETS_MAX: u32 = 1_000;
const TOKEN_USES_MAX: u32 = 100_000;
/// An enrolment token lives no longer.
const TOKEN_LIFE_S_MAX: u64 = 7 * 24 * 3_600;
const WEEK_MS: u64 = 7 * 24 * 3_600_000;

/// The API's description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Watertight fleet server",
        description = "Agents show a certificate, people and programs a bearer token."
    ),
    paths(
        super::agent::enrol,
        super::agent::renew,
        super::agent::check_in,
        super::agent::wait,
        super::agent::leave,
        super::records::take,
        status,
        super::counters::counters,
        hosts,
        host,
        revoke_host,
        super::rollouts::plan,
        super::rollouts::start,
        super::rollouts::all,
        super::rollouts::one,
        super::rollouts::change,
        super::rollouts::why,
        super::rings::all,
        super::rings::set,
        buckets,
        make_enrol_token,
        make_operator_token,
        revoke_operator_token,
        super::audit::audit,
        description
    ),
    components(schemas(Problem))
)]
pub(super) struct Description;

/// A host as the API tells it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct HostAnswer {
    id: String,
    tenant: String,
    ring: String,
    enrolled_ms: u64,
    not_after_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloned_ms: Option<u64>,
    /// Records lost on the host since it was enrolled, because its spool had no room for them.
    dropped: Dropped,
    /// Of these, those that it told of in the last 24 hours.
    dropped_last_day: Dropped,
    seen: Seen,
}

impl HostAnswer {
    fn of(host: &Host) -> Self {
        let row = host.row.clone();
        Self {
            id: row.id,
            tenant: row.tenant,
            ring: row.ring,
            enrolled_ms: row.enrolled_ms,
            not_after_ms: row.not_after_ms,
            revoked_ms: row.revoked_ms,
            cloned_ms: row.cloned_ms,
            dropped: host.lost.ever(),
            dropped_last_day: host.lost.last_day(now_ms()),
            seen: row.seen,
        }
    }
}

/// A part of a long list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HostsQuery {
    /// Only hosts of this ring.
    ring: Option<String>,
    /// Only hosts after this id: the last of the part before.
    after: Option<String>,
}

/// Why something is done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// In words, for the audit log.
    pub(super) reason: String,
}

/// A token that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrolTokenRequest {
    /// Hosts that use it come into this ring.
    ring: String,
    /// And are this customer's.
    #[serde(default = "default_tenant")]
    tenant: String,
    /// How many hosts.
    #[serde(default = "one")]
    uses: u32,
    /// For how long.
    #[serde(default = "an_hour")]
    valid_for_s: u64,
    /// Why.
    reason: String,
}

fn default_tenant() -> String {
    "default".to_owned()
}

fn one() -> u32 {
    1
}

fn an_hour() -> u64 {
    3_600
}

/// A token that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OperatorTokenRequest {
    /// Who will use it: the actor in the audit log.
    name: String,
    /// What it may.
    role: Role,
    /// Why.
    reason: String,
}

/// A token. It is told this once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct TokenAnswer {
    token: String,
}

/// Who asks, if it may.
pub(super) async fn allowed(server: &Server, headers: &HeaderMap, action: Action) -> Result<Actor, Refusal> {
    let sent = headers.get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok());
    may(server, sent.and_then(|sent| sent.strip_prefix("Bearer ")), action).await
}

/// The same by the token.
pub(super) async fn may(server: &Server, token: Option<&str>, action: Action) -> Result<Actor, Refusal> {
    let actor = match token {
        Some(token) => server.access.actor(token.trim(), server.store.as_ref()).await?,
        None => None,
    };
    let why = "no token, or one that is not known: the first is in the file `admin.token` of the state folder; `watertight server \
               operator` on the server's machine makes another";
    let actor = actor.ok_or_else(|| Refusal::new(Code::Unauthenticated, why))?;
    if actor.role.may(action) {
        return Ok(actor);
    }
    let (role, action, least) = (actor.role.name(), action.name(), action.least().name());
    Err(Refusal::new(Code::Forbidden, format!("{role} may not {action}: {least} may")))
}

pub(super) async fn read<T: DeserializeOwned>(sent: Body) -> Result<T, Refusal> {
    let bytes = body(sent, OPERATOR_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::new(Code::Form, error.to_string()))
}

pub(super) fn tell<T: Serialize>(answer: &T) -> Response {
    axum::Json(answer).into_response()
}

pub(super) fn entry(actor: Actor, action: Action, subject: &str, reason: String) -> Result<AuditEntry, Refusal> {
    names::reason("reason", &reason).map_err(|why| Refusal::new(Code::Form, why))?;
    let (action, subject) = (action.name().to_owned(), subject.to_owned());
    Ok(AuditEntry { at_ms: now_ms(), actor: actor.name, action, subject, reason })
}

/// The name of a ring or of a customer.
pub(super) fn name(what: &str, name: &str) -> Result<(), Refusal> {
    names::check(what, name).map_err(|why| Refusal::new(Code::Form, why))
}

/// Whether the fleet is safe to leave, in figures.
#[utoipa::path(get, path = "/v1/status", tag = "operator", responses((status = 200, body = Status)))]
pub(super) async fn status(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    Ok(tell(&Status::of(&server).await?))
}

/// Hosts by id, a thousand at a time.
#[utoipa::path(get, path = "/v1/hosts", tag = "operator", params(HostsQuery), responses((status = 200, body = Vec<HostAnswer>)))]
pub(super) async fn hosts(
    State(server): State<Arc<Server>>,
    query: Result<Query<HostsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    let Query(query) = query.map_err(|error| Refusal::new(Code::Form, error.body_text()))?;
    let mut found: Vec<HostAnswer> = Vec::new();
    for cell in server.hosts.all() {
        let host = cell.lock();
        let is_after = query.after.as_ref().is_none_or(|after| host.row.id > *after);
        if is_after && query.ring.as_ref().is_none_or(|ring| host.row.ring == *ring) {
            found.push(HostAnswer::of(&host));
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.truncate(HOSTS_MAX);
    Ok(tell(&found))
}

/// One host.
#[utoipa::path(get, path = "/v1/hosts/{id}", tag = "operator", params(("id" = String, Path)), responses((status = 200, body = HostAnswer)))]
pub(super) async fn host(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    let cell = server.hosts.get(&id).ok_or_else(|| Refusal::new(Code::NotFound, "there is no such host"))?;
    let answer = HostAnswer::of(&cell.lock());
    Ok(tell(&answer))
}

/// Take a host's certificates away, from this moment on.
#[utoipa::path(post, path = "/v1/hosts/{id}/revoke", tag = "operator", params(("id" = String, Path)), request_body = Reason,
    responses((status = 200, body = HostAnswer)))]
pub(super) async fn revoke_host(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let actor = allowed(&server, &headers, Action::RevokeHost).await?;
    let told: Reason = read(sent).await?;
    let cell = server.hosts.get(&id).ok_or_else(|| Refusal::new(Code::NotFound, "there is no such host"))?;
    let entry = entry(actor, Action::RevokeHost, &id, told.reason)?;
    server.noted(server.store.revoke(&id, entry.at_ms, &entry).await)?;
    cell.revoke(entry.at_ms);
    let answer = HostAnswer::of(&cell.lock());
    Ok(tell(&answer))
}

/// Crash buckets of the last seven days, those of most hosts first.
#[utoipa::path(get, path = "/v1/buckets", tag = "operator", responses((status = 200, body = Vec<BucketRow>)))]
pub(super) async fn buckets(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Response, Refusal> {
    allowed(&server, &headers, Action::Look).await?;
    Ok(tell(&server.store.buckets(now_ms().saturating_sub(WEEK_MS), BUCKETS_MAX).await?))
}

/// Make a token with which hosts enrol.
#[utoipa::path(post, path = "/v1/enrol-tokens", tag = "operator", request_body = EnrolTokenRequest,
    responses((status = 200, body = TokenAnswer)))]
pub(super) async fn make_enrol_token(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let actor = allowed(&server, &headers, Action::MakeEnrolToken).await?;
    let told: EnrolTokenRequest = read(sent).await?;
    name("ring", &told.ring)?;
    name("tenant", &told.tenant)?;
    if !(1..=TOKEN_USES_MAX).contains(&told.uses) || !(1..=TOKEN_LIFE_S_MAX).contains(&told.valid_for_s) {
        let why = format!("uses: 1 to {TOKEN_USES_MAX}; valid_for_s: 1 to {TOKEN_LIFE_S_MAX}");
        return Err(Refusal::new(Code::Form, why));
    }
    let entry = entry(actor, Action::MakeEnrolToken, &told.ring, told.reason)?;
    let token = new_enrol_token().map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
    let row = EnrolToken {
        hash: sha256_hex(token.as_bytes()),
        tenant: told.tenant,
        ring: told.ring,
        uses: told.uses,
        expires_ms: entry.at_ms.saturating_add(told.valid_for_s.saturating_mul(1000)),
    };
    server.noted(server.store.put_enrol_token(&row, &entry).await)?;
    Ok(tell(&TokenAnswer { token }))
}

/// Make a token of this API.
#[utoipa::path(post, path = "/v1/operator-tokens", tag = "operator", request_body = OperatorTokenRequest,
    responses((status = 200, body = TokenAnswer)))]
pub(super) async fn make_operator_token(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let actor = allowed(&server, &headers, Action::GiveAccess).await?;
    let told: OperatorTokenRequest = read(sent).await?;
    names::actor("name", &told.name).map_err(|why| Refusal::new(Code::Form, why))?;
    let entry = entry(actor, Action::GiveAccess, &told.name, told.reason)?;
    let token = new_operator_token().map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
    let row = OperatorToken { name: told.name, hash: sha256_hex(token.as_bytes()), role: told.role };
    server.noted(server.access.give(row, &entry, server.store.as_ref()).await)?;
    Ok(tell(&TokenAnswer { token }))
}

/// Take a token of this API away, from this moment on. That of the last admin stays: 409.
#[utoipa::path(post, path = "/v1/operator-tokens/{name}/revoke", tag = "operator", params(("name" = String, Path)),
    request_body = Reason, responses((status = 200)))]
pub(super) async fn revoke_operator_token(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let actor = allowed(&server, &headers, Action::GiveAccess).await?;
    let told: Reason = read(sent).await?;
    let entry = entry(actor, Action::GiveAccess, &name, format!("revoked: {}", told.reason))?;
    server.noted(server.access.revoke(&name, &entry, server.store.as_ref()).await)?;
    Ok(tell(&serde_json::json!({})))
}

/// This description. It is no secret.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "operator", responses((status = 200)))]
pub(super) async fn description() -> Result<Response, Refusal> {
    let text = super::description().map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
