//! A folder with the programs in it, a server and an agent that end with the test, and what both leave there.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

pub const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
pub const NOBODY: u32 = 65_534;
pub const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/recordings/cron-night.jsonl");
/// Far longer than anything takes; only a hang is stopped by it.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A folder, and who owns it.
pub struct Place {
    pub dir: tempfile::TempDir,
    /// Everything is started as nobody, where that is possible.
    pub is_nobodys: bool,
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// SIGTERM, and its exit code.
    pub fn end(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        self.0.wait().expect("its end").code()
    }
}

/// The server's executable, where this workspace was built as a whole.
pub fn server() -> Option<PathBuf> {
    let beside = Path::new(BINARY).with_file_name("watertight-server");
    if !beside.exists() {
        println!("skipped: no watertight-server beside the command");
        return None;
    }
    Some(beside)
}

/// A place with a server's executable in it.
pub fn with_server() -> Option<(Place, PathBuf)> {
    let program = server()?;
    let place = Place::new();
    let program = place.bring(&program);
    Some((place, program))
}

impl Place {
    pub fn new() -> Self {
        let place = Self::of_ours();
        let is_nobodys = rustix::process::geteuid().is_root();
        if is_nobodys {
            std::os::unix::fs::chown(place.dir.path(), Some(NOBODY), Some(NOBODY)).expect("nobody's");
        }
        Self { is_nobodys, ..place }
    }

    /// Everything is started as who runs the test.
    pub fn of_ours() -> Self {
        let place = Self { dir: tempfile::tempdir().expect("a folder"), is_nobodys: false };
        place.bring(Path::new(BINARY));
        place
    }

    /// An executable lies here too: nobody may not enter the folder that it was built in.
    pub fn bring(&self, program: &Path) -> PathBuf {
        let own = self.dir.path().join(program.file_name().expect("a name"));
        if std::fs::hard_link(program, &own).is_err() {
            std::fs::copy(program, &own).expect("a copy");
        }
        own
    }

