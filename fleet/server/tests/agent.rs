//! The agent's library against a server that runs: over real TLS, each in its own words.

mod support;

use std::path::Path;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use support::{reissued, Fleet};
use watertight_fleet_agent::clock::now_ms;
use watertight_fleet_agent::crew::Crew;
use watertight_fleet_agent::folder::Folder;
use watertight_fleet_agent::identity::IdentityError;
use watertight_fleet_agent::machine::{boot_id, this_host, Asker, Fetched, Fetcher, Machine};
use watertight_fleet_agent::pause;
use watertight_fleet_agent::service::{identity, Options, Service};
use watertight_fleet_agent::spool::{oldest, Writer, STREAM_BYTES_MAX};
use watertight_fleet_wire::checkin::{ContentPart, ProtectionPart};
use watertight_fleet_wire::records::{Alert, Body, Stream};

/// Far longer than anything takes; only a hang is stopped by it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A host whose content is what the test says.
#[derive(Clone, Default)]
struct Pretended {
    content: ContentPart,
    /// Where a pause may be.
    state: Option<Folder>,
    /// For whom, and whether the host was paused.
    fetches: Arc<Mutex<Vec<(String, bool)>>>,
    /// Why it refuses the director's document.
    refuses: Option<String>,
}

impl Pretended {
    fn is_paused(&self) -> bool {
        self.state.as_ref().is_some_and(|state| pause::is_paused(state, now_ms()))
    }

    fn fetches(&self) -> Vec<(String, bool)> {
        self.fetches.lock().expect("no panic there").clone()
    }
}

impl Machine for Pretended {
    fn content(&mut self) -> ContentPart {
        ContentPart { is_paused: self.is_paused(), ..self.content.clone() }
    }
    fn protection(&mut self) -> ProtectionPart {
        ProtectionPart { level: "observe".into(), missing: Vec::new() }
    }
    fn unended(&mut self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn quarantined(&mut self, _: &str) -> Option<String> {
        None
    }
}

impl Fetcher for Pretended {
    fn fetch(&mut self, asker: &Asker) -> Fetched {
        let is_paused = self.is_paused();
        self.fetches.lock().expect("no panic there").push((asker.host.clone(), is_paused));
        let (failed, director_refused) = (self.refuses.clone(), self.refuses.clone());
        Fetched { is_paused, failed, director_refused, ..Fetched::default() }
    }
}

/// A fetch that says that it has begun, and hangs until it is told to end.
struct Hanging(Sender<()>, Receiver<()>);

impl Fetcher for Hanging {
    fn fetch(&mut self, _: &Asker) -> Fetched {
        let _ = self.0.send(());
        let _ = self.1.recv(); // an end of the test is one of the fetch
        Fetched::default()
    }
}

fn options(fleet: &Fleet, state: &Path, token: Option<String>) -> Options {
    Options {
        url: format!("https://localhost:{}", fleet.address.port()),
        ca_pem: fleet.anchors(),
        token,
        host: this_host(Some("6.1"), Some("debian-12"), None),
        stratum: None,
        state: Folder::make(state).expect("a folder"),
        say: |words| println!("{words}"),
    }
}

fn service(options: &Options, fetcher: impl Fetcher + 'static) -> Service {
    let mut crew = Crew::start(1).expect("a thread");
    let own = identity(options).expect("an identity");
    Service::new(options.clone(), own, Box::new(fetcher), &mut crew).expect("a service")
}

/// One whose fetches nobody looks at.
fn quiet(options: &Options) -> Service {
    service(options, Pretended::default())
}

/// A check-in, and one more when the fetch that it began has ended.
fn turn_and_fetch(service: &mut Service, machine: &mut Pretended) {
    service.turn(machine);
    service.wait(PATIENCE);
    service.turn(machine);
}

fn host(fleet: &Fleet, service: &Service) -> serde_json::Value {
    fleet.admin().get(&format!("/v1/hosts/{}", service.own().identity.host)).json()
}

fn publish(fleet: &Fleet, text: &str) {
    let metadata = fleet.state.join("content/metadata");
    std::fs::create_dir_all(&metadata).expect("a folder");
    std::fs::write(metadata.join("fresh"), text).expect("a file");
    std::fs::rename(metadata.join("fresh"), metadata.join("timestamp.json")).expect("published");
}

#[test]
fn a_host_enrols_once_and_its_identity_outlives_the_agent() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("fleet"));
    let state = dir.path().join("agent");
    let first = quiet(&options(&fleet, &state, Some(fleet.token(&[]))));
    assert_eq!(first.own().identity.ring, "early");
    let again = quiet(&options(&fleet, &state, None));
    assert_eq!(again.own().identity.host, first.own().identity.host, "no token is needed any more");
}

