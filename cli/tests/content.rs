//! `watertight content` as people use it: the page that tells how, run as it stands, and what goes wrong beside it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;

use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use serde_json::Value;
use tempfile::TempDir;
use watertight_content_repo::key::SigningKey;
use watertight_content_repo::publish::{publish, OnlineKeys, Publication};
use watertight_content_repo::time::Moment;
use watertight_host::slots::ContentId;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
const PAGE: &str = include_str!("../../docs/content.md");

/// The page's commands, in order.
fn page() -> String {
    let mut commands = String::new();
    let mut is_inside = false;
    for line in PAGE.lines() {
        match line {
            "```sh" => is_inside = true,
            "```" => is_inside = false,
            line if is_inside => commands.extend([line, "\n"]),
            _ => {}
        }
    }
    commands
}

/// Where the page has run, once for all tests.
fn first_run() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("content-page");
        let _ = fs::remove_dir_all(&folder); // of an earlier run of these tests
        fs::create_dir_all(&folder).expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", Path::new(BINARY).parent().expect("a folder").display());
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", &page()]).env("PATH", path).current_dir(&folder).stdin(Stdio::null());
        let output = shell.output().expect("every Linux has a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder
    });
    &FOLDER
}

/// A folder in which the page has run, for one test.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut copy = Command::new("cp");
        let from = first_run().join(".");
        let copied = copy.arg("-a").arg(from).arg(folder.path()).status().expect("every Linux has cp");
        assert!(copied.success());
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(BINARY);
        command.args(["content"]).args(arguments.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command.output().expect("our own executable starts")
    }

    fn code(&self, arguments: &str) -> Option<i32> {
        self.run(arguments).status.code()
    }

    fn json(&self, arguments: &str) -> Value {
        let output = self.run(arguments);
        assert!(!output.stdout.is_empty(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_page_runs_as_it_stands_and_what_it_publishes_can_be_fetched() {
    let desk = Desk::new();
    let fetched = desk.json("fetch --from repository --state trusted -o json");
    assert_eq!(fetched["health"]["state"], "fresh");
    assert_eq!(fetched["versions"], serde_json::json!({ "root": 1, "timestamp": 3, "snapshot": 3, "targets": 1 }));
    assert_eq!(fetched["packs"].as_array().map(Vec::len), Some(1), "the floor has ended the first");
    let asked = desk.json("fetch --from repository --state trusted --host h --ring broad --stratum debian-12 -o json");
    assert_eq!(asked["director"]["decisions"]["linux"]["run"]["version"], 2);
    let lab = desk.json("fetch --from repository --state trusted --host h --ring lab --stratum debian-12 -o json");
    assert_eq!(lab["director"]["decisions"]["linux"]["refused"]["refused"], "wrong_ring");
}

#[test]
fn key_files_are_their_owners_and_hold_no_key_in_the_clear() {
    let desk = Desk::new();
    let mode = fs::metadata(desk.path("alice.key")).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(desk.code("keys new --out alice.key --passphrase-file passphrase"), Some(1), "never overwritten");
    let shown = desk.json("keys show alice.key alice.key.pub -o json");
    assert_eq!(shown["keys"][0]["id"], shown["keys"][1]["id"]);
    assert!(words(&desk.run("keys new --out short.key --passphrase-file /dev/null")).contains("empty"));
}

#[test]
fn a_wrong_passphrase_signs_nothing() {
    let desk = Desk::new();
    let before = fs::read(desk.path("content.json")).expect("a document");
    fs::write(desk.path("wrong"), "wrong horse battery staple\n").expect("a file");
    assert_eq!(desk.code("sign content.json --key release-a.key --passphrase-file wrong"), Some(5));
    assert_eq!(fs::read(desk.path("content.json")).expect("a document"), before);
}

#[test]
fn a_key_file_that_others_may_read_or_that_is_none_signs_nothing() {
    let desk = Desk::new();
    let sign = "sign content.json --key release-a.key --passphrase-file passphrase";
    let mode = |mode| fs::set_permissions(desk.path("release-a.key"), fs::Permissions::from_mode(mode)).expect("ours");
    mode(0o640);
    let output = desk.run(sign);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words(&output).contains("(mode 0640)") && words(&output).contains("`chmod 600 release-a.key`"),
        "{}",
        words(&output)
    );
    mode(0o600);
    assert_eq!(desk.code(sign), Some(0));
    fs::remove_file(desk.path("release-a.key")).expect("our own folder");
    assert!(Command::new("mkfifo").arg(desk.path("release-a.key")).status().expect("it is there").success());
    let output = desk.run(sign);
    assert_eq!(output.status.code(), Some(1), "it does not wait");
    assert!(
        words(&output).contains("no regular file") || words(&output).contains("read by others"),
        "{}",
        words(&output)
    );
}

#[test]
fn a_key_that_may_not_sign_a_document_is_refused_where_that_is_known_and_else_told() {
    let desk = Desk::new();
    let by = |key: &str, file: &str, more: &str| {
        let output = desk.run(&format!("sign {file} --key {key}.key --passphrase-file passphrase {more}"));
        (output.status.code(), words(&output))
    };
    let refused = |(code, words): (Option<i32>, String), role: &str| {
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(&format!("none of those that may sign this {role}: sign with one of them")), "{words}");
    };
    refused(by("snapshot", "roles/root.json", ""), "root");
    refused(by("snapshot", "roles/targets.json", ""), "targets");
    assert_eq!(by("alice", "roles/targets.json", ""), (Some(0), String::new()), "the root beside it says so");
    refused(by("alice", "content.json", "--after repository"), "content");
    refused(by("release-a", "director.json", "--after repository"), "director");
    assert_eq!(by("release-a", "content.json", "--after repository"), (Some(0), String::new()));
    let (code, told) = by("release-a", "content.json", "");
    assert!(code == Some(0) && told.contains("not known here: name the published repository by --after"), "{told}");
}

#[test]
fn one_key_is_not_both_with_people_and_on_a_server() {
    let desk = Desk::new();
    let draft = |content: &str, director: &str| {
        desk.run(&format!(
            "draft roles --out apart --key root=alice.key --key targets=alice.key --key content={content}.key \
             --key director={director}.key --key snapshot=snapshot.key --key timestamp=snapshot.key"
        ))
    };
    let output = draft("snapshot", "director");
    assert_eq!(output.status.code(), Some(1));
    for told in ["role content", "role snapshot", "make another one with"] {
        assert!(words(&output).contains(told), "{told}: {}", words(&output));
    }
    assert_eq!(draft("release-a", "alice").status.code(), Some(1));
    assert!(!desk.path("apart").exists(), "nothing is drafted");
    assert_eq!(draft("alice", "snapshot").status.code(), Some(0), "among people, and among servers, it may be one");
}

#[test]
fn without_a_terminal_a_passphrase_must_be_named_and_there_is_no_option_for_the_secret_itself() {
    let desk = Desk::new();
    // A session of its own has no terminal to ask.
    let mut command = Command::new("setsid");
    command.args(["--wait", BINARY, "content", "sign", "content.json", "--key", "release-a.key"]);
    let output = command.current_dir(desk.0.path()).stdin(Stdio::null()).output().expect("setsid starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("--passphrase-file"), "{}", words(&output));
    let help = desk.run("sign --help");
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("--passphrase-fd") && !help.contains("--passphrase "), "{help}");
}

/// Runs the command on a terminal of its own, answers each question, and gives what the terminal showed and the exit.
fn on_a_terminal(desk: &Desk, arguments: &str, answers: &[&str]) -> (String, ExitStatus) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
    let name = ptsname(&master, Vec::new()).expect("it has a name");
    let terminal =
        || File::options().read(true).write(true).open(OsStr::from_bytes(name.to_bytes())).expect("a terminal");
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", BINARY, "content"]).args(arguments.split_whitespace());
    command.stdin(terminal()).stdout(terminal()).stderr(terminal()).current_dir(desk.0.path());
    let mut child = command.spawn().expect("setsid starts");
    drop(command); // and with it our own ends of the terminal
    let mut master = File::from(master);
    let (mut shown, mut part) = (Vec::new(), [0; 4096]);
    let mut answers = answers.iter();
    // A terminal that nobody has any more ends with an error.
    while let Ok(count @ 1..) = master.read(&mut part) {
        shown.extend_from_slice(&part[..count]);
        if shown.ends_with(b": ") {
            let Some(answer) = answers.next() else { break };
            master.write_all(answer.as_bytes()).expect("it reads");
        }
    }
    (String::from_utf8_lossy(&shown).into_owned(), child.wait().expect("it ends"))
}

