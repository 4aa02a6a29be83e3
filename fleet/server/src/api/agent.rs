//! What agents ask: to be enrolled, for the next certificate, what they should be at, and to be told when that changes; and that they go.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use watertight_fleet::gate::Thresholds;
use watertight_fleet_wire::checkin::{Leave, LeaveAnswer};
use watertight_fleet_wire::limits::{CHECK_IN_BYTES_MAX, ENROL_BYTES_MAX, WAIT_S_MAX};
use watertight_fleet_wire::protocol::Message;
use watertight_fleet_wire::{checkin, CheckIn, CheckInAnswer, Code, EnrolRequest, Identity, RenewRequest, WaitAnswer};

use super::answer::{json, spoken, told, Refusal};
use super::Peer;
use crate::authority::{Request, HOST_LIFE_MS};
use crate::clock::{hex, now_ms, random, random_part_ms, sha256_hex};
use crate::hosts::HostCell;
use crate::server::Server;
use crate::store::{Enrolled, Enrolment, HostRow, TokenRefusal};
use crate::tls::Shown;

/// Agents that are told of a change are told within this time, the sooner the fewer there are.
const DOORBELL_SPREAD_MS_MAX: u64 = 5_000;

const REVOKED: &str = "this host was revoked: ask who runs the fleet, and enrol it again with another key";

const REVOKED_KEY: &str =
    "the host that this key enrolled was revoked: make another key (remove the agent's `host.key` and `identity.json`)";

/// Whether a number of turns a second still has one.
fn turn(answer: Result<(), u64>) -> Result<(), Refusal> {
    answer.map_err(|wait_ms| Refusal::later(Code::Busy, "too many ask at once: come again later", wait_ms))
}

/// The host behind a certificate, if it is still good. With `even_expired` one that has run out will do.
pub(super) async fn admit(
    server: &Server,
    peer: &Peer,
    even_expired: bool,
) -> Result<(Arc<HostCell>, Arc<Shown>), Refusal> {
    let Some(shown) = peer.shown.clone() else {
        let why = "no certificate: enrol with a token, then show the certificate that it gets you";
        return Err(Refusal::new(Code::Unauthenticated, why));
    };
    let Some(cell) = peer.cell.clone() else {
        return Err(Refusal::new(Code::Unauthenticated, "this host is not known here: enrol it again"));
    };
    let now_ms = now_ms();
    let mut is_clone = false;
    let admitted = {
        let mut host = cell.lock();
        turn(host.take_turn(now_ms))?;
        let admitted = host.admit(&shown, now_ms);
        if admitted == Err(Code::Unauthenticated) && host.row.cloned_ms.is_none() {
            host.row.cloned_ms = Some(now_ms);
            is_clone = true;
        }
        admitted
    };
    if is_clone {
        server.mark_cloned(&shown.host, "a certificate was shown that another took the place of").await;
    }
    let why = match admitted {
        Ok(()) => return Ok((cell, shown)),
        Err(Code::Expired) if even_expired => return Ok((cell, shown)),
        Err(Code::Revoked) => REVOKED,
        Err(Code::Expired) => "the certificate has run out: renew it",
        Err(_) => {
            "another certificate took the place of this one: if no other machine runs with this identity, enrol again"
        }
    };
    Err(Refusal::new(admitted.err().unwrap_or(Code::Unauthenticated), why))
}

/// Get a host's first certificate for a token.
#[utoipa::path(post, path = "/v1/agent/enrol", tag = "agent", request_body = EnrolRequest,
    responses((status = 200, body = Identity), (status = "4XX", body = watertight_fleet_wire::Problem)))]
