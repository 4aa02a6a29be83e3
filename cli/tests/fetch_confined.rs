//! `watertight content fetch` reads what strangers send in processes that have no rights, and lives through the death of each.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{geteuid, kill_process, Pid, Signal};
use serde_json::{json, Value};
use tempfile::TempDir;
use watertight_content_repo::time::Moment;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
const PASSPHRASE: &str = "correct horse battery staple\n";
const RULE: &str = "title: T\nid: 00000000-0000-4000-8000-000000000001\n\
    logsource: {category: process_creation, product: linux}\n\
    detection: {s: {Image|endswith: /x}, condition: s}\nlevel: low\n";
const TESTS: &str = "fires:\n  - {category: process_creation, event: {Image: /x}}\n\
    silent:\n  - {category: process_creation, event: {Image: /y}}\n";

/// A repository with one pack, by one key for all roles.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self::with_rule(RULE)
    }

    fn with_rule(rule: &str) -> Self {
        let desk = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir(desk.path("linux")).expect("a folder");
        let files = [
            ("linux/pack.yml", "name: linux\nversion: 1\n"),
            ("linux/rule.yml", rule),
            ("linux/rule.tests.yml", TESTS),
        ];
        for (name, text) in files.into_iter().chain([("passphrase", PASSPHRASE)]) {
            fs::write(desk.path(name), text).expect("our own folder");
        }
        let keys: Vec<String> = ["root", "targets", "content", "director", "snapshot", "timestamp"]
            .map(|role| format!("--key {role}={role}.key.pub"))
            .into();
        for role in ["root", "targets", "content", "director", "snapshot", "timestamp"] {
            desk.done(&format!("keys new --out {role}.key --passphrase-file passphrase"));
        }
        let online = "--snapshot-key snapshot.key --timestamp-key timestamp.key --passphrase-file passphrase";
        desk.done("build linux -o linux-1.pack");
        desk.done(&format!("draft roles --out roles {}", keys.join(" ")));
        desk.done("sign roles/root.json --key root.key --passphrase-file passphrase");
        desk.done("sign roles/targets.json --key targets.key --passphrase-file passphrase");
        desk.done("draft release linux-1.pack --ring broad=2026-01-01T00:00:00Z,0h:1000000 --out content.json");
        desk.done("sign content.json --key content.key --passphrase-file passphrase");
        desk.done(&format!(
            "publish --to repository --root roles/root.json --targets roles/targets.json --content content.json \
             --file linux-1.pack {online}"
        ));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("content").args(arguments.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("our own executable starts")
    }

    fn done(&self, arguments: &str) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments}: {}", words(&output));
    }

    fn start(&self, arguments: &str) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("our own executable starts")
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `/proc/PID/status` says of a process, by its key.
fn status(pid: i32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim));
    line.unwrap_or_default().to_owned()
}

/// The worker of this name that a process has started.
fn worker(of: &Child, name: &str) -> Pid {
    let parent = of.id().to_string();
    let pids = fs::read_dir("/proc")
        .expect("every Linux has it")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        status(*pid, "PPid") == parent && words.split(|byte| *byte == 0).nth(2) == Some(name.as_bytes())
    };
    let found: Vec<i32> = pids.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{name}");
    found.first().and_then(|pid| Pid::from_raw(*pid)).expect("not zero")
}

/// A server that takes a connection and says nothing, and a fetch that waits for it.
fn waiting(desk: &Desk) -> (Child, TcpStream) {
    waiting_with(desk, "")
}

fn waiting_with(desk: &Desk, options: &str) -> (Child, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("it has one").port();
    let child = desk.start(&format!("fetch --from http://127.0.0.1:{port} --state trusted -o json {options}"));
    let (connection, _) = server.accept().expect("the fetch comes");
    (child, connection)
}

/// Gives the files below a folder, each connection one.
fn serve(server: &TcpListener, folder: &Path) {
    serve_slowly(server, folder, usize::MAX, Duration::ZERO);
}