#[test]
fn a_terminal_is_asked_without_echo() {
    let desk = Desk::new();
    let sign = "sign content.json --key release-a.key";
    let (shown, exit) =
        on_a_terminal(&desk, sign, &["correct hourse\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}orse battery staple\n"]);
    assert!(exit.success(), "{shown}");
    assert!(shown.contains("passphrase of release-a.key: ") && !shown.contains("staple"), "{shown}");
    let (shown, exit) = on_a_terminal(&desk, "keys new --out new.key", &["one long enough\n", "another long one\n"]);
    assert_eq!(exit.code(), Some(1), "{shown}");
    assert!(shown.contains("differ") && !desk.path("new.key").exists(), "{shown}");
    // The interrupt key ends the question as it ends any command.
    let (shown, exit) = on_a_terminal(&desk, sign, &["corr\u{3}"]);
    assert!(!exit.success() && !shown.contains("corr"), "{shown}");
}

#[test]
fn a_passphrase_comes_from_a_descriptor() {
    let desk = Desk::new();
    let mut command = Command::new(BINARY);
    command.args(["content", "sign", "content.json", "--key", "release-a.key", "--passphrase-fd", "0"]);
    let mut child =
        command.current_dir(desk.0.path()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"correct horse battery staple\n").expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn what_is_published_is_never_published_again_as_something_older() {
    let desk = Desk::new();
    let publish = "publish --to repository --content content.json --file linux-2.pack --snapshot-key snapshot.key \
                   --timestamp-key timestamp.key --passphrase-file passphrase";
    let output = desk.run(publish);
    assert_eq!(output.status.code(), Some(6));
    assert!(words(&output).contains("--after"), "{}", words(&output));
}

#[test]
fn what_no_host_would_take_is_not_even_drafted() {
    let desk = Desk::new();
    let ring = "--ring broad=2026-01-01T00:00:00Z,0h:1 --after repository";
    let output = desk.run(&format!("draft release linux-2.pack {ring} --out again.json"));
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("give a higher one"), "{}", words(&output));
    fs::write(desk.path("linux/pack.yml"), "name: linux\nversion: 3\n").expect("a file");
    assert_eq!(desk.code("build linux -o linux-3.pack"), Some(0));
    let release = format!("draft release linux-3.pack {ring} --out next.json");
    assert_eq!(desk.code(&release), Some(0));
    let of_pack = format!("engines {0} to {0}", watertight_engine::VERSION);
    for (other, told) in
        [("--version 4", "the pack says 3"), ("--name mac", "the pack says linux"), ("--engine 1-9", of_pack.as_str())]
    {
        let output = desk.run(&format!("{release} {other}"));
        assert_eq!(output.status.code(), Some(1), "{other}");
        assert!(words(&output).contains(told), "{}", words(&output));
    }
    fs::write(desk.path("linux-3.pack"), "no pack at all").expect("a file");
    assert!(words(&desk.run(&release)).contains("no content pack"));
    let plan = fs::read_to_string(desk.path("plan.json")).expect("a plan");
    let signed = plan.split('"').find(|part| part.len() == 64).expect("an id").to_owned();
    fs::write(desk.path("plan.json"), plan.replace(&signed, &"0".repeat(64))).expect("a file");
    let output = desk.run("draft plan plan.json --out director.json --after repository");
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("not published"), "{}", words(&output));
}

