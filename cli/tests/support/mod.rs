//! What the tests of policy share: a folder of their own, a loader that answers from a script, and the command itself.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::panic, reason = "a test that can not go on says why")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a loader says where the kernel admits no LSM programs.
pub const NO_BPF_LSM: &str = "the kernel refuses BPF LSM programs (Operation not permitted (os error 1))";

/// Whether this is root; says so where a test is skipped for want of it.
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: needs root");
    }
    is_root
}

/// A folder with a loader in it.
pub struct Place {
    pub folder: PathBuf,
}

impl Place {
    /// The loader notes how it is called, keeps what it is given, and answers as `answers` (lines of a shell's `case`) say.
    pub fn new(folder: &Path, answers: &str) -> Self {
        let loader = folder.join("loader");
        let script = format!(
            "#!/bin/sh\ncd {folder:?}\nshift 2\necho \"$*\" >> calls\ncase \"$1 $2\" in\n'guard check' | 'guard apply') cat > given ;;\nesac\n\
             case \"$1 $2\" in\n{answers}\n*) echo 'watertight-loader: {NO_BPF_LSM}' >&2; exit 1 ;;\nesac\n"
        );
        // Not written by us: a test that forks meanwhile would hold it open, and it could not be started.
        std::fs::write(folder.join("loader.text"), script).expect("the script");
        let made = Command::new("install").arg("-m755").arg(folder.join("loader.text")).arg(&loader).status();
        assert!(made.expect("install runs").success());
        Self { folder: folder.to_owned() }
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// How the loader was called so far, a line a call.
    pub fn calls(&self) -> Vec<String> {
        self.read("calls").lines().map(str::to_owned).collect()
    }

    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// `watertight` with the loader and the state folder of this place.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
        command.args(arguments).arg("--state").arg(self.state());
        if arguments.first() != Some(&"status") {
            command.arg("--loader").arg(self.folder.join("loader"));
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Answer {
        Answer(self.command(arguments).output().expect("watertight runs"))
    }
}

/// What the command said.
pub struct Answer(pub Output);

impl Answer {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout())
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout(), self.stderr()))
    }
}
