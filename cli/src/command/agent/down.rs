//! Whether this machine is going down, by what its service manager has begun: the server then expects silence, and waits for a reboot
//! longer than for a host that fell silent.
//!
//! Only systemd is asked (`systemctl list-jobs`). Another init, `reboot -f` and a crash say nothing: that is silence, as before.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the service manager may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// What is read of its answer: five lines at most.
const TOLD_BYTES_MAX: u64 = 64 << 10;

/// How it goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Down {
    /// It comes back by itself.
    Reboot,
    /// It does not.
    Off,
}

impl Down {
    /// As an option's value.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Off => "off",
        }
    }
}

/// Units whose start ends the machine (systemd.special(7)).
const ENDS: [(&str, Down); 5] = [
    ("reboot.target", Down::Reboot),
    ("kexec.target", Down::Reboot),
    ("soft-reboot.target", Down::Reboot),
    ("poweroff.target", Down::Off),
    ("halt.target", Down::Off),
];

/// How this machine goes down, if it does.
pub(super) fn of_this_machine() -> Option<Down> {
    let mut command = Command::new("systemctl");
    command.args(["list-jobs", "--plain", "--no-legend", "--no-pager"]).args(ENDS.map(|(unit, _)| unit));
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped()).spawn().ok()?;
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < ANSWER_MAX {
        std::thread::sleep(LOOK);
    }
    // A failure means that it has ended; how, nobody asks.
    let _ = child.kill();
    drop(child.wait());
    // Whoever else holds the pipe's other end is not waited for.
    let (out, mut told) = (child.stdout.take()?, Vec::new());
    rustix::io::ioctl_fionbio(&out, true).ok()?;
    let _ = out.take(TOLD_BYTES_MAX).read_to_end(&mut told); // what is there
    of_jobs(&String::from_utf8_lossy(&told))
}

/// A job a line: number, unit, kind, state (systemctl(1), list-jobs).
fn of_jobs(jobs: &str) -> Option<Down> {
    jobs.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (unit, kind) = (words.next()?, words.next()?);
        ENDS.into_iter().find(|(end, _)| *end == unit && kind == "start").map(|(_, down)| down)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_job_that_ends_the_machine_says_that_it_goes_down() {
        let reboot = " 5021 watertight.service stop  running\n 4990 reboot.target      start waiting\n";
        assert_eq!(of_jobs(reboot), Some(Down::Reboot));
        assert_eq!(of_jobs("77 poweroff.target start waiting\n"), Some(Down::Off));
        assert_eq!(of_jobs("5021 watertight.service stop running\n"), None, "it alone is stopped");
        assert_eq!(of_jobs("1 reboot.target stop waiting\n"), None);
        assert_eq!(of_jobs("No jobs running.\n"), None);
        assert_eq!(of_jobs("\n4990\n"), None);
    }
}
