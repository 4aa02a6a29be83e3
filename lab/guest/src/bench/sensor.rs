//! The sensors that are compared: started as their own documentation says, stopped, and asked what they cost.

use super::work;
use anyhow::{bail, Context, Result};
use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use watertight_lab_guest::Sensor;

const PRODUCT: &str = "/usr/bin/watertight";
const LOADER: &str = "/usr/bin/watertight-loader";
const POLICY: &str = "/bench/policy.yaml";
const OUTPUT: &str = "/run/sensor.out";
/// Exit code of a command line that the product does not know.
const USAGE: i32 = 2;
/// Virtual time, which costs nothing while everybody sleeps.
const START_MAX: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A sensor that used less than this within `LOOK_EVERY` has nothing more to do.
const QUIET_NS: u64 = 2_000_000;
/// Longer than the longest batch that a sensor keeps back.
const SETTLE: Duration = Duration::from_millis(500);
const LOOKS_MAX: u32 = 3_000;

/// What a sensor has used and taken since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Processor time of its processes and kernel threads.
    pub cpu_ns: u64,
    /// Events, where it tells.
    pub events: Option<u64>,
    /// Losses, where it tells.
    pub lost: Option<u64>,
}

/// A sensor at work.
pub struct Running {
    sensor: Sensor,
    child: Child,
}

/// Why this product can't be measured so, if it can't.
pub fn absent(sensor: Sensor) -> Option<String> {
    if sensor != Sensor::Enforce {
        return None;
    }
    let checked = Command::new(PRODUCT).args(["policy", "check", POLICY]).stderr(Stdio::null()).status();
    match checked {
        Ok(status) if status.code() == Some(USAGE) => Some("the product has no `policy` command".to_owned()),
        Ok(_) => None,
        Err(error) => Some(format!("{PRODUCT}: {error}")),
    }
}

impl Running {
    /// Starts it and waits until it watches.
    pub fn start(sensor: Sensor) -> Result<Self> {
        let (mut command, sign) = match sensor {
            Sensor::Observe => (product(), "\"kind\":\"matrix\""),
            Sensor::Enforce => {
                work::output(PRODUCT, &["policy", "apply", POLICY])?;
                (product(), "\"kind\":\"matrix\"")
            }
            Sensor::Auditd => {
                let mut command = Command::new("/sbin/auditd");
                command.arg("-f");
                (command, "")
            }
            Sensor::Execsnoop => {
                let mut command = Command::new("/usr/bin/bpftrace");
                command.arg("/usr/sbin/execsnoop.bt");
                (command, "TIME")
            }
        };
        let out = File::create(OUTPUT).with_context(|| format!("making {OUTPUT}"))?;
        let child =
            command.stdin(Stdio::null()).stdout(out).spawn().with_context(|| format!("starting {command:?}"))?;
        let mut running = Self { sensor, child };
        running.wait_for(sign)?;
        if sensor == Sensor::Auditd {
            work::output("/sbin/auditctl", &["-R", "/bench/audit.rules"])?;
        }
        running.settle()?;
        Ok(running)
    }

    fn wait_for(&mut self, sign: &str) -> Result<()> {
        let mut waited = Duration::ZERO;
        while !fs::read_to_string(OUTPUT).unwrap_or_default().contains(sign) {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before it watched");
            }
            if waited > START_MAX {
                bail!("it did not watch after {} s", START_MAX.as_secs());
            }
            thread::sleep(LOOK_EVERY);
            waited = waited.saturating_add(LOOK_EVERY);
        }
        Ok(())
    }

    /// Waits until it has nothing more to do.
    fn settle(&mut self) -> Result<()> {
        thread::sleep(SETTLE);
        let mut used = self.cpu_ns();
        for _ in 0..LOOKS_MAX {
            thread::sleep(LOOK_EVERY);
            let now = self.cpu_ns();
            if now.saturating_sub(used) < QUIET_NS {
                return Ok(());
            }
            used = now;
        }
        bail!("it never comes to rest")
    }

    /// What it has used and taken so far, once it is at rest.
    pub fn cost(&mut self) -> Result<Cost> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself with {status}", self.sensor.name());
        }
        self.settle()?;
        let mut cost = Cost { cpu_ns: self.cpu_ns(), ..Cost::default() };
        match self.sensor {
            Sensor::Observe | Sensor::Enforce => {
                let (events, lost) = counted()?;
                cost.events = Some(events);
                cost.lost = Some(lost);
            }
            Sensor::Auditd => {
                let status = work::output("/sbin/auditctl", &["-s"])?;
                let lost = status.lines().find_map(|line| line.strip_prefix("lost "));
                cost.lost = lost.and_then(|number| number.trim().parse().ok());
            }
            Sensor::Execsnoop => {}
        }
        Ok(cost)
    }

    /// Of every process that runs the sensor's executable, and of auditd's kernel thread.
    pub fn cpu_ns(&self) -> u64 {
        let executable = match self.sensor {
            Sensor::Observe | Sensor::Enforce => PRODUCT,
            Sensor::Auditd => "/sbin/auditd",
            Sensor::Execsnoop => "/usr/bin/bpftrace",
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        let is_sensor = |path: &Path| {
            fs::read_link(path.join("exe")).is_ok_and(|exe| exe.ends_with(executable.trim_start_matches('/')))
                || (self.sensor == Sensor::Auditd
                    && fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "kauditd"))
        };
        processes.filter(|path| is_sensor(path)).map(|path| threads_ns(&path)).sum()
    }

    /// Asks it to end. A policy that was applied goes too.
    pub fn stop(mut self) -> Result<()> {
        if self.sensor == Sensor::Auditd {
            work::output("/sbin/auditctl", &["-D"])?;
            work::output("/sbin/auditctl", &["-e", "0"])?;
        }
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a child has pid 0")?;
        let signal = if self.sensor == Sensor::Auditd { Signal::TERM } else { Signal::INT };
        kill_process(pid, signal).context("asking it to end")?;
        let status = self.child.wait().context("waiting for its end")?;
        eprintln!("{} ended with {status}", self.sensor.name());
        if self.sensor == Sensor::Enforce {
            work::output(PRODUCT, &["policy", "unseal"])?;
        }
        Ok(())
    }
}

fn product() -> Command {
    let mut command = Command::new(PRODUCT);
    command.args(["run", "-o", "json"]);
    command
}

fn threads_ns(process: &Path) -> u64 {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().filter_map(Result::ok);
    let used = |path: &Path| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(|thread| used(&thread.path())).sum()
}

/// Events submitted and lost by every hook of ours, as the kernel side counts them.
fn counted() -> Result<(u64, u64)> {
    let (mut submitted, mut lost) = (0_u64, 0_u64);
    for line in work::output(LOADER, &["counters"])?.lines() {
        let row: Value = serde_json::from_str(line).context("reading the loader's counters")?;
        let number = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
        submitted = submitted.saturating_add(number("submitted"));
        lost = lost.saturating_add(number("lost_ring_full")).saturating_add(number("lost_no_scratch"));
    }
    Ok((submitted, lost))
}

/// Loads and pins the kernel programs; returns the folder of the pins.
pub fn load_kernel_side() -> Result<String> {
    let report: Value =
        serde_json::from_str(&work::output(LOADER, &["load"])?).context("reading the loader's report")?;
    report.get("directory").and_then(Value::as_str).map(str::to_owned).context("the loader names no folder of pins")
}

/// Takes them away.
pub fn unload_kernel_side() -> Result<()> {
    work::output(LOADER, &["unload"]).map(drop)
}
