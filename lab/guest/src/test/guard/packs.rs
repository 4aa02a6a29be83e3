//! The policy of a content pack on its way into the kernel: new rules count before they deny, urgent ones deny at once, and what
//! no run confirms is taken back.

use crate::guard::{apply, counts, folder, program, rule, show, starts};
use crate::packs::{fresh, install, run, unseal, wait_policy, word, Pack, WAIT_MAX};
use crate::product::watertight;
use crate::test::Test;
use anyhow::{bail, ensure, Context, Result};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

/// This file's tests. They begin and end without a guard.
pub const TESTS: &[Test] = &[
    Test {
        name: "guard.packs.audit_first",
        claim: "a pack's new deny rule counts while the pack is on trial and denies after it, with every process of ours gone too",
        run: audit_first,
    },
    Test {
        name: "guard.packs.next_release",
        claim: "a later pack on trial takes no rule away, and its own go when it steps down; an administrator's rules stay",
        run: next_release,
    },
    Test {
        name: "guard.packs.returns",
        claim: "an urgent pack's policy denies at once; with the run killed before it confirms the kernel goes back",
        run: returns,
    },
];

const LOOK_EVERY: Duration = Duration::from_millis(5);

fn exec_rule(id: &str, path: &str) -> String {
    rule(id, "exec", &format!("file: {path}"), "enforce")
}

fn programs(name: &str) -> Result<[String; 2]> {
    let folder = folder(name)?;
    let paths = ["one", "two"].map(|program| format!("{folder}/{program}"));
    paths.iter().try_for_each(|path| program(path))?;
    Ok(paths)
}

fn status() -> Result<String> {
    let output = watertight(&["status"])?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn audit_first() -> Result<()> {
    fresh()?;
    let [one, _] = programs("packs-audit")?;
    install(Pack { version: 1, policy: &[exec_rule("no-one", &one)], ..Pack::default() })?;
    let run = run(&[])?;
    wait_policy(&run, "1 in audit until")?;
    ensure!(starts(&one)?, "a new rule denies while its pack is on trial");
    let (denied, audited) = counts("trial:no-one")?;
    ensure!((denied, audited) == (0, 1), "denied {denied}, audited {audited}");
    let told = status()?;
    ensure!(told.contains("in audit until") && told.contains("no-one"), "{told}");
    wait_policy(&run, "1 as declared, 0 in audit")?;
    ensure!(!starts(&one)?, "the pack is trusted, and it starts");
    let denied = counts("pack:no-one")?;
    ensure!(denied == (1, 0), "{denied:?}");
    let told = status()?;
    ensure!(told.contains("pack policy: 1 rules of last-known-good guest version 1"), "{told}");
    run.kill()?;
    ensure!(!starts(&one)?, "it starts once the run is gone");
    unseal()?;
    ensure!(starts(&one)?, "unsealed, and it starts not");
    Ok(())
}

fn next_release() -> Result<()> {
    fresh()?;
    let [one, two] = programs("packs-next")?;
    let first = [exec_rule("no-one", &one)];
    install(Pack { version: 1, policy: &first, ..Pack::default() })?;
    let run = run(&[])?;
    wait_policy(&run, "1 as declared, 0 in audit")?;
    let mine = format!("{}/mine", folder("packs-mine")?);
    program(&mine)?;
    apply(&[exec_rule("no-one", &mine)]).context("an administrator's rule of the same id")?;
    ensure!(!starts(&one)? && !starts(&mine)? && starts(&two)?, "a pack's rule and an administrator's: {}", show()?);
    // It has another rule, and not the old one.
    install(Pack { version: 2, policy: &[exec_rule("no-two", &two)], ..Pack::default() })?;
    wait_policy(&run, "1 as declared, 1 in audit")?;
    ensure!(!starts(&one)? && !starts(&mine)? && starts(&two)?, "on trial: {}", show()?);
    // The last-known-good again: the other one steps down.
    install(Pack { version: 1, policy: &first, ..Pack::default() })?;
    let gone = |shown: &Value| !shown["rules"].to_string().contains("trial:");
    let began = Instant::now();
    while !gone(&show()?) {
        ensure!(began.elapsed() < WAIT_MAX, "the rule of a pack that stepped down is still there: {}", show()?);
        thread::sleep(Duration::from_millis(200));
    }
    ensure!(!starts(&one)? && !starts(&mine)? && starts(&two)?, "stepped down: {}", show()?);
    run.stop()?;
    unseal()
}

fn returns() -> Result<()> {
    fresh()?;
    let [one, _] = programs("packs-returns")?;
    install(Pack { version: 1, is_urgent: true, policy: &[exec_rule("no-one", &one)], ..Pack::default() })?;
    let run = run(&[])?;
    let began = Instant::now();
    while word()["progress"] != "on-trial" {
        ensure!(began.elapsed() < WAIT_MAX, "no policy on trial: {}", word());
        thread::sleep(LOOK_EVERY);
    }
    run.kill()?;
    ensure!(!starts(&one)?, "an urgent rule does not deny at once: {}", show()?);
    ensure!(show()?["state"] == "trial", "{}", show()?);
    loop {
        let shown = show()?;
        match shown["state"].as_str() {
            Some("trial") if began.elapsed() < WAIT_MAX => thread::sleep(Duration::from_millis(500)),
            Some("returned") => break,
            _ => bail!("the run was killed before it confirmed: {shown}"),
        }
    }
    ensure!(starts(&one)?, "the kernel went back, and it starts not");
    unseal()
}