#[test]
fn a_root_that_is_not_the_repositorys_fetches_nothing() {
    let desk = Desk::new();
    let draft = desk.run(
        "draft roles --out other --key root=release-a.key --key targets=release-a.key --key content=release-a.key \
         --key director=snapshot.key --key snapshot=snapshot.key --key timestamp=snapshot.key",
    );
    assert!(draft.status.success(), "{}", words(&draft));
    assert_eq!(desk.code("sign other/root.json --key release-a.key --passphrase-file passphrase"), Some(0));
    let output = desk.run("fetch --from repository --state elsewhere --root other/root.json --to packs");
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("signatures"), "{}", words(&output));
    assert_eq!(desk.code("fetch --from repository --state nowhere"), Some(1), "there is no root to begin with");
    assert_eq!(desk.code("fetch --from /nonexistent --state trusted"), Some(3), "what was trusted is good still");
    assert_eq!(desk.code("fetch --from repository --state trusted --host only"), Some(2));
    assert_eq!(desk.code("fetch --from repository --state trusted --name windows"), Some(4));
}

#[test]
fn a_repository_that_is_gone_leaves_what_was_trusted_and_says_so() {
    let desk = Desk::new();
    fs::remove_file(desk.path("repository/metadata/timestamp.json")).expect("a file");
    let output = desk.run("fetch --from repository --state trusted -o json");
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let fetched: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(fetched["packs"].as_array().map(Vec::len), Some(1));
    assert!(fetched["refresh_failed"].as_str().expect("why").contains("timestamp.json"));
}