#[test]
fn a_check_in_tells_what_runs_and_then_only_what_changed() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("fleet"));
    let mut service = quiet(&options(&fleet, &dir.path().join("agent"), Some(fleet.token(&[]))));
    let content = ContentPart { id: "a".repeat(64), version: 3, slot: "factory".into(), ..ContentPart::default() };
    let mut machine = Pretended { content, ..Pretended::default() };
    let wait = service.turn(&mut machine);
    assert!((60..=900).contains(&wait.as_secs()), "the server's interval: {wait:?}");
    let seen = host(&fleet, &service);
    assert_eq!(seen["seen"]["state"]["content"]["version"], 3, "{seen}");
    assert_eq!(seen["seen"]["state"]["host"]["distribution"], "debian-12", "{seen}");
    machine.content.version = 4;
    service.turn(&mut machine);
    let seen = host(&fleet, &service);
    assert_eq!(seen["seen"]["state"]["content"]["version"], 4, "{seen}");
    assert_eq!(seen["seen"]["state"]["host"]["distribution"], "debian-12", "what was not sent again stays: {seen}");
    assert_eq!(seen["seen"]["state"]["protection"]["level"], "observe", "{seen}");
}

#[test]
fn a_host_that_refuses_the_directors_document_tells_why_and_the_fleet_needs_a_look() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("fleet"));
    let options = options(&fleet, &dir.path().join("agent"), Some(fleet.token(&[])));
    let why = "epoch 7 was seen with other words: the director contradicts itself";
    let mut machine = Pretended { refuses: Some(format!("{why}\u{1b}[2J")), ..Pretended::default() };
    let mut refusing = service(&options, machine.clone());
    refusing.turn(&mut machine);
    refusing.wait(PATIENCE); // it is told at once
    assert!(refusing.turn(&mut machine).as_secs() >= 60, "and once");
    let status = fleet.admin().get("/v1/status").json();
    assert_eq!(
        (status["refusing_director"].as_u64(), &status["is_safe_to_leave"]),
        (Some(1), &false.into()),
        "{status}"
    );
    let told = format!("1 hosts refuse the director's document: {why}");
    assert!(status["because"].to_string().contains(&told), "{status}");
    assert!(fleet.admin().get("/").text().contains("refuses the director"));
    let of_host = fleet.admin().get(&format!("/v1/hosts/{}/why", refusing.own().identity.host)).text();
    assert!(of_host.contains(why), "{of_host}");

    let mut heard = quiet(&options);
    turn_and_fetch(&mut heard, &mut Pretended::default());
    let status = fleet.admin().get("/v1/status").json();
    assert_eq!(status["refusing_director"], 0, "it takes the document again: {status}");
}

#[test]
fn what_the_spool_had_no_room_for_is_in_the_agents_log_once_and_told_to_the_server() {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let dir = tempfile::tempdir().expect("a folder");
    let (fleet, state) = (Fleet::start(&dir.path().join("fleet")), dir.path().join("agent"));
    let say = |words: &str| SAID.lock().expect("no panic there").push(words.to_owned());
    let options = Options { say, ..options(&fleet, &state, Some(fleet.token(&[]))) };
    let service = quiet(&options);
    let spool = service.spool().expect("a folder");
    let write = |alerts: usize| {
        let mut writer = Writer::new(&spool, Stream::Alert, &boot_id(), 10_000).expect("a writer");
        for _ in 0..alerts {
            writer.add(1, Body::Alert(Alert { event_json: "x".repeat(3_000), ..Alert::default() }));
            writer.flush();
        }
    };
    let words = || SAID.lock().expect("no panic there").clone();
    write(7);
    assert_eq!(
        (service.send().expect("taken"), words()),
        (3, vec![]),
        "those that there was room for had none lost before"
    );
    write(1);
    assert_eq!(service.send().expect("taken"), 1);
    let said = words();
    assert!(matches!(said.as_slice(), [one] if one.contains("lost, 4 so far of the stream alert")), "{said:?}");
    write(2);
    assert_eq!((service.send().expect("taken"), words().len()), (2, 1), "it is no news any more");
    let host = host(&fleet, &service);
    assert_eq!(host["dropped"], json!({ "health": 0, "crash": 0, "alert": 4 }), "{host}");
}