pub(super) async fn enrol(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let protocol = spoken(&headers)?;
    turn(server.enrol_turns.take(now_ms()))?;
    let told: EnrolRequest = told(protocol, sent, ENROL_BYTES_MAX).await?;
    if let Some(why) = told.host.out_of_bounds() {
        return Err(Refusal::new(Code::Form, why));
    }
    let request = Request::read(&told.csr_pem).map_err(|error| Refusal::new(Code::Form, error.to_string()))?;
    let now_ms = now_ms();
    let serial = new_serial()?;
    let enrolment = Enrolment {
        token_hash: sha256_hex(told.token.as_bytes()),
        key_hash: request.key_hash(),
        host: format!("h-{}", hex(&random::<12>().map_err(internal)?)),
        serial: hex(&serial),
        not_after_ms: now_ms.saturating_add(HOST_LIFE_MS),
        now_ms,
        state: checkin::State { host: Some(told.host), ..checkin::State::default() },
    };
    let row = match server.noted(server.store.enrol(&enrolment).await)? {
        Enrolled::Host(row) => *row,
        Enrolled::Refused(why) => return Err(refused_token(why)),
    };
    let identity = identity(&server, &request, &row, &serial, now_ms)?;
    server.hosts.put(row);
    Ok(json(protocol, &identity))
}

fn refused_token(why: TokenRefusal) -> Refusal {
    let why = match why {
        TokenRefusal::Unknown => "there is no such token: `watertight server token` makes one",
        TokenRefusal::Expired => "the token's time is over: `watertight server token` makes another",
        TokenRefusal::UsedUp => "the token was used: `watertight server token` makes another",
        TokenRefusal::OtherToken => {
            "this key is that of a host which another token enrolled: make another key (remove the agent's `host.key`)"
        }
        TokenRefusal::Revoked => return Refusal::new(Code::Revoked, REVOKED_KEY),
    };
    Refusal::new(Code::Token, why)
}

/// A serial number whose first bit is not set, so that it has the same length in a certificate.
fn new_serial() -> Result<[u8; 16], Refusal> {
    let mut serial = random::<16>().map_err(internal)?;
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    Ok(serial)
}

fn internal(error: anyhow::Error) -> Refusal {
    Refusal::new(Code::Internal, error.to_string())
}

fn identity(
    server: &Server,
    request: &Request,
    row: &HostRow,
    serial: &[u8],
    now_ms: u64,
) -> Result<Identity, Refusal> {
    let signed = server.authority.sign(request, &row.id, serial, now_ms);
    let signed = signed.map_err(|error| Refusal::new(Code::Form, error.to_string()))?;
    Ok(Identity {
        host: row.id.clone(),
        tenant: row.tenant.clone(),
        ring: row.ring.clone(),
        certificates_pem: signed.chain_pem,
        trust_anchors_pem: server.authority.anchors_pem().to_owned(),
        renew_after_ms: now_ms.saturating_add(HOST_LIFE_MS / 2),
        not_after_ms: signed.not_after_ms,
    })
}

/// Get the next certificate, with the one that it replaces; one that has run out will do.
#[utoipa::path(post, path = "/v1/agent/renew", tag = "agent", request_body = RenewRequest,
    responses((status = 200, body = Identity), (status = "4XX", body = watertight_fleet_wire::Problem)))]
pub(super) async fn renew(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let protocol = spoken(&headers)?;
    let (cell, shown) = admit(&server, &peer, true).await?;
    turn(server.enrol_turns.take(now_ms()))?;
    let told: RenewRequest = told(protocol, sent, ENROL_BYTES_MAX).await?;
    let request = Request::read(&told.csr_pem).map_err(|error| Refusal::new(Code::Form, error.to_string()))?;
    let now_ms = now_ms();
    let serial = new_serial()?;
    let mut row = cell.lock().row.clone();
    row.serial_before = Some(shown.serial.clone());
    row.serial = hex(&serial);
    row.not_after_ms = now_ms.saturating_add(HOST_LIFE_MS);
    let identity = identity(&server, &request, &row, &serial, now_ms)?;
    server.noted(server.store.renew(&row.id, &row.serial, &shown.serial, row.not_after_ms).await)?;
    server.hosts.put(row);
    Ok(json(protocol, &identity))
}

/// What a host says that is admitted, in its turn and within its bounds.
struct Said<M> {
    protocol: u32,
    cell: Arc<HostCell>,
    shown: Arc<Shown>,
    told: M,
}

