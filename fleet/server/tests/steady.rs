//! What a check-in costs the database: nothing. Here the database is closed, so that whoever asks it fails.

mod support;

use std::io::{Read as _, Write as _};
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
use watertight_server::clock::{now_ms, sha256_hex};
use watertight_server::serve::serve;
use watertight_server::server::{Server, Settings};
use watertight_server::store::sqlite::SqliteStore;
use watertight_server::store::{AuditEntry, EnrolToken, HostRow, StateStore as _};
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

/// A server in this process, with one turn for handshakes, and a token for one host.
struct Serving {
    server: Arc<Server>,
    address: std::net::SocketAddr,
    anchors: String,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Serving {
    async fn start(handshake_turn_ms: u64) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, authority) = begun(dir.path()).await;
        let (hash, expires_ms) = (sha256_hex(b"a token"), u64::MAX / 2);
        let token = EnrolToken { hash, tenant: "default".into(), ring: "early".into(), uses: 9, expires_ms };
        let text = || "a test".to_owned();
        let entry = AuditEntry { at_ms: 1, actor: text(), action: text(), subject: text(), reason: text() };
        store.put_enrol_token(&token, &entry).await.expect("a token");
        let name = rcgen::SanType::DnsName("localhost".try_into().expect("a name"));
        let own = Arc::new(OwnCertificate::new(&authority, &[name], now_ms()).expect("a certificate"));
        let (tls, anchors) = (server_config(&authority, own).expect("TLS"), authority.anchors_pem().to_owned());
        let settings = Settings { handshakes_max: 1, handshake_turn_ms, ..Settings::default() };
        let server = Arc::new(Server::new(store, authority, dir.path().to_owned(), settings).await.expect("a server"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let task = tokio::spawn(serve(Arc::clone(&server), listener, tls));
        Self { server, address, anchors, task, _dir: dir }
    }

    fn client(&self) -> support::Client {
        support::Client::new(self.address, &self.anchors, None)
    }

    /// A host enrols; gives the status of the answer.
    fn enrol(&self) -> tokio::task::JoinHandle<u16> {
        let mut client = self.client();
        let key = rcgen::KeyPair::generate().expect("a key");
        tokio::task::spawn_blocking(move || client.post("/v1/agent/enrol", &support::enrolment("a token", &key)).status)
    }

    async fn end(self) {
        self.server.stop();
        self.task.await.expect("it ends");
    }
}

/// Whether the server still holds a connection on which it has nothing more to say.
fn is_held(stream: &std::net::TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a mode");
    let mut said = [0; 4096];
    loop {
        match (&mut &*stream).read(&mut said) {
            Ok(1..) => {}
            Ok(0) => return false,
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// A host enrols while peers stall, all of which are still waited for when it is done. A machine that stands still for ten seconds in between
/// would end them too: so it is tried again.
async fn enrols_beside(serving: &Serving, stall: impl Fn() -> std::net::TcpStream) -> bool {
    for _ in 0..5 {
        let stalled: Vec<_> = (0..20).map(|_| stall()).collect();
        tokio::time::sleep(Duration::from_millis(500)).await; // the server has heard them
        assert_eq!(serving.enrol().await.expect("an answer"), 200);
        if stalled.iter().all(is_held) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_stall_in_their_handshake_keep_no_host_from_its_own() {
    let serving = Serving::start(600_000).await;
    let silent = || std::net::TcpStream::connect(serving.address).expect("connected");
    assert!(enrols_beside(&serving, silent).await, "who says nothing has no turn");
    let half = || {
        let mut stream = silent();
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).expect("the beginning of a hello");
        stream
    };
    assert!(enrols_beside(&serving, half).await, "nor who says half of its hello");
    serving.end().await;

    let serving = Serving::start(0).await;
    assert!(enrols_beside(&serving, || serving.client().stall()).await, "who does not go on gives its turn back");
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_have_their_turns() {
    let serving = Serving::start(600_000).await;
    let all: Vec<_> = (0..8).map(|_| serving.enrol()).collect();
    for one in all {
        assert_eq!(one.await.expect("an answer"), 200, "one after the other, all get through");
    }
    let slow = serving.client().stall();
    while !slow.peek(&mut [0]).is_ok_and(|count| count > 0) {} // the server answers: it has the turn
    let waiting = serving.enrol();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "there is one turn");
    drop(slow);
    assert_eq!(waiting.await.expect("an answer"), 200);
    serving.end().await;
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
