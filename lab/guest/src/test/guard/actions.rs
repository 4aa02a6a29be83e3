//! Actions that rules demand: a process is killed, an executable is not started again, and what must not be touched is not.

use crate::guard::{counts, folder, program_of_its_own, show, starts};
use crate::packs::{fresh, install, run, unseal, wait_policy, Pack, WAIT_MAX};
use crate::product::{Events, Watertight};
use crate::test::Test;
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// This file's tests. They begin and end without a guard.
pub const TESTS: &[Test] = &[
    Test {
        name: "guard.actions.kill",
        claim: "a process that a rule wants killed is killed where the owner allows it, and process 1 is not",
        run: kill,
    },
    Test {
        name: "guard.actions.not_allowed",
        claim: "without the owner's word, and while its pack is on trial, a rule only tells what it would do",
        run: not_allowed,
    },
    Test {
        name: "guard.actions.deny_next",
        claim:
            "an executable that a rule wants denied does not start a second time, with every process of ours gone too",
        run: deny_next,
    },
];

/// A folder of rules whose one rule fires on executables, or files, of this path.
fn rules(name: &str, category: &str, field: &str, path: &str, action: &str) -> Result<String> {
    let rules = folder(name)?;
    let text = format!(
        "title: A test's {action}\nid: 7d1c1f0e-5f1b-4c5e-9a55-0c7d6f1f2a02\n\
         logsource: {{category: {category}, product: linux}}\n\
         detection:\n  selection:\n    {field}: {path}\n  condition: selection\naction: {action}\nmode: enforce\n"
    );
    fs::write(format!("{rules}/rule.yml"), text).context("writing a rule")?;
    Ok(rules)
}

fn enforcing(rules: &str, actions: &str) -> Result<Watertight> {
    Watertight::start_guarded_with(&["--rules", rules, "--enforce-actions", actions])
}

fn sleeper(path: &str) -> Result<Child> {
    let mut command = Command::new(path);
    command.arg("600").stdin(Stdio::null()).spawn().with_context(|| format!("starting {path}"))
}

fn outcome(run: &Watertight, words: &str) -> Result<Value> {
    let fits = |event: &Value| event["message"].as_str().is_some_and(|message| message.contains(words));
    run.wait_for("response.action", fits, WAIT_MAX).with_context(|| format!("waiting for {words:?}"))
}

fn said(events: &Events, words: &str) -> Result<()> {
    let fits = |alert: &Value| alert["response"]["message"].as_str().is_some_and(|message| message.contains(words));
    events.expect("alert", fits).map(drop)
}

fn kill() -> Result<()> {
    fresh()?;
    let path = format!("{}/sleeper", folder("actions-kill")?);
    program_of_its_own("/usr/bin/sleep", &path)?;
    let run = enforcing(&rules("actions-kill-rules", "process_creation", "Image", &path, "kill")?, "kill")?;
    let mut child = sleeper(&path)?;
    let told = outcome(&run, ": done")?;
    ensure!(told["target"]["pid"] == child.id(), "{told}");
    ensure!(child.wait()?.signal() == Some(libc::SIGKILL), "it ended otherwise");
    said(&run.stop()?, "kill: asked for")?;
    // This program is process 1 here: its file is its own deed.
    let marked = format!("{}/marked", folder("actions-first")?);
    let run = enforcing(&rules("actions-first-rules", "file_event", "TargetFilename", &marked, "kill")?, "kill")?;
    let began = Instant::now();
    let refused = loop {
        fs::write(&marked, "x")?;
        fs::remove_file(&marked)?;
        match run.wait_for("response.action", |_| true, Duration::from_secs(5)) {
            Ok(told) => break told,
            Err(error) if began.elapsed() > WAIT_MAX => return Err(error),
            Err(_) => {}
        }
    };
    ensure!(refused["message"].as_str().is_some_and(|words| words.contains("refused: it is process 1")), "{refused}");
    run.stop()?;
    unseal()
}

fn not_allowed() -> Result<()> {
    fresh()?;
    let path = format!("{}/sleeper", folder("actions-audit")?);
    program_of_its_own("/usr/bin/sleep", &path)?;
    let rules = rules("actions-audit-rules", "process_creation", "Image", &path, "kill")?;
    let run = enforcing(&rules, "deny_next")?;
    let mut child = sleeper(&path)?;
    let would = |alert: &Value| alert["response"]["mode"] == "enforce";
    run.wait_for("alert", would, WAIT_MAX)?;
    ensure!(child.try_wait()?.is_none(), "it was killed without the owner's word");
    let events = run.stop()?;
    said(&events, "would kill (not enforced: the run is without --enforce-actions kill)")?;
    events.expect_none("response.action", |_| true)?;
    // A pack on trial.
    let marked = crate::packs::TRIGGER;
    install(Pack { version: 1, rule: "action: kill\nmode: enforce\n", ..Pack::default() })?;
    let run = run_allowing("kill")?;
    let mut writer = Command::new("/bin/sh");
    writer.args(["-c", &format!("while :; do : > {marked}; rm {marked}; sleep 1; done")]);
    let mut writer = writer.stdin(Stdio::null()).spawn().context("starting a shell")?;
    outcome(&run, "its pack is on trial")?;
    ensure!(writer.try_wait()?.is_none(), "it was killed while the pack is on trial");
    outcome(&run, ": done").context("after the trial")?;
    ensure!(writer.wait()?.signal() == Some(libc::SIGKILL), "it ended otherwise");
    run.stop()?;
    child.kill().and_then(|()| child.wait())?;
    unseal()
}

fn run_allowing(actions: &str) -> Result<Watertight> {
    run(&["--enforce-actions", actions])
}

fn deny_next() -> Result<()> {
    fresh()?;
    let path = format!("{}/dropped", folder("actions-deny")?);
    program_of_its_own("/bin/true", &path)?;
    let run = enforcing(&rules("actions-deny-rules", "process_creation", "Image", &path, "deny_next")?, "deny_next")?;
    ensure!(starts(&path)?, "it does not start a first time");
    outcome(&run, "asked of the loader")?;
    wait_policy(&run, "executables not started again: 1")?;
    ensure!(!starts(&path)?, "it starts a second time: {}", show()?);
    let status = crate::product::watertight(&["status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(status.contains(&format!("not started again: {path}")), "{status}");
    run.kill()?;
    ensure!(!starts(&path)?, "it starts once the run is gone");
    let rules = show()?["rules"].as_array().context("rules")?.clone();
    let id = rules.first().and_then(|rule| rule["id"].as_str()).context("a rule")?.to_owned();
    ensure!(id.starts_with("next:") && counts(&id)?.0 >= 2, "{rules:?}");
    // What belongs to the system is left to policies.
    let run = enforcing(
        &self::rules("actions-system", "process_creation", "Image", "/usr/bin/sleep", "deny_next")?,
        "deny_next",
    )?;
    thread::sleep(Duration::from_millis(200));
    let mut child = sleeper("/usr/bin/sleep")?;
    outcome(&run, "refused: ")?;
    child.kill().and_then(|()| child.wait())?;
    run.stop()?;
    unseal()?;
    ensure!(starts(&path)?, "unsealed, and it starts not");
    Ok(())
}
