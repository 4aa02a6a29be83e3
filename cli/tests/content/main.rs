//! `watertight content` as people use it: the page that tells how, run as it stands, and what goes wrong beside it.

mod heard;
mod keys;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
const PAGE: &str = include_str!("../../../docs/content.md");

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