impl<M: Message> Said<M> {
    /// Hears it; `out_of_bounds` says what of it is too long or too much.
    async fn hear(
        server: &Server,
        peer: &Peer,
        headers: &HeaderMap,
        sent: Body,
        out_of_bounds: fn(&M) -> Option<String>,
    ) -> Result<Self, Refusal> {
        let protocol = spoken(headers)?;
        let (cell, shown) = admit(server, peer, false).await?;
        turn(server.check_in_turns.take(now_ms()))?;
        let told: M = told(protocol, sent, CHECK_IN_BYTES_MAX).await?;
        match out_of_bounds(&told) {
            Some(why) => Err(Refusal::new(Code::Form, why)),
            None => Ok(Self { protocol, cell, shown, told }),
        }
    }
}

/// Say what the host is and runs; hear what it should be at.
#[utoipa::path(post, path = "/v1/agent/checkin", tag = "agent", request_body = CheckIn,
    responses((status = 200, body = CheckInAnswer), (status = "4XX", body = watertight_fleet_wire::Problem)))]
pub(super) async fn check_in(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let Said { protocol, cell, shown, told } =
        Said::hear(&server, &peer, &headers, sent, CheckIn::out_of_bounds).await?;
    let (generation, pace) = (server.generation(), server.pace());
    let heard = {
        let mut host = cell.lock();
        let heard = host.check_in(&shown, told, generation, pace, now_ms());
        server.hosts.changed(&cell, &mut host);
        heard
    };
    server.check_ins.fetch_add(1, Relaxed);
    if heard.is_newly_cloned {
        server.mark_cloned(&shown.host, "two agents with this identity take turns").await;
    }
    Ok(json(protocol, &heard.answer))
}

/// Say that the machine goes down in good order: silence is to be expected then.
#[utoipa::path(post, path = "/v1/agent/leave", tag = "agent", request_body = Leave,
    responses((status = 200, body = LeaveAnswer), (status = "4XX", body = watertight_fleet_wire::Problem)))]
pub(super) async fn leave(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let Said { protocol, cell, told, .. } = Said::hear(&server, &peer, &headers, sent, Leave::out_of_bounds).await?;
    {
        let mut host = cell.lock();
        host.go_down(&told, now_ms());
        server.hosts.changed(&cell, &mut host);
    }
    let back_within_ms = if told.is_reboot { Thresholds::default().back_after_reboot_ms } else { 0 };
    Ok(json(protocol, &LeaveAnswer { back_within_ms }))
}

/// Counts an agent that waits, until it is answered or gone.
struct Waiting<'a>(&'a Server);

impl<'a> Waiting<'a> {
    fn new(server: &'a Server) -> Self {
        server.waiting.fetch_add(1, Relaxed);
        Self(server)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// What `wait` is asked.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitQuery {
    /// The newest generation that the agent knows.
    generation: u64,
}

/// Be told when the generation is another than the agent's: at once if it is, else when it changes, after 290 s at the latest.
#[utoipa::path(get, path = "/v1/agent/wait", tag = "agent", params(WaitQuery),
    responses((status = 200, body = WaitAnswer), (status = "4XX", body = watertight_fleet_wire::Problem)))]
pub(super) async fn wait(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<WaitQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let protocol = spoken(&headers)?;
    let (cell, _) = admit(&server, &peer, false).await?;
    let Query(query) = query.map_err(|error| Refusal::new(Code::Form, error.body_text()))?;
    let _waiting = Waiting::new(&server);
    tokio::select! {
        generation = held(&server, query.generation) => Ok(json(protocol, &WaitAnswer { generation })),
        () = cell.revoked() => Err(Refusal::new(Code::Revoked, REVOKED)),
    }
}

/// Holds the doorbell of an agent that knows a generation; gives the one that there is.
async fn held(server: &Server, known: u64) -> u64 {
    let (mut generations, mut stopping) = (server.generations(), server.stopping());
    let end = tokio::time::sleep(Duration::from_secs(WAIT_S_MAX));
    let is_changed = tokio::select! {
        changed = generations.wait_for(|generation| *generation != known) => changed.is_ok(),
        stopped = stopping.wait_for(|is_stopping| *is_stopping) => stopped.is_err(),
        () = end => false,
    };
    if is_changed {
        // Not all at once: they come for the same files.
        let spread_ms = u64::try_from(server.hosts.len()).unwrap_or(u64::MAX).min(DOORBELL_SPREAD_MS_MAX);
        tokio::time::sleep(Duration::from_millis(random_part_ms(spread_ms))).await;
    }
    server.generation()
}