/// The same; packs come in pieces, with a pause before each.
fn serve_slowly(server: &TcpListener, folder: &Path, piece_bytes: usize, pause: Duration) {
    while let Ok((mut connection, _)) = server.accept() {
        let (mut request, mut piece) = (Vec::new(), [0; 1_024]);
        while !request.ends_with(b"\r\n\r\n") {
            match connection.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(count) => request.extend_from_slice(&piece[..count]),
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let body = fs::read(folder.join(&path));
        let head = if body.is_ok() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let piece_bytes = if path.ends_with(".pack") { piece_bytes } else { usize::MAX };
        let mut sent = connection.write_all(head.as_bytes());
        for piece in body.chunks(piece_bytes) {
            std::thread::sleep(pause);
            sent = sent.and_then(|()| connection.write_all(piece));
            if sent.is_err() {
                break; // it is gone
            }
        }
    }
}

/// The pack that lies somewhere below a folder.
fn pack_below(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.find_map(|entry| {
        let path = entry.ok()?.path();
        let is_pack = path.extension().is_some_and(|ending| ending == "pack");
        if path.is_dir() {
            pack_below(&path)
        } else {
            is_pack.then_some(path)
        }
    })
}

#[test]
fn what_strangers_send_is_read_by_workers_without_rights_whose_death_is_an_ordinary_error() {
    let desk = Desk::new();
    desk.done("fetch --from repository --state trusted --root roles/root.json --to packs");
    let read = |name: &str| fs::read(desk.path(name)).expect("a pack");
    assert_eq!(read("packs/linux-1.pack"), read("linux-1.pack"));

    let (child, _connection) = waiting(&desk);
    for name in ["download", "update"] {
        let pid = worker(&child, name).as_raw_pid();
        let of = |key: &str| status(pid, key);
        assert_eq!((of("Seccomp").as_str(), of("NoNewPrivs").as_str()), ("2", "1"), "{name}");
        assert_eq!(u64::from_str_radix(&of("CapEff"), 16), Ok(0), "{name}");
        if geteuid().is_root() {
            assert!(of("Uid").split_whitespace().all(|uid| uid != "0"), "{name}: {}", of("Uid"));
            assert_eq!(u64::from_str_radix(&of("CapBnd"), 16), Ok(0), "{name}");
        }
    }
    kill_process(worker(&child, "download"), Signal::KILL).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(answer["refresh_failed"].to_string().contains("the download worker was killed by signal 9"), "{answer}");
    assert_eq!((&answer["health"]["state"], &answer["versions"]["root"]), (&"fresh".into(), &1.into()), "{answer}");

    let (child, _connection) = waiting(&desk);
    kill_process(worker(&child, "update"), Signal::KILL).expect("it runs");
    drop(_connection);
    let output = child.wait_with_output().expect("it ends");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("the update worker was killed by signal 9"), "{}", words(&output));
    assert_eq!(answer["health"]["state"], "fresh", "what was trusted is as it was: {answer}");
    desk.done("fetch --from repository --state trusted");
}

#[test]
fn a_download_worker_that_hangs_is_ended_when_it_was_silent_for_longer_than_any_server_may_be() {
    let desk = Desk::new();
    desk.done("fetch --from repository --state trusted --root roles/root.json");
    let (child, _connection) = waiting_with(&desk, "--wait 1s");
    kill_process(worker(&child, "download"), Signal::STOP).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let failed = answer["refresh_failed"].to_string();
    assert!(failed.contains("the download worker gave no answer for 3 s and was ended"), "{answer}");
    assert_eq!(answer["health"]["state"], "fresh", "what was trusted is as it was: {answer}");

    // A server that is silent is told as that: the worker's own word comes first.
    let (child, _connection) = waiting_with(&desk, "--wait 1s");
    let output = child.wait_with_output().expect("it ends");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert!(answer["refresh_failed"].to_string().contains("sends too slowly: waited 1000 ms"), "{answer}");
    desk.done("fetch --from repository --state trusted");
}

#[test]
fn a_pack_that_comes_slowly_comes_and_one_that_drips_does_not() {
    let names: Vec<String> =
        (0..8_000_u64).map(|number| format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let desk = Desk::with_rule(&RULE.replace("/x}", &format!("[/x, {}]}}", names.join(", "))));
    let pack = fs::read(desk.path("linux-1.pack")).expect("a pack");
    // Longer in all than silence is borne, but it is told meanwhile that something comes.
    let output = slowly(&desk, "slow", pack.len() / 24, 150);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(output.status.code(), Some(0), "{answer} {}", words(&output));
    assert_eq!(fs::read(desk.path("slow-packs/linux-1.pack")).ok(), Some(pack));
    let output = slowly(&desk, "drips", 1, 200);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(output.status.code(), Some(3), "{answer} {}", words(&output));
    let failed = answer["packs"][0]["failed"].to_string();
    assert!(failed.contains("sends too slowly") && failed.contains("bytes a second"), "{answer}");
    assert!(!desk.path("drips-packs/linux-1.pack").exists());
}

/// A fetch, into folders of its own, from a server that gives packs in pieces.
fn slowly(desk: &Desk, name: &str, piece_bytes: usize, pause_ms: u64) -> Output {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("it has one").port();
    let folder = desk.path("repository");
    std::thread::spawn(move || serve_slowly(&server, &folder, piece_bytes, Duration::from_millis(pause_ms)));
    desk.run(&format!(
        "fetch --from http://127.0.0.1:{port} --state {name} --root roles/root.json --to {name}-packs --wait 1s -o json"
    ))
}

#[test]
fn what_is_no_file_in_the_place_of_one_is_named_and_not_waited_for() {
    let desk = Desk::new();
    let fetch = "fetch --from repository --state trusted --to packs -o json";
    desk.done(&format!("{fetch} --root roles/root.json"));
    for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json", "content.json", ".lock", ".new"] {
        let path = desk.path("trusted").join(name);
        let before = fs::read(&path).ok();
        let _ = fs::remove_file(&path); // `.new` is not there
        mkfifo(&path);
        let output = desk.run(fetch);
        let told = format!("{}{}", words(&output), String::from_utf8_lossy(&output.stdout));
        assert_ne!(output.status.code(), Some(0), "{name}: {told}");
        assert!(told.contains(&format!("trusted/{name} is no regular file: take away")), "{name}: {told}");
        let _ = fs::remove_file(&path); // what was begun and could not be written is taken away
        if let Some(before) = before {
            fs::write(&path, before).expect("our own folder");
        }
        desk.done(fetch);
    }
    // When it was heard last is written anew by every refresh.
    fs::remove_file(desk.path("trusted/refreshed")).expect("it was written");
    mkfifo(&desk.path("trusted/refreshed"));
    desk.done(fetch);
    assert!(fs::metadata(desk.path("trusted/refreshed")).expect("it is there").is_file());

    fs::remove_file(desk.path("packs/linux-1.pack")).expect("it was fetched");
    mkfifo(&desk.path("packs/linux-1.pack"));
    let output = desk.run(fetch);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(output.status.code(), Some(3), "{answer}");
    assert!(answer["packs"][0]["failed"].to_string().contains("linux-1.pack is no regular file"), "{answer}");
}

