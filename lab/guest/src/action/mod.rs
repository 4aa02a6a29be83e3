//! Kernel operations for tests to cause, each done by a fresh process so that an event can be told by its pid.
//!
//! A function such as `file::create(path)` starts this same binary as `wt-act file.create PATH`; the operation happens
//! there and its outcome comes back as one JSON line. So a test can cause what would end or change init (exit, setuid,
//! unshare), sees a refusal as an errno, and a shell in the guest can call every action by name.

pub mod file;
pub mod kernel;
pub mod memory;
pub mod mount;
pub mod network;
pub mod process;
pub mod storm;
pub mod uring;

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

/// The name under which this binary acts instead of being init.
pub const ACTOR: &str = "/bin/wt-act";

/// A user without rights.
pub const NOBODY: u32 = 65534;

/// What an operation came to, inside the acting process.
pub type Outcome = io::Result<Value>;

/// An action's name and what it does.
pub type Action = (&'static str, fn(&[String]) -> Outcome);

/// Declares actions: for each one a public function for tests, and an entry in the module's `ACTIONS`.
macro_rules! actions {
    ($($(#[doc = $doc:literal])* $name:literal => $function:ident($($argument:ident),*) $body:block)*) => {
        $(
            $(#[doc = $doc])*
            #[allow(dead_code)] // some are called from a guest's shell alone
            pub fn $function($($argument: &str),*) -> anyhow::Result<crate::action::Act> {
                crate::action::Act::perform($name, &[$($argument),*])
            }
        )*

        /// This module's actions by name.
        pub const ACTIONS: &[crate::action::Action] = &[
            $(($name, {
                fn body(arguments: &[String]) -> crate::action::Outcome {
                    #[allow(unused_mut, unused_variables)]
                    let mut arguments = arguments.iter();
                    $(let $argument: &str = arguments.next().ok_or_else(|| {
                        std::io::Error::other(concat!("missing argument: ", stringify!($argument)))
                    })?;)*
                    $body
                }
                body
            }),)*
        ];
    };
}
pub(crate) use actions;

/// An operation that a process tried, seen from outside.
#[derive(Debug)]
pub struct Act {
    /// The acting process.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    name: &'static str,
    outcome: Result<Value, Refusal>,
}

/// The kernel's no.
#[derive(Debug)]
struct Refusal {
    errno: i32,
    text: String,
}

impl Act {
    /// Runs one action in a process of its own and waits for its end.
    pub fn perform(name: &'static str, arguments: &[&str]) -> Result<Self> {
        Self::perform_as(0, name, arguments)
    }

    /// The same as another user; [`NOBODY`] is one that every guest has.
    pub fn perform_as(uid: u32, name: &'static str, arguments: &[&str]) -> Result<Self> {
        let child = Command::new(ACTOR)
            .uid(uid)
            .arg(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {ACTOR} {name}"))?;
        let pid = child.id();
        let output = child.wait_with_output().with_context(|| format!("waiting for {name}"))?;
        let said = output.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
        // An actor that became another program, or died, says nothing: its exit status is the outcome.
        let said: Value = serde_json::from_slice(said).unwrap_or_else(|_| json!({ "done": null }));
        let outcome = match said.get("errno").and_then(Value::as_i64) {
            None => Ok(said.get("done").cloned().unwrap_or_default()),
            Some(errno) => Err(Refusal {
                errno: i32::try_from(errno).unwrap_or_default(),
                text: said.get("error").and_then(Value::as_str).unwrap_or_default().to_owned(),
            }),
        };
        Ok(Self { pid, status: output.status, name, outcome })
    }

    /// The operation's result: what it made, such as a port or a child's pid.
    pub fn done(&self) -> Result<&Value> {
        match &self.outcome {
            Ok(value) => Ok(value),
            Err(refusal) => bail!("{} failed: {}", self.name, refusal.text),
        }
    }

    /// A number from the operation's result.
    pub fn number(&self, field: &str) -> Result<u64> {
        let value = self.done()?.get(field).and_then(Value::as_u64);
        value.with_context(|| format!("{} gave no number {field}", self.name))
    }

    /// The operation must have failed with this errno.
    pub fn refused_with(&self, errno: i32) -> Result<()> {
        match &self.outcome {
            Err(refusal) if refusal.errno == errno => Ok(()),
            Err(refusal) => bail!("{} failed with {}, not errno {errno}", self.name, refusal.text),
            Ok(_) => bail!("{} was done, not refused with errno {errno}", self.name),
        }
    }
}

/// The acting process: `wt-act NAME ARGUMENT...`, exit code 0 if done, 1 if refused, 2 for a name that is not there.
pub fn main(arguments: &[String]) -> i32 {
    let Some((name, rest)) = arguments.split_first() else {
        for (name, _) in all() {
            println!("{name}");
        }
        return 2;
    };
    let Some((_, run)) = all().find(|(known, _)| known == name) else {
        eprintln!("wt-act: no action {name}; without arguments it lists them");
        return 2;
    };
    match run(rest) {
        Ok(done) => {
            println!("{}", json!({ "done": done }));
            0
        }
        Err(error) => {
            println!("{}", json!({ "errno": error.raw_os_error().unwrap_or(0), "error": error.to_string() }));
            1
        }
    }
}

/// Does the action that a text such as `file.unlink /tmp/x` names, within this very process.
fn perform_here(text: &str) -> Outcome {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let Some((name, rest)) = words.split_first() else { return Err(io::Error::other("no action named")) };
    match all().find(|(known, _)| known == name) {
        Some((_, run)) => run(rest),
        None => Err(io::Error::other(format!("no action {name}"))),
    }
}

fn all() -> impl Iterator<Item = &'static Action> {
    [
        process::ACTIONS,
        file::ACTIONS,
        network::ACTIONS,
        memory::ACTIONS,
        kernel::ACTIONS,
        mount::ACTIONS,
        uring::ACTIONS,
        storm::ACTIONS,
    ]
    .into_iter()
    .flatten()
}

/// The result of a raw system call as Rust has it: -1 becomes the thread's errno.
fn check(result: i64) -> io::Result<i64> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// An argument that must be a number.
fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::other(format!("{text:?} is not a number of the kind wanted here")))
}
