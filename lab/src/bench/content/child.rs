//! The child that loads a pack, started as the supervisor starts it, and looked at when its work is done and its answer still fills the
//! pipe: by then it has opened the pack, checked it and run its canaries.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{ensure, Context as _, Result};
use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use rustix::io::{fcntl_setfd, FdFlags};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What it took.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct LoaderCost {
    /// Bytes of the pack.
    pub pack_bytes: u64,
    /// The most memory that it had resident, MiB: with its executable and the pack.
    pub peak_mib: f64,
    /// Its processor time, s, from its start.
    pub cpu_s: f64,
    /// System calls that it may make; every other one ends it.
    pub calls: u64,
}

/// Ended when dropped, should it not end by itself.
struct Loader(Child);

impl Drop for Loader {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Loads this pack.
pub fn cost(product: &Path, pack: &Path) -> Result<LoaderCost> {
    let bytes = fs::read(pack).with_context(|| format!("reading {}", pack.display()))?;
    let (said, report) = std::io::pipe().context("making a pipe")?;
    let report = OwnedFd::from(report);
    fcntl_setfd(&report, FdFlags::empty()).context("handing a pipe on")?;
    let child = Command::new(product)
        .args(["worker", "load", "--report-fd", &report.as_raw_fd().to_string()])
        .stdin(Stdio::from(sealed(&bytes)?))
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the loader")?;
    drop(report);
    let mut loader = Loader(child);
    let mut ready = String::new();
    BufReader::new(said).read_line(&mut ready).context("hearing the loader")?;
    let ready: Value = serde_json::from_str(&ready).with_context(|| format!("the loader said {ready:?}"))?;
    let calls = ready.pointer("/sandbox/calls").and_then(Value::as_u64).context("it does not say what holds it")?;
    let mut answer = loader.0.stdout.take().context("it has no output")?;
    answer.read_exact(&mut [0; 8]).context("it ended without an answer")?;
    let process = Path::new("/proc").join(loader.0.id().to_string());
    let status = fs::read_to_string(process.join("status")).context("looking at it")?;
    let times = fs::read_to_string(process.join("schedstat")).context("looking at its processor time")?;
    let rest = std::io::copy(&mut answer, &mut std::io::sink())?;
    ensure!(rest > PIPE_BYTES, "its answer of {rest} bytes fits the pipe: it may have ended before it was looked at");
    ensure!(loader.0.wait()?.success(), "the loader did not end well");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<f64>().ok());
    let used_ns = times.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    Ok(LoaderCost {
        pack_bytes: bytes.len() as u64,
        peak_mib: peak.context("the kernel does not tell its memory")? / 1024.0,
        cpu_s: used_ns.context("the kernel does not tell its processor time")? / 1e9,
        calls,
    })
}

/// What a pipe holds at most; who writes more waits for its reader.
const PIPE_BYTES: u64 = 64 << 10;

fn sealed(bytes: &[u8]) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut memory = File::from(memfd_create("watertight-bench", flags).context("making memory")?);
    memory.write_all(bytes).context("filling memory")?;
    rustix::fs::seek(&memory, rustix::fs::SeekFrom::Start(0)).context("rewinding memory")?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&memory, seals).context("sealing memory")?;
    Ok(memory.into())
}
