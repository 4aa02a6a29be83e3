//! What the product costs: processor time and memory of all its processes, not only of the one that draws the line.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// A shorter time says nothing: a process that has just begun has done nothing but begin.
const SPAN_MIN: Duration = Duration::from_millis(400);

/// Processor time in percent of one core, and resident memory, of several processes.
pub struct Usage {
    processes: Vec<Process>,
    last: (Instant, Duration),
    permille: u128,
    rss_bytes: u64,
}

/// One of our processes.
struct Process {
    clock: libc::clockid_t,
    /// Kept open: opening it each time would be an event of its own, and after the privileges are gone it may not be allowed.
    statm: Option<File>,
}

impl Usage {
    /// Begins to measure this process and these.
    #[must_use]
    pub fn open(now: Instant, others: &[u32]) -> Self {
        let pids = others.iter().copied().chain([std::process::id()]);
        let processes: Vec<Process> = pids.filter_map(Process::open).collect();
        let spent = spent(&processes);
        Self { processes, last: (now, spent), permille: 0, rss_bytes: 0 }
    }

    /// Measures.
    pub fn tick(&mut self, now: Instant) {
        let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
        let pages = self.processes.iter().fold(0_u64, |sum, process| sum.saturating_add(process.resident_pages()));
        self.rss_bytes = pages.saturating_mul(page_bytes);
        let spent = spent(&self.processes);
        let wall = now.saturating_duration_since(self.last.0).as_micros();
        if now.saturating_duration_since(self.last.0) < SPAN_MIN {
            return;
        }
        let spent_permille = spent.saturating_sub(self.last.1).as_micros().saturating_mul(1_000);
        if let Some(permille) = spent_permille.checked_div(wall) {
            self.permille = permille;
            self.last = (now, spent);
        }
    }

    /// Percent of one core since the last tick.
    #[must_use]
    pub fn cpu_percent(&self) -> f64 {
        f64::from(u32::try_from(self.permille).unwrap_or(u32::MAX)) / 10.0
    }

    /// Resident memory, MiB; what processes share is counted in each. 0 where /proc does not tell.
    #[must_use]
    pub fn rss_mib(&self) -> u64 {
        self.rss_bytes >> 20
    }
}

fn spent(processes: &[Process]) -> Duration {
    processes.iter().fold(Duration::ZERO, |sum, process| sum.saturating_add(process.spent()))
}

impl Process {
    fn open(pid: u32) -> Option<Self> {
        let mut clock = 0;
        // SAFETY: the kernel writes one clock id into the variable, which lives through the call.
        let answer = unsafe { libc::clock_getcpuclockid(libc::pid_t::try_from(pid).ok()?, &raw mut clock) };
        (answer == 0).then(|| Self { clock, statm: File::open(format!("/proc/{pid}/statm")).ok() })
    }

    /// Processor time since its start; none once it has ended.
    fn spent(&self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one timespec into the variable, which lives through the call.
        let answer = unsafe { libc::clock_gettime(self.clock, &raw mut time) };
        if answer != 0 {
            return Duration::ZERO;
        }
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    /// The second number of `statm`; 0 once it has ended.
    fn resident_pages(&self) -> u64 {
        let mut text = [0_u8; 128];
        let length = self.statm.as_ref().and_then(|statm| statm.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
        text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_first_moments_are_not_taken_for_a_load() {
        let start = Instant::now();
        let mut usage = Usage::open(start, &[]);
        let limit = start + Duration::from_secs(20);
        while spent(&usage.processes) <= usage.last.1 + Duration::from_millis(2) {
            assert!(Instant::now() < limit, "this loop spends nothing");
        }
        usage.tick(start + Duration::from_millis(2));
        assert!((usage.permille, usage.rss_bytes > 0) == (0, true), "{} permille", usage.permille);
        usage.tick(start + Duration::from_millis(502));
        assert!(usage.permille > 0, "it counts in the first load that is one");
    }

    #[test]
    fn memory_and_time_are_of_all_our_processes() {
        let mut busy = Command::new("sh")
            .args(["-c", "i=0; while test $i -lt 20000; do i=$((i+1)); done; read _"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let alone = {
            let mut usage = Usage::open(Instant::now(), &[]);
            usage.tick(Instant::now());
            usage.rss_bytes
        };
        let mut both = Usage::open(Instant::now(), &[busy.id()]);
        let limit = Instant::now() + Duration::from_secs(20);
        while both.processes.first().is_some_and(|process| process.spent() < Duration::from_millis(1)) {
            assert!(Instant::now() < limit, "the shell spent nothing");
        }
        both.tick(Instant::now());
        assert!(alone > 0 && both.rss_bytes > alone, "{alone} and {}", both.rss_bytes);
        drop(busy.stdin.take());
        busy.wait().expect("it ends");
        both.tick(Instant::now());
        assert_eq!(both.processes.len(), 2, "one that ended counts as nothing and is no error");
    }
}
