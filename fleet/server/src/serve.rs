//! Connections: TLS, then HTTP/1.1 with the paths of `api`.
//!
//! HTTP/1.1 and not 2, because it costs less a check-in and less memory an agent that waits. Each step has its time, so that a client
//! that is slow on purpose holds nothing for long; there are as many connections as there is room for, others wait in the kernel's queue.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower_service::Service as _;

use crate::api::{in_words, router, Peer};
use crate::handshake::{Handshakes, Stream};
use crate::server::Server;
use crate::tls::Shown;

/// From one request to the next, and for its head. A host that checks in once a minute keeps its connection.
const HEAD_OF_HOST: Duration = Duration::from_secs(90);
/// The same for one without a certificate.
const HEAD_OF_OTHERS: Duration = Duration::from_secs(15);
/// Requests under way when the server ends have this long.
const LAST_REQUEST: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// After the kernel refused a connection, as it does when descriptors run out.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// Serves until the server is to end, and until the last connection has ended.
pub async fn serve(server: Arc<Server>, listener: TcpListener, tls: ServerConfig) {
    let handshakes = Arc::new(Handshakes::new(tls, &server.settings));
    let router = router(Arc::clone(&server));
    let room = Arc::new(Semaphore::new(server.settings.connections_max));
    let mut stopping = server.stopping();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|is_stopping| *is_stopping) => break,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(AFTER_REFUSAL).await;
            continue;
        };
        let Some(begun) = handshakes.begin(address.ip()) else { continue };
        let (server, router) = (Arc::clone(&server), router.clone());
        tokio::spawn(async move {
            // Boxed: its room is given back before the connection is kept for days.
            if let Some(stream) = Box::pin(begun.end(stream)).await {
                connection(&server, stream, address, router).await;
            }
            drop(place);
        });
    }
    drop(listener);
    let all = u32::try_from(server.settings.connections_max).unwrap_or(u32::MAX);
    let _ = timeout(LAST_REQUEST * 2, room.acquire_many(all)).await;
}

async fn connection(server: &Arc<Server>, stream: Stream, address: SocketAddr, router: Router) {
    let certificates = stream.get_ref().1.peer_certificates();
    let shown = certificates.and_then(|chain| chain.first()).and_then(Shown::read).map(Arc::new);
    let cell = shown.as_ref().and_then(|shown| server.hosts.get(&shown.host));
    let head = if cell.is_some() { HEAD_OF_HOST } else { HEAD_OF_OTHERS };
    let peer = Peer { shown, cell, address };
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut router, peer) = (router.clone(), peer.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let answered: Result<_, Infallible> = router.call(request).await;
            answered.map(in_words)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stopping = server.stopping();
    let is_stopped = tokio::select! {
        _ = connection.as_mut() => false,
        _ = stopping.wait_for(|is_stopping| *is_stopping) => true,
    };
    if is_stopped {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_REQUEST, connection).await;
    }
}
