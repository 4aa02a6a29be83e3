//! A server as a process of its own on loopback, and a client that speaks to it over real TLS, as an agent or as an operator.

#![allow(dead_code, clippy::panic)] // each test uses its part; what goes wrong here fails it

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{json, Value};

const BINARY: &str = env!("CARGO_BIN_EXE_watertight-server");
/// Far longer than anything takes; only a hang is stopped by it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that runs.
pub struct Fleet {
    child: Child,
    pub address: SocketAddr,
    pub state: PathBuf,
    /// The program and its folder, as they were named.
    program: Vec<String>,
    named: PathBuf,
}

impl Fleet {
    /// Starts one; its folder is the test's.
    pub fn start(state: &Path) -> Self {
        Self::start_with(state, &[])
    }

    pub fn start_with(state: &Path, options: &[&str]) -> Self {
        Self::start_by(&[], state, state, options)
    }

    /// The same by another program, with a folder that this process knows by another path.
    pub fn start_by(by: &[String], named: &Path, state: &Path, options: &[&str]) -> Self {
        let program = [by, &[BINARY.to_owned()]].concat();
        let mut child = Command::new(&program[0])
            .args(&program[1..])
            .args(["run", "--listen", "127.0.0.1:0", "--state"])
            .arg(named)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        out.read_line(&mut line).expect("its ready line");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert_eq!(ready["ready"], true);
        let address = ready["listen"].as_str().expect("an address").parse().expect("an address");
        Self { child, address, state: state.to_owned(), program, named: named.to_owned() }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// SIGTERM; gives the exit code.
    pub fn end(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        self.child.wait().expect("its end").code()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn token(&self, options: &[&str]) -> String {
        self.token_for("early", options)
    }

    pub fn token_for(&self, ring: &str, options: &[&str]) -> String {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args(["token", "--ring", ring, "--state"]).arg(&self.named).args(options);
        let done = command.output().expect("the server's command");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text").trim().to_owned()
    }

    pub fn anchors(&self) -> String {
        std::fs::read_to_string(self.state.join("ca.pem")).expect("the anchors")
    }

    /// A client without a certificate.
    pub fn client(&self) -> Client {
        Client::new(self.address, &self.anchors(), None)
    }

    pub fn admin(&self) -> Client {
        let token = std::fs::read_to_string(self.state.join("admin.token")).expect("the first token");
        self.operator(token.trim())
    }

    pub fn operator(&self, token: &str) -> Client {
        let mut client = self.client();
        client.authorization = Some(format!("Bearer {token}"));
        client
    }

    /// A new key, and what the server makes of it.
    pub fn enrol(&self) -> Agent {
        let key = KeyPair::generate().expect("a key");
        let answer = self.client().post("/v1/agent/enrol", &enrolment(&self.token(&[]), &key));
        assert_eq!(answer.status, 200, "{}", answer.text());
        Agent::new(key, &answer.json())
    }

    pub fn agent(&self, agent: &Agent) -> Client {
        Client::new(self.address, &self.anchors(), Some((&agent.chain_pem, &agent.key)))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a subcommand to its end.
pub fn server(arguments: &[&str], state: &Path, options: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).arg(state).args(options).output().expect("the server's executable")
}

/// A host's identity, and how its agent counts.
pub struct Agent {
    pub key: KeyPair,
    pub host: String,
    pub chain_pem: String,
    pub identity: Value,
}

impl Agent {
    pub fn new(key: KeyPair, identity: &Value) -> Self {
        let text = |name: &str| identity[name].as_str().unwrap_or_else(|| panic!("{name} in {identity}")).to_owned();
        Self { key, host: text("host"), chain_pem: text("certificates_pem"), identity: identity.clone() }
    }
}

pub fn csr(key: &KeyPair) -> String {
    let request = CertificateParams::default().serialize_request(key).expect("a request");
    request.pem().expect("in PEM")
}

pub fn enrolment(token: &str, key: &KeyPair) -> Value {
    let host = json!({
        "name": "web-7", "kernel": "6.1", "distribution": "debian-12", "architecture": "x86_64", "agent_version": "0.1.0",
        "workload": "web"
    });
    json!({ "token": token, "csr_pem": csr(key), "host": host })
}

/// A host's certificate with another end, so many seconds from now. It begins within the hour before the authority was made, for which the
/// authority's own certificate is good too.
pub fn reissued(fleet: &Fleet, chain_pem: &str, key: &KeyPair, ends_in_s: i64) -> String {
    let ca = fleet.state.join("ca");
    let read = |name: &str| std::fs::read_to_string(ca.join(name)).expect("the authority");
    let own = KeyPair::from_pem(&read("intermediate.key")).expect("a key");
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("intermediate.pem"), own).expect("an authority");
    let leaf = CertificateDer::from_pem_slice(chain_pem.as_bytes()).expect("a certificate");
    let shown = watertight_server::tls::Shown::read(&leaf).expect("a host's");
    let serial: Vec<u8> = (0..shown.serial.len() / 2)
        .map(|i| u8::from_str_radix(&shown.serial[2 * i..2 * i + 2], 16).expect("hex"))
        .collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, &shown.host);
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let moment = |in_s: i64| {
        let now_s = i64::try_from(now_ms() / 1000).expect("a time");
        time::OffsetDateTime::from_unix_timestamp(now_s + in_s).expect("a time")
    };
    (params.not_before, params.not_after) = (moment(-3_000), moment(ends_in_s));
    let signed = params.signed_by(key, &issuer).expect("signed");
    format!("{}{}", signed.pem(), read("intermediate.pem"))
}

pub fn check_in(instance: &str, sequence: u64) -> Value {
    json!({ "sequence": sequence, "instance": instance, "boot": "b", "clock_ms": now_ms(), "generation": 1, "state_hash": "0" })
}

pub fn now_ms() -> u64 {
    watertight_server::clock::now_ms()
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    }
}

