//! The content repository, for whoever asks: what is in it is signed, and no secret.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{header, HeaderValue};
use axum::response::Response;
use watertight_fleet_wire::Code;

use super::answer::Refusal;
use crate::server::Server;

pub(super) async fn file(State(server): State<Arc<Server>>, Path(path): Path<String>) -> Result<Response, Refusal> {
    let served = tokio::task::spawn_blocking(move || server.content.serve(&path)).await;
    let Ok(Some(served)) = served else {
        return Err(Refusal::new(Code::NotFound, "the content repository has no such file"));
    };
    let mut response = Response::new(Body::from(served.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(served.cache_control));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
