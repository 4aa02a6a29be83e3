//! The product in force: what it must say of what happens in the guest.

use super::Test;
use crate::action::process;
use crate::product::{by, watertight, Watertight};
use anyhow::{ensure, Context, Result};

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "product.run.begins_and_ends",
        claim: "a run says what is in force first and what it counted last",
        run: begins_and_ends,
    },
    Test {
        name: "product.process.exec",
        claim: "a program that runs while the product watches is reported",
        run: exec_is_reported,
    },
    Test {
        name: "product.status",
        claim: "status says in JSON what is in force, with no run going on",
        run: status_is_json,
    },
];

fn begins_and_ends() -> Result<()> {
    let run = Watertight::start()?;
    let events = run.stop()?;
    events.matrix()?;
    events.summary()?;
    Ok(())
}

fn exec_is_reported() -> Result<()> {
    let run = Watertight::start()?;
    let act = process::exec_many("wt-exec-marked", "2")?;
    ensure!(act.status.success(), "the program ended with {}", act.status);
    let events = run.stop()?;
    events.expect("process.exec", |event| by(event, &act) && event.to_string().contains("wt-exec-marked-1"))?;
    Ok(())
}

fn status_is_json() -> Result<()> {
    let output = watertight(&["status", "-o", "json"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let _: serde_json::Value = serde_json::from_str(text.trim()).with_context(|| format!("status printed {text:?}"))?;
    Ok(())
}
