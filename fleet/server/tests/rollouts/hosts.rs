//! Virtual hosts: each has an identity, checks in over real TLS, and does what the director's document says if its own checks allow it,
//! with the product's client and checks. Content that is called a killer crashes at its start: the host reports that and falls back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use serde_json::json;
use watertight_content_repo::client::{Client as Repository, Limits};
use watertight_content_repo::director::{decide, fetch_plan, Decision, Host, Seen};
use watertight_content_repo::release::signed_packs;
use watertight_content_repo::source::{HttpLimits, HttpSource};
use watertight_content_repo::store::{MemoryDisk, Store};
use watertight_content_repo::time::Moment;
use watertight_fleet_wire::checkin::HostPart;
use watertight_fleet_wire::records::{pack, Batch, Body, Crash, Health, Outcome, Record, Stream};

use crate::support::{enrolment, now_ms, Agent, Client, Fleet};

const THREADS: usize = 4;
const EVERY: Duration = Duration::from_millis(400);

/// What hosts share with the test.
pub struct Shared {
    pub address: RwLock<SocketAddr>,
    anchors: String,
    root: Vec<u8>,
    /// Content that crashes at its start.
    pub killers: RwLock<BTreeSet<String>>,
    /// Hosts of which nothing is heard.
    pub mute: RwLock<BTreeSet<String>>,
    /// What each host runs.
    pub runs: Mutex<BTreeMap<String, String>>,
    /// What each host ever began.
    pub began: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Refusals of the director's word.
    pub refused: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

/// Hosts that live until this is dropped.
pub struct VirtualHosts {
    pub shared: Arc<Shared>,
    pub count: usize,
    threads: Vec<JoinHandle<()>>,
}

impl VirtualHosts {
    pub fn start(fleet: &Fleet, count: usize, root: Vec<u8>) -> Self {
        Self::start_in("early", fleet, count, root)
    }

    /// The same in another ring.
    pub fn start_in(ring: &str, fleet: &Fleet, count: usize, root: Vec<u8>) -> Self {
        let shared = Arc::new(Shared {
            address: RwLock::new(fleet.address),
            anchors: fleet.anchors(),
            root,
            killers: RwLock::default(),
            mute: RwLock::default(),
            runs: Mutex::default(),
            began: Mutex::default(),
            refused: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let token = fleet.token_for(ring, &["--uses", &count.to_string()]);
        let mut lots: Vec<Vec<VirtualHost>> = (0..THREADS).map(|_| Vec::new()).collect();
        for number in 0..count {
            lots[number % THREADS].push(VirtualHost::enrol(fleet, &shared, &token, number));
        }
        let live = |lot: Vec<VirtualHost>| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || live(lot, &shared))
        };
        let threads = lots.into_iter().map(live).collect();
        Self { shared, count, threads }
    }

    /// How many hosts run this.
    pub fn run(&self, content: &str) -> usize {
        self.shared.runs.lock().expect("whole").values().filter(|runs| *runs == content).count()
    }

    /// How many hosts ever began this.
    pub fn began(&self, content: &str) -> usize {
        self.shared.began.lock().expect("whole").values().filter(|began| began.contains(content)).count()
    }
}

impl Drop for VirtualHosts {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn live(mut lot: Vec<VirtualHost>, shared: &Shared) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        for host in &mut lot {
            if shared.is_over.load(Ordering::Relaxed) {
                return;
            }
            if shared.mute.read().expect("whole").contains(&host.agent.host) {
                continue;
            }
            // A server that is away is asked again the next time.
            let _ = host.check_in(shared);
        }
        std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
}

struct VirtualHost {
    agent: Agent,
    ring: String,
    part: HostPart,
    client: Client,
    address: SocketAddr,
    repository: Option<Repository>,
    seen: Seen,
    sequence: u64,
    records: u64,
    acted: u64,
    content: String,
    version: u64,
    before: (String, u64),
    quarantine: BTreeSet<String>,
}

impl VirtualHost {
    fn enrol(fleet: &Fleet, shared: &Shared, token: &str, number: usize) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut request = enrolment(token, &key);
        let kernel = if number.is_multiple_of(3) { "6.12" } else { "6.1" };
        request["host"]["kernel"] = kernel.into();
        let part = serde_json::from_value(request["host"].clone()).expect("a host");
        let answer = fleet.client().post("/v1/agent/enrol", &request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let identity = answer.json();
        let agent = Agent::new(key, &identity);
        let client = Client::new(fleet.address, &shared.anchors, Some((&agent.chain_pem, &agent.key)));
        let factory = ("factory".to_owned(), 0);
        Self {
            agent,
            ring: identity["ring"].as_str().expect("its ring").to_owned(),
            part,
            client,
            address: fleet.address,
            repository: None,
            seen: Seen::default(),
            sequence: 0,
            records: 0,
            acted: 0,
            content: factory.0.clone(),
            version: 0,
            before: factory,
            quarantine: BTreeSet::new(),
        }
    }

