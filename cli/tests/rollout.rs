//! `watertight rollout` before it speaks to a server: a token goes to nobody whose certificate was not asked for. And while the server that it
//! watches a rollout on goes away and comes back.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");

fn status(server: &str, dir: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(["rollout", "status", "--server", server, "--ca"]).arg(dir.join("ca.pem"));
    let done = command.arg("--token-file").arg(dir.join("token")).output().expect("the command");
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn a_token_goes_over_no_line_that_others_can_read() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("token"), "wt-operator-1").expect("a file");
    std::fs::write(dir.path().join("ca.pem"), "no certificate").expect("a file");
    let (code, words) = status("http://127.0.0.1:1", dir.path());
    assert!(code == Some(1) && words.contains("begins with https://"), "{words}");
    let (code, words) = status("https://127.0.0.1:1", dir.path());
    assert!(code == Some(1) && words.contains("no certificate in PEM form"), "{words}");
}

#[test]
fn a_change_needs_a_reason() {
    let done = Command::new(BINARY).args(["rollout", "abort", "r1"]).output().expect("the command");
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("--reason"));
}

#[test]
fn a_name_that_is_none_is_refused_and_not_made_into_another() {
    for words in [["ring", "early@eu"], ["abort", "r1/2"]] {
        let mut command = Command::new(BINARY);
        command.args(["rollout"]).args(words).args(["--reason", "r", "--server", "https://127.0.0.1:1"]);
        let done = command.args(["--ca", "none", "--token-file", "none"]).output().expect("the command");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(1) && said.contains("letters, digits and -_."), "{said}");
    }
}

/// Answers as the server does, one connection for each.
struct Stub {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    dir: tempfile::TempDir,
}

/// A way to answer, or not to.
enum Way {
    Says(u16, &'static str),
    HangsUp,
}
use Way::{HangsUp, Says};

const RUNNING: Way = Says(200, r#"{"id":"r1","state":"running"}"#);
const COMPLETE: Way = Says(200, r#"{"id":"r1","state":"complete"}"#);

impl Stub {
    /// On an address of its own of the loopback network, so that nobody else is given its port while it is away.
    fn new(number: u8) -> Self {
        let [.., a, b] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 100 + number, a, b.max(1));
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([address.to_string()]).expect("a certificate");
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("ca.pem"), cert.pem()).expect("a file");
        std::fs::write(dir.path().join("token"), "wt-operator-1").expect("a file");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|tls| tls.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
            .expect("TLS");
        let listener = TcpListener::bind((address, 0)).expect("a port");
        Self { listener, tls: Arc::new(tls), dir }
    }

    /// Nobody listens any more; gives what it takes to come back.
    fn goes(self) -> (SocketAddr, Arc<ServerConfig>, tempfile::TempDir) {
        (self.listener.local_addr().expect("an address"), self.tls, self.dir)
    }

    fn comes_back((address, tls, dir): (SocketAddr, Arc<ServerConfig>, tempfile::TempDir)) -> Self {
        Self { listener: TcpListener::bind(address).expect("the port again"), tls, dir }
    }

    fn answers(&self, ways: impl IntoIterator<Item = Way>) {
        for way in ways {
            let (stream, _) = self.listener.accept().expect("a connection");
            let connection = ServerConnection::new(Arc::clone(&self.tls)).expect("TLS");
            let mut stream = StreamOwned::new(connection, stream);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                head.push(byte[0]);
            }
            let Says(status, body) = way else { continue };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).expect("answered");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    }

    fn watch(&self, options: &[&str]) -> Watch {
        let server = format!("https://{}", self.listener.local_addr().expect("an address"));
        let mut child = Command::new(BINARY)
            .args(["rollout", "status", "r1", "--watch", "-o", "json", "--server", &server, "--ca"])
            .arg(self.dir.path().join("ca.pem"))
            .arg("--token-file")
            .arg(self.dir.path().join("token"))
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command");
        let said = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        Watch { child, said }
    }
}

struct Watch {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
}

impl Watch {
    fn says(&mut self, part: &str) {
        let line = self.said.next().expect("a line").expect("text");
        assert!(line.contains(part), "{line}");
    }

    /// Its exit code and lines of standard output; it says nothing more.
    fn ends(mut self) -> (Option<i32>, usize) {
        let mut out = String::new();
        self.child.stdout.take().expect("its output").read_to_string(&mut out).expect("text");
        assert_eq!(self.said.next().map(|line| line.expect("text")), None);
        (self.child.wait().expect("its end").code(), out.lines().count())
    }
}

#[test]
fn a_watch_outlives_a_server_that_is_started_anew_or_busy_and_says_so_once() {
    let server = Stub::new(1);
    let mut watch = server.watch(&[]);
    server.answers([RUNNING]);
    let place = server.goes();
    watch.says("the server gives no answer, and is asked again");
    let server = Stub::comes_back(place);
    server.answers([HangsUp, Says(503, "<html>"), RUNNING]);
    watch.says("the server answers again");
    let busy = Says(429, r#"{"code":"busy","message":"come again"}"#);
    let not_durable = Says(503, r#"{"code":"not_durable","message":"the disk is full"}"#);
    server.answers([busy, not_durable, HangsUp]);
    watch.says("429 Too Many Requests come again: the server gives no answer");
    server.answers([COMPLETE]);
    watch.says("the server answers again");
    assert_eq!(watch.ends(), (Some(0), 2), "what is as it was is not told again");
}

#[test]
fn a_watch_ends_where_time_alone_mends_nothing() {
    for (number, status, code, exit) in [(2, 401, "unauthenticated", 5), (3, 404, "not_found", 4)] {
        let server = Stub::new(number);
        let mut watch = server.watch(&[]);
        let refusal = Says(status, format!(r#"{{"code":"{code}","message":"no"}}"#).leak());
        server.answers([RUNNING, HangsUp, refusal]);
        watch.says("the server gives no answer");
        watch.says("watertight: no");
        assert_eq!(watch.ends(), (Some(exit), 1));
    }
    let server = Stub::new(4);
    let mut watch = server.watch(&["--timeout-s", "2"]);
    server.answers([RUNNING]);
    let _place = server.goes();
    watch.says("the server gives no answer");
    assert_eq!(watch.ends(), (Some(8), 1));
}

#[test]
fn a_server_that_never_answered_is_not_waited_for() {
    let server = Stub::new(5);
    let mut watch = server.watch(&[]);
    server.answers([HangsUp]);
    watch.says("https://127.");
    assert_eq!(watch.ends(), (Some(1), 0));
}
