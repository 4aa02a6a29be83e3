//! A publisher's folder and a host's state: what is built, installed and run in these tests.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use watertight_host::slots::ContentId;

use crate::live::{again_until, touch, Run, RUN};

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
/// What a command said.
pub struct Said {
    pub code: Option<i32>,
    pub words: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), words: text(&output.stderr) }
    }
}

/// A folder with the sources of a pack.
pub struct Desk(TempDir);

impl Desk {
    /// One rule and an event that must fire it.
    pub fn new(rule: &str, fires: &str) -> Self {
        let desk = Self(TempDir::new().expect("a folder"));
        desk.write("pack.yml", "name: museum\nversion: 1\n");
        desk.write("rule.yml", rule);
        let case = |event: &str| format!("  - {{category: process_creation, event: {event}}}\n");
        let tests = format!("fires:\n{}silent:\n{}", case(fires), case("{Image: /usr/bin/another}"));
        desk.write("rule.tests.yml", &tests);
        desk
    }

    pub fn write(&self, name: &str, text: &str) {
        let folder = self.0.path().join("source");
        std::fs::create_dir_all(&folder).expect("our own folder");
        std::fs::write(folder.join(name), text).expect("our own folder");
    }

    pub fn pack(&self) -> PathBuf {
        self.0.path().join("museum.pack")
    }

    pub fn build(&self) -> Said {
        let mut command = Command::new(BINARY);
        command.args(["content", "build", "source", "-o", "museum.pack"]).current_dir(self.0.path());
        command.output().expect("our own executable starts").into()
    }

    /// It is refused by every one of these words, and there is no pack.
    pub fn refuses(&self, words: &[&str]) {
        let said = self.build();
        assert_eq!(said.code, Some(1), "{}", said.words);
        assert!(words.iter().all(|word| said.words.contains(word)), "{words:?}: {}", said.words);
        assert!(!self.pack().exists(), "nothing is written");
    }
}

/// A host's state folder.
pub struct Host {
    state: TempDir,
}

impl Host {
    pub fn new() -> Self {
        Self { state: TempDir::new().expect("a folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--state").arg(self.state.path()).stdin(Stdio::null());
        command
    }

    pub fn install(&self, pack: &[u8]) -> Said {
        let file = self.path("pack");
        std::fs::write(&file, pack).expect("our own folder");
        let file = file.to_str().expect("text");
        self.command(&["content", "install", file]).output().expect("our own executable starts").into()
    }

    /// The slot that the next start takes.
    pub fn next(&self) -> String {
        self.slots()["next"].as_str().expect("a slot").to_owned()
    }

    pub fn slots(&self) -> Value {
        let output = self.command(&["content", "slots", "-o", "json"]).output().expect("our own executable starts");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    pub fn is_in_quarantine(&self, pack: &[u8]) -> bool {
        let slots = self.slots();
        let mut quarantine = slots["quarantine"].as_array().expect("a list").iter();
        quarantine.any(|one| one["id"] == ContentId::of(pack).to_string().as_str())
    }

    /// The pack is refused by every one of these words, and what is in force stays.
    pub fn refuses(&self, pack: &[u8], words: &[&str]) {
        let before = self.next();
        let said = self.install(pack);
        assert_eq!(said.code, Some(5), "{}", said.words);
        assert!(words.iter().all(|word| said.words.contains(word)), "{words:?}: {}", said.words);
        assert_eq!(self.next(), before, "what was before stays");
    }

    /// Puts the pack where an installed one lies, past whoever installs.
    pub fn place(&self, pack: &[u8]) {
        let folder = self.path("slots");
        std::fs::create_dir_all(&folder).expect("our own folder");
        let name = format!("candidate-1-v1-{}+2-0", ContentId::of(pack));
        std::fs::write(folder.join(name), pack).expect("our own folder");
        assert_eq!(self.next(), "candidate");
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::start(self.state.path(), arguments)
    }

    /// In a network of its own, without anybody in it.
    pub fn run_without_network(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new("unshare");
        command.args(["--net", BINARY]).args(RUN).arg(self.state.path()).args(arguments);
        Run::of(command, self.state.path())
    }

    /// Makes a file of this name again and again until `is_done`.
    pub fn touch_until(&self, name: &str, is_done: impl FnMut() -> bool) {
        again_until(self.state.path(), || touch(&self.path(name)), is_done);
    }
}
