//! Process 1: makes the world, does the job, powers off whatever happened.

use crate::report::Report;
use crate::world;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use watertight_lab_guest::{Job, Line, Sensor, JOB_PATH};

/// How long output may still come after the command's end: a process that it left behind may hold the pipe for ever.
const OUTPUT_DRAIN_MAX: Duration = Duration::from_secs(1);

/// Never returns: a kernel whose first process ends panics.
pub fn main() {
    if std::process::id() != 1 {
        eprintln!("this is a lab guest's init; anywhere but there it does nothing");
        std::process::exit(2);
    }
    if let Err(error) = live() {
        eprintln!("init: {error:#}");
    }
    power_off();
}

fn live() -> Result<()> {
    world::make()?;
    let report = Arc::new(Report::open().context("opening the second serial port")?);
    report.say(&Line::Ready(rustix::system::uname().release().to_string_lossy().into_owned()));
    let text = std::fs::read(JOB_PATH).with_context(|| format!("reading {JOB_PATH}"))?;
    let done = match serde_json::from_slice(&text).context("the job is not one of ours")? {
        Job::Test { filter, variant, part } => {
            crate::test::run_all(&report, &filter, variant.as_deref(), part);
            Ok(())
        }
        Job::Command { command } => run_command(&report, &command),
        Job::Bench { sensor } => run_bench(&report, sensor),
    };
    report.drain();
    done
}

fn run_command(report: &Arc<Report>, command: &str) -> Result<()> {
    world::mount_bpf()?;
    let script = format!("exec 2>&1\n{command}");
    let mut child = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting /bin/sh")?;
    let output = child.stdout.take().context("the command has no stdout")?;
    let reader = {
        let report = Arc::clone(report);
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                report.say(&Line::Output(String::from_utf8_lossy(&line).into_owned()));
            }
        })
    };
    let status = child.wait().context("waiting for the command")?;
    let ended = Instant::now();
    while !reader.is_finished() && ended.elapsed() < OUTPUT_DRAIN_MAX {
        thread::sleep(Duration::from_millis(10));
    }
    let code = status.code().unwrap_or_else(|| status.signal().unwrap_or(0).saturating_add(128));
    report.say(&Line::Exit(code));
    Ok(())
}

/// The exit line comes last, so that the lab can tell a whole benchmark from a broken one.
fn run_bench(report: &Report, sensor: Sensor) -> Result<()> {
    let done = crate::bench::run(report, sensor);
    report.say(&Line::Exit(i32::from(done.is_err())));
    done
}

fn power_off() -> ! {
    rustix::fs::sync();
    let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
    loop {
        thread::park();
    }
}
