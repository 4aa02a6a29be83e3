//! What holds the product's own processes, and what it does when its surroundings are broken: nothing may stay half attached,
//! and nothing may be lost without being told.

use super::pins::loaded_programs;
use super::Test;
use crate::action::process;
use crate::guard;
use crate::product::{by, watertight, Watertight, PROGRAM};
use crate::shared;
use crate::world;
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

/// Tests of the shared run.
pub const SHARED: &[Test] = &[
    Test {
        name: "hardening.detector_confined",
        claim: "the detector is nobody, has no capabilities, and seccomp, Landlock and no_new_privs hold it",
        run: detector_is_confined,
    },
    Test {
        name: "hardening.argv_of_a_megabyte",
        claim: "a megabyte of arguments is cut, flagged, and its size is told",
        run: megabyte_of_arguments,
    },
    Test {
        name: "hardening.path_of_4096_bytes",
        claim: "a path of 4,096 bytes with newlines and escapes is reported",
        run: long_path,
    },
];

/// Tests that want a run of their own.
pub const TESTS: &[Test] = &[
    Test {
        name: "hardening.sources_confined",
        claim: "the sources worker is nobody and has the four capabilities that its sources need",
        run: sources_are_confined,
    },
    Test {
        name: "hardening.no_btf",
        claim: "without the kernel's types the run goes on with the fallbacks, says why, and attaches nothing",
        run: no_types,
    },
    Test {
        name: "hardening.no_root",
        claim: "without root the run says what it loses and ends with 3",
        run: no_root,
    },
    Test {
        name: "hardening.path_on_a_terminal",
        claim: "a path of 4,096 bytes with newlines and escapes never goes raw to a terminal",
        run: long_path_for_people,
    },
    Test {
        name: "booted.without_lsm.run",
        claim: "without bpf and landlock in the LSM list the run is degraded, names the parameter, and says what holds no more",
        run: without_lsm,
    },
    Test {
        name: "booted.locked_down.run",
        claim: "in confidentiality lockdown the run says so with the mend, and attaches nothing",
        run: locked_down,
    },
];

const START_MAX: Duration = Duration::from_secs(180);

fn sandbox(run: &Watertight, worker: &str) -> Result<(Value, String)> {
    let line = run.wait_for("sandbox", |line| line["worker"] == worker, START_MAX)?;
    let status = fs::read_to_string(format!("/proc/{}/status", line["pid"])).context("reading the worker's status")?;
    Ok((line, status))
}

fn field<'s>(status: &'s str, name: &str) -> Result<Vec<&'s str>> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name} in {status}"))?.split_whitespace().collect())
}

/// A user that is nobody else's: `nobody` has other processes, which could send signals.
fn is_own_user(status: &str) -> Result<()> {
    const LENT: std::ops::RangeInclusive<u32> = 61_184..=65_519;
    let uids = field(status, "Uid")?;
    let uid: u32 = uids[0].parse().with_context(|| format!("no number in {status}"))?;
    ensure!(LENT.contains(&uid) && uids == [uids[0]; 4] && field(status, "Gid")? == uids, "{status}");
    Ok(())
}

fn detector_is_confined() -> Result<()> {
    let watch = shared::watch()?;
    let (line, status) = sandbox(&watch, "detector")?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        ensure!(field(&status, set)? == ["0000000000000000"], "{set}: {status}");
    }
    is_own_user(&status)?;
    ensure!(field(&status, "Groups")?.is_empty(), "{status}");
    ensure!(field(&status, "Seccomp")? == ["2"] && field(&status, "NoNewPrivs")? == ["1"], "{status}");
    let landlock = line["sandbox"]["landlock"].as_str().unwrap_or_default();
    ensure!(landlock.contains("files") && landlock.contains("ABI"), "Landlock: {line}");
    Ok(())
}

fn sources_are_confined() -> Result<()> {
    // CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN.
    const KEPT: u64 = 1 << 2 | 1 << 12 | 1 << 19 | 1 << 21;
    let run = Watertight::start_with(&["--loader", "/nonexistent"])?;
    let (_, status) = sandbox(&run, "sources")?;
    let effective = field(&status, "CapEff")?.first().map(|digits| u64::from_str_radix(digits, 16));
    ensure!(effective == Some(Ok(KEPT)), "CapEff: {status}");
    is_own_user(&status)?;
    ensure!(field(&status, "Seccomp")? == ["2"] && field(&status, "NoNewPrivs")? == ["1"], "{status}");
    // They still work: a process of another user is seen with its executable.
    let act = process::exec_many("wt-confined", "2")?;
    fs::write("/tmp/wt-confined-file", "x")?;
    let events = run.stop()?;
    events.expect("process.exec", |event| by(event, &act))?;
    events.expect("file.create", |event| event["file"]["path"] == "/tmp/wt-confined-file")?;
    Ok(())
}

fn no_types() -> Result<()> {
    world::mount_bpf()?;
    let before = loaded_programs()?;
    let none = CString::new("")?;
    rustix::mount::mount("none", "/sys/kernel/btf", "tmpfs", rustix::mount::MountFlags::empty(), none.as_c_str())?;
    let tried = degraded_without_kernel("/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF", before);
    rustix::mount::unmount("/sys/kernel/btf", rustix::mount::UnmountFlags::empty())?;
    tried
}