    pub fn command(&self, program: &Path, line: &str) -> Command {
        let mut command = Command::new(program);
        command.args(line.split_whitespace()).current_dir(self.dir.path()).stdin(Stdio::null());
        if self.is_nobodys {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(&self.dir.path().join("watertight"), line).output().expect("watertight runs")
    }

    pub fn good(&self, line: &str) -> String {
        let done = self.run(line);
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    }

    pub fn write(&self, name: &str, text: &str) {
        let place = self.dir.path().join(name);
        std::fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        std::fs::write(place, text).expect("a file");
    }

    pub fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join(name)).ok()
    }

    /// A server, and its URL.
    pub fn serve(&self, program: &Path, more: &str) -> (Running, String) {
        let line = format!("run --state fleet --listen 127.0.0.1:0 --check-in-ms 300 {more}");
        let mut command = self.command(program, &line);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        out.read_line(&mut line).expect("its ready line");
        let running = Running(child);
        let ready: Json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        (running, ready["url"].as_str().expect("its URL").to_owned())
    }

    /// The same, with the keys that a release was published with.
    pub fn serve_with_director(&self, program: &Path) -> (Running, String) {
        let keys = "--director-key director.key --snapshot-key online.key --timestamp-key online.key";
        self.serve(program, &format!("{keys} --passphrase-file passphrase"))
    }

    /// Makes the token that agents enrol with.
    pub fn give_token(&self, program: &Path) {
        let token = self.command(program, "token --state fleet --ring early").output().expect("a token");
        self.write("token", std::str::from_utf8(&token.stdout).expect("text"));
    }

    pub fn agent(&self, url: &str, more: &str) -> Running {
        self.agent_with_trial("1s", url, more)
    }

    pub fn agent_with_trial(&self, trial: &str, url: &str, more: &str) -> Running {
        let line = format!(
            "agent run --server {url} --ca fleet/ca.pem --token-file token --state agent --pins nowhere --observe --trial {trial} {more}"
        );
        let mut command = self.command(&self.dir.path().join("watertight"), &line);
        // Programs of the test's go before the machine's.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.dir.path().join("bin").display()));
        Running(command.stderr(self.log()).stdout(Stdio::null()).spawn().expect("the agent starts"))
    }

    pub fn log(&self) -> Stdio {
        let log = std::fs::File::options().append(true).create(true).open(self.dir.path().join("log"));
        Stdio::from(log.expect("a file"))
    }

    pub fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{what} never came\n{}", self.read("log").unwrap_or_default());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The generation that the agent has acted on.
    pub fn acted(&self) -> u64 {
        self.read("agent/uplink/acted.json").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub fn slots(&self) -> Json {
        serde_json::from_slice(&self.run("content slots -o json --state agent/run").stdout).unwrap_or_default()
    }

    pub fn has_in_slot(&self, version: u64) -> bool {
        self.slots()["slots"].as_array().is_some_and(|rows| rows.iter().any(|row| row["version"] == version))
    }

    /// Keys, roles, one release in the repository of the server.
    pub fn publish_release(&self) {
        self.write("passphrase", "correct horse battery staple\n");
        for key in ["root", "release", "director", "online"] {
            self.good(&format!("content keys new --out {key}.key --passphrase-file passphrase"));
        }
        self.good(
            "content draft roles --out roles --key root=root.key.pub --key targets=root.key.pub --key content=release.key.pub \
             --key director=director.key.pub --key snapshot=online.key.pub --key timestamp=online.key.pub",
        );
        self.good("content sign roles/root.json --key root.key --passphrase-file passphrase");
        self.good("content sign roles/targets.json --key root.key --passphrase-file passphrase");
        self.write("linux/pack.yml", "name: linux\nversion: 7\n");
        self.write(
            "linux/miner.yml",
            "title: Mining pool\nid: 5e0e2a58-2f6c-4c57-9d3e-0a4f3c1b7d11\nlevel: high\n\
             logsource: { category: process_creation, product: linux }\n\
             detection:\n  pool:\n    CommandLine|contains: stratum+tcp://\n  condition: pool\n",
        );
        self.write(
            "linux/miner.tests.yml",
            "fires:\n  - category: process_creation\n    event: { Image: /tmp/x, CommandLine: x -o stratum+tcp://192.0.2.7:3333 }\n\
             silent:\n  - why: a report\n    category: process_creation\n    event: { Image: /usr/bin/less, CommandLine: less s.txt }\n",
        );
        self.good("content build linux -o linux.pack");
        self.good("content draft release linux.pack --ring early=2026-01-01T00:00:00Z,0h:1000000 --out content.json");
        self.good("content sign content.json --key release.key --passphrase-file passphrase");
        self.good(
            "content publish --to fleet/content --root roles/root.json --targets roles/targets.json --content content.json \
             --file linux.pack --snapshot-key online.key --timestamp-key online.key --passphrase-file passphrase",
        );
    }

    /// The director wants the release of every host of a stratum.
    pub fn publish_plan(&self, stratum: &str) {
        let pack = self.good("content verify linux.pack -o json");
        let pack: Json = serde_json::from_str(&pack).expect("JSON");
        let now = |offset: &str| {
            let done = Command::new("date").args(["-u", "-d", offset, "+%FT%TZ"]).output().expect("date runs");
            String::from_utf8(done.stdout).expect("text").trim().to_owned()
        };
        let plan = serde_json::json!({
            "format": 1, "epoch": 1, "paused": false, "recall": [], "issued": now("now"), "lease_until": now("+1 hour"),
            "entries": [{
                "content": pack["id"], "cohort": { "ranges": [{ "stratum": stratum, "from": 0, "to": 4_294_967_296_u64 }] },
                "not_before": "2026-01-01T00:00:00Z", "not_after": "2099-01-01T00:00:00Z"
            }]
        });
        self.write("plan.json", &plan.to_string());
        self.good("content draft plan plan.json --out director.json --after fleet/content");
        self.good("content sign director.json --key director.key --passphrase-file passphrase");
        self.good(
            "content publish --to fleet/content --director director.json --file plan.json --snapshot-key online.key \
             --timestamp-key online.key --passphrase-file passphrase",
        );
    }
}