fn mkfifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo is there");
    assert!(made.success(), "{}", path.display());
}

#[test]
fn a_director_that_introduces_content_which_nobody_signed_is_told_by_the_exit_code() {
    let desk = Desk::new();
    let signed = desk.run("verify linux-1.pack -o json");
    let signed: Value = serde_json::from_slice(&signed.stdout).expect("an answer");
    let (signed, other) = (signed["id"].as_str().expect("its id").to_owned(), "a".repeat(64));
    for (epoch, content, code) in [(1, &signed, 0), (2, &other, 3)] {
        let plan = json!({
            "format": 1, "epoch": epoch, "paused": false, "recall": [],
            "issued": Moment::now(), "lease_until": Moment::now().plus_s(3_600),
            "entries": [{
                "content": content,
                "cohort": { "ranges": [{ "stratum": "debian-12", "from": 0, "to": 1_u64 << 32 }] },
                "not_before": "2026-01-01T00:00:00Z", "not_after": "2036-01-01T00:00:00Z",
            }],
        });
        fs::write(desk.path("plan.json"), plan.to_string()).expect("our own folder");
        // Not `--after repository`, which would refuse it: so does nobody who has the director's key.
        desk.done("draft plan plan.json --out director.json");
        let mut director: Value =
            serde_json::from_slice(&fs::read(desk.path("director.json")).expect("drafted")).expect("JSON");
        director["signed"]["version"] = epoch.into();
        fs::write(desk.path("director.json"), director.to_string()).expect("our own folder");
        desk.done("sign director.json --key director.key --passphrase-file passphrase");
        desk.done(
            "publish --to repository --director director.json --file plan.json --snapshot-key snapshot.key \
             --timestamp-key timestamp.key --passphrase-file passphrase",
        );
        let output = desk.run(
            "fetch --from repository --state trusted --root roles/root.json --host web-7 --ring broad --stratum debian-12 -o json",
        );
        let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
        assert_eq!(output.status.code(), Some(code), "{answer} {}", words(&output));
        let refused = &answer["director"]["refused"];
        assert_eq!(refused.as_array().map(Vec::len), Some(usize::from(code != 0)), "{answer}");
        assert!(code == 0 || refused[0]["refused"] == "unsigned_content", "{answer}");
    }
}

#[test]
fn a_web_servers_name_is_looked_up_and_its_files_come_through_both_workers() {
    let desk = Desk::new();
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("it has one").port();
    let folder = desk.path("repository");
    std::thread::spawn(move || serve(&server, &folder));
    let output = desk.run(&format!(
        "fetch --from http://localhost:{port} --state web --root roles/root.json --to web-packs -o json"
    ));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(output.status.code(), Some(0), "{answer} {}", words(&output));
    assert_eq!(answer["packs"][0]["file"], "web-packs/linux-1.pack");
    assert_eq!(fs::read(desk.path("web-packs/linux-1.pack")).ok(), fs::read(desk.path("linux-1.pack")).ok());
    // A pack that came damaged is refused in the worker, and nothing is left of it.
    let served = pack_below(&desk.path("repository/targets")).expect("one");
    let mut bytes = fs::read(&served).expect("a pack");
    bytes.reverse();
    fs::write(&served, bytes).expect("our own folder");
    let output = desk.run(&format!("fetch --from http://localhost:{port} --state web --to other-packs -o json"));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(output.status.code(), Some(3), "{answer}");
    assert!(answer["packs"][0]["failed"].to_string().contains("signed is"), "{answer}");
    assert!(!desk.path("other-packs/linux-1.pack").exists());
}