#[test]
fn a_server_that_was_gone_costs_no_content_and_no_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let (place, state) = (dir.path().join("fleet"), dir.path().join("agent"));
    let fleet = Fleet::start(&place);
    let mut machine = Pretended::default();
    let mut service = service(&options(&fleet, &state, Some(fleet.token(&[]))), machine.clone());
    turn_and_fetch(&mut service, &mut machine);
    let looked = machine.fetches();
    assert_eq!(looked.len(), 1);
    fleet.kill();

    let spool = service.spool().expect("a folder");
    let mut writer = Writer::new(&spool, Stream::Alert, &boot_id(), STREAM_BYTES_MAX).expect("a writer");
    let alert = Alert { rule: "r".into(), title: "t".into(), event_json: "{}".into(), ..Alert::default() };
    writer.add(1, Body::Alert(alert));
    writer.flush();
    for _ in 0..3 {
        assert!(service.turn(&mut machine).as_secs() <= 900);
    }
    assert_eq!(machine.fetches(), looked, "it never advances by itself");
    service.send().expect_err("nobody is there");
    assert!(oldest(&spool, Stream::Alert, &boot_id()).expect("readable").is_some(), "it is kept");

    // It comes back at another port, which the agent is told at its next start.
    let fleet = Fleet::start(&place);
    let mut service = quiet(&options(&fleet, &state, None));
    assert_eq!(service.send().expect("taken"), 1);
    assert!(oldest(&spool, Stream::Alert, &boot_id()).expect("readable").is_none(), "acknowledged, and gone");
    service.turn(&mut machine);
    assert_eq!(host(&fleet, &service)["seen"]["state"]["protection"]["level"], "observe");
}

#[test]
fn what_is_published_is_looked_at_once_and_under_a_pause_nothing_may_be_installed() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("fleet"));
    let options = options(&fleet, &dir.path().join("agent"), Some(fleet.token(&[])));
    let mut machine = Pretended { state: Some(options.state.clone()), ..Pretended::default() };
    let mut service = service(&options, machine.clone());
    let generation = |fleet: &Fleet, service: &Service| {
        let agent = format!("/v1/hosts/{}", service.own().identity.host);
        fleet.admin().get(&agent).json()["seen"]["generation"].as_u64()
    };
    turn_and_fetch(&mut service, &mut machine);
    service.turn(&mut machine);
    assert_eq!(machine.fetches().len(), 1, "{:?}", machine.fetches());

    pause::begin(&options.state, now_ms(), None).expect("kept");
    let before = generation(&fleet, &service);
    publish(&fleet, "one");
    // The server looks for what is published by itself.
    while machine.fetches().len() < 2 {
        std::thread::sleep(Duration::from_millis(50));
        service.turn(&mut machine);
    }
    service.wait(PATIENCE);
    service.turn(&mut machine);
    service.turn(&mut machine);
    let is_paused = |machine: &Pretended| machine.fetches().iter().map(|(_, is_paused)| *is_paused).collect::<Vec<_>>();
    assert_eq!(is_paused(&machine), [false, true], "only what is recalled");
    assert_eq!(generation(&fleet, &service), before, "it has not acted on it");
    assert_eq!(host(&fleet, &service)["seen"]["state"]["content"]["is_paused"], true);
    pause::end(&options.state, 0).expect("ended");
    turn_and_fetch(&mut service, &mut machine);
    assert_eq!(is_paused(&machine), [false, true, false]);
    assert!(generation(&fleet, &service) > before);
}

#[test]
fn check_ins_go_on_while_a_fetch_hangs_and_what_is_new_meanwhile_is_fetched_after_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("fleet"));
    let (begun, begins) = channel();
    let (end, ends) = channel();
    let options = options(&fleet, &dir.path().join("agent"), Some(fleet.token(&[])));
    let mut service = service(&options, Hanging(begun, ends));
    let mut machine = Pretended::default();
    service.turn(&mut machine);
    begins.recv_timeout(PATIENCE).expect("a fetch");
    for version in 1..=3 {
        machine.content.version = version;
        service.turn(&mut machine);
        let seen = host(&fleet, &service);
        assert_eq!(seen["seen"]["state"]["content"]["version"], version, "the server hears of it: {seen}");
    }
    let acted = |fleet: &Fleet, service: &Service| host(fleet, service)["seen"]["generation"].as_u64();
    let before = acted(&fleet, &service);
    publish(&fleet, "one");
    end.send(()).expect("it hangs");
    service.wait(PATIENCE); // it rings
    while begins.try_recv().is_err() {
        service.turn(&mut machine);
        std::thread::sleep(Duration::from_millis(50)); // the server looks for what is published by itself
    }
    end.send(()).expect("it hangs");
    service.wait(PATIENCE);
    service.turn(&mut machine);
    assert!(acted(&fleet, &service) > before, "{:?} {before:?}", acted(&fleet, &service));
}