#[test]
fn two_clients_do_not_share_a_memory() {
    let desk = Desk::new();
    let lock = File::options().write(true).open(desk.path("trusted/.lock")).expect("it is there");
    lock.lock().expect("nobody has it");
    let output = desk.run("fetch --from repository --state trusted");
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("another update"), "{}", words(&output));
}

/// As long ago, in the form of the client's files.
fn ago(seconds: i64) -> Moment {
    Moment::now().plus_s(-seconds)
}

const HOUR_S: i64 = 3_600;
const NOBODY: &str = "fetch --from http://127.0.0.1:1 --state trusted --recall-in host -o json";

impl Desk {
    /// Exit code and answer of one that must have answered.
    fn answered(&self, arguments: &str) -> (Option<i32>, Value) {
        let output = self.run(arguments);
        assert!(!output.stdout.is_empty(), "{}", words(&output));
        let answer = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), answer)
    }

    fn status(&self) -> Value {
        let mut command = Command::new(BINARY);
        command.args(["status", "--state", "host", "-o", "json"]).current_dir(self.0.path());
        serde_json::from_slice(&command.output().expect("it starts").stdout).expect("JSON")
    }

    fn heard(&self, seconds_ago: i64) {
        fs::write(self.path("trusted/refreshed"), format!("{} {}\n", ago(seconds_ago), 24 * HOUR_S)).expect("a file");
    }

    /// A key of the page.
    fn key(&self, name: &str) -> SigningKey {
        let sealed = fs::read_to_string(self.path(name)).expect("a key");
        SigningKey::open(&sealed, "correct horse battery staple").expect("the page's passphrase")
    }

    /// The director recalls the second pack.
    fn recall(&self) {
        let plan = fs::read_to_string(self.path("plan.json")).expect("a plan");
        let id = ContentId::of(&fs::read(self.path("linux-2.pack")).expect("a pack"));
        let plan =
            plan.replace("\"epoch\": 1", "\"epoch\": 2").replace("\"recall\": []", &format!("\"recall\": [\"{id}\"]"));
        fs::write(self.path("plan.json"), plan).expect("a file");
        for step in [
            "draft plan plan.json --out director.json --after repository",
            "sign director.json --key director.key --passphrase-file passphrase",
            "publish --to repository --director director.json --file plan.json --snapshot-key snapshot.key \
             --timestamp-key timestamp.key --passphrase-file passphrase",
        ] {
            let output = self.run(step);
            assert!(output.status.success(), "{step}: {}", words(&output));
        }
    }
}

#[test]
fn what_is_not_heard_goes_stale_long_before_it_expires_and_fetch_and_status_say_so() {
    let desk = Desk::new();
    assert_eq!(desk.status()["repository"], Value::Null, "nobody fetched for this run");
    desk.heard(11 * HOUR_S);
    let (code, answer) = desk.answered(NOBODY);
    assert_eq!((code, &answer["health"]["state"]), (Some(3), &"fresh".into()), "{answer}");
    desk.heard(13 * HOUR_S);
    let (code, answer) = desk.answered(NOBODY);
    assert_eq!((code, &answer["health"]["state"]), (Some(3), &"stale".into()), "{answer}");
    assert_eq!(answer["packs"].as_array().map(Vec::len), Some(1), "what was trusted is good still");
    let told = &desk.status()["repository"];
    assert_eq!((&told["health"]["state"], told["refresh_failed"].is_string()), (&"stale".into(), true), "{told}");
    let (code, answer) = desk.answered("fetch --from repository --state trusted --recall-in host -o json");
    assert_eq!((code, &answer["health"]["state"]), (Some(0), &"fresh".into()), "{answer}");
    assert_eq!(desk.status()["repository"]["health"]["state"], "fresh");
}

