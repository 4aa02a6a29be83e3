//! What a check-in costs the database: nothing. Here the database is closed, so that whoever asks it fails.

mod support;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{json, Value};
use tower_service::Service as _;
use watertight_fleet_wire::records::{pack, Alert, Batch, Body as Of, Record, Stream};
use watertight_server::api::{router, Peer};
use watertight_server::authority::{Authority, HOST_LIFE_MS};
use watertight_server::clock::now_ms;
use watertight_server::serve::serve;
use watertight_server::server::{Server, Settings};
use watertight_server::store::sqlite::SqliteStore;
use watertight_server::store::HostRow;
use watertight_server::tls::{server_config, OwnCertificate, Shown};

struct Asked {
    status: u16,
    body: Value,
}

fn check_in(sequence: u64) -> Vec<u8> {
    let told = json!({
        "sequence": sequence, "instance": "i", "boot": "b", "clock_ms": now_ms(), "generation": 1, "state_hash": "0"
    });
    told.to_string().into_bytes()
}

fn alert() -> Vec<u8> {
    let record = Record { sequence: 1, at_ms: 1, body: Some(Of::Alert(Alert::default())) };
    let batch = Batch { boot: "b".into(), stream: Stream::Alert as i32, records: vec![record], dropped: 0 };
    pack(&batch).expect("a batch")
}

/// A store and an authority in an empty folder.
async fn begun(folder: &Path) -> (Arc<SqliteStore>, Authority) {
    let store = Arc::new(SqliteStore::create(&folder.join("state.db")).await.expect("a store"));
    Authority::make(&folder.join("ca"), now_ms()).expect("an authority");
    (store, Authority::open(&folder.join("ca")).expect("the authority"))
}

async fn ask(server: &Arc<Server>, path: &str, body: Vec<u8>) -> Asked {
    ask_as("h", server, path, body).await
}