/// One connection at a time, kept as long as the server keeps it.
pub struct Client {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    stream: Option<StreamOwned<ClientConnection, TcpStream>>,
    pub authorization: Option<String>,
    /// The header that says the protocol, unless it is empty.
    pub protocol: String,
}

impl Client {
    pub fn new(address: SocketAddr, anchors_pem: &str, own: Option<(&str, &KeyPair)>) -> Self {
        let mut roots = RootCertStore::empty();
        for anchor in CertificateDer::pem_slice_iter(anchors_pem.as_bytes()) {
            roots.add(anchor.expect("a certificate")).expect("an anchor");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots);
        let tls = match own {
            None => tls.with_no_client_auth(),
            Some((chain_pem, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).map(|der| der.expect("in PEM"));
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                tls.with_client_auth_cert(chain.collect(), key).expect("an identity")
            }
        };
        let protocol = "1".to_owned();
        Self { address, tls: Arc::new(tls), stream: None, authorization: None, protocol }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, b"").expect("an answer")
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, body.to_string().as_bytes()).expect("an answer")
    }

    pub fn post_bytes(&mut self, path: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, body).expect("an answer")
    }

    /// Asks, on the connection that there is or on a new one.
    pub fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
        if !self.protocol.is_empty() {
            head.push_str(&format!("watertight-protocol: {}\r\n", self.protocol));
        }
        if let Some(word) = &self.authorization {
            head.push_str(&format!("authorization: {word}\r\n"));
        }
        head.push_str("\r\n");
        let message = [head.as_bytes(), body].concat();
        // A connection that was kept may have been closed meanwhile.
        if let Some(stream) = self.stream.take() {
            if let Ok(answer) = self.ask_on(stream, &message) {
                return Ok(answer);
            }
        }
        let stream = self.connect()?;
        self.ask_on(stream, &message)
    }

    fn ask_on(
        &mut self,
        mut stream: StreamOwned<ClientConnection, TcpStream>,
        message: &[u8],
    ) -> std::io::Result<Answer> {
        // A server that refuses by the head alone need not take the body.
        let _ = stream.write_all(message).and_then(|()| stream.flush());
        let answer = read(&mut stream)?;
        if answer.header("connection").as_deref() != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    /// Connects, says its hello, and nothing more.
    pub fn stall(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(&self.tls), name).expect("a client");
        while tls.wants_write() {
            tls.write_tls(&mut stream).expect("sent");
        }
        stream
    }

    fn connect(&self) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).map_err(std::io::Error::other)?;
        Ok(StreamOwned::new(tls, stream))
    }
}

/// Reads an answer with `content-length`, as all of this server's are.
fn read(stream: &mut impl std::io::Read) -> std::io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(std::io::Error::other)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut answer = Answer { status, head, body: Vec::new() };
    let length: u64 = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    stream.take(length).read_to_end(&mut answer.body)?;
    Ok(answer)
}