#[test]
fn what_has_expired_or_was_never_heard_is_answered_too_and_is_an_error() {
    let desk = Desk::new();
    let keys = (vec![desk.key("snapshot.key")], vec![desk.key("timestamp.key")]);
    let keys = OnlineKeys { snapshot: &keys.0, timestamp: &keys.1 };
    let publication =
        Publication { snapshot_lifetime_s: 99 * HOUR_S, timestamp_lifetime_s: HOUR_S, ..Publication::default() };
    publish(&desk.path("repository"), &publication, keys, ago(2 * HOUR_S)).expect("it was good then");
    // As a client has it that took it when it was good.
    fs::copy(desk.path("repository/metadata/timestamp.json"), desk.path("trusted/timestamp.json"))
        .expect("our own folders");
    for from in ["repository", "http://127.0.0.1:1", "/nonexistent"] {
        let (code, answer) = desk.answered(&format!("fetch --from {from} --state trusted --recall-in host -o json"));
        assert_eq!((code, &answer["kind"]), (Some(1), &"content_fetched".into()), "{from}: {answer}");
        assert_eq!(
            (&answer["health"]["state"], &answer["packs"]),
            (&"expired".into(), &serde_json::json!([])),
            "{from}"
        );
        assert!(answer["refresh_failed"].is_string(), "{answer}");
    }
    assert_eq!(desk.status()["repository"]["health"]["state"], "expired");
    for (state, options) in [("new", "--root roles/root.json"), ("other", "")] {
        let never = format!("fetch --from /nonexistent --state {state} --recall-in host -o json {options}");
        let (code, answer) = desk.answered(&never);
        assert_eq!((code, &answer["health"]["state"]), (Some(1), &"never".into()), "{answer}");
        assert_eq!(desk.status()["repository"]["health"]["state"], "never");
    }
}