async fn ask_as(host: &str, server: &Arc<Server>, path: &str, body: Vec<u8>) -> Asked {
    let not_after_ms = now_ms() + HOST_LIFE_MS;
    let shown = Shown { host: host.into(), serial: "s".into(), not_before_ms: 0, not_after_ms };
    let peer = Peer { shown: Some(Arc::new(shown)), cell: server.hosts.get(host), address: ([127, 0, 0, 1], 1).into() };
    let request = Request::post(path).header("watertight-protocol", "1").extension(peer).body(Body::from(body));
    let answer = router(Arc::clone(server)).call(request.expect("a request")).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    Asked { status, body: serde_json::from_slice(&body).expect("JSON") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_little_room_is_left_alone_before_it_is_full() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Arc::new(SqliteStore::create(&dir.path().join("state.db")).await.expect("a store"));
    Authority::make(&dir.path().join("ca"), now_ms()).expect("an authority");
    let started = |free_bytes_min| {
        let authority = Authority::open(&dir.path().join("ca")).expect("the authority");
        let settings = Settings { free_bytes_min, ..Settings::default() };
        Server::new(store.clone(), authority, dir.path().to_owned(), settings)
    };
    let server = Arc::new(started(u64::MAX).await.expect("a server"));
    server.hosts.put(HostRow { id: "h".into(), serial: "s".into(), ..HostRow::default() });
    server.probe().await;
    let asked = ask(&server, "/v1/agent/records", alert()).await;
    assert_eq!((asked.status, asked.body["code"].as_str()), (503, Some("not_durable")), "{}", asked.body);
    assert!(asked.body["message"].as_str().is_some_and(|why| why.contains("make room")), "{}", asked.body);
    assert_eq!(ask(&server, "/v1/agent/checkin", check_in(1)).await.status, 200, "check-ins go on");
    let server = started(0).await.expect("a server");
    server.probe().await;
    assert_eq!(server.refusing(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_delivers_without_end_is_told_to_wait_and_others_are_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, authority) = begun(dir.path()).await;
    let server = Server::new(store, authority, dir.path().to_owned(), Settings::default()).await.expect("a server");
    server.hosts.put(HostRow { id: "h".into(), serial: "s".into(), ..HostRow::default() });
    let server = Arc::new(server);
    let host = server.hosts.get("h").expect("it is there");
    let mut delivered: u64 = 0;
    let refused = loop {
        // A batch is as large as many.
        host.lock().records_left().spend(8_000_000.0, now_ms());
        let asked = ask(&server, "/v1/agent/records", alert()).await;
        if asked.status != 200 {
            break asked;
        }
        delivered += 1;
    };
    assert!((6..=8).contains(&delivered), "64 MiB at once: {delivered}");
    assert_eq!((refused.status, refused.body["code"].as_str()), (429, Some("busy")), "{}", refused.body);
    assert!(refused.body["retry_after_ms"].as_u64() > Some(1_000), "{}", refused.body);
    assert_eq!(ask(&server, "/v1/agent/checkin", check_in(1)).await.status, 200, "it checks in all the same");
    server.hosts.put(HostRow { id: "g".into(), serial: "s".into(), ..HostRow::default() });
    let another = ask_as("g", &server, "/v1/agent/records", alert()).await;
    assert_eq!(another.status, 200, "what one owes is not another's: {}", another.body);
    let another = server.hosts.get("g").expect("it is there");
    another.lock().records_left().spend(64.0 * 1024.0 * 1024.0 - 10.0, now_ms());
    let left = || another.lock().records_left().look(now_ms());
    while left().is_ok() {
        let asked = ask_as("g", &server, "/v1/agent/records", alert()).await;
        assert_eq!(asked.status, 200, "{}", asked.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_have_their_turns_and_who_says_nothing_takes_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, authority) = begun(dir.path()).await;
    let name = rcgen::SanType::DnsName("localhost".try_into().expect("a name"));
    let own = Arc::new(OwnCertificate::new(&authority, &[name], now_ms()).expect("a certificate"));
    let (tls, anchors) = (server_config(&authority, own).expect("TLS"), authority.anchors_pem().to_owned());
    let settings = Settings { handshakes_max: 1, ..Settings::default() };
    let server = Arc::new(Server::new(store, authority, dir.path().to_owned(), settings).await.expect("a server"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let serving = tokio::spawn(serve(Arc::clone(&server), listener, tls));

    let get = || {
        let anchors = anchors.clone();
        tokio::task::spawn_blocking(move || support::Client::new(address, &anchors, None).get("/v1/none").status)
    };
    let silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).expect("connected")).collect();
    assert_eq!(get().await.expect("an answer"), 404, "nobody waits for those who say nothing");
    let all: Vec<_> = (0..20).map(|_| get()).collect();
    for one in all {
        assert_eq!(one.await.expect("an answer"), 404, "one after the other, all get through");
    }
    let mut slow = std::net::TcpStream::connect(address).expect("connected");
    slow.write_all(&[0x16, 0x03, 0x01]).expect("the beginning of a hello");
    tokio::time::sleep(Duration::from_secs(1)).await; // it has the turn by then
    let waiting = get();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "there is one turn");
    drop(slow);
    assert_eq!(waiting.await.expect("an answer"), 404);
    drop(silent);
    server.stop();
    serving.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_ins_read_no_database_and_what_is_not_durable_is_not_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, authority) = begun(dir.path()).await;
    let shared: Arc<dyn watertight_server::store::StateStore> = store.clone();
    let server = Server::new(shared, authority, dir.path().to_owned(), Settings::default()).await.expect("a server");
    server.hosts.put(HostRow { id: "h".into(), serial: "s".into(), ..HostRow::default() });
    let server = Arc::new(server);
    watertight_server::store::StateStore::close(store.as_ref()).await;

    for sequence in 1..=20 {
        let asked = ask(&server, "/v1/agent/checkin", check_in(sequence)).await;
        assert_eq!((asked.status, asked.body["generation"].as_u64()), (200, Some(1)), "{}", asked.body);
    }
    for _ in 0..2 {
        let asked = ask(&server, "/v1/agent/records", alert()).await;
        assert_eq!((asked.status, asked.body["code"].as_str()), (503, Some("not_durable")), "{}", asked.body);
        assert!(asked.body["retry_after_ms"].is_u64() && asked.body.get("acknowledged").is_none());
    }
    assert!(server.refusing().is_some(), "and it is said");
    assert_eq!(ask(&server, "/v1/agent/checkin", check_in(99)).await.status, 200, "check-ins go on");
}
