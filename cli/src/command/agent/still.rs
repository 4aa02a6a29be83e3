//! Whether a part hangs: stopped, in a deadlock, or in a loop that never ends. The kernel counts how often a thread gave up the processor
//! of its own will (proc(5), `voluntary_ctxt_switches`), and the main thread of each part does so every few seconds while it lives.
//!
//! Counted in looks, not in time: where the whole machine stands still, so does who looks.

use std::fs;

/// What was seen of a part's main thread.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    switches: Option<u64>,
    looks: u32,
}

impl Stillness {
    /// Looks once more; gives for how many looks in a row nothing moved. What can't be looked at is taken to move.
    pub(super) fn look(&mut self, pid: u32) -> u32 {
        let switches = fs::read_to_string(format!("/proc/{pid}/status")).ok().as_deref().and_then(switches);
        self.looks = if switches.is_some() && switches == self.switches { self.looks.saturating_add(1) } else { 0 };
        self.switches = switches;
        self.looks
    }
}

/// Of the thread whose number is the process's.
fn switches(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use rustix::process::{kill_process, Pid, Signal};

    use super::*;

    /// Looks at a shell that does this until it moves, or until it has not for ten looks.
    fn looks(script: &str, signal: Option<Signal>) -> u32 {
        let mut child = Command::new("sh").args(["-c", script]).spawn().expect("a shell");
        std::thread::sleep(Duration::from_millis(300)); // it has started
        if let Some(signal) = signal {
            kill_process(Pid::from_child(&child), signal).expect("it is ours");
        }
        let mut stillness = Stillness::default();
        stillness.look(child.id());
        let mut most = 0;
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(200));
            most = stillness.look(child.id());
            if most == 0 {
                break;
            }
        }
        child.kill().expect("it is ours");
        child.wait().expect("its end");
        most
    }

    #[test]
    fn who_waits_for_short_times_moves_and_who_is_stopped_waits_for_ever_or_never_waits_does_not() {
        assert_eq!(looks("while :; do sleep 0.01; done", None), 0);
        assert_eq!(looks("while :; do sleep 0.01; done", Some(Signal::STOP)), 10);
        assert_eq!(looks("exec sleep 1000", None), 10);
        assert_eq!(looks("while :; do :; done", None), 10);
    }

    #[test]
    fn a_process_that_is_not_there_is_not_said_to_hang() {
        let mut stillness = Stillness::default();
        assert_eq!([stillness.look(u32::MAX), stillness.look(u32::MAX)], [0, 0]);
        assert_eq!(switches("Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n"), Some(150));
        assert_eq!(switches("nonvoluntary_ctxt_switches:\t545\n"), None);
    }
}