#[test]
fn a_wrong_token_a_foreign_authority_and_a_wrong_name_are_told_apart_with_the_mend() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("fleet"));
    let other = Fleet::start(&dir.path().join("other"));
    let refused = |options: &Options| -> IdentityError { identity(options).expect_err("no identity") };
    let mut number = 0;
    let mut fresh = |token: Option<&str>| {
        number += 1;
        options(&fleet, &dir.path().join(format!("agent-{number}")), token.map(str::to_owned))
    };

    let none = refused(&fresh(None));
    assert!(none.is_final() && none.to_string().contains("--token-file"), "{none}");
    let unknown = refused(&fresh(Some("nonsense")));
    assert!(unknown.is_final() && unknown.to_string().contains("there is no such token"), "{unknown}");
    let token = fleet.token(&[]);
    identity(&fresh(Some(&token))).expect("an identity");
    let used = refused(&fresh(Some(&token)));
    assert!(used.is_final() && used.to_string().contains("the token was used"), "{used}");

    let mut foreign = fresh(Some(&token));
    foreign.ca_pem = other.anchors();
    let foreign = refused(&foreign);
    assert!(foreign.is_final() && foreign.to_string().contains("`--ca` must be"), "{foreign}");
    let mut gone = fresh(Some(&token));
    gone.url = format!("https://localhost:{}", other.address.port());
    other.kill();
    let gone = refused(&gone);
    assert!(!gone.is_final() && gone.to_string().contains("nobody answers"), "{gone}");
}

#[test]
fn a_revoked_host_says_so_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("fleet"));
    let mut machine = Pretended::default();
    let mut service = service(&options(&fleet, &dir.path().join("agent"), Some(fleet.token(&[]))), machine.clone());
    turn_and_fetch(&mut service, &mut machine);
    let looked = machine.fetches();
    let path = format!("/v1/hosts/{}/revoke", service.own().identity.host);
    assert_eq!(fleet.admin().post(&path, &json!({ "reason": "stolen" })).status, 200);
    service.turn(&mut machine);
    let refused = service.send();
    assert!(refused.is_ok(), "nothing was spooled: nothing is asked");
    assert_eq!(machine.fetches(), looked);
}

#[test]
fn a_certificate_is_renewed_at_half_of_its_life_and_also_when_it_has_run_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("fleet"));
    let state = dir.path().join("agent");
    let first = quiet(&options(&fleet, &state, Some(fleet.token(&[]))));
    let key = std::fs::read_to_string(state.join("host.key")).expect("a key");
    let key = rcgen::KeyPair::from_pem(&key).expect("a key");
    let kept = || -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(state.join("identity.json")).expect("an identity")).expect("JSON")
    };
    let chain = |kept: &serde_json::Value| kept["certificates_pem"].as_str().expect("a chain").to_owned();
    let fresh = chain(&kept());
    // Of its seven days three and a half are over with a day left; with ten minutes less than none it has run out.
    for ends_in_s in [86_400, -600] {
        let mut old = kept();
        old["certificates_pem"] = reissued(&fleet, &chain(&old), &key, ends_in_s).into();
        std::fs::write(state.join("identity.json"), old.to_string()).expect("written");
        let mut service = quiet(&options(&fleet, &state, None));
        let mut machine = Pretended::default();
        while chain(&kept()) == chain(&old) {
            assert!(service.turn(&mut machine).as_secs() <= 900);
        }
        assert_ne!(chain(&kept()), fresh);
        service.turn(&mut machine);
        let seen = host(&fleet, &service);
        assert_eq!(seen["id"], first.own().identity.host.as_str(), "the same host, by the new one: {seen}");
        assert!(seen["cloned_ms"].is_null() && seen["seen"]["state"]["protection"]["level"] == "observe", "{seen}");
    }
}

#[test]
fn an_answer_that_was_lost_costs_no_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&dir.path().join("fleet"));
    let state = dir.path().join("agent");
    let token = fleet.token(&[]);
    let first = quiet(&options(&fleet, &state, Some(token.clone())));
    std::fs::remove_file(state.join("identity.json")).expect("as if it had never come");
    let second = quiet(&options(&fleet, &state, Some(token)));
    assert_eq!(second.own().identity.host, first.own().identity.host);
}
