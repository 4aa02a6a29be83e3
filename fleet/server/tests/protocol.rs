//! Two sides of which one is newer by a protocol number, both ways: the product's own, which speaks 1, and one that also speaks 2, made with
//! the one table that says what came with which number. And a server by whose clock nothing is good.

#![allow(clippy::panic, reason = "a test that can not go on says why")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use rustls::{ServerConnection, StreamOwned};
use serde::{Deserialize, Serialize};
use support::Fleet;
use watertight_fleet_agent::exchange::{Credentials, Exchange, Failure};
use watertight_fleet_agent::folder::Folder;
use watertight_fleet_agent::identity::Own;
use watertight_fleet_agent::machine::this_host;
use watertight_fleet_wire::protocol::{read, write, Message, Speaks, PROTOCOL_HEADER};
use watertight_fleet_wire::{CheckIn, CheckInAnswer, Code, Problem};
use watertight_server::authority::Authority;
use watertight_server::clock::now_ms;
use watertight_server::tls::{server_config, OwnCertificate};

/// What the build after this one may speak.
const NEXT: Speaks = Speaks { oldest: 1, newest: 2 };
const CHECK_IN: &str = "/v1/agent/checkin";
const YEAR_MS: u64 = 365 * 24 * 3_600_000;

/// A check-in as it may be in protocol 2.
#[derive(Debug, Serialize, Deserialize)]
struct NextCheckIn {
    sequence: u64,
    instance: String,
    boot: String,
    clock_ms: u64,
    generation: u64,
    state_hash: String,
    #[serde(default)]
    mood: String,
}

impl Message for NextCheckIn {
    const NEWER: &'static [(&'static str, u32)] = &[("mood", 2)];
}

/// And its answer.
#[derive(Debug, Serialize, Deserialize)]
struct NextAnswer {
    generation: u64,
    interval_ms: u64,
    jitter_ms: u64,
    clock_ms: u64,
    need_full_state: bool,
    #[serde(default)]
    renew: bool,
    #[serde(default)]
    advice: String,
}

impl Message for NextAnswer {
    const NEWER: &'static [(&'static str, u32)] = &[("advice", 2)];
}

fn next_check_in(sequence: u64) -> NextCheckIn {
    let text = || "x".to_owned();
    let (instance, boot, state_hash, mood) = (text(), text(), text(), text());
    NextCheckIn { sequence, instance, boot, clock_ms: now_ms(), generation: 0, state_hash, mood }
}

fn check_in(sequence: u64) -> CheckIn {
    serde_json::from_value(support::check_in("i", sequence)).expect("a check-in")
}

/// In which number a server was asked, and what it was told of `mood`; `None` where it refused.
type Heard = Vec<(u32, Option<String>)>;

/// A server of another version than this one's, which answers check-ins.
struct Double {
    address: SocketAddr,
    anchors_pem: String,
    /// The newest that it speaks, from now on.
    newest: Arc<AtomicU32>,
    /// Since it was looked at last.
    heard: Arc<Mutex<Heard>>,
}

impl Double {
    /// With the authority in a folder, by a clock.
    fn start(ca: &Path, newest: u32, clock_ms: u64) -> Self {
        if !ca.exists() {
            Authority::make(ca, now_ms()).expect("an authority");
        }
        let authority = Authority::open(ca).expect("the authority");
        let name = rcgen::SanType::DnsName("localhost".try_into().expect("a name"));
        let own = Arc::new(OwnCertificate::new(&authority, &[name], clock_ms).expect("a certificate"));
        let tls = Arc::new(server_config(&authority, own).expect("TLS"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let double = Self {
            address: listener.local_addr().expect("its address"),
            anchors_pem: authority.anchors_pem().to_owned(),
            newest: Arc::new(AtomicU32::new(newest)),
            heard: Arc::default(),
        };
        let (newest, heard) = (Arc::clone(&double.newest), Arc::clone(&double.heard));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let tls = ServerConnection::new(Arc::clone(&tls)).expect("a connection");
                // A client that does not believe us hangs up.
                let _ = answer(&mut StreamOwned::new(tls, stream), newest.load(SeqCst), &heard);
            }
        });
        double
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    fn exchange(&self) -> Exchange {
        Exchange::new(&self.url(), Credentials { anchors_pem: &self.anchors_pem, own_pem: None }).expect("a client")
    }

    fn heard(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().expect("no panic there"))
    }
}

