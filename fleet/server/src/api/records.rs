//! Health, crashes and alerts: taken when they are on disk, and not before.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use watertight_fleet_wire::limits::BATCH_BYTES_MAX;
use watertight_fleet_wire::records::{unpack, Batch, RecordsAnswer};
use watertight_fleet_wire::Code;

use super::agent::admit;
use super::answer::{body, json, spoken, Refusal};
use super::Peer;
use crate::clock::{now_ms, random_part_ms};
use crate::hosts::HostCell;
use crate::server::Server;
use crate::store::{Kept, StoreError};

/// Deliver a batch: protobuf in a zstd frame (`watertight-fleet-wire`, `records`). The answer means that all of it is on disk.
#[utoipa::path(post, path = "/v1/agent/records", tag = "agent", request_body(content = Vec<u8>, content_type = "application/zstd"),
    responses((status = 200, body = RecordsAnswer), (status = "4XX", body = watertight_fleet_wire::Problem)))]
pub(super) async fn take(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let protocol = spoken(&headers)?;
    let (cell, shown) = admit(&server, &peer, false).await?;
    let quota = cell.lock().records_left().look(now_ms());
    quota.map_err(|wait_ms| {
        Refusal::later(Code::Busy, "this host delivers more than one may: come again later", wait_ms)
    })?;
    if let Some(why) = server.refusing() {
        return Err(Refusal::later(Code::NotDurable, why, 15_000 + random_part_ms(15_000)));
    }
    let Ok(turn) = Arc::clone(&server.batches).try_acquire_owned() else {
        return Err(Refusal::later(
            Code::Busy,
            "too many batches at once: come again later",
            1_000 + random_part_ms(4_000),
        ));
    };
    let packed = body(sent, BATCH_BYTES_MAX).await?;
    let batch = tokio::task::spawn_blocking(move || unpack(protocol, &packed)).await;
    let batch = batch.map_err(|error| Refusal::new(Code::Internal, error.to_string()))??;
    let acknowledged = batch.records.last().map_or(0, |record| record.sequence);
    // In a task of its own: an agent that hangs up meanwhile leaves nothing on disk that is not counted here.
    let kept = tokio::spawn(async move {
        let _turn = turn;
        keep(&server, &cell, &shown.host, &batch).await
    });
    let kept = kept.await.map_err(|error| Refusal::new(Code::Internal, error.to_string()))??;
    Ok(json(protocol, &RecordsAnswer { acknowledged, new: kept.new }))
}

async fn keep(server: &Server, cell: &HostCell, host: &str, batch: &Batch) -> Result<Kept, StoreError> {
    let now_ms = now_ms();
    let kept = server.noted(server.store.put_records(host, now_ms, batch).await)?;
    let mut known = cell.lock();
    // Of what was there already too: it has cost the same.
    known.records_left().spend(batch.size_bytes() as f64, now_ms);
    known.lost.note(batch.stream(), kept.dropped, now_ms);
    drop(known);
    server.rollouts.heard();
    Ok(kept)
}