#[test]
fn a_pack_that_can_not_be_had_takes_nothing_from_what_went_through() {
    let desk = Desk::new();
    let id = ContentId::of(&fs::read(desk.path("linux-2.pack")).expect("a pack")).to_string();
    let mut flipped = 0;
    for path in files_below(&desk.path("repository/targets")) {
        let mut bytes = fs::read(&path).expect("a file");
        if ContentId::of(&bytes).to_string() == id {
            bytes[100] ^= 1;
            fs::write(&path, bytes).expect("a file");
            flipped += 1;
        }
    }
    assert!(flipped > 0, "the pack is in the repository");
    let (code, answer) = desk.answered("fetch --from repository --state trusted --to elsewhere -o json");
    assert_eq!((code, &answer["health"]["state"]), (Some(3), &"fresh".into()), "{answer}");
    let pack = &answer["packs"][0];
    assert!(pack["failed"].is_string() && pack["file"].is_null(), "{answer}");
    assert!(!desk.path("elsewhere/linux-2.pack").exists());
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn what_is_recalled_is_neither_handed_out_nor_installed_where_it_never_was() {
    let desk = Desk::new();
    desk.recall();
    // Whoever asks for no host hears of it too, and gets nothing.
    let (code, answer) =
        desk.answered("fetch --from repository --state other --root roles/root.json --to handed -o json");
    assert_eq!((code, answer["recalled"].as_array().map(Vec::len)), (Some(0), Some(1)), "{answer}");
    assert!(answer["packs"][0]["file"].is_null() && !desk.path("handed/linux-2.pack").exists(), "{answer}");
    let named = "fetch --from repository --state other --name linux --to handed -o json";
    assert_eq!(desk.answered(named).0, Some(4), "no pack of this name may run");
    let fresh = "fetch --from repository --state trusted --host web-7 --ring broad --stratum debian-12 --engine 2 \
                 --to handed --recall-in host -o json";
    let (code, answer) = desk.answered(fresh);
    assert_eq!((code, &answer["taken_out"]), (Some(0), &serde_json::json!([])), "{answer}");
    assert_eq!(desk.code("install linux-2.pack --state host"), Some(6), "it is in quarantine before it came");
    assert_eq!(desk.code("slots --state host"), Some(0), "which needs nobody's attention");
    assert!(!desk.path("handed/linux-2.pack").exists());
}

#[test]
fn a_recall_is_heard_where_nothing_that_is_signed_can_be_run() {
    let desk = Desk::new();
    desk.recall();
    let metadata = std::fs::read_dir(desk.path("repository/metadata")).expect("published");
    for file in
        metadata.filter_map(Result::ok).filter(|file| file.file_name().to_string_lossy().ends_with(".content.json"))
    {
        std::fs::remove_file(file.path()).expect("our own");
    }
    let withheld =
        "fetch --from repository --state other --root roles/root.json --host web-7 --ring broad --stratum debian-12 \
                    --to handed --recall-in host -o json";
    let (code, answer) = desk.answered(withheld);
    assert_eq!((code, answer["recalled"].as_array().map(Vec::len)), (Some(1), Some(1)), "{answer}");
    assert_eq!(desk.code("install linux-2.pack --state host"), Some(6), "it is in quarantine before it came");
}

#[test]
fn a_recall_is_in_force_on_a_full_disk_and_status_says_that_it_was_not_told_what_the_fetch_heard() {
    let desk = Desk::new();
    desk.recall();
    fs::create_dir(desk.path("host")).expect("our own folder");
    let content = format!("{BINARY} content");
    let fetch = format!(
        "{content} fetch --from repository --state trusted --host web-7 --ring broad --stratum debian-12 --recall-in host -o json"
    );
    let status = format!("{BINARY} status --state host -o json");
    let script = format!(
        "mount -t tmpfs -o size=256k none host || exit 77\n\
         {content} install linux-2.pack --state host > /dev/null || exit 1\n\
         cat /dev/zero > host/filled 2>/dev/null\n\
         {fetch}; echo $?; {status}; {content} slots --state host -o json\n\
         rm host/filled\n\
         {fetch}; echo $?; {status}; {content} slots --state host -o json\n"
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).current_dir(desk.0.path()).output();
    let Some(output) =
        output.ok().filter(|output| !matches!(output.status.code(), Some(77)) && !output.stdout.is_empty())
    else {
        println!("skipped: needs a mount namespace");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [full, full_code, status, slots, then, then_code, status_then, slots_then] = lines.as_slice() else {
        panic!("{said} {}", words(&output))
    };
    assert_eq!((full_code, full["taken_out"].as_array().map(Vec::len)), (&0.into(), Some(1)), "{full}");
    assert_eq!((&slots["next"], &slots["quarantine"][0]["cause"]), (&"factory".into(), &"it was recalled".into()));
    let told = status["repository"]["refresh_failed"].to_string();
    assert!(told.contains("a recall perhaps, could not be written: make room"), "{status}");
    assert_eq!((then_code, &then["taken_out"]), (&0.into(), &serde_json::json!([])), "{then}");
    assert_eq!((&slots_then["next"], &status_then["repository"]["refresh_failed"]), (&"factory".into(), &Value::Null));
}

#[test]
fn a_mirror_that_holds_a_role_back_is_no_fresh_repository() {
    for role in ["content", "director"] {
        let desk = Desk::new();
        desk.recall();
        let host = "--host web-7 --ring broad --stratum debian-12 --recall-in host -o json";
        let fetch = format!("fetch --from repository --state other --root roles/root.json {host}");
        let (_, answer) = desk.answered(&fetch);
        assert_eq!(answer["health"]["state"], "fresh", "{answer}");
        let of_role = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().ends_with(&format!(".{role}.json"));
        let metadata = std::fs::read_dir(desk.path("repository/metadata")).expect("published");
        for file in metadata.filter_map(Result::ok).filter(of_role) {
            std::fs::remove_file(file.path()).expect("our own");
        }
        let withheld = format!("fetch --from repository --state fresh --root roles/root.json {host}");
        let (code, answer) = desk.answered(&withheld);
        assert_ne!(code, Some(0), "{answer}");
        assert_eq!(answer["health"]["state"], "never", "{answer}");
        assert!(answer["refresh_failed"].as_str().is_some_and(|why| why.contains(role)), "{answer}");
        let status = desk.status();
        assert_eq!(status["repository"]["health"]["state"], "never", "{status}");
    }
}

#[test]
fn a_pipe_where_the_pack_is_to_go_gets_it_and_stays_a_pipe() {
    use std::os::unix::fs::FileTypeExt as _;
    let desk = Desk::new();
    let pipe = desk.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
    let mut reader = Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().expect("it runs");
    assert_eq!(desk.code("build linux -o pipe"), Some(0));
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut reader.stdout.take().expect("its output"), &mut got).expect("a pipe");
    reader.wait().expect("it ends");
    assert_eq!(got, std::fs::read(desk.path("linux-2.pack")).expect("the same was built before"));
    assert!(std::fs::symlink_metadata(&pipe).expect("it is there").file_type().is_fifo());
}

#[test]
fn a_rule_that_no_event_here_can_fire_is_told_when_it_is_built() {
    let desk = Desk::new();
    fs::create_dir(desk.path("strange")).expect("our own");
    let write = |name: &str, text: &str| fs::write(desk.path("strange").join(name), text).expect("our own");
    write("pack.yml", "name: strange\nversion: 1\n");
    write(
        "rule.yml",
        "title: Elsewhere\nid: 0d4b3b7e-6a35-4d1c-9a0b-2f1f2a7b8c9d\nlevel: low\n\
         logsource: { category: process_creation, product: windows }\n\
         detection:\n  one:\n    CommandLine|contains: needle\n  condition: one\n",
    );
    let case = |line: &str| {
        format!("category: process_creation\n    product: windows\n    event: {{ CommandLine: {line} }}\n")
    };
    write("rule.tests.yml", &format!("fires:\n  - {}silent:\n  - why: none\n    {}", case("a needle"), case("hay")));
    let output = desk.run("build strange -o strange.pack");
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(
        words(&output).contains("rule.yml: 0d4b3b7e-6a35-4d1c-9a0b-2f1f2a7b8c9d can never fire"),
        "{}",
        words(&output)
    );
}

/// The page's last commands, which only who lost a key needs.
fn way_back() -> String {
    let (_, lost) = PAGE.split_once("## When a key is lost or stolen").expect("the page tells it");
    lost.split("```").nth(1).expect("its commands").to_owned()
}

#[test]
fn a_thief_who_ran_the_epoch_up_to_the_last_is_over_with_another_directors_key() {
    let desk = Desk::new();
    let fetch = "fetch --from repository --state trusted --to packs --host web-7 --ring broad --stratum debian-12";
    assert_eq!(desk.code(fetch), Some(0));
    let plan = fs::read_to_string(desk.path("plan.json")).expect("the page's plan");
    let publish = |plan: &str| {
        fs::write(desk.path("other.json"), plan).expect("a file");
        for arguments in [
            "draft plan other.json --out stolen.json --after repository",
            "sign stolen.json --key director.key --passphrase-file passphrase",
            "publish --to repository --director stolen.json --file other.json --snapshot-key snapshot.key \
             --timestamp-key timestamp.key --passphrase-file passphrase",
        ] {
            let done = desk.run(arguments);
            assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
        }
    };
    publish(&plan.replace("\"epoch\": 1,", "\"epoch\": 18446744073709551615,"));
    assert_eq!(desk.code(fetch), Some(0), "it is signed");
    publish(&plan);
    let refused = desk.run(&format!("{fetch} -o json"));
    let told: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told["director_refused"].as_str().is_some_and(|why| why.contains("epoch 1 is older")), "{told}");

    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", Path::new(BINARY).parent().expect("a folder").display());
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", &way_back()]).env("PATH", path).current_dir(desk.0.path()).stdin(Stdio::null());
    let done = shell.output().expect("every Linux has a shell");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(desk.code(fetch), Some(0), "the new director's first word");
}
