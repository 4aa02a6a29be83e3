//! What a check-in costs the database: nothing. Here the database is closed, so that whoever asks it fails.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{json, Value};
use tower_service::Service as _;
use watertight_fleet_wire::records::{pack, Alert, Batch, Body as Of, Record, Stream};
use watertight_server::api::{router, Peer};
use watertight_server::authority::{Authority, HOST_LIFE_MS};
use watertight_server::clock::now_ms;
use watertight_server::server::{Server, Settings};
use watertight_server::store::sqlite::SqliteStore;
use watertight_server::store::HostRow;
use watertight_server::tls::Shown;

struct Asked {
    status: u16,
    body: Value,
}

async fn ask(server: &Arc<Server>, path: &str, body: Vec<u8>) -> Asked {
    let not_after_ms = now_ms() + HOST_LIFE_MS;
    let shown = Shown { host: "h".into(), serial: "s".into(), not_before_ms: 0, not_after_ms };
    let peer = Peer { shown: Some(Arc::new(shown)), cell: server.hosts.get("h"), address: ([127, 0, 0, 1], 1).into() };
    let request = Request::post(path).header("watertight-protocol", "1").extension(peer).body(Body::from(body));
    let answer = router(Arc::clone(server)).call(request.expect("a request")).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    Asked { status, body: serde_json::from_slice(&body).expect("JSON") }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_ins_read_no_database_and_what_is_not_durable_is_not_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Arc::new(SqliteStore::create(&dir.path().join("state.db")).await.expect("a store"));
    Authority::make(&dir.path().join("ca"), now_ms()).expect("an authority");
    let authority = Authority::open(&dir.path().join("ca")).expect("the authority");
    let shared: Arc<dyn watertight_server::store::StateStore> = store.clone();
    let server = Server::new(shared, authority, dir.path().to_owned(), Settings::default()).await.expect("a server");
    server.hosts.put(HostRow { id: "h".into(), serial: "s".into(), ..HostRow::default() });
    let server = Arc::new(server);
    watertight_server::store::StateStore::close(store.as_ref()).await;

    for sequence in 1..=20 {
        let told = json!({
            "sequence": sequence, "instance": "i", "boot": "b", "clock_ms": now_ms(), "generation": 1, "state_hash": "0"
        });
        let asked = ask(&server, "/v1/agent/checkin", told.to_string().into_bytes()).await;
        assert_eq!((asked.status, asked.body["generation"].as_u64()), (200, Some(1)), "{}", asked.body);
    }
    let record = Record { sequence: 1, at_ms: 1, body: Some(Of::Alert(Alert::default())) };
    let batch = Batch { boot: "b".into(), stream: Stream::Alert as i32, records: vec![record], dropped: 0 };
    for _ in 0..2 {
        let asked = ask(&server, "/v1/agent/records", pack(&batch).expect("a batch")).await;
        assert_eq!((asked.status, asked.body["code"].as_str()), (503, Some("not_durable")), "{}", asked.body);
        assert!(asked.body["retry_after_ms"].is_u64() && asked.body.get("acknowledged").is_none());
    }
    assert!(server.refusing().is_some(), "and it is said");
    let told = json!({
        "sequence": 99, "instance": "i", "boot": "b", "clock_ms": now_ms(), "generation": 1, "state_hash": "0"
    });
    assert_eq!(ask(&server, "/v1/agent/checkin", told.to_string().into_bytes()).await.status, 200, "check-ins go on");
}
