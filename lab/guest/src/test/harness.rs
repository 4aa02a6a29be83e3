//! The harness for product tests, tried on a shell script that speaks as the product does: when a product test fails, it is
//! then the product that failed.

use super::Test;
use crate::product::Watertight;
use anyhow::{bail, ensure, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test { name: "harness.stop", claim: "a run is heard from its first line to its summary", run: heard_to_the_end },
    Test { name: "harness.kill", claim: "a killed run leaves what it said before", run: killed },
    Test { name: "harness.mute", claim: "a product that ends at once is an error, not a hang", run: mute },
    Test { name: "harness.no_summary", claim: "a run that ends without a summary is an error", run: no_summary },
];

const SPEAKS: &str = r#"#!/bin/sh
trap 'echo "{\"kind\":\"summary\"}"; exit 0' INT
echo '{"kind":"matrix"}'
echo '{"kind":"process.exec","process":{"pid":7}}'
echo 'not JSON'
while :; do sleep 0.1; done
"#;
const MUTE: &str = "#!/bin/sh\nexit 1\n";
const NO_SUMMARY: &str = "#!/bin/sh\necho '{\"kind\":\"matrix\"}'\nexec sleep 100\n";

fn script(name: &str, text: &str) -> Result<String> {
    let path = format!("/tmp/wt-{name}");
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn heard_to_the_end() -> Result<()> {
    let run = Watertight::start_program(&script("speaks", SPEAKS)?, &[])?;
    run.wait_for("process.exec", |_| true, Duration::from_secs(10))?;
    let events = run.stop()?;
    events.matrix()?;
    events.expect("process.exec", |event| event["process"]["pid"] == 7)?;
    events.expect_none("process.exec", |event| event["process"]["pid"] == 8)?;
    ensure!(events.expect("process.exec", |event| event["process"]["pid"] == 8).is_err(), "found what was never said");
    ensure!(events.count("process.exec", |_| true) == 1, "heard twice");
    events.summary()?;
    Ok(())
}

fn killed() -> Result<()> {
    let run = Watertight::start_program(&script("killed", SPEAKS)?, &[])?;
    ensure!(run.pid() > 1, "it has no pid");
    run.wait_for("process.exec", |_| true, Duration::from_secs(10))?;
    let events = run.kill()?;
    events.expect("process.exec", |_| true)?;
    ensure!(events.summary().is_err(), "a killed run can't sum up");
    Ok(())
}

fn mute() -> Result<()> {
    match Watertight::start_program(&script("mute", MUTE)?, &[]) {
        Ok(_) => bail!("it was taken for started"),
        Err(error) => {
            ensure!(format!("{error:#}").contains("ended"), "another error: {error:#}");
            Ok(())
        }
    }
}

fn no_summary() -> Result<()> {
    let run = Watertight::start_program(&script("no-summary", NO_SUMMARY)?, &[])?;
    ensure!(run.stop().is_err(), "the missing summary was not missed");
    Ok(())
}