    fn check_in(&mut self, shared: &Shared) -> std::io::Result<()> {
        let address = *shared.address.read().expect("whole");
        if address != self.address {
            self.client = Client::new(address, &shared.anchors, Some((&self.agent.chain_pem, &self.agent.key)));
            (self.address, self.repository) = (address, None);
        }
        self.sequence += 1;
        let content = json!({ "id": self.content, "version": self.version, "slot": "candidate", "is_paused": false });
        let told = json!({
            "sequence": self.sequence, "instance": "i", "boot": "b", "clock_ms": now_ms(), "generation": self.acted,
            "state_hash": self.content, "changed": { "host": self.part, "content": content },
        });
        let answer = self.client.ask("POST", "/v1/agent/checkin", told.to_string().as_bytes())?;
        if answer.status != 200 {
            return Ok(());
        }
        let generation = answer.json()["generation"].as_u64().expect("a generation");
        if generation != self.acted && self.act(shared).is_some() {
            self.acted = generation;
        }
        shared.runs.lock().expect("whole").insert(self.agent.host.clone(), self.content.clone());
        Ok(())
    }

    /// Does what the director says, as far as the host's own checks allow it. Nothing if the repository can't be had now.
    fn act(&mut self, shared: &Shared) -> Option<()> {
        let now = Moment::now();
        if self.repository.is_none() {
            let url = format!("https://{}/content", self.address);
            let source = HttpSource::new(&url, Some(shared.anchors.as_bytes()), HttpLimits::default()).ok()?;
            let store = Store::new(MemoryDisk::default());
            self.repository = Some(Repository::open(store, source, Some(&shared.root), Limits::default()).ok()?);
        }
        let repository = self.repository.as_mut()?;
        repository.refresh(now).ok()?;
        let packs = signed_packs(repository, now).ok()?;
        let Some(plan) = fetch_plan(repository, now).ok()? else { return Some(()) };
        let host = Host {
            id: self.agent.host.clone(),
            stratum: self.part.stratum(&self.ring),
            ring: self.ring.clone(),
            engine: 1,
            engine_oldest: 1,
        };
        let verdict = match decide(&plan, &packs, &host, &mut self.seen, now) {
            Ok(verdict) => verdict,
            Err(refusal) => {
                shared.refused.lock().expect("whole").push(refusal.to_string());
                return Some(());
            }
        };
        let of_a_name = verdict.decisions.values().filter_map(|decision| match decision {
            Decision::Refused(refusal) => Some(refusal),
            Decision::Run { .. } => None,
        });
        let refusals = verdict.refused.iter().chain(of_a_name).map(ToString::to_string);
        shared.refused.lock().expect("whole").extend(refusals);
        if verdict.recalled.iter().any(|content| content.to_string() == self.content) {
            (self.content, self.version) = self.before.clone();
        }
        for content in verdict.to_run() {
            let id = content.to_string();
            let version = packs.iter().find(|pack| pack.id == content).map_or(0, |pack| pack.release.version);
            if id == self.content || self.quarantine.contains(&id) {
                continue;
            }
            let host = self.agent.host.clone();
            shared.began.lock().expect("whole").entry(host).or_default().insert(id.clone());
            if shared.killers.read().expect("whole").contains(&id) {
                self.quarantine.insert(id.clone());
                self.fell_back(&id);
            } else {
                self.before = (std::mem::replace(&mut self.content, id), std::mem::replace(&mut self.version, version));
            }
        }
        Some(())
    }

    fn fell_back(&mut self, content: &str) {
        let crash = Crash {
            bucket: "a-new-bucket".into(),
            title: "engine: index out of range".into(),
            is_ours: true,
            content: content.into(),
            rule: "r-7".into(),
            worker: "detector".into(),
            agent_version: "0.1.0".into(),
        };
        let health = Health {
            content: content.into(),
            outcome: Outcome::FellBack as i32,
            watched_ms: 0,
            metric: String::new(),
            why: "it crashed twice".into(),
        };
        self.deliver(Stream::Crash, Body::Crash(crash));
        self.deliver(Stream::Health, Body::Health(health));
    }

    fn deliver(&mut self, stream: Stream, body: Body) {
        self.records += 1;
        let record = Record { sequence: self.records, at_ms: now_ms(), body: Some(body) };
        let batch = Batch { boot: "b".into(), stream: stream as i32, records: vec![record], dropped: 0 };
        let packed = pack(&batch).expect("a batch");
        let mut delivered =
            || self.client.ask("POST", "/v1/agent/records", &packed).is_ok_and(|answer| answer.status == 200);
        let is_delivered = (0..200).any(|_| {
            let is_delivered = delivered();
            if !is_delivered {
                std::thread::sleep(Duration::from_millis(50));
            }
            is_delivered
        });
        assert!(is_delivered, "the server takes no records");
    }
}
