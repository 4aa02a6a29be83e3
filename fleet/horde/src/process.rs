//! What processes use, by `/proc`, and how many descriptors this one may have.

use std::time::Instant;

use anyhow::Context as _;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use serde::{Deserialize, Serialize};

/// A process of the horde has no more: one machine then has room for it and for the server.
pub const DESCRIPTORS_MAX: u64 = 20_000;
/// For what is no agent: the operator API, files, the runtime.
const OTHER_DESCRIPTORS: u64 = 256;

/// What a stretch of work took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// By the clock.
    pub wall_s: f64,
    /// Processor time of the server, user and system.
    pub server_cpu_s: f64,
    /// The same of the horde.
    pub horde_cpu_s: f64,
}

/// Looks at the clocks at a beginning.
#[derive(Debug)]
pub struct Meter {
    begun: Instant,
    pid: u32,
    server_s: f64,
    horde_s: f64,
}

impl Meter {
    /// Begins.
    ///
    /// # Errors
    /// There is no such process.
    pub fn begin(server: u32) -> anyhow::Result<Self> {
        Ok(Self { begun: Instant::now(), pid: server, server_s: cpu_s(server)?, horde_s: cpu_s(std::process::id())? })
    }

    /// What was spent since then.
    ///
    /// # Errors
    /// The server is gone.
    pub fn spent(&self) -> anyhow::Result<Spent> {
        Ok(Spent {
            wall_s: self.begun.elapsed().as_secs_f64(),
            server_cpu_s: cpu_s(self.pid)? - self.server_s,
            horde_cpu_s: cpu_s(std::process::id())? - self.horde_s,
        })
    }
}

/// Processor time of a process so far, s.
///
/// # Errors
/// There is none of that number.
pub fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}: does the server run?"))?;
    // Fields 14 and 15; the name before them may have spaces, and ends with the last bracket.
    let (_, fields) = text.rsplit_once(')').context("no name in it")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
        anyhow::bail!("{path}: no processor time in it");
    };
    Ok(user.saturating_add(system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Resident memory of a process, KiB.
///
/// # Errors
/// There is none of that number.
pub fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}: does the server run?"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in it")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Takes the descriptors that so many agents need, as far as the system lets this process have them.
///
/// # Errors
/// It does not, or that many agents are not for one process.
pub fn make_room(agents: usize) -> anyhow::Result<()> {
    let needed = u64::try_from(agents)?.saturating_add(OTHER_DESCRIPTORS);
    anyhow::ensure!(
        needed <= DESCRIPTORS_MAX,
        "{agents} agents: one process has at most {}; start another beside it",
        DESCRIPTORS_MAX.saturating_sub(OTHER_DESCRIPTORS)
    );
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|now| now >= needed) {
        return Ok(());
    }
    let hard = limit.maximum.unwrap_or(DESCRIPTORS_MAX);
    anyhow::ensure!(
        hard >= needed,
        "{agents} agents need {needed} descriptors, and this process may have {hard} at most: raise the hard limit (`ulimit -Hn {needed}` \
         as root, or LimitNOFILE= of the service), or take fewer agents"
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .context("raising RLIMIT_NOFILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let mut sum = 0_u64;
        while cpu_s(std::process::id()).expect("this process") == 0.0 {
            sum = (0..100_000).fold(sum, u64::wrapping_add);
        }
        assert!(resident_kib(std::process::id()).expect("this process") > 100, "{sum}");
        assert!(cpu_s(u32::MAX).is_err() && resident_kib(u32::MAX).is_err());
    }

    #[test]
    fn more_agents_than_a_process_may_have_are_refused_with_the_mend() {
        let refused = make_room(20_000).expect_err("too many").to_string();
        assert!(refused.contains("start another"), "{refused}");
        assert!(make_room(1).is_ok());
    }
}