/// One request and its answer, by the one table.
fn answer(
    stream: &mut (impl std::io::Read + std::io::Write),
    newest: u32,
    heard: &Mutex<Heard>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    let header = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(|value| value.trim().to_owned()))
    };
    let length = header("content-length").map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let asked = header(PROTOCOL_HEADER);
    let number = asked.as_deref().and_then(|number| number.parse().ok()).expect("who asks says in what");
    let (status, answer, mood) = match (Speaks { oldest: 1, newest }.spoken(asked.as_deref())) {
        Err(refused) => {
            let problem = Problem { code: Code::Protocol, message: refused.to_string(), retry_after_ms: None };
            (400, write(newest, &problem), None)
        }
        Ok(number) => {
            let told: NextCheckIn = read(number, &body, 16_384).expect("what the table allows");
            let answer = NextAnswer {
                generation: 7,
                interval_ms: 60_000,
                jitter_ms: 0,
                clock_ms: now_ms(),
                need_full_state: false,
                renew: false,
                advice: "rest".into(),
            };
            (200, write(number, &answer), Some(told.mood))
        }
    };
    heard.lock().expect("no panic there").push((number, mood));
    let head = format!(
        "HTTP/1.1 {status} X\r\n{PROTOCOL_HEADER}: {newest}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&answer)?;
    stream.flush()
}

#[test]
fn an_agent_that_is_newer_enrols_with_this_server_and_checks_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    let (url, anchors, key) =
        (format!("https://localhost:{}", fleet.address.port()), fleet.anchors(), agent.key.serialize_pem());
    let own_pem = Some((agent.chain_pem.as_str(), key.as_str()));
    let exchange =
        Exchange::new(&url, Credentials { anchors_pem: &anchors, own_pem }).expect("a client").speaking(NEXT);
    for sequence in 1..=2 {
        let answer: NextAnswer = exchange.post(CHECK_IN, &next_check_in(sequence)).expect("it goes down to 1");
        assert_eq!((answer.generation, answer.advice.as_str()), (1, ""));
    }
    let seen = fleet.admin().get(&format!("/v1/hosts/{}", agent.host)).json();
    assert_eq!(seen["seen"]["sequence"], 2, "{seen}");
}

#[test]
fn this_agent_speaks_its_own_number_with_a_server_that_is_newer() {
    let dir = tempfile::tempdir().expect("a folder");
    let double = Double::start(&dir.path().join("ca"), 2, now_ms());
    let exchange = double.exchange();
    for sequence in 1..=2 {
        // The answer's type refuses a field that it does not know.
        let answer: CheckInAnswer = exchange.post(CHECK_IN, &check_in(sequence)).expect("an answer in 1");
        assert_eq!(answer.generation, 7);
    }
    assert_eq!(double.heard(), [(1, Some(String::new())), (1, Some(String::new()))]);
}

#[test]
fn an_agent_goes_up_again_once_its_server_is_newer_and_down_when_it_is_older() {
    let dir = tempfile::tempdir().expect("a folder");
    let double = Double::start(&dir.path().join("ca"), 1, now_ms());
    let exchange = double.exchange().speaking(NEXT);
    let advice = || exchange.post::<_, NextAnswer>(CHECK_IN, &next_check_in(1)).expect("an answer").advice;
    let mood = |mood: &str| Some(mood.to_owned());
    assert_eq!([advice(), advice()], ["", ""]);
    assert_eq!(double.heard(), [(2, None), (1, mood("")), (1, mood(""))], "refused once, then it knows");
    double.newest.store(2, SeqCst);
    assert_eq!([advice(), advice()], ["", "rest"]);
    assert_eq!(double.heard(), [(1, mood("")), (2, mood("x"))]);
    double.newest.store(1, SeqCst);
    assert_eq!(advice(), "", "a server that was put back costs one more question");
    assert_eq!(double.heard(), [(2, None), (1, mood(""))]);
}

#[test]
fn a_clock_that_is_off_by_a_year_is_told_as_that_and_is_nothing_final() {
    let dir = tempfile::tempdir().expect("a folder");
    let ca = dir.path().join("ca");
    for (which, clock_ms) in [("ahead", now_ms() + YEAR_MS), ("behind", now_ms() - YEAR_MS)] {
        let double = Double::start(&ca, 1, clock_ms);
        let failure = double.exchange().post::<_, CheckInAnswer>(CHECK_IN, &check_in(1)).expect_err("not good now");
        assert!(matches!(failure, Failure::Clock { .. }) && !failure.is_final(), "{which}: {failure}");
        assert!(failure.to_string().contains("set the clock of whichever is wrong"), "{which}: {failure}");
        let state = Folder::make(&dir.path().join(which)).expect("a folder");
        let host = this_host(None, None, None);
        let refused = Own::enrol(&state, &double.url(), &double.anchors_pem, "token", &host).expect_err("no identity");
        assert!(!refused.is_final(), "once the clock is right it goes on by itself: {refused}");
        assert_eq!(double.heard(), [], "the token was shown to nobody");
    }
}