/// A run whose kernel programs are refused says so and why, still sees processes, and attaches nothing.
fn degraded_without_kernel(why: &str, mend: &str, programs_before: usize) -> Result<()> {
    let run = Watertight::start()?;
    let act = process::exec_many("wt-degraded", "2")?;
    let programs = loaded_programs()?;
    let events = run.stop()?;
    let matrix = events.matrix()?;
    ensure!(matrix["degraded"].to_string().contains(why), "why it is degraded: {matrix}");
    ensure!(matrix["rows"].to_string().contains(mend), "the mend: {matrix}");
    ensure!(matrix["rows"][0]["source"] == "proc connector", "the source of processes: {matrix}");
    ensure!(programs == programs_before, "{programs} programs are loaded, {programs_before} were before");
    events.expect("process.exec", |event| by(event, &act))?;
    Ok(())
}

fn as_nobody(arguments: &[&str]) -> Result<Output> {
    Command::new(PROGRAM).args(arguments).uid(65_534).gid(65_534).output().context("running the product as nobody")
}

fn no_root() -> Result<()> {
    if !fs::exists(PROGRAM)? {
        return super::skip("the guest was made without the product");
    }
    let output = as_nobody(&["run", "--for", "1s", "-o", "json", "--state", "/run/wt-not-ours"])?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && words.contains("--state"), "the state folder: {words}");
    // Without --state it has one of its own.
    let output = as_nobody(&["run", "--for", "1s", "-o", "json"])?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(words.contains("not root") && words.contains("sudo"), "{words}");
    ensure!(output.status.code() == Some(3), "it ended with {}: {words}", output.status);
    let matrix = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
    // Some kernels let anybody listen to the proc connector; more than that nobody gets.
    let has_level = [r#""level":"none""#, r#""level":"observe""#].iter().any(|level| matrix.contains(level));
    ensure!(has_level && matrix.contains("run as root"), "{matrix}");
    Ok(())
}

fn megabyte_of_arguments() -> Result<()> {
    const PART_BYTES: usize = 100_000;
    const PARTS: usize = 11;
    let watch = shared::watch()?;
    let part = "m".repeat(PART_BYTES);
    let mut child = Command::new("/bin/true").arg("wt-megabyte").args(vec![part; PARTS]).spawn()?;
    let pid = child.id();
    child.wait()?;
    let events = watch.events()?;
    let event = events
        .expect("process.exec", |event| event["process"]["pid"] == pid && event.to_string().contains("wt-megabyte"))?;
    let bytes = event["process"]["argv_bytes"].as_u64().context("argv_bytes")?;
    ensure!(bytes >= (PART_BYTES * PARTS) as u64, "the size before the cut is {bytes}");
    ensure!(event["truncated"].to_string().contains("process.argv"), "not flagged");
    Ok(())
}

/// A file whose whole path has 4,000 bytes and more, each part with a newline and an escape.
fn make_and_remove_deep_file() -> Result<()> {
    let part = OsString::from_vec([b"\n\x1b[31m\x1b]0;owned\x07".as_slice(), &[b'p'; 180]].concat());
    let path = PathBuf::from("/tmp").join(std::iter::repeat_n(&part, 20).collect::<PathBuf>());
    fs::create_dir_all(&path)?;
    fs::write(path.join("wt-deep"), "x")?;
    fs::remove_file(path.join("wt-deep"))?;
    fs::remove_dir_all(PathBuf::from("/tmp").join(&part)).context("taking the folders away")
}

fn long_path() -> Result<()> {
    let watch = shared::watch()?;
    make_and_remove_deep_file()?;
    let events = watch.events()?;
    let ours = |event: &Value| event["file"]["path"].to_string().contains("wt-deep") || event["truncated"].is_array();
    events.expect("file.unlink", ours)?;
    Ok(())
}

/// Whatever comes, no byte of it is an order to a terminal.
fn long_path_for_people() -> Result<()> {
    let live = std::thread::spawn(|| watertight(&["run", "-o", "live", "--observe", "--for", "3s"]));
    while !live.is_finished() {
        make_and_remove_deep_file()?;
        std::thread::sleep(Duration::from_millis(250));
    }
    let output = live.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.contains("owned"), "the live output has none of the paths: {}", text.len());
    ensure!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "a control character came through");
    ensure!(!text.lines().any(|line| line.starts_with("ppp")), "a newline came through");
    Ok(())
}

fn without_lsm() -> Result<()> {
    let run = Watertight::start()?;
    let (line, status) = sandbox(&run, "detector")?;
    let act = process::exec_many("wt-without", "2")?;
    let events = run.stop()?;
    let matrix = events.matrix()?;
    ensure!(matrix["level"] == "observe", "{matrix}");
    ensure!(matrix["degraded"].to_string().contains("refuses BPF LSM"), "{matrix}");
    ensure!(matrix["rows"].to_string().contains(",bpf"), "the lsm= line: {matrix}");
    ensure!(matrix["rows"][0]["source"] == "tp_btf", "{matrix}");
    ensure!(line["sandbox"]["landlock"].to_string().contains("none: add landlock"), "{line}");
    ensure!(field(&status, "Seccomp")? == ["2"], "{status}");
    events.expect("process.exec", |event| by(event, &act))?;
    Ok(())
}

fn locked_down() -> Result<()> {
    world::mount_bpf()?;
    degraded_without_kernel("locked down for confidentiality", "lockdown=integrity", 0)?;
    let applied = guard::try_apply(&[guard::rule("no-start", "exec", "file: /bin/wt-nothing", "enforce")])?;
    let said = String::from_utf8_lossy(&applied.stderr);
    ensure!(!applied.status.success() && said.contains("lockdown=integrity"), "policy apply: {said}");
    Ok(())
}
